//! Locks, wait queues and ordering atomics, built on the host's `wait` / `wake` / `point` alone.
//!
//! | type | what |
//! |---|---|
//! | [`Mutex`] | one holder; its word names the holder, so that a wait can say who it waits for |
//! | [`RwLock`] | readers or one writer, writers first |
//! | [`BitLock`] | a lock bit beside flags in one word, released by any task: a folio's |
//! | [`Bits`] | 64 flags in a word, without a class of its own |
//! | [`WaitQueue`] | wait until a condition holds, Linux's `wait_event` |
//! | [`Word`], [`Long`] | atomics whose order matters: each access is a switch point |
//! | [`TwoStateLock`] | two groups that exclude each other, each shared with itself (bcachefs's pagecache lock) |

mod bit_lock;
mod bits;
mod mutex;
mod rw_lock;
mod two_state;
mod wait_queue;
mod word;

pub use bit_lock::BitLock;
pub use bits::Bits;
pub use mutex::{Mutex, MutexGuard};
pub use rw_lock::{ReadGuard, RwLock, WriteGuard};
pub use two_state::{TwoStateGuard, TwoStateLock, TwoStateSide};
pub use wait_queue::WaitQueue;
pub use word::{Long, Word};
