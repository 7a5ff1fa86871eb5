//! The heap: talc over anonymous mappings, which it takes in steps of [`STEP`] and keeps.
//!
//! A forked process inherits the heap as it is; [`frozen`] holds its lock over the fork, so that no
//! other thread is in the middle of it.

use crate::{memory, sync::RawFutexMutex};
use core::alloc::Layout;
use talc::{TalcLock, base::Talc, base::binning::Binning, source::Source};

/// Least bytes by which the heap grows.
const STEP: usize = 1 << 20;

/// Room for talc's own bookkeeping in a fresh region (its first one holds the bins too).
const OVERHEAD: usize = 64 << 10;

#[cfg_attr(target_os = "none", global_allocator)]
static HEAP: TalcLock<RawFutexMutex, AnonymousMemory> = TalcLock::new(AnonymousMemory);

/// Gives talc anonymous mappings for good.
#[derive(Debug)]
struct AnonymousMemory;

// SAFETY: `acquire` only makes a system call; it never allocates.
unsafe impl Source for AnonymousMemory {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> core::result::Result<(), ()> {
        let size = layout.size().checked_add(layout.align()).and_then(|n| n.checked_add(OVERHEAD)).ok_or(())?;
        let size = size.checked_next_multiple_of(STEP).ok_or(())?;
        let base = memory::map_anonymous(size, memory::Sharing::Private).map_err(|_| ())?;
        // SAFETY: the region is fresh, readable and writable, and nobody else knows of it.
        unsafe { talc.claim(base.as_ptr(), size) }.map(|_| ()).ok_or(())
    }
}

/// Bytes of the heap that are in use, with what the heap needs to manage them.
pub fn bytes_in_use() -> usize {
    let heap = HEAP.lock();
    let counters = heap.counters();
    counters.claimed_bytes - counters.available_bytes
}

/// Runs `f` while no thread is inside the heap. `f` must not allocate.
pub(crate) fn frozen<R>(f: impl FnOnce() -> R) -> R {
    let _guard = HEAP.lock();
    f()
}
