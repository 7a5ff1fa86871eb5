//! A small real file system: the template from which to start one of your own.
//!
//! Files, directories, mmap and fsync on a disk format of its own; what fsync has acknowledged survives a power cut.
//!
//! | module | what |
//! |---|---|
//! | `vfs` | the server's traits: each operation |
//! | `state` | the file system in memory: names, blocks of files, what is free; commit; mkfs |
//! | [`check`](mod@check) | all that can be wrong with it: for fsck, and for every mount |
//! | [`format`] | the bytes on the disk |
//!
//! # The disk
//!
//! ```text
//! superblock, redo log     of `vfs_server::atomic_region`, which changes the tables as a whole or not at all
//! geometry                 how many blocks and inodes there are
//! block table              whose each block of the disk is, and which one of the inode's
//! inode table              each inode with its name and the directory that it is in
//! data                     blocks of files
//! ```
//!
//! All is said once, so that little can disagree: a block without an owner is free, and a directory has what says that
//! it is in it. The tables are in memory while the file system is mounted.
//!
//! # Why a power cut is harmless
//!
//! A commit changes the tables as a whole, after the data that was written before. A block is filled with zeros before
//! it is a file's, and one that was freed is nobody's before the next commit: no crash shows bytes of another file. Two
//! things are left to the next mount: inodes without a name, and bytes behind the end of a file that was cut.
//!
//! # What it does not have
//!
//! Links, symbolic ones or others (`EPERM`); special files (`EOPNOTSUPP`); names that are found without a look at all
//! of the inode table; commits that do not compare all of the tables. The last two come first if it is to grow.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod check;
pub mod format;
mod state;
mod vfs;

pub use check::{Problem, check};
pub use state::mkfs;
pub use vfs::mount;
