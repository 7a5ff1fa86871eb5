//! Spinning locks. Whoever spins polls the shootdown mailbox, so that a CPU which holds a lock and
//! waits for a shootdown is never waited for by the CPU that it waits for.

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, Ordering};

/// Data that one CPU at a time may use. Interrupts are off in the kernel, so a CPU never meets itself.
pub struct SpinLock<T> {
    taken: AtomicBool,
    data: UnsafeCell<T>,
}

// SAFETY: the guard is the only way to the data, and there is one guard at a time.
unsafe impl<T: Send> Sync for SpinLock<T> {}

/// The right to use the data of a [`SpinLock`].
pub struct Guard<'a, T>(&'a SpinLock<T>);

impl<T> SpinLock<T> {
    /// A lock around `data`.
    pub const fn new(data: T) -> Self {
        Self { taken: AtomicBool::new(false), data: UnsafeCell::new(data) }
    }

    /// Waits for the lock.
    #[inline]
    pub fn lock(&self) -> Guard<'_, T> {
        while self.taken.swap(true, Ordering::Acquire) {
            self.spin();
        }
        Guard(self)
    }

    #[cold]
    #[inline(never)]
    fn spin(&self) {
        while self.taken.load(Ordering::Relaxed) {
            super::tlb::poll();
            super::instructions::pause();
        }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.0.taken.store(false, Ordering::Release);
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard is the only one.
        unsafe { &*self.0.data.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard is the only one.
        unsafe { &mut *self.0.data.get() }
    }
}
