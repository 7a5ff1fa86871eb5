//! ext4 with inline data, as a file system of the server.
//!
//! | module | what |
//! |---|---|
//! | [`format`](mod@format) | the bytes of a disk |
//! | [`error`] | what can go wrong, one kind a check |
//! | [`checksum`] | crc32c and its seeds |
//! | [`superblock`] | validated geometry and features |
//! | [`volume`] | the mounted disk: superblock, groups, buffers |
//! | [`allocation`] | blocks and inodes from the bitmaps |
//! | [`extent`] | extent trees |
//! | [`inode`] | an inode in use: bytes, block map, inline contents, files, birth and death |
//! | [`protocol`] | writes to inline files against stores through mappings: the variants |
//! | [`xattr`] | extended attributes as bytes |
//! | [`dir`] | directories: inline, linear, hash trees |
//! | [`namei`] | what changes names: create, link, unlink, rename |
//! | [`options`] | mount options |
//! | [`vfs`] | the traits of the server; the only file that names them |
//!
//! Locks, in the order of `platform::lockdep`: a directory's or file's inode lock is the server's;
//! then an inode's `xattr`, its `map` (`i_data_sem`), the orphan list, a group, the superblock, an
//! inode's bytes, a metadata buffer.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
// The host that unit tests run on.
#[cfg(test)]
extern crate linux as _;

pub mod allocation;
pub mod checksum;
pub mod dir;
pub mod error;
pub mod extent;
pub mod format;
pub mod inode;
pub mod namei;
pub mod options;
pub mod protocol;
pub mod superblock;
pub mod vfs;
pub mod volume;
pub mod xattr;

pub use error::{Corrupt, Error, Result};
pub use options::Options;
pub use protocol::InlineProtocol;
pub use vfs::mount;
pub use vfs_server::fs::Access;
