//! Block groups: where their metadata lies, and their counts in memory.
//!
//! Places never change and are read without a lock. Counts, flags and the two bitmaps of a group are
//! under its lock (class allocator, by group number; nobody holds two). They reach the descriptor
//! table at the next sync; the checksums of the bitmaps follow every change by the bytes that changed.

use alloc::sync::Arc;

use vfs_server::buffer_cache::Buffer;
use zerocopy::IntoBytes;

use crate::checksum::{crc16, crc32c};
use crate::error::{Corrupt, Result};
use crate::format::group_desc::{BG_CHECKSUM_OFFSET, GroupFlags, RawGroupDesc};
use crate::superblock::Geometry;

/// Where a group's metadata lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupPlaces {
    /// Block of the block bitmap.
    pub block_bitmap: u64,
    /// Block of the inode bitmap.
    pub inode_bitmap: u64,
    /// First block of the inode table.
    pub inode_table: u64,
}

/// What changes in a group.
pub struct Group {
    /// Free blocks.
    pub free_blocks: u32,
    /// Free inodes.
    pub free_inodes: u32,
    /// Directories among its inodes.
    pub used_dirs: u32,
    /// Inodes at the end of the table that were never used.
    pub itable_unused: u32,
    /// `bg_flags`.
    pub flags: GroupFlags,
    /// The block bitmap, once it was read and checked.
    pub block_bitmap: Option<Arc<Buffer>>,
    /// Its checksum, which follows every change.
    pub block_bitmap_checksum: u32,
    /// The inode bitmap, once it was read and checked.
    pub inode_bitmap: Option<Arc<Buffer>>,
    /// Its checksum, which follows every change.
    pub inode_bitmap_checksum: u32,
    /// No run of free blocks is longer.
    pub longest_run: u32,
    /// No free inode (counted from 0 in the group) is lower.
    pub lowest_free_inode: u32,
    /// Whether the descriptor in the table is out of date.
    pub dirty: bool,
}

/// Reads and checks descriptor number `group`, given its bytes.
pub fn parse(geometry: &Geometry, group: u32, bytes: &[u8]) -> Result<(GroupPlaces, Group)> {
    let raw = RawGroupDesc::from_prefix(bytes);
    if geometry.has_group_checksums() && checksum(geometry, group, bytes) != raw.bg_checksum.get() {
        return Err(Corrupt::GroupChecksum.into());
    }
    let wide = bytes.len() >= size_of::<RawGroupDesc>();
    let join = |low: u32, high: u32, bits: u32| low as u64 | if wide { (high as u64) << bits } else { 0 };
    let places = GroupPlaces {
        block_bitmap: join(raw.bg_block_bitmap_lo.get(), raw.bg_block_bitmap_hi.get(), 32),
        inode_bitmap: join(raw.bg_inode_bitmap_lo.get(), raw.bg_inode_bitmap_hi.get(), 32),
        inode_table: join(raw.bg_inode_table_lo.get(), raw.bg_inode_table_hi.get(), 32),
    };
    let past_super = geometry.first_data_block as u64 + 1;
    let inside = |start: u64, count: u64| start >= past_super && geometry.contains(start, count);
    if !inside(places.block_bitmap, 1) {
        return Err(Corrupt::GroupBlockBitmap.into());
    }
    if !inside(places.inode_bitmap, 1) {
        return Err(Corrupt::GroupInodeBitmap.into());
    }
    if !inside(places.inode_table, geometry.inode_table_blocks() as u64) {
        return Err(Corrupt::GroupInodeTable.into());
    }
    let narrow = |low: zerocopy::little_endian::U16, high: zerocopy::little_endian::U16| {
        join(low.get() as u32, high.get() as u32, 16) as u32
    };
    let has_flags = geometry.has_group_checksums();
    let flags = if has_flags { GroupFlags::from_bits_retain(raw.bg_flags.get()) } else { GroupFlags::empty() };
    let counts = Group {
        free_blocks: narrow(raw.bg_free_blocks_count_lo, raw.bg_free_blocks_count_hi),
        free_inodes: narrow(raw.bg_free_inodes_count_lo, raw.bg_free_inodes_count_hi),
        used_dirs: narrow(raw.bg_used_dirs_count_lo, raw.bg_used_dirs_count_hi),
        itable_unused: if has_flags { narrow(raw.bg_itable_unused_lo, raw.bg_itable_unused_hi) } else { 0 },
        flags,
        block_bitmap: None,
        block_bitmap_checksum: 0,
        inode_bitmap: None,
        inode_bitmap_checksum: 0,
        longest_run: u32::MAX,
        lowest_free_inode: 0,
        dirty: false,
    };
    let inodes = geometry.inodes_per_group.get();
    if counts.free_blocks > geometry.group_blocks(group)
        || counts.free_inodes > inodes
        || counts.used_dirs > inodes
        || counts.itable_unused > inodes
    {
        return Err(Corrupt::GroupCounts.into());
    }
    Ok((places, counts))
}

