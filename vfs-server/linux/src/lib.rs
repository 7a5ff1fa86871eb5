//! Host 2: the server on Linux threads.
//!
//! | module | what |
//! |---|---|
//! | [`host`] | the seam over `std`: threads, parking, frames |
//! | [`messages`] | who plays the kernel: a test's own, or nobody (no clients, nothing mapped) |
//! | [`guest`] | a machine in software: pager-core, page tables, clients with system calls and mappings |
//! | [`disk`] | block devices in memory and in files |
//!
//! A program that links this crate has its host: `use linux as _;`.

pub mod disk;
pub mod guest;
pub mod host;
pub mod messages;

pub use disk::{FileDisk, MemoryDisk};
