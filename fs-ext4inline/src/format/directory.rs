//! Directory entries, their checksum tail, and hash tree blocks (`directory.rst`).

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Longest name in bytes.
pub const EXT4_NAME_LEN: usize = 255;
/// Bytes of an entry before its name.
pub const DIR_ENTRY_HEADER: usize = 8;
/// `det_reserved_ft`.
pub const EXT4_FT_DIR_CSUM: u8 = 0xde;
/// Bytes of [`RawDirEntryTail`].
pub const DIR_TAIL_SIZE: usize = 12;

/// `struct ext4_dir_entry_2` without its name.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawDirEntry {
    pub inode: U32,
    pub rec_len: U16,
    pub name_len: u8,
    pub file_type: u8,
}

/// `struct ext4_dir_entry_tail`, disguised as an unused entry at the end of a block.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawDirEntryTail {
    pub det_reserved_zero1: U32,
    pub det_rec_len: U16,
    pub det_reserved_zero2: u8,
    pub det_reserved_ft: u8,
    pub det_checksum: U32,
}

/// `struct dx_root_info`, behind `.` and `..` in the first block of an indexed directory.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawDxRootInfo {
    pub reserved_zero: U32,
    pub hash_version: u8,
    pub info_length: u8,
    pub indirect_levels: u8,
    pub unused_flags: u8,
}

/// `struct dx_countlimit`, which lies over the hash of the first `dx_entry`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawDxCountLimit {
    pub limit: U16,
    pub count: U16,
}

/// `struct dx_entry`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawDxEntry {
    pub hash: U32,
    pub block: U32,
}

/// `struct dx_tail`, behind the last possible `dx_entry`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawDxTail {
    pub dt_reserved: U32,
    pub dt_checksum: U32,
}

const _: () = assert!(size_of::<RawDirEntry>() == DIR_ENTRY_HEADER);
const _: () = assert!(size_of::<RawDirEntryTail>() == DIR_TAIL_SIZE);
const _: () = assert!(size_of::<RawDxRootInfo>() == 8);
const _: () = assert!(size_of::<RawDxCountLimit>() == 4);
const _: () = assert!(size_of::<RawDxEntry>() == 8);
const _: () = assert!(size_of::<RawDxTail>() == 8);

/// Offset of [`RawDxRootInfo`] in the root block: behind `.` (12 bytes) and `..` (12 bytes used).
pub const DX_ROOT_INFO_OFFSET: usize = 24;
/// Offset of the count, limit and entries in the root block.
pub const DX_ROOT_ENTRIES_OFFSET: usize = 32;
/// Offset of the count, limit and entries in an inner block: behind an unused entry.
pub const DX_NODE_ENTRIES_OFFSET: usize = 8;

/// `hash_version`: the legacy hash.
pub const DX_HASH_LEGACY: u8 = 0;
/// `hash_version`: half MD4.
pub const DX_HASH_HALF_MD4: u8 = 1;
/// `hash_version`: TEA.
pub const DX_HASH_TEA: u8 = 2;

/// Entry types (`file_type`).
pub const EXT4_FT_UNKNOWN: u8 = 0;
/// Regular file.
pub const EXT4_FT_REG_FILE: u8 = 1;
/// Directory.
pub const EXT4_FT_DIR: u8 = 2;
/// Character device.
pub const EXT4_FT_CHRDEV: u8 = 3;
/// Block device.
pub const EXT4_FT_BLKDEV: u8 = 4;
/// FIFO.
pub const EXT4_FT_FIFO: u8 = 5;
/// Socket.
pub const EXT4_FT_SOCK: u8 = 6;
/// Symbolic link.
pub const EXT4_FT_SYMLINK: u8 = 7;
