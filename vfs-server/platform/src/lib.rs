//! The seam: what the server and the file systems need from whatever runs them.
//!
//! Owns: the list of functions that a host provides ([`Host`]), the locks and wait queues that are
//! built on it and on nothing else, the lock-order checker, and the bytes of folios. It is the only
//! code under the server with `unsafe`. Does not own: any policy; `vfs-server` above decides what
//! is locked, mapped and written.
//!
//! A host is chosen when a program is linked, by [`set_host!`]; no generic parameter runs through
//! the code. Three hosts exist: the process on the microkernel (`vfs-server/daemon`), Linux threads
//! (`vfs-server/linux`) and the deterministic explorer.
//!
//! | module | what |
//! |---|---|
//! | [`host`] | the functions of a host, and the macro that names it |
//! | [`sync`] | locks with classes, wait queues, ordering atomics |
//! | [`lockdep`] | the lock order, checked when debug assertions are on |
//! | [`waits`] | who waits for whom, right now |
//! | [`mod@atomic`] | the atomics under the locks, which loom can replace |
//! | [`frame`] | runs of pages whose bytes clients may change at any moment |
//! | [`block`] | block devices: asynchronous reads, writes and flushes |
//! | [`client`] | messages: receive, answer, copy, revoke |
//! | [`thread`] | threads, time |
//! | [`tell`] | what a task does, in words, for the explorer's pictures |
//! | [`mutant`](mod@mutants) | named faults that the explorer must find; absent from other builds |
//! | [`hash`] | hash tables whose order the host decides |
#![no_std]

extern crate alloc;

pub mod atomic;
pub mod block;
pub mod client;
pub mod frame;
pub mod hash;
pub mod host;
pub mod lockdep;
pub mod sync;
pub mod tell;
pub mod thread;
pub mod waits;

pub use hash::HashMap;
pub use host::{Host, bug};
pub use mutants as mutant;
pub use mutants::{Mutant, mutant};
