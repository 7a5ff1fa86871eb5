//! Redox's contract for schemes, from both sides: a first process that is a file server, and a
//! client in a second address space.
//!
//! It uses nothing that is ours, so that it runs on the Redox kernel too, in the first-process
//! format. There it printed a transcript, and our kernel must print the same, but for addresses; it
//! then goes on where Redox hangs (a store into a private mapping of a file).
//!
//! | module | what |
//! |---|---|
//! | `server` | a file of 64 KiB, and every message printed |
//! | `client` | each call that a file has, and what it gave |
//!
//! Descriptor numbers are the program's own choice; these are the transcript's.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod boot;
#[cfg(target_os = "none")]
mod client;
#[cfg(target_os = "none")]
mod server;

#[cfg(not(target_os = "none"))]
fn main() {
    println!("contract is a first process: it runs on our kernel, and on Redox's");
}
