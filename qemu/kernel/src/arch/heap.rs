//! The kernel's heap: one run of memory set aside at boot.
//!
//! Every kind of kernel object has a limit, so programs cannot use it up; the fast paths do not
//! allocate.

use super::physmap;
use buddy_system_allocator::LockedHeap;

#[global_allocator]
static HEAP: LockedHeap<28> = LockedHeap::empty();

/// Gives the heap its memory, once.
///
/// # Safety
/// The range is RAM that nobody else uses, for good.
pub unsafe fn init(paddr: u64, len: usize) {
    // SAFETY: by the caller's promise; the physmap maps it.
    unsafe { HEAP.lock().init(physmap::pointer(paddr) as usize, len) }
}

/// Bytes in use and bytes in all.
pub fn usage() -> (usize, usize) {
    let heap = HEAP.lock();
    (heap.stats_alloc_actual(), heap.stats_total_bytes())
}