/// Brings `group`'s counts and the checksums of its loaded bitmaps into the descriptor's `bytes`.
pub fn store(geometry: &Geometry, number: u32, group: &Group, bytes: &mut [u8]) {
    let mut raw = RawGroupDesc::from_prefix(bytes);
    let split = |value: u32| ((value as u16).into(), ((value >> 16) as u16).into());
    (raw.bg_free_blocks_count_lo, raw.bg_free_blocks_count_hi) = split(group.free_blocks);
    (raw.bg_free_inodes_count_lo, raw.bg_free_inodes_count_hi) = split(group.free_inodes);
    (raw.bg_used_dirs_count_lo, raw.bg_used_dirs_count_hi) = split(group.used_dirs);
    if geometry.has_group_checksums() {
        (raw.bg_itable_unused_lo, raw.bg_itable_unused_hi) = split(group.itable_unused);
        raw.bg_flags.set(group.flags.bits());
    }
    if geometry.has_checksums() {
        if group.block_bitmap.is_some() {
            (raw.bg_block_bitmap_csum_lo, raw.bg_block_bitmap_csum_hi) = split(group.block_bitmap_checksum);
        }
        if group.inode_bitmap.is_some() {
            (raw.bg_inode_bitmap_csum_lo, raw.bg_inode_bitmap_csum_hi) = split(group.inode_bitmap_checksum);
        }
    }
    let known = bytes.len().min(size_of::<RawGroupDesc>());
    bytes[..known].copy_from_slice(&raw.as_bytes()[..known]);
    if geometry.has_group_checksums() {
        let checksum = checksum(geometry, number, bytes);
        bytes[BG_CHECKSUM_OFFSET..BG_CHECKSUM_OFFSET + 2].copy_from_slice(&checksum.to_le_bytes());
    }
}

/// Whether the descriptor's `bytes` have this checksum of the block bitmap.
pub fn block_bitmap_matches(bytes: &[u8], checksum: u32) -> bool {
    let raw = RawGroupDesc::from_prefix(bytes);
    let stored = raw.bg_block_bitmap_csum_lo.get() as u32 | (raw.bg_block_bitmap_csum_hi.get() as u32) << 16;
    matches(bytes, stored, checksum)
}

/// Whether the descriptor's `bytes` have this checksum of the inode bitmap.
pub fn inode_bitmap_matches(bytes: &[u8], checksum: u32) -> bool {
    let raw = RawGroupDesc::from_prefix(bytes);
    let stored = raw.bg_inode_bitmap_csum_lo.get() as u32 | (raw.bg_inode_bitmap_csum_hi.get() as u32) << 16;
    matches(bytes, stored, checksum)
}

fn matches(bytes: &[u8], stored: u32, checksum: u32) -> bool {
    // A 32-byte descriptor has the lower half only.
    let mask = if bytes.len() >= size_of::<RawGroupDesc>() { !0 } else { 0xffff };
    (stored ^ checksum) & mask == 0
}

/// Bytes of a block bitmap that its checksum covers.
pub fn block_bitmap_covered(geometry: &Geometry) -> usize {
    geometry.blocks_per_group.get() as usize / 8
}

/// Bytes of an inode bitmap that its checksum covers.
pub fn inode_bitmap_covered(geometry: &Geometry) -> usize {
    geometry.inodes_per_group.get() as usize / 8
}

/// `bg_checksum` as it should be: crc32c cut to 16 bits, or the older crc16 with the uuid.
fn checksum(geometry: &Geometry, group: u32, bytes: &[u8]) -> u16 {
    let number = group.to_le_bytes();
    let (head, rest) = bytes.split_at(BG_CHECKSUM_OFFSET);
    if geometry.has_checksums() {
        let crc = crc32c(geometry.checksum_seed, &number);
        let crc = crc32c(crc32c(crc32c(crc, head), &[0; 2]), &rest[2..]);
        return crc as u16;
    }
    let crc = crc16(crc16(!0, &geometry.uuid), &number);
    crc16(crc16(crc, head), &rest[2..])
}
