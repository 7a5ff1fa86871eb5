//! The bytes on the disk, little-endian: layout only.
#![allow(missing_docs)]

use vfs_server::fs::raw_attributes::RawAttributes;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// At the beginning of the disk.
pub const MAGIC: [u8; 8] = *b"fs-mini2";
/// The root directory; inode 0 is none.
pub const ROOT: u32 = 1;

/// Before the tables; it never changes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawGeometry {
    /// Bytes: 512 to 4096.
    pub block_size: U32,
    /// Records of the block table.
    pub blocks: U32,
    /// Records of the inode table.
    pub inodes: U32,
}

/// Whose a block is: record n is about block n of the disk.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawBlock {
    /// 0: nobody's.
    pub ino: U32,
    /// Which one of the inode's it is, from 0 on.
    pub number: U32,
}

/// A file with its name: record n is inode n.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawInode {
    /// As `FileKind::from_raw` has it. 0: the record is free.
    pub kind: u8,
    pub name_length: u8,
    pub reserved: [u8; 2],
    /// The directory that it is in. The root is in itself, without a name.
    pub parent: U32,
    pub size: U64,
    /// Without a link there is no name, and the inode goes with its last user or at the next mount.
    pub attributes: RawAttributes,
    pub name: [u8; 256],
}

const _: () = assert!(size_of::<RawGeometry>() == 12);
const _: () = assert!(size_of::<RawBlock>() == 8);
const _: () = assert!(size_of::<RawInode>() == 312);
