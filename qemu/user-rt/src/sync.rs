//! Locks and conditions by futex; an uncontended lock makes no system call.
//!
//! The types come from `lock_api` (which talc brings along): here are only the raw lock, the
//! condition variable and the wait itself.

use core::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};
use syscall::{FUTEX_WAIT, FUTEX_WAKE, TimeSpec};
pub use talc::lock_api;
use talc::lock_api::{GuardSend, MutexGuard, RawMutex};

/// A lock around a value.
pub type Mutex<T> = lock_api::Mutex<RawFutexMutex, T>;

/// Waits while `word` holds `value` and nobody has woken it; may return early.
pub fn wait(word: &AtomicU32, value: u32) {
    wait_until(word, value, core::ptr::null());
}

/// As [`wait`], for at most `ns` nanoseconds.
pub fn wait_for(word: &AtomicU32, value: u32, ns: u64) {
    let time = TimeSpec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i32 };
    wait_until(word, value, &time);
}

fn wait_until(word: &AtomicU32, value: u32, time: *const TimeSpec) {
    // SAFETY: the kernel reads the word, which outlives the call, and the time, which is null or
    // outlives it too. Any error means "look again", as an early return does.
    let _ =
        unsafe { syscall::futex(word.as_ptr().cast(), FUTEX_WAIT, value as i32, time as usize, core::ptr::null_mut()) };
}

/// Wakes at most `count` of those who wait on `word`.
pub fn wake(word: &AtomicU32, count: u32) {
    let count = count.min(i32::MAX as u32) as i32;
    // SAFETY: the kernel only uses the address as a name.
    let _ = unsafe { syscall::futex(word.as_ptr().cast(), FUTEX_WAKE, count, 0, core::ptr::null_mut()) };
}

/// 0: free; 1: held; 2: held, and somebody may wait.
#[derive(Debug)]
pub struct RawFutexMutex(AtomicU32);

const FREE: u32 = 0;
const HELD: u32 = 1;
const CONTENDED: u32 = 2;

// SAFETY: `lock` returns only after this thread has changed the word from FREE, and only the holder
// puts FREE back.
unsafe impl RawMutex for RawFutexMutex {
    const INIT: Self = Self(AtomicU32::new(FREE));

    type GuardMarker = GuardSend;

    fn lock(&self) {
        if !self.try_lock() {
            while self.0.swap(CONTENDED, Acquire) != FREE {
                wait(&self.0, CONTENDED);
            }
        }
    }

    fn try_lock(&self) -> bool {
        self.0.compare_exchange(FREE, HELD, Acquire, Relaxed).is_ok()
    }

    unsafe fn unlock(&self) {
        if self.0.swap(FREE, Release) == CONTENDED {
            wake(&self.0, 1);
        }
    }
}

/// Waits for a change of what a [`Mutex`] protects.
#[derive(Debug, Default)]
pub struct Condvar {
    /// Counts the notifications, so that one between unlock and wait is not missed.
    notified: AtomicU32,
}

impl Condvar {
    /// Nobody waits yet.
    pub const fn new() -> Self {
        Self { notified: AtomicU32::new(0) }
    }

    /// Lets the lock go, waits for a notification (or returns early), takes the lock again.
    pub fn wait<T: ?Sized>(&self, guard: &mut MutexGuard<'_, RawFutexMutex, T>) {
        let seen = self.notified.load(Relaxed);
        MutexGuard::unlocked(guard, || wait(&self.notified, seen));
    }

    /// Wakes one of those who wait.
    pub fn notify_one(&self) {
        self.notified.fetch_add(1, Relaxed);
        wake(&self.notified, 1);
    }

    /// Wakes all who wait.
    pub fn notify_all(&self) {
        self.notified.fetch_add(1, Relaxed);
        wake(&self.notified, u32::MAX);
    }
}
