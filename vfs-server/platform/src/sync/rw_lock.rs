//! A lock for readers or one writer; a waiting writer keeps new readers out.
//!
//! A task must not take it shared twice: a writer between the two would wait for the first, and
//! the second for the writer. The lock-order checker refuses it (the class is not its own superior).

use crate::atomic::{AtomicU32, Ordering, constructor, seq_cst};
use crate::host::{self, Access};
use crate::lockdep::{self, LockClass};
use crate::thread::TaskId;
use crate::waits;
use core::cell::UnsafeCell;
use core::fmt;
use core::ops::{Deref, DerefMut};

/// A writer holds the lock; bits 15..0 are its task number.
const WRITER: u32 = 1 << 31;

/// Readers or one writer, with a class in the lock order.
pub struct RwLock<T: ?Sized> {
    class: &'static LockClass,
    /// 0, the number of readers, or [`WRITER`] with its task.
    state: AtomicU32,
    /// Writers that wait: readers stay out while there are any.
    writers_waiting: AtomicU32,
    /// Counts releases; what waiters sleep on.
    releases: AtomicU32,
    /// Tasks that sleep on `releases`.
    sleepers: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: the state admits readers or one writer, and only guards reach the value.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}
// SAFETY: as above; readers share the value.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}

/// Gives a shared hold back when dropped.
pub struct ReadGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
}

/// Gives the exclusive hold back when dropped.
pub struct WriteGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
}

impl<T> RwLock<T> {
    constructor! {
        /// A free lock of `class`.
        pub const fn new(class: &'static LockClass, value: T) -> Self {
            Self {
                class,
                state: AtomicU32::new(0),
                writers_waiting: AtomicU32::new(0),
                releases: AtomicU32::new(0),
                sleepers: AtomicU32::new(0),
                value: UnsafeCell::new(value),
            }
        }
    }
}

impl<T: ?Sized> RwLock<T> {
    /// The number by which switch points and reports know it: an address.
    pub fn object(&self) -> usize {
        (&raw const self.state) as usize
    }

    /// Acquires the lock shared.
    #[inline]
    pub fn read(&self) -> ReadGuard<'_, T> {
        self.read_key(0)
    }

    /// Acquires the lock shared; `key` orders it among others of an ascending class.
    #[inline]
    pub fn read_key(&self, key: u64) -> ReadGuard<'_, T> {
        lockdep::check(self.class, key);
        host::point(self.class, self.object(), Access::Write);
        if !self.try_read_state() {
            self.wait_for(|lock| lock.try_read_state());
        }
        lockdep::acquired(self.class, self.object(), key);
        ReadGuard { lock: self }
    }

    /// Acquires the lock exclusively.
    #[inline]
    pub fn write(&self) -> WriteGuard<'_, T> {
        self.write_key(0)
    }

    /// Acquires the lock exclusively; `key` orders it among others of an ascending class.
    #[inline]
    pub fn write_key(&self, key: u64) -> WriteGuard<'_, T> {
        lockdep::check(self.class, key);
        host::point(self.class, self.object(), Access::Write);
        if !self.try_write_state() {
            self.writers_waiting.fetch_add(1, Ordering::SeqCst);
            self.wait_for(|lock| lock.try_write_state());
            self.writers_waiting.fetch_sub(1, Ordering::SeqCst);
        }
        lockdep::acquired(self.class, self.object(), key);
        WriteGuard { lock: self }
    }

    /// Acquires the lock shared if no writer holds it or waits.
    pub fn try_read(&self) -> Option<ReadGuard<'_, T>> {
        host::point(self.class, self.object(), Access::Write);
        self.try_read_state().then(|| {
            lockdep::acquired(self.class, self.object(), 0);
            ReadGuard { lock: self }
        })
    }

    /// Acquires the lock exclusively if nobody holds it.
    pub fn try_write(&self) -> Option<WriteGuard<'_, T>> {
        host::point(self.class, self.object(), Access::Write);
        self.try_write_state().then(|| {
            lockdep::acquired(self.class, self.object(), 0);
            WriteGuard { lock: self }
        })
    }

    /// Whether somebody holds the lock exclusively; for assertions.
    pub fn is_write_locked(&self) -> bool {
        host::touch(self.class, self.object(), Access::Read);
        self.state.load(Ordering::Relaxed) & WRITER != 0
    }

    #[inline]
    fn try_read_state(&self) -> bool {
        self.writers_waiting.load(Ordering::SeqCst) == 0
            && self
                .state
                .fetch_update(Ordering::Acquire, Ordering::Relaxed, |state| (state & WRITER == 0).then(|| state + 1))
                .is_ok()
    }

    #[inline]
    fn try_write_state(&self) -> bool {
        let mine = WRITER | u32::from(host::current().0);
        self.state.compare_exchange(0, mine, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[cold]
    fn wait_for(&self, attempt: impl Fn(&Self) -> bool) {
        loop {
            host::touch(self.class, self.object(), Access::Write);
            self.sleepers.fetch_add(1, Ordering::SeqCst);
            seq_cst();
            let releases = self.releases.load(Ordering::SeqCst);
            let got = attempt(self);
            if !got {
                let state = self.state.load(Ordering::Relaxed);
                let holder = (state & WRITER != 0).then_some(TaskId(state as u16));
                let _waiting = waits::begin(self.class, self.object(), holder, "");
                host::wait(&self.releases, releases, u64::MAX);
                host::touch(self.class, self.object(), Access::Write);
            }
            self.sleepers.fetch_sub(1, Ordering::SeqCst);
            if got {
                return;
            }
        }
    }

    #[inline]
    fn wake_sleepers(&self) {
        seq_cst();
        if self.sleepers.load(Ordering::SeqCst) != 0 {
            self.releases.fetch_add(1, Ordering::SeqCst);
            host::wake(&self.releases, u32::MAX);
        }
    }
}

impl<T: ?Sized> Drop for ReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        lockdep::released(self.lock.class, self.lock.object());
        host::touch(self.lock.class, self.lock.object(), Access::Write);
        if self.lock.state.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.lock.wake_sleepers();
        }
    }
}

impl<T: ?Sized> Drop for WriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        lockdep::released(self.lock.class, self.lock.object());
        host::touch(self.lock.class, self.lock.object(), Access::Write);
        self.lock.state.store(0, Ordering::SeqCst);
        self.lock.wake_sleepers();
    }
}

impl<T: ?Sized> Deref for ReadGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock shared, so nobody writes.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> Deref for WriteGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock exclusively.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for WriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the lock exclusively, and is borrowed mutably.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: ?Sized> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RwLock({})", self.class.name)
    }
}
