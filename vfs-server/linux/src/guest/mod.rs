//! A machine in software, in one process: the kernel's half of the paging protocol (`pager-core`),
//! page tables, and clients that make system calls and map files.
//!
//! It puts the whole stack, from a client's store to the block device, on Linux threads, where a
//! debugger and a test can reach it. What it does not have: TLBs (a load or store is one step under
//! the machine's lock) and a scheduler of its own (that is the explorer's).
//!
//! | module | what |
//! |---|---|
//! | [`memory`] | frames and page tables: the `Mmu` of pager-core |
//! | [`machine`] | the kernel: the server's side of the socket, and the threads that wait |
//! | [`client`] | a client thread: system calls, mappings, loads and stores |

pub mod client;
pub mod machine;
pub mod memory;

pub use client::{Client, Mapping};
pub use machine::Machine;
