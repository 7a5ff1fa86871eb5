//! The lock order, and the checker that runs when debug assertions are on.
//!
//! Every lock belongs to a [`LockClass`] with a rank. A task may only acquire a class whose rank is
//! higher than that of all that it holds; within a class only where the class says so, in ascending
//! order of a key. The order is written here and nowhere else:
//!
//! ```text
//! worker slot > rename > inode (rw) > invalidate | pagecache add
//!   > { folio, ascending ; transaction } > extent tree, i_data_sem, xattr
//!   > allocator > buffer cache > leaf locks
//! ```
//!
//! A file system declares whether its transactions come before folios or after them
//! ([`TRANSACTION_BEFORE_FOLIO`], [`TRANSACTION_AFTER_FOLIO`]): two classes, one on each side.
//! A violation needs no unlucky schedule to be found: it panics at the first acquisition in the
//! wrong order, with everything that the task holds.

use crate::{thread::TASKS_MAX, thread::TaskId};
use spin::Mutex as Spin;

/// Whether a task may hold two locks of one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nesting {
    /// Never.
    Single,
    /// In ascending order of the key that the acquisition names.
    Ascending,
}

/// A kind of lock with its place in the order.
#[derive(Debug)]
pub struct LockClass {
    /// As it is printed.
    pub name: &'static str,
    /// Higher is acquired later.
    pub rank: u8,
    /// Two of a kind?
    pub nesting: Nesting,
}

impl LockClass {
    /// A class of which a task holds at most one lock.
    pub const fn single(name: &'static str, rank: u8) -> Self {
        Self { name, rank, nesting: Nesting::Single }
    }

    /// A class whose locks are acquired in ascending order of a key.
    pub const fn ascending(name: &'static str, rank: u8) -> Self {
        Self { name, rank, nesting: Nesting::Ascending }
    }
}

/// A worker of a pool: a message inherits what its sender holds.
pub static WORKER: LockClass = LockClass::single("worker slot", 5);
/// One a file system: serialises renames between directories.
pub static RENAME: LockClass = LockClass::single("rename lock", 10);
/// `i_rwsem` of a directory, ancestors first (the key is given by the caller).
pub static DIRECTORY: LockClass = LockClass::ascending("directory inode lock", 20);
/// `i_rwsem` of a file, by inode number where two are needed.
pub static INODE: LockClass = LockClass::ascending("inode lock", 22);
/// `invalidate_lock` of an address space.
pub static INVALIDATE: LockClass = LockClass::ascending("invalidate lock", 30);
/// bcachefs's two-state pagecache lock.
pub static PAGECACHE_ADD: LockClass = LockClass::ascending("pagecache add lock", 30);
/// A transaction of a file system that starts it before it locks folios (ext4).
pub static TRANSACTION_BEFORE_FOLIO: LockClass = LockClass::single("transaction", 38);
/// A folio, by its index.
pub static FOLIO: LockClass = LockClass::ascending("folio lock", 40);
/// A transaction of a file system that starts it under folio locks (bcachefs).
pub static TRANSACTION_AFTER_FOLIO: LockClass = LockClass::single("transaction", 42);
/// Inline data and extended attributes of an inode (ext4's `xattr_sem`).
pub static XATTR: LockClass = LockClass::ascending("xattr lock", 48);
/// The block map of an inode (ext4's `i_data_sem`).
pub static EXTENT_TREE: LockClass = LockClass::ascending("i_data_sem", 50);
/// The list of unlinked inodes that are still open.
pub static ORPHAN: LockClass = LockClass::single("orphan list", 54);
/// Block and inode allocation.
pub static ALLOCATOR: LockClass = LockClass::ascending("allocator", 60);
/// All of a disk's dirty metadata, while it is being written.
pub static BUFFER_WRITE_BACK: LockClass = LockClass::single("buffer write-back", 65);
/// A metadata buffer that the disk is writing.
pub static BUFFER_WRITE: LockClass = LockClass::ascending("buffer write", 66);
/// A metadata buffer's bytes.
pub static BUFFER: LockClass = LockClass::ascending("buffer", 68);
/// The memory set aside for one block's I/O.
pub static BUFFER_RESERVE: LockClass = LockClass::single("buffer reserve", 69);
/// The table of metadata buffers.
pub static BUFFER_CACHE: LockClass = LockClass::single("buffer cache", 70);
/// Tables of the server: inode cache, open files, lists of dirty inodes.
pub static TABLE: LockClass = LockClass::single("table", 82);
/// The folio index of an address space (Linux's `i_pages` lock).
pub static PAGE_INDEX: LockClass = LockClass::single("page index", 86);
/// A small state that is never held across anything.
pub static LEAF: LockClass = LockClass::single("leaf", 90);
/// A lock that may be taken while any other is held: statistics, logs, queues of I/O.
pub static INNERMOST: LockClass = LockClass::single("innermost", 100);
/// The bytes of a page of frames, which clients change without a lock.
pub static FRAME_BYTES: LockClass = LockClass::single("page bytes", 254);
/// Waiting for an event that is no lock: I/O, writeback, a worker. Never "held".
pub static EVENT: LockClass = LockClass::single("event", 255);

