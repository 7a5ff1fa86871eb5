//! The locks under loom: every interleaving of a few threads, every value that a load may see.
//!
//! `cargo xtask test --only loom` runs this with `--cfg loom`; without it there is nothing here. A lost
//! wake-up is a deadlock to loom, a lock that admits two is a race on the cell that it protects.
#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::sync::{Arc, Condvar, Mutex as LoomMutex};
use loom::thread;
use platform::atomic::{AtomicU32, Ordering};
use platform::host::{Access, CopyError, Host, RawFrames};
use platform::lockdep::LockClass;
use platform::sync::{BitLock, Mutex, RwLock, TwoStateLock, TwoStateSide, WaitQueue};
use platform::thread::{TaskId, ThreadKind};
use syscall::schemev2::{Cqe, Sqe};

static CLASS: LockClass = LockClass::single("checked by loom", 50);

/// The futex of loom's threads: one lock, one condition variable.
struct Parking {
    lock: LoomMutex<()>,
    wakes: Condvar,
}

loom::lazy_static! {
    static ref PARKING: Parking = Parking { lock: LoomMutex::new(()), wakes: Condvar::new() };
    static ref NUMBERS: AtomicU32 = AtomicU32::new(0);
}

loom::thread_local! {
    static NUMBER: u16 = NUMBERS.fetch_add(1, Ordering::Relaxed) as u16;
}

struct LoomHost;

platform::set_host!(LoomHost);

// SAFETY: each thread has a number of its own; there are no frames.
unsafe impl Host for LoomHost {
    fn current() -> TaskId {
        TaskId(NUMBER.with(|number| *number))
    }

    fn wait(word: &AtomicU32, value: u32, _deadline_ns: u64) {
        let guard = PARKING.lock.lock().unwrap();
        if word.load(Ordering::SeqCst) == value {
            drop(PARKING.wakes.wait(guard).unwrap());
        }
    }

    fn wake(_word: &AtomicU32, _count: u32) {
        drop(PARKING.lock.lock().unwrap());
        PARKING.wakes.notify_all();
    }

    fn point(_class: &'static LockClass, _object: usize, _access: Access) {}

    fn choose(_n: u32, _site: &'static str) -> u32 {
        0
    }

    fn hash_seed() -> u64 {
        0
    }

    fn now_ns() -> u64 {
        0
    }

    fn realtime_ns() -> u64 {
        0
    }

    fn spawn(_name: &'static str, _kind: ThreadKind, _body: Box<dyn FnOnce() + Send>) -> bool {
        false
    }

    fn receive(_mask: u64, _answers: &[Cqe]) -> Option<Sqe> {
        None
    }

    fn zap(_: pager_abi::Cookie, _: u64, _: u64, _: pager_abi::socket::ZapWhat) -> bool {
        false
    }

    fn wrprotect(_: pager_abi::Cookie, _: u64, _: u64) -> u64 {
        0
    }

    unsafe fn copy_in(_: pager_abi::Tag, _: usize, _: *mut u8, _: usize) -> Result<(), CopyError> {
        Err(CopyError::Cancelled)
    }

    unsafe fn copy_out(_: pager_abi::Tag, _: usize, _: *const u8, _: usize) -> Result<(), CopyError> {
        Err(CopyError::Cancelled)
    }

    fn alloc_frames(_order: u8) -> Option<RawFrames> {
        None
    }

    unsafe fn free_frames(_frames: RawFrames) {}

    fn frame_budget() -> (usize, usize) {
        (0, 0)
    }

    fn kernel_counters() -> Option<pager_abi::socket::Counters> {
        None
    }

    fn kernel_waits() -> String {
        String::new()
    }
}

/// Checks all interleavings with at most three preemptions.
fn check(body: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(body);
}

/// A number that loom watches: two that touch it at once, one of them writing, fail the test.
struct Watched(UnsafeCell<u32>);

// SAFETY: loom finds every access that is not ordered with the others.
unsafe impl Sync for Watched {}

impl Watched {
    fn new() -> Self {
        Self(UnsafeCell::new(0))
    }

    fn add_one(&self) {
        // SAFETY: loom checks that nobody else has the cell now.
        self.0.with_mut(|value| unsafe { *value += 1 });
    }

    fn get(&self) -> u32 {
        // SAFETY: loom checks that nobody writes the cell now.
        self.0.with(|value| unsafe { *value })
    }
}

/// Runs `body` on another thread and on this one, then gives the shared state back.
fn on_two_threads<T: Send + Sync + 'static>(shared: T, body: fn(&T)) -> Arc<T> {
    let shared = Arc::new(shared);
    let other = {
        let shared = shared.clone();
        thread::spawn(move || body(&shared))
    };
    body(&shared);
    other.join().unwrap();
    shared
}

#[test]
fn a_mutex_admits_one() {
    check(|| {
        let shared = on_two_threads((Mutex::new(&CLASS, ()), Watched::new()), |(mutex, value)| {
            for _ in 0..2 {
                let _held = mutex.lock();
                value.add_one();
            }
        });
        assert_eq!(shared.1.get(), 4);
    });
}

