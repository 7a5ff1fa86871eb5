//! The kernel's heap: one run of memory set aside at boot.
//!
//! The fast paths do not allocate. What a program can have more of has a limit, and is refused
//! when the heap is [short](is_short): so programs cannot use it up.

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

/// Less than a quarter is left: who wants a new object for a program is refused, so that the rest is there for what
/// cannot be refused.
pub fn is_short() -> bool {
    let (used, total) = usage();
    used > total / 4 * 3
}

/// Bytes in use and bytes in all.
pub fn usage() -> (usize, usize) {
    let heap = HEAP.lock();
    (heap.stats_alloc_actual(), heap.stats_total_bytes())
}
