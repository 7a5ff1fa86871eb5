//! What the test programs stand on: one source for our kernel and for Linux.
//!
//! Each program in `src/bin` checks one behaviour, prints what it checked, and exits with 0 only if
//! every check held. On our kernel its files are in the root directory of the mounted file system,
//! on Linux in the current directory. A program that has no meaning on Linux says so and skips.
//!
//! | module | what |
//! |---|---|
//! | [`sys`] | files, mappings, processes and threads, in two implementations |
//! | [`harness`] | a program's frame: verdict lines, checks, its own directory |
//! | [`errno`] | errors by their names |
//! | [`model`] | what a file must contain: an in-memory model and patterns |
//! | `pager_server` | a page server in the test's own hands, for the kernel's half of paging |
//! | [`random`] | numbers from a seed |
//! | [`lists`] | lists of files with checksums, for checks between systems |
//! | [`steps`] | how two processes take turns |
#![cfg_attr(target_os = "none", no_std)]

extern crate alloc;

pub mod errno;
pub mod harness;
pub mod lists;
pub mod model;
#[cfg(target_os = "none")]
pub mod pager_server;
pub mod random;
pub mod steps;
pub mod sys;

#[cfg(target_os = "none")]
pub use user_rt;

/// What every program uses.
pub mod prelude {
    pub use crate::{
        check, check_eq,
        errno::Errno,
        harness::{Failure, Outcome, Scratch, in_child, skip},
        note,
        steps::Steps,
        sys::{self, Ended, File, Kind, Mapping, Open, Protection, Sharing, Whence},
    };
    pub use alloc::{format, string::String, vec, vec::Vec};
    extern crate alloc;
}
