//! Extent tree nodes (`ifork.rst`, "Extent Tree"): a header, then 12-byte entries, in blocks with a
//! checksum behind the last possible entry.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `eh_magic`.
pub const EXT4_EXT_MAGIC: u16 = 0xf30a;
/// Most levels of index nodes that a valid tree can have.
pub const EXT4_MAX_EXTENT_DEPTH: u16 = 5;
/// `ee_len` above this means an unwritten extent of `ee_len` - 32768 blocks.
pub const EXT_INIT_MAX_LEN: u16 = 32768;
/// Most blocks of an unwritten extent.
pub const EXT_UNWRITTEN_MAX_LEN: u16 = 32767;
/// Bytes of a header and of any entry.
pub const ENTRY_SIZE: usize = 12;

/// `struct ext4_extent_header`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawExtentHeader {
    pub eh_magic: U16,
    pub eh_entries: U16,
    pub eh_max: U16,
    pub eh_depth: U16,
    pub eh_generation: U32,
}

/// `struct ext4_extent`, an entry of a leaf.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawExtent {
    pub ee_block: U32,
    pub ee_len: U16,
    pub ee_start_hi: U16,
    pub ee_start_lo: U32,
}

/// `struct ext4_extent_idx`, an entry of an index node.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawExtentIdx {
    pub ei_block: U32,
    pub ei_leaf_lo: U32,
    pub ei_leaf_hi: U16,
    pub ei_unused: U16,
}

const _: () = assert!(size_of::<RawExtentHeader>() == ENTRY_SIZE);
const _: () = assert!(size_of::<RawExtent>() == ENTRY_SIZE);
const _: () = assert!(size_of::<RawExtentIdx>() == ENTRY_SIZE);
