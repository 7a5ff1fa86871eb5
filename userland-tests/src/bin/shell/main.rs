//! The interactive shell: the file system by hand.
//!
//! One thread reads the keys, so that Ctrl-T answers even while a command hangs; the other edits
//! the line and runs the commands.
//!
//! | module | what |
//! |---|---|
//! | `keys` | the keyboard's thread, and the line with its editing |
//! | `commands` | the commands |
//! | `mapping` | the command that maps a file and shows it |
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

mod commands;
mod keys;
mod mapping;

use commands::Next;
use userland_tests::sys;

userland_tests::program!(shell);

fn shell() -> i32 {
    sys::print_line(format_args!("Faultline shell. help: the commands. exit or Ctrl-D: leave and power off."));
    sys::print_line(format_args!("Ctrl-T: who waits for whom (at any time). Ctrl-C: clear the line."));
    let keys = match keys::listen() {
        Ok(keys) => keys,
        Err(errno) => {
            sys::print_line(format_args!("shell: no keyboard: {errno}"));
            return 1;
        }
    };
    while let Some(line) = keys::read_line(&keys, "faultline> ") {
        if let Next::Leave = commands::run(&line) {
            break;
        }
    }
    0
}
