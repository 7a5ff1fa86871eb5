//! A lock with one holder.

use crate::atomic::{AtomicU32, Ordering, constructor};
use crate::host::{self, Access};
use crate::lockdep::{self, LockClass};
use crate::thread::TaskId;
use crate::waits;
use core::cell::UnsafeCell;
use core::fmt;
use core::ops::{Deref, DerefMut};

/// Set in the word when somebody may wait; above it is the holder's task number plus one.
const CONTENDED: u32 = 1;

/// Mutual exclusion with a class in the lock order.
pub struct Mutex<T: ?Sized> {
    class: &'static LockClass,
    word: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: the word admits one holder at a time, and only a guard reaches the value.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

/// Gives the lock back when dropped.
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
}

impl<T> Mutex<T> {
    constructor! {
        /// A free lock of `class`.
        pub const fn new(class: &'static LockClass, value: T) -> Self {
            Self { class, word: AtomicU32::new(0), value: UnsafeCell::new(value) }
        }
    }

    /// The value, when nobody else can refer to the lock.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// The number by which switch points and reports know it: an address.
    pub fn object(&self) -> usize {
        (&raw const self.word) as usize
    }

    /// Acquires the lock, waiting for its holder.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.lock_key(0)
    }

    /// Acquires the lock; `key` orders it among others of an ascending class.
    #[inline]
    pub fn lock_key(&self, key: u64) -> MutexGuard<'_, T> {
        lockdep::check(self.class, key);
        host::point(self.class, self.object(), Access::Write);
        let mine = (u32::from(host::current().0) + 1) << 1;
        if self.word.compare_exchange(0, mine, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.lock_slow(mine);
        }
        lockdep::acquired(self.class, self.object(), key);
        MutexGuard { mutex: self }
    }

    /// Acquires the lock if it is free.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        host::point(self.class, self.object(), Access::Write);
        let mine = (u32::from(host::current().0) + 1) << 1;
        self.word.compare_exchange(0, mine, Ordering::Acquire, Ordering::Relaxed).ok()?;
        lockdep::acquired(self.class, self.object(), 0);
        Some(MutexGuard { mutex: self })
    }

    /// The value, when the borrow proves that nobody else can hold the lock.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    #[cold]
    fn lock_slow(&self, mine: u32) {
        loop {
            let word = self.word.load(Ordering::Relaxed);
            if word == 0 {
                // Whoever came this way cannot know whether others wait behind it.
                let taken = self.word.compare_exchange(0, mine | CONTENDED, Ordering::Acquire, Ordering::Relaxed);
                if taken.is_ok() {
                    return;
                }
                continue;
            }
            let contended = word | CONTENDED;
            if word != contended
                && self.word.compare_exchange(word, contended, Ordering::Relaxed, Ordering::Relaxed).is_err()
            {
                continue;
            }
            let holder = TaskId(((word >> 1) - 1) as u16);
            let _waiting = waits::begin(self.class, self.object(), Some(holder), "");
            host::wait(&self.word, contended, u64::MAX);
            host::touch(self.class, self.object(), Access::Write);
        }
    }

    fn unlock(&self) {
        lockdep::released(self.class, self.object());
        host::touch(self.class, self.object(), Access::Write);
        if self.word.swap(0, Ordering::Release) & CONTENDED != 0 {
            host::wake(&self.word, 1);
        }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.mutex.unlock();
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the lock, and is borrowed mutably.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T: ?Sized> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mutex({})", self.class.name)
    }
}
