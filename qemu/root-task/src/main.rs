//! The first process: finds the boot archive behind its own image, starts the file server, and then
//! does what `etc/boot.conf` says: runs test programs, the benchmarks, or the shell.
//!
//! Owns: the order of start and end, and the truth about both (the code with which the machine
//! ends). Does not own: anything about files; everything it reads is in the archive.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod first;
#[cfg(target_os = "none")]
mod programs;
#[cfg(target_os = "none")]
mod server;
#[cfg(target_os = "none")]
mod status_key;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("root-task is the first process of the guest; `cargo xtask boot` runs it");
}
