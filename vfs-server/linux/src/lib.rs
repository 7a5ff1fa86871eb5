//! Host 2: the server on Linux threads.
//!
//! | module | what |
//! |---|---|
//! | [`host`] | the seam over `std`: threads, parking, frames |
//! | [`guest`] | a machine in software: pager-core, page tables, clients with system calls and mappings |
//! | [`disk`] | block devices in memory and in files |
//! | [`testing`] | what tests on this host share |
//!
//! Who plays the kernel is installed in [`guest::kernel`]: a [`start_machine`], a front end, or nobody
//! (no clients, nothing mapped). A program that links this crate has its host: `use linux as _;`.

pub mod disk;
pub mod host;
pub mod testing;

pub use disk::{FileDisk, MemoryDisk};
pub use guest;

use std::sync::Arc;

/// Starts a machine in software on this host, and makes it this process's kernel.
pub fn start_machine() -> Arc<guest::Machine> {
    guest::Machine::start(guest::Setup { pager: pager_core::Config::default(), is_handed_out: host::is_frame })
}
