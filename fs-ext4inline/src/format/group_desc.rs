//! Block group descriptors (`group_descr.rst`): 32 bytes, or 64 and more with the 64bit feature.

use bitflags::bitflags;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Size of a descriptor without the 64bit feature.
pub const MIN_DESC_SIZE: usize = 32;
/// Offset of `bg_checksum`, which the checksum does not cover.
pub const BG_CHECKSUM_OFFSET: usize = 0x1e;

/// `struct ext4_group_desc`; the `_hi` half is absent (zero here) in 32-byte descriptors.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawGroupDesc {
    pub bg_block_bitmap_lo: U32,
    pub bg_inode_bitmap_lo: U32,
    pub bg_inode_table_lo: U32,
    pub bg_free_blocks_count_lo: U16,
    pub bg_free_inodes_count_lo: U16,
    pub bg_used_dirs_count_lo: U16,
    pub bg_flags: U16,
    pub bg_exclude_bitmap_lo: U32,
    pub bg_block_bitmap_csum_lo: U16,
    pub bg_inode_bitmap_csum_lo: U16,
    pub bg_itable_unused_lo: U16,
    pub bg_checksum: U16,
    pub bg_block_bitmap_hi: U32,
    pub bg_inode_bitmap_hi: U32,
    pub bg_inode_table_hi: U32,
    pub bg_free_blocks_count_hi: U16,
    pub bg_free_inodes_count_hi: U16,
    pub bg_used_dirs_count_hi: U16,
    pub bg_itable_unused_hi: U16,
    pub bg_exclude_bitmap_hi: U32,
    pub bg_block_bitmap_csum_hi: U16,
    pub bg_inode_bitmap_csum_hi: U16,
    pub bg_reserved: U32,
}

const _: () = assert!(size_of::<RawGroupDesc>() == 64);

impl RawGroupDesc {
    /// Reads a descriptor of `bytes.len()` bytes; what it is too short for is zero.
    pub fn from_prefix(bytes: &[u8]) -> Self {
        let mut raw = Self::new_zeroed();
        let length = bytes.len().min(size_of::<Self>());
        raw.as_mut_bytes()[..length].copy_from_slice(&bytes[..length]);
        raw
    }
}

bitflags! {
    /// `bg_flags`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct GroupFlags: u16 {
        /// The inode bitmap was never written; all inodes are free.
        const INODE_UNINIT = 0x1;
        /// The block bitmap was never written; only the group's metadata is in use.
        const BLOCK_UNINIT = 0x2;
        const ITABLE_ZEROED = 0x4;
    }
}
