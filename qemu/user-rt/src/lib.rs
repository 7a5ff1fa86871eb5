//! The runtime of programs on the microkernel: what stands between `redox_syscall` and a program.
//!
//! Owns: entry and exit, arguments, heap, panic, console output, descriptors, threads, processes,
//! futex locks, and safe forms of the system calls that `redox_syscall` has only as raw numbers.
//! Does not own: any policy about files or paging. It runs on our kernel and asks nothing of it
//! that Redox's contract or `pager-abi` does not name.
//!
//! A program is `#![no_std] #![no_main]`, calls [`entry!`] with its main function, and is linked at
//! 0x400000 (`--image-base`). The first process calls [`first_process!`] instead, and is linked by
//! `first-process.ld`.
//!
//! | module | what |
//! |---|---|
//! | [`entry`], [`first_process`] | how a program starts |
//! | [`start_block`], [`args`] | what its starter tells it |
//! | [`heap`], `panic`, [`console`] | memory, the last words, lines on the serial port |
//! | [`descriptor`] | numbers, ownership, and the calls every descriptor has |
//! | [`kernel_scheme`] | the kernel's schemes by their roots |
//! | [`file`], [`directory`] | files and directories of a server |
//! | [`memory`] | mappings: anonymous, of a file |
//! | [`pager`] | the scheme socket: the server's side of the paging protocol |
//! | [`context`] | the `proc` scheme: contexts, address spaces, file tables |
//! | [`thread`], [`process`], [`spawn`] | threads, forked processes, programs |
//! | [`sync`] | futex: Mutex, Condvar, OnceLock |
//! | [`time`], [`power`] | clocks and the instruction counter; the off switch |
#![no_std]

extern crate alloc;

pub mod args;
pub mod console;
pub mod context;
pub mod descriptor;
pub mod directory;
pub mod entry;
pub mod file;
pub mod first_process;
pub mod heap;
pub mod kernel_scheme;
pub mod memory;
pub mod pager;
#[cfg(target_os = "none")]
mod panic;
pub mod power;
pub mod process;
pub mod spawn;
pub mod start_block;
pub mod sync;
pub mod thread;
pub mod time;

pub use pager_abi;
pub use syscall;
pub use syscall::{Error, Result};
