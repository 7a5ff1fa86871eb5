//! The bytes of an ext4 disk: structures, flags and constants, no logic.
//!
//! Field names are upstream's. Layouts are those of the kernel's published documentation,
//! `Documentation/filesystems/ext4/` (the `.rst` named in each module).

// Constants of flag sets and fields bear upstream's names; the documents cited explain them.
#![allow(missing_docs)]

pub mod directory;
pub mod extent;
pub mod feature;
pub mod group_desc;
pub mod inode;
pub mod superblock;
pub mod xattr;
