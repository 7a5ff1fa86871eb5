//! Extended attributes (`attributes.rst`): entries grow upwards from a header, values downwards from
//! the end, in the inode behind its fields and in one block of their own.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Magic number of both headers.
pub const EXT4_XATTR_MAGIC: u32 = 0xea02_0000;
/// Bytes of the header in an inode: the magic number alone.
pub const IBODY_HEADER_SIZE: usize = 4;
/// Bytes of [`RawXattrHeader`].
pub const BLOCK_HEADER_SIZE: usize = 32;
/// Bytes of [`RawXattrEntry`].
pub const XATTR_ENTRY_SIZE: usize = 16;
/// `e_name_index` of `system.`, which also holds `system.data`, the rest of inline contents.
pub const EXT4_XATTR_INDEX_SYSTEM: u8 = 7;
/// Name of the attribute of inline contents, without its prefix.
pub const INLINE_DATA_NAME: &[u8] = b"data";

/// `struct ext4_xattr_header`, at the start of an attribute block.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawXattrHeader {
    pub h_magic: U32,
    pub h_refcount: U32,
    pub h_blocks: U32,
    pub h_hash: U32,
    pub h_checksum: U32,
    pub h_reserved: [U32; 3],
}

/// `struct ext4_xattr_entry` without its name, which is padded to 4 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawXattrEntry {
    pub e_name_len: u8,
    pub e_name_index: u8,
    pub e_value_offs: U16,
    pub e_value_inum: U32,
    pub e_value_size: U32,
    pub e_hash: U32,
}

const _: () = assert!(size_of::<RawXattrHeader>() == BLOCK_HEADER_SIZE);
const _: () = assert!(size_of::<RawXattrEntry>() == XATTR_ENTRY_SIZE);
