//! A lock in one word that also holds flags, and that another task may release: a folio's.
//!
//! Linux's `PG_locked` beside the other page flags. Four bytes, because there is one for each
//! cached folio; the class is given by the caller for the same reason.

use crate::atomic::{AtomicU32, Ordering, constructor};
use crate::host::{self, Access};
use crate::lockdep::{self, LockClass};
use crate::thread::TaskId;
use crate::waits;

const LOCKED: u32 = 1 << 0;
const WAITERS: u32 = 1 << 1;
const HOLDER_SHIFT: u32 = 16;
/// Holder of a lock that was handed to an I/O operation.
const NOBODY: u32 = 0xffff;

/// A lock, flags (bits 2..=15) and the holder, in one word.
#[derive(Debug, Default)]
pub struct BitLock {
    word: AtomicU32,
}

impl BitLock {
    /// The bits that belong to the user.
    pub const FLAGS: u32 = 0xfffc;

    constructor! {
        /// Free, with `flags` set.
        pub const fn new(flags: u32) -> Self {
            Self { word: AtomicU32::new(flags & Self::FLAGS) }
        }
    }

    /// The number by which switch points and reports know it: an address.
    pub fn object(&self) -> usize {
        (&raw const self.word) as usize
    }

    fn mine() -> u32 {
        LOCKED | u32::from(host::current().0) << HOLDER_SHIFT
    }

    fn try_enter(&self) -> bool {
        let mine = Self::mine();
        self.word
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |word| {
                (word & LOCKED == 0).then_some(word & (Self::FLAGS | WAITERS) | mine)
            })
            .is_ok()
    }

    /// Acquires the lock, waiting for its holder; `key` orders it among others of its class.
    #[inline]
    pub fn lock(&self, class: &'static LockClass, key: u64) {
        lockdep::check(class, key);
        host::point(class, self.object(), Access::Write);
        if !self.try_enter() {
            self.lock_slow(class);
        }
        lockdep::acquired(class, self.object(), key);
    }

    /// Acquires the lock if it is free.
    #[inline]
    pub fn try_lock(&self, class: &'static LockClass, key: u64) -> bool {
        host::point(class, self.object(), Access::Write);
        let entered = self.try_enter();
        if entered {
            lockdep::acquired(class, self.object(), key);
        }
        entered
    }

    /// The lock passes from the running task to an operation that will [`BitLock::unlock_handed`].
    pub fn hand_over(&self, class: &'static LockClass) {
        lockdep::released(class, self.object());
        host::touch(class, self.object(), Access::Write);
        self.word.fetch_or(NOBODY << HOLDER_SHIFT, Ordering::Relaxed);
    }

    /// Releases the running task's hold.
    #[inline]
    pub fn unlock(&self, class: &'static LockClass) {
        lockdep::released(class, self.object());
        self.leave(class);
    }

    /// Releases a hold that was handed over, from any task.
    pub fn unlock_handed(&self, class: &'static LockClass) {
        self.leave(class);
    }

    fn leave(&self, class: &'static LockClass) {
        host::point(class, self.object(), Access::Write);
        if self.word.fetch_and(Self::FLAGS, Ordering::Release) & WAITERS != 0 {
            host::wake(&self.word, u32::MAX);
        }
    }

    /// Whether somebody holds it.
    pub fn is_locked(&self) -> bool {
        host::touch(&lockdep::EVENT, self.object(), Access::Read);
        self.word.load(Ordering::Relaxed) & LOCKED != 0
    }

    /// The flags.
    #[inline]
    pub fn flags(&self, class: &'static LockClass) -> u32 {
        host::point(class, self.object(), Access::Read);
        self.word.load(Ordering::Acquire) & Self::FLAGS
    }

    /// Sets flags; the flags before.
    #[inline]
    pub fn set(&self, class: &'static LockClass, flags: u32) -> u32 {
        host::point(class, self.object(), Access::Write);
        self.word.fetch_or(flags & Self::FLAGS, Ordering::AcqRel) & Self::FLAGS
    }

    /// Clears flags and wakes whoever waits for that; the flags before.
    #[inline]
    pub fn clear(&self, class: &'static LockClass, flags: u32) -> u32 {
        host::point(class, self.object(), Access::Write);
        // Those who wait for the lock are woken too: they find it held and announce themselves anew.
        let before = self.word.fetch_and(!(flags & Self::FLAGS | WAITERS), Ordering::AcqRel);
        if before & WAITERS != 0 {
            host::wake(&self.word, u32::MAX);
        }
        before & Self::FLAGS
    }

    /// Changes the flags in one step: to what `change` makes of those that are there. `None` of it leaves
    /// them, and is the answer.
    #[inline]
    pub fn update(&self, class: &'static LockClass, change: impl Fn(u32) -> Option<u32>) -> Option<u32> {
        host::point(class, self.object(), Access::Write);
        let changed = self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            change(word & Self::FLAGS).map(|flags| word & !Self::FLAGS | flags & Self::FLAGS)
        });
        changed.ok().map(|word| word & Self::FLAGS)
    }

    /// Waits until all of `flags` are clear; `what` is how the wait is reported.
    pub fn wait_clear(&self, flags: u32, what: &'static str) {
        self.sleep_while(&lockdep::EVENT, what, |word| word & flags & Self::FLAGS != 0);
    }

    /// Waits until nobody holds the lock, without acquiring it.
    pub fn wait_unlocked(&self, what: &'static str) {
        self.sleep_while(&lockdep::EVENT, what, |word| word & LOCKED != 0);
    }

    #[cold]
    fn lock_slow(&self, class: &'static LockClass) {
        loop {
            self.sleep_while(class, "", |word| word & LOCKED != 0);
            if self.try_enter() {
                return;
            }
        }
    }

    fn sleep_while(&self, class: &'static LockClass, what: &'static str, busy: impl Fn(u32) -> bool) {
        loop {
            let word = self.word.load(Ordering::Acquire);
            host::touch(class, self.object(), Access::Write);
            if !busy(word) {
                return;
            }
            let announced = word | WAITERS;
            if word != announced
                && self.word.compare_exchange(word, announced, Ordering::Relaxed, Ordering::Relaxed).is_err()
            {
                continue;
            }
            let holder = word >> HOLDER_SHIFT;
            let holder = (word & LOCKED != 0 && holder != NOBODY).then_some(TaskId(holder as u16));
            let _waiting = waits::begin(class, self.object(), holder, what);
            host::wait(&self.word, announced, u64::MAX);
        }
    }
}
