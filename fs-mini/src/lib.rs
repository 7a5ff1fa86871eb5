//! A small real file system: the template from which to start one of your own.
//!
//! Files, directories, links, mmap and fsync on a disk format of its own; what fsync has acknowledged
//! survives a power cut. It is meant to be read from top to bottom:
//!
//! | module | what |
//! |---|---|
//! | [`vfs`] | the server's traits: each operation, start here |
//! | [`state`] | the metadata in memory: inodes, names, extents, free blocks |
//! | [`disk`] | how that comes from the disk and reaches it; mkfs |
//! | [`check`](mod@check) | all that can be wrong with it: for fsck, and for every mount |
//! | [`format`] | the bytes on the disk |
//!
//! # The disk
//!
//! ```text
//! byte 0         a superblock, one sector with a checksum
//! byte 4096      the other superblock: the one with the higher sequence number counts
//! byte 8192      an area for metadata, and another one, each of `area_blocks` blocks
//! then           data: blocks of files
//! ```
//!
//! An area holds one record an inode, in ascending order: a `RawInode`, its extents, its names (of a
//! directory) or its target (of a symbolic link). What no extent has is free: no bitmap could disagree.
//!
//! # Why a power cut is harmless
//!
//! A commit writes all metadata to the area that is not in use, flushes (the data that extents point
//! to is durable by then), writes the older superblock, and flushes. A sector is written or not, so a
//! mount finds the metadata before or after, nothing between. A block that is freed is nobody's until
//! the next commit, and a block that is allocated has no extent until its data was written: no crash
//! shows bytes of another file. To write everything each time is simple and right; a file system that
//! shall grow writes only what changed, which is the first thing to put in its place.
//!
//! # Locks
//!
//! One, around the metadata: under folio locks, above nothing, held while a commit writes.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod check;
pub mod disk;
pub mod format;
pub mod state;
pub mod vfs;

pub use check::{Problem, check};
pub use disk::mkfs;
pub use vfs::mount;
pub use vfs_server::fs::Access;
