//! The seam's locks, frames and disks on Linux threads.

use linux::MemoryDisk;
use platform::block;
use platform::frame::Frames;
use platform::lockdep::{self, LockClass};
use platform::sync::{Mutex, RwLock, TwoStateLock, TwoStateSide, WaitQueue};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

static OUTER: LockClass = LockClass::single("outer", 50);
static INNER: LockClass = LockClass::single("inner", 60);

#[test]
fn a_mutex_admits_one_thread_at_a_time() {
    let count = Arc::new(Mutex::new(&OUTER, 0u64));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let count = count.clone();
            std::thread::spawn(move || (0..20_000).for_each(|_| *count.lock() += 1))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(*count.lock(), 80_000);
}

#[test]
fn readers_never_see_half_a_write() {
    let pair = Arc::new(RwLock::new(&OUTER, (0u64, 0u64)));
    let writers: Vec<_> = (0..2)
        .map(|_| {
            let pair = pair.clone();
            std::thread::spawn(move || {
                for _ in 0..5_000 {
                    let mut pair = pair.write();
                    pair.0 += 1;
                    pair.1 += 1;
                }
            })
        })
        .collect();
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let pair = pair.clone();
            std::thread::spawn(move || {
                for _ in 0..5_000 {
                    let pair = pair.read();
                    assert_eq!(pair.0, pair.1);
                }
            })
        })
        .collect();
    writers.into_iter().chain(readers).for_each(|thread| thread.join().unwrap());
    assert_eq!(*pair.read(), (10_000, 10_000));
}

#[test]
fn the_sides_of_a_two_state_lock_exclude_each_other() {
    let lock = Arc::new(TwoStateLock::new(&OUTER));
    let inside = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
    let threads: Vec<_> = [TwoStateSide::Add, TwoStateSide::Block, TwoStateSide::Add, TwoStateSide::Block]
        .into_iter()
        .map(|side| {
            let (lock, inside) = (lock.clone(), inside.clone());
            std::thread::spawn(move || {
                for _ in 0..2_000 {
                    let guard = lock.lock(side, 0);
                    let (mine, other) = if side == TwoStateSide::Add { (0, 1) } else { (1, 0) };
                    inside[mine].fetch_add(1, Ordering::SeqCst);
                    assert_eq!(inside[other].load(Ordering::SeqCst), 0);
                    inside[mine].fetch_sub(1, Ordering::SeqCst);
                    drop(guard);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_wait_queue_loses_no_wake_up() {
    let queue = Arc::new((WaitQueue::new(), AtomicU32::new(0)));
    let other = queue.clone();
    let ponger = std::thread::spawn(move || {
        for turn in 0..5_000 {
            other.0.wait_until("ping", || other.1.load(Ordering::SeqCst) == 2 * turn + 1);
            other.1.store(2 * turn + 2, Ordering::SeqCst);
            other.0.wake_all();
        }
    });
    for turn in 0..5_000 {
        queue.1.store(2 * turn + 1, Ordering::SeqCst);
        queue.0.wake_all();
        queue.0.wait_until("pong", || queue.1.load(Ordering::SeqCst) == 2 * turn + 2);
    }
    ponger.join().unwrap();
}

#[test]
fn the_wrong_lock_order_is_found_without_a_deadlock() {
    if !lockdep::ENABLED {
        eprintln!("skipped: built without debug assertions");
        return;
    }
    let outcome = std::thread::spawn(|| {
        let (outer, inner) = (Mutex::new(&OUTER, ()), Mutex::new(&INNER, ()));
        let _inner = inner.lock();
        let _outer = outer.lock();
    })
    .join();
    let message = *outcome.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("acquires outer") && message.contains("holds inner"), "{message}");
}

#[test]
fn frames_copy_every_length_and_offset() {
    let frames = Frames::alloc_zeroed(1).unwrap();
    for (offset, len) in [(0, 0), (0, 1), (3, 13), (4090, 12), (8191, 1), (0, 8192)] {
        let pattern: Vec<u8> = (0..len).map(|i| (i * 7 + offset) as u8).collect();
        frames.copy_in(offset, &pattern);
        let mut back = vec![0; len];
        frames.copy_out(offset, &mut back);
        assert_eq!(back, pattern);
    }
    frames.zero(5..4097);
    let mut all = vec![0; 8192];
    frames.copy_out(0, &mut all);
    assert!(all[5..4097].iter().all(|&byte| byte == 0) && all[4] == 28 && all[4097] == (4097u32 * 7) as u8);
}

#[test]
fn what_is_written_to_a_disk_is_read_back() {
    let disk = MemoryDisk::new(vec![0; 1 << 20]);
    let data: Vec<u8> = (0..200_192u32).map(|i| (i % 251) as u8).collect();
    block::write(&disk, 3, &data).unwrap();
    let mut back = vec![0; data.len()];
    block::read(&disk, 3, &mut back).unwrap();
    assert!(back == data);
    assert_eq!(block::write(&disk, 2047, &data), Err(block::IoError::OutOfRange));
    block::flush(&disk).unwrap();
}
