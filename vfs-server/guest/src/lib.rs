//! A machine in software, in one process: the kernel's half of the paging protocol (`pager-core`),
//! page tables with a TLB for each CPU, and clients that make system calls and map files.
//!
//! It puts the whole stack, from a client's store to the block device, where a debugger, a test and
//! the explorer can reach it. It stands on the seam's locks and wait queues and on nothing else, so
//! that the same clients run on Linux threads and as tasks of the explorer. What it does not have is
//! a scheduler: its host runs the threads.
//!
//! | module | what |
//! |---|---|
//! | [`kernel`] | what a host's message functions become: the [`Kernel`] that is installed |
//! | [`memory`] | frames, page tables and TLBs: the `Mmu` of pager-core |
//! | [`machine`] | the kernel: the server's side of the socket, what waits, and shootdowns |
//! | [`client`] | a thread of a client process: its buffers, faults and requests |
//! | [`calls`] | its system calls on files |
//! | [`mapping`] | its mappings, loads and stores |

pub mod calls;
pub mod client;
pub mod kernel;
pub mod machine;
pub mod mapping;
pub mod memory;

pub use client::{CallResult, Client};
pub use kernel::Kernel;
pub use machine::{Machine, Setup};
pub use mapping::Mapping;

use platform::lockdep::LockClass;

/// The kernel's one lock: pager-core and whoever waits. Taken under any lock of the server.
pub static PAGER: LockClass = LockClass::single("pager", 110);
/// What a client's thread has been told: its answer, or that a fault was settled.
pub static WOKEN: LockClass = LockClass::single("woken thread", 112);
/// Page tables and TLBs for the length of one access of a CPU; hardware, hence after every lock.
pub static MMU: LockClass = LockClass::single("mmu", 120);
/// The TLB of one CPU: an object to switch at, not a lock. A client touches it at each load and
/// store, a shootdown when this CPU acknowledges.
pub static TLB: LockClass = LockClass::single("tlb", 121);