#[test]
fn a_try_lock_that_succeeds_excludes() {
    check(|| {
        on_two_threads((Mutex::new(&CLASS, ()), Watched::new()), |(mutex, value)| {
            if let Some(_held) = mutex.try_lock() {
                value.add_one();
            }
            let _held = mutex.lock();
            value.add_one();
        });
    });
}

#[test]
fn a_rw_lock_admits_readers_or_a_writer() {
    check(|| {
        let shared = Arc::new((RwLock::new(&CLASS, ()), Watched::new()));
        let reader = {
            let shared = shared.clone();
            thread::spawn(move || {
                let _held = shared.0.read();
                let first = shared.1.get();
                assert_eq!(shared.1.get(), first);
            })
        };
        let writer = {
            let shared = shared.clone();
            thread::spawn(move || {
                let _held = shared.0.write();
                shared.1.add_one();
            })
        };
        {
            let _held = shared.0.write();
            shared.1.add_one();
        }
        reader.join().unwrap();
        writer.join().unwrap();
        assert_eq!(shared.1.get(), 2);
    });
}

#[test]
fn a_writer_waits_for_every_reader() {
    check(|| {
        on_two_threads((RwLock::new(&CLASS, ()), Watched::new()), |(lock, value)| {
            {
                let _held = lock.read();
                value.get();
            }
            let _held = lock.write();
            value.add_one();
        });
    });
}

const READY: u32 = 1 << 4;

#[test]
fn a_bit_lock_excludes_and_keeps_flags() {
    check(|| {
        let shared = on_two_threads((BitLock::new(READY), Watched::new()), |(lock, value)| {
            lock.lock(&CLASS, 0);
            value.add_one();
            assert_eq!(lock.flags(&CLASS), READY);
            lock.unlock(&CLASS);
        });
        assert_eq!(shared.1.get(), 2);
        assert!(!shared.0.is_locked());
    });
}

#[test]
fn who_waits_for_a_flag_sees_it_cleared() {
    check(|| {
        let shared = Arc::new((BitLock::new(READY), Watched::new()));
        let waiter = {
            let shared = shared.clone();
            thread::spawn(move || {
                shared.0.wait_clear(READY, "a flag");
                assert_eq!(shared.1.get(), 1);
            })
        };
        // Somebody holds the lock meanwhile: its release and the flag's end share a word.
        shared.0.lock(&CLASS, 0);
        shared.1.add_one();
        shared.0.clear(&CLASS, READY);
        shared.0.unlock(&CLASS);
        waiter.join().unwrap();
    });
}

#[test]
fn a_flag_goes_only_while_a_count_beside_it_is_zero() {
    const ONE: u32 = 1 << 10;
    check(|| {
        let shared = Arc::new(BitLock::new(READY));
        let taker = {
            let shared = shared.clone();
            thread::spawn(move || {
                shared.lock(&CLASS, 0);
                let taken = shared.update(&CLASS, |flags| (flags < ONE).then_some(flags & !READY)).is_some();
                shared.unlock(&CLASS);
                taken
            })
        };
        let counted = shared.update(&CLASS, |flags| (flags & READY != 0).then(|| flags + ONE)).is_some();
        if counted {
            assert_eq!(shared.flags(&CLASS) & READY, READY, "it went although it was counted on");
            shared.update(&CLASS, |flags| Some(flags - ONE));
        }
        let taken = taker.join().unwrap();
        assert!(taken || counted);
        assert_eq!(shared.flags(&CLASS), if taken { 0 } else { READY });
        assert!(!shared.is_locked());
    });
}

#[test]
fn a_folio_lock_is_handed_over() {
    check(|| {
        let shared = Arc::new((BitLock::new(0), Watched::new()));
        shared.0.lock(&CLASS, 0);
        shared.0.hand_over(&CLASS);
        let end_of_io = {
            let shared = shared.clone();
            thread::spawn(move || {
                shared.1.add_one();
                shared.0.unlock_handed(&CLASS);
            })
        };
        shared.0.lock(&CLASS, 0);
        assert_eq!(shared.1.get(), 1);
        shared.0.unlock(&CLASS);
        end_of_io.join().unwrap();
    });
}

#[test]
fn a_wait_queue_loses_no_wake_up() {
    check(|| {
        let shared = Arc::new((WaitQueue::new(), AtomicU32::new(0)));
        let waiter = {
            let shared = shared.clone();
            thread::spawn(move || shared.0.wait_until("two", || shared.1.load(Ordering::SeqCst) == 2))
        };
        for _ in 0..2 {
            shared.1.fetch_add(1, Ordering::SeqCst);
            shared.0.wake_all();
        }
        waiter.join().unwrap();
    });
}

#[test]
fn two_states_exclude_each_other() {
    check(|| {
        let shared = Arc::new((TwoStateLock::new(&CLASS), Watched::new()));
        let adders: Vec<_> = (0..2)
            .map(|_| {
                let shared = shared.clone();
                thread::spawn(move || {
                    let _held = shared.0.lock(TwoStateSide::Add, 0);
                    shared.1.get();
                })
            })
            .collect();
        {
            let _held = shared.0.lock(TwoStateSide::Block, 0);
            shared.1.add_one();
        }
        adders.into_iter().for_each(|adder| adder.join().unwrap());
    });
}
