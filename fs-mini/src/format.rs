//! The bytes on the disk, little-endian: layout only.
#![allow(missing_docs)]

use zerocopy::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub const MAGIC: [u8; 8] = *b"fs-mini1";
/// Where the two superblocks are, and where the first area begins.
pub const SUPERBLOCKS: [u64; 2] = [0, 4096];
pub const AREAS: u64 = 8192;
/// The root directory.
pub const ROOT: u32 = 1;
/// Values of `RawInode::kind`.
pub const REGULAR: u8 = 1;
pub const DIRECTORY: u8 = 2;
pub const SYMLINK: u8 = 3;
/// In `RawSuperblock::state`: it was unmounted.
pub const CLEAN: u32 = 1;

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawSuperblock {
    pub magic: [u8; 8],
    /// Bytes: 512 to 4096.
    pub block_size: U32,
    pub blocks: U32,
    pub area_blocks: U32,
    /// The number that the next new inode gets; none is used twice.
    pub next_ino: U32,
    /// Superblock and area `sequence % 2` are in use.
    pub sequence: U64,
    /// Bytes of metadata in the area, and their CRC-32C.
    pub length: U32,
    pub area_crc: U32,
    pub state: U32,
    /// CRC-32C of all before it.
    pub crc: U32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawInode {
    pub ino: U32,
    pub kind: u8,
    pub reserved: u8,
    pub permissions: U16,
    /// 0: it has no name any more, and goes with its last user or at the next mount.
    pub nlink: U32,
    pub uid: U32,
    pub gid: U32,
    /// Of a directory.
    pub parent: U32,
    pub size: U64,
    /// Nanoseconds since 1970, as the next two.
    pub atime: I64,
    pub mtime: I64,
    pub ctime: I64,
    /// Numbers of `RawExtent`s and `RawName`s that follow; then come `target` bytes.
    pub extents: U32,
    pub names: U32,
    pub target: U32,
}

/// `count` blocks of a file from block `first` on, which are those of the disk from `start` on.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawExtent {
    pub first: U32,
    pub start: U32,
    pub count: U32,
}

/// `length` bytes of name follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawName {
    pub ino: U32,
    pub length: U16,
}

const _: () = assert!(size_of::<RawSuperblock>() == 48);
const _: () = assert!(size_of::<RawInode>() == 68);
const _: () = assert!(size_of::<RawExtent>() == 12);
const _: () = assert!(size_of::<RawName>() == 6);
