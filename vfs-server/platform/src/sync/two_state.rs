//! A lock with two sides that exclude each other, each shared with itself: bcachefs's pagecache
//! lock, whose *add* side the buffered writes and faults hold and whose *block* side truncate,
//! fallocate and direct I/O hold.

use super::WaitQueue;
use crate::atomic::{AtomicI32, Ordering, constructor};
use crate::host::{self, Access};
use crate::lockdep::{self, LockClass};

/// Which side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TwoStateSide {
    /// Pages are added and dirtied.
    Add,
    /// No page may be added.
    Block,
}

/// Positive: that many on the add side; negative: on the block side.
#[derive(Debug)]
pub struct TwoStateLock {
    class: &'static LockClass,
    holders: AtomicI32,
    queue: WaitQueue,
}

/// Gives one hold back when dropped.
#[derive(Debug)]
pub struct TwoStateGuard<'a> {
    lock: &'a TwoStateLock,
    side: TwoStateSide,
}

impl TwoStateLock {
    constructor! {
        /// A free lock of `class`.
        pub const fn new(class: &'static LockClass) -> Self {
            Self { class, holders: AtomicI32::new(0), queue: WaitQueue::new() }
        }
    }

    /// The number by which switch points and reports know it: an address.
    pub fn object(&self) -> usize {
        (&raw const self.holders) as usize
    }

    /// Waits until nobody holds the other side, then holds `side`.
    pub fn lock(&self, side: TwoStateSide, key: u64) -> TwoStateGuard<'_> {
        lockdep::check(self.class, key);
        host::point(self.class, self.object(), Access::Write);
        self.queue.wait_until("the other side of a two-state lock", || self.enter(side));
        lockdep::acquired(self.class, self.object(), key);
        TwoStateGuard { lock: self, side }
    }

    /// Holds `side` if nobody holds the other.
    pub fn try_lock(&self, side: TwoStateSide) -> Option<TwoStateGuard<'_>> {
        host::point(self.class, self.object(), Access::Write);
        self.enter(side).then(|| {
            lockdep::acquired(self.class, self.object(), 0);
            TwoStateGuard { lock: self, side }
        })
    }

    fn enter(&self, side: TwoStateSide) -> bool {
        host::touch(self.class, self.object(), Access::Write);
        self.holders
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |holders| match side {
                TwoStateSide::Add => (holders >= 0).then(|| holders + 1),
                TwoStateSide::Block => (holders <= 0).then(|| holders - 1),
            })
            .is_ok()
    }
}

impl Drop for TwoStateGuard<'_> {
    fn drop(&mut self) {
        lockdep::released(self.lock.class, self.lock.object());
        host::touch(self.lock.class, self.lock.object(), Access::Write);
        let step = if self.side == TwoStateSide::Add { -1 } else { 1 };
        if self.lock.holders.fetch_add(step, Ordering::SeqCst) + step == 0 {
            self.lock.queue.wake_all();
        }
    }
}
