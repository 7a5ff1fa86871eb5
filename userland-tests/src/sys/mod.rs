//! Files, mappings, processes and threads: the same names on our kernel and on Linux.
//!
//! | module | what |
//! |---|---|
//! | `faultline` / `linux` | the implementation, one of the two |
//! | `echo_faultline` / `echo_linux` | a process that answers calls |
//! | [`mapping`] | access to mapped memory, over either |
//!
//! Paths are relative: on our kernel to the root of the mounted file system, on Linux to the
//! current directory.

#[cfg_attr(target_os = "none", path = "echo_faultline.rs")]
#[cfg_attr(not(target_os = "none"), path = "echo_linux.rs")]
mod echo;
mod mapping;

#[cfg(target_os = "none")]
mod faultline;
#[cfg(target_os = "none")]
use faultline as implementation;
#[cfg(not(target_os = "none"))]
mod linux;
#[cfg(not(target_os = "none"))]
use linux as implementation;

pub use echo::Echo;
pub use implementation::{
    Child, File, Receiver, SYSTEM, Sender, Thread, argument, channel, counter, counters_text, cut_power, drop_caches,
    fork, instructions, instructions_to_first_program, kernel_waits, link, make_directory, make_symlink, monotonic_ns,
    page_size, print_line, print_text, read_key, read_symlink, remove_directory, rename, room, server_waits,
    spawn_thread, stat, sync_all, unlink, yield_now,
};
pub use mapping::Mapping;

use alloc::string::String;

/// On which of the two systems the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// Our kernel and our file server.
    Faultline,
    /// Linux.
    Linux,
}

bitflags::bitflags! {
    /// How a file is opened.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Open: u32 {
        /// For reading.
        const READ = 1;
        /// For writing.
        const WRITE = 2;
        /// Made if it is not there.
        const CREATE = 4;
        /// With `CREATE`: an error if it is there.
        const EXCLUSIVE = 8;
        /// Cut to nothing.
        const TRUNCATE = 16;
        /// Each write goes to the end.
        const APPEND = 32;
        /// An error if it is not a directory.
        const DIRECTORY = 64;
        /// An error if it is a symbolic link.
        const NO_FOLLOW = 128;
    }
}

/// What an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// Something else.
    Other,
}

/// What is known of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its number.
    pub inode: u64,
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u16,
    /// Names.
    pub links: u32,
    /// Bytes.
    pub size: u64,
    /// Allocated units of 512 bytes.
    pub blocks: u64,
    /// Time of the last change of the data.
    pub modified_ns: u64,
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: String,
    /// The inode.
    pub inode: u64,
    /// What it is, as far as the directory says.
    pub kind: Option<Kind>,
    /// From where reading goes on after it.
    pub next: u64,
}

/// Room in the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes of a block.
    pub block_size: u64,
    /// Blocks in all.
    pub blocks: u64,
    /// Free blocks.
    pub free: u64,
}

/// From where a position counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whence {
    /// The start.
    Start,
    /// The position.
    Current,
    /// The end.
    End,
}

/// Whether others see the stores into a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// They do.
    Shared,
    /// They do not.
    Private,
}

/// What may be done to a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Nothing.
    None,
    /// Loads.
    Read,
    /// Loads and stores.
    ReadWrite,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code.
    Exited(i32),
    /// By an access to memory that could not be provided (Linux: SIGBUS or SIGSEGV).
    Fault {
        /// Why, where the system tells.
        errno: Option<i32>,
    },
    /// By somebody else.
    Killed,
    /// Otherwise.
    Other,
}