const HELD_MAX: usize = 48;

#[derive(Clone, Copy)]
struct Held {
    class: &'static LockClass,
    object: usize,
    key: u64,
}

struct HeldSet {
    locks: [Option<Held>; HELD_MAX],
    count: usize,
}

static HELD: [Spin<HeldSet>; TASKS_MAX] =
    [const { Spin::new(HeldSet { locks: [None; HELD_MAX], count: 0 }) }; TASKS_MAX];

/// Whether the checker is compiled in.
pub const ENABLED: bool = cfg!(debug_assertions);

/// A lock is about to be acquired by a waiting call: panics if the order forbids it.
#[inline(always)]
pub fn check(class: &'static LockClass, key: u64) {
    if ENABLED {
        check_order(class, key);
    }
}

/// A lock was acquired (also by a try that succeeded, which the order does not bind).
#[inline(always)]
pub fn acquired(class: &'static LockClass, object: usize, key: u64) {
    if ENABLED {
        push(Held { class, object, key });
    }
}

/// A lock is released.
#[inline(always)]
pub fn released(class: &'static LockClass, object: usize) {
    if ENABLED {
        pop(crate::host::current(), class, object);
    }
}

/// A lock that `from` acquired is released by another task (an I/O completion unlocks a folio).
#[inline(always)]
pub fn released_for(from: TaskId, class: &'static LockClass, object: usize) {
    if ENABLED {
        pop(from, class, object);
    }
}

/// Panics if the running task holds any lock: a copy that may fault, a wait for memory and an
/// answer that a client may delay are made with none.
#[inline(always)]
pub fn assert_none_held(what: &'static str) {
    assert_none_held_after(&WORKER, what);
}

/// Panics if the running task holds a lock whose class comes after `class` in the order.
#[inline(always)]
pub fn assert_none_held_after(class: &'static LockClass, what: &'static str) {
    if ENABLED {
        let me = crate::host::current();
        let held = HELD[me.index()].lock();
        let found = held.locks[..held.count].iter().flatten().find(|held| held.class.rank > class.rank).copied();
        drop(held);
        if let Some(held) = found {
            panic!("{what} by task {} while it holds {} {:#x}", me.0, held.class.name, held.object);
        }
    }
}

/// Calls `f` with (class name, object address) of each lock that `task` holds; nothing in builds
/// without the checker.
pub fn for_each_held(task: TaskId, mut f: impl FnMut(&'static str, usize)) {
    let copy = {
        let held = HELD[task.index()].lock();
        (held.locks, held.count)
    };
    for held in copy.0[..copy.1].iter().flatten() {
        f(held.class.name, held.object);
    }
}

/// Forgets what `task` holds: for a host that abandons its tasks and runs things again.
pub fn forget(task: TaskId) {
    HELD[task.index()].lock().count = 0;
}

fn check_order(class: &'static LockClass, key: u64) {
    let me = crate::host::current();
    let held = HELD[me.index()].lock();
    let worst = held.locks[..held.count].iter().flatten().find(|held| {
        let same = core::ptr::eq(held.class, class);
        if same {
            class.nesting == Nesting::Single || held.key >= key
        } else {
            held.class.rank > class.rank || (held.class.rank == class.rank && held.key > key)
        }
    });
    let worst = worst.copied();
    drop(held);
    if let Some(held) = worst {
        panic_order(me, class, key, held);
    }
}

#[cold]
fn panic_order(me: TaskId, class: &'static LockClass, key: u64, held: Held) -> ! {
    panic!(
        "lock order: task {} acquires {} (key {key}) while it holds {} {:#x} (key {})",
        me.0, class.name, held.class.name, held.object, held.key
    );
}

fn push(lock: Held) {
    let me = crate::host::current();
    let mut held = HELD[me.index()].lock();
    let count = held.count;
    assert!(count < HELD_MAX, "task {} holds more than {HELD_MAX} locks", me.0);
    held.locks[count] = Some(lock);
    held.count += 1;
}

fn pop(task: TaskId, class: &'static LockClass, object: usize) {
    let mut held = HELD[task.index()].lock();
    let count = held.count;
    let position = held.locks[..count]
        .iter()
        .rposition(|lock| lock.is_some_and(|lock| core::ptr::eq(lock.class, class) && lock.object == object));
    let Some(position) = position else {
        drop(held);
        panic!("task {} releases {} {object:#x}, which it does not hold", task.0, class.name);
    };
    held.locks.copy_within(position + 1..count, position);
    held.count -= 1;
}
