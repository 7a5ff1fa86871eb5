//! The microkernel: threads, vspaces, descriptors, messages; Redox's contract on the outside.
//!
//! It offers mechanism only: descriptors are capabilities, page faults are messages, files are
//! somebody else's. One kernel lock, interrupts off in the kernel, no kernel stack of a thread.
//!
//! | module | what |
//! |---|---|
//! | [`arch`] | hardware; all `unsafe` |
//! | [`boot`] | from the boot loader to the first process |
//! | [`kernel`] | the shared state and the entries |
//! | [`context`], [`queue`], [`sched`], [`end`] | threads: what they are, who runs, how they end |
//! | [`vspace`] | virtual memory |
//! | [`file`] | descriptors and open files |
//! | [`syscall`] | system calls |
//! | [`scheme`] | the kernel's schemes and those of servers |
//! | [`pager`] | where `pager-core` meets the machine |
//! | [`futex`], [`time`] | waiting for a word, for a time |
//! | [`trace`], [`log`] | what happens, on the console |
//!
//! What needs no hardware is in the library `kernel_logic`.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![warn(clippy::undocumented_unsafe_blocks)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod arch;
#[cfg(target_os = "none")]
mod boot;
#[cfg(target_os = "none")]
mod context;
mod deadline;
#[cfg(target_os = "none")]
mod end;
#[cfg(target_os = "none")]
mod file;
#[cfg(target_os = "none")]
mod futex;
#[cfg(target_os = "none")]
mod kernel;
#[cfg(target_os = "none")]
mod log;
#[cfg(target_os = "none")]
mod pager;
#[cfg(target_os = "none")]
mod queue;
#[cfg(target_os = "none")]
mod sched;
#[cfg(target_os = "none")]
mod scheme;
#[cfg(target_os = "none")]
mod syscall;
#[cfg(target_os = "none")]
mod time;
#[cfg(target_os = "none")]
mod trace;
#[cfg(target_os = "none")]
mod vspace;

#[cfg(target_os = "none")]
const _: () = assert!(!pager_core::FAULTY, "a kernel cannot be made faulty on purpose");

/// The kernel runs on bare metal only.
#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("build the kernel for x86_64-unknown-none");
    std::process::exit(2);
}
