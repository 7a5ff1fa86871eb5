//! The superblock after validation: the geometry of the file system and the features in use.
//!
//! [`Geometry`] never changes while mounted. Counters that do change live in the raw copy that
//! `volume` keeps.

use core::num::NonZeroU32;

use vfs_server::fs::Access;
use zerocopy::IntoBytes;

use crate::checksum::crc32c;
use crate::dir::hash::{CharSign, HashKind, Hasher};
use crate::error::{Corrupt, Error, Result};
use crate::format::feature::{Compat, Incompat, RoCompat};
use crate::format::group_desc::MIN_DESC_SIZE;
use crate::format::inode::GOOD_OLD_INODE_SIZE;
use crate::format::superblock::{
    EXT4_CRC32C_CHKSUM, EXT4_DYNAMIC_REV, EXT4_SUPER_MAGIC, MiscFlags, RawSuperBlock, State,
};

/// The facts of a mounted file system that never change.
#[derive(Clone, Debug)]
pub struct Geometry {
    /// log2 of the block size in bytes: 10, 11 or 12.
    pub block_bits: u32,
    /// All blocks of the file system, those before `first_data_block` included.
    pub blocks_count: u64,
    /// Number of the block that group 0 begins with.
    pub first_data_block: u32,
    /// Blocks of each group but the last.
    pub blocks_per_group: NonZeroU32,
    /// Inodes of each group.
    pub inodes_per_group: NonZeroU32,
    /// All inodes; numbers are 1..=inodes_count.
    pub inodes_count: u32,
    /// First inode number that is not reserved.
    pub first_inode: u32,
    /// Bytes of an inode on the disk.
    pub inode_size: u16,
    /// `i_extra_isize` of new inodes.
    pub want_extra_isize: u16,
    /// Bytes of a group descriptor.
    pub desc_size: u16,
    /// Number of groups.
    pub groups: u32,
    /// Blocks that were left free for a growing descriptor table.
    pub reserved_gdt_blocks: u32,
    /// log2 of the groups whose metadata is packed together.
    pub log_groups_per_flex: u8,
    /// The two groups with backups, under the feature sparse_super2.
    pub backup_groups: [u32; 2],
    /// Compatible features.
    pub compat: Compat,
    /// Incompatible features.
    pub incompat: Incompat,
    /// Read-only compatible features.
    pub ro_compat: RoCompat,
    /// crc32c seed of the file system.
    pub checksum_seed: u32,
    /// Identity of the file system.
    pub uuid: [u8; 16],
    /// Hash of new indexed directories; trees on the disk name their own function.
    pub hasher: Hasher,
    /// The journal's inode, 0 if none.
    pub journal_inode: u32,
}

/// Incompatible features that this driver has.
const SUPPORTED_INCOMPAT: Incompat = Incompat::FILETYPE
    .union(Incompat::EXTENTS)
    .union(Incompat::BIT64)
    .union(Incompat::FLEX_BG)
    .union(Incompat::CSUM_SEED)
    .union(Incompat::LARGEDIR)
    .union(Incompat::INLINE_DATA);

/// Read-only compatible features that this driver can write with.
const WRITABLE_RO_COMPAT: RoCompat = RoCompat::SPARSE_SUPER
    .union(RoCompat::LARGE_FILE)
    .union(RoCompat::HUGE_FILE)
    .union(RoCompat::GDT_CSUM)
    .union(RoCompat::DIR_NLINK)
    .union(RoCompat::EXTRA_ISIZE)
    .union(RoCompat::METADATA_CSUM);

/// mke2fs's name of each bit that may stop a mount.
fn incompat_name(bit: Incompat) -> &'static str {
    match bit {
        Incompat::COMPRESSION => "compression",
        Incompat::JOURNAL_DEV => "journal_dev",
        Incompat::META_BG => "meta_bg",
        Incompat::MMP => "mmp",
        Incompat::EA_INODE => "ea_inode",
        Incompat::DIRDATA => "dirdata",
        Incompat::ENCRYPT => "encrypt",
        Incompat::CASEFOLD => "casefold",
        _ => "an incompatible feature without a name",
    }
}

fn ro_compat_name(bit: RoCompat) -> &'static str {
    match bit {
        RoCompat::BTREE_DIR => "btree_dir",
        RoCompat::HAS_SNAPSHOT => "snapshot",
        RoCompat::QUOTA => "quota",
        RoCompat::BIGALLOC => "bigalloc",
        RoCompat::REPLICA => "replica",
        RoCompat::READONLY => "read-only",
        RoCompat::PROJECT => "project",
        RoCompat::SHARED_BLOCKS => "shared_blocks",
        RoCompat::VERITY => "verity",
        RoCompat::ORPHAN_PRESENT => "orphan_present",
        _ => "a read-only compatible feature without a name",
    }
}

fn check_features(incompat: Incompat, ro_compat: RoCompat, access: Access) -> Result<()> {
    if incompat.contains(Incompat::RECOVER) {
        return Err(Error::NeedsRecovery);
    }
    let unknown = incompat.bits() & !SUPPORTED_INCOMPAT.bits();
    if unknown != 0 {
        let lowest = Incompat::from_bits_retain(unknown & unknown.wrapping_neg());
        return Err(Error::Unsupported(incompat_name(lowest)));
    }
    // Its block numbers are of another unit, even for a reader.
    if ro_compat.contains(RoCompat::BIGALLOC) {
        return Err(Error::Unsupported("bigalloc"));
    }
    if access == Access::ReadOnly {
        return Ok(());
    }
    let unknown = ro_compat.bits() & !WRITABLE_RO_COMPAT.bits();
    if unknown != 0 {
        let lowest = RoCompat::from_bits_retain(unknown & unknown.wrapping_neg());
        return Err(Error::Unsupported(ro_compat_name(lowest)));
    }
    // New files have extents, new entries have types.
    if !incompat.contains(Incompat::EXTENTS) {
        return Err(Error::Unsupported("writing without extent"));
    }
    if !incompat.contains(Incompat::FILETYPE) {
        return Err(Error::Unsupported("writing without filetype"));
    }
    // An orphan file that holds nothing (`orphan_present` is refused above) may stay so: who recovers
    // the disk looks at the list in the superblock too (e2fsck does: `tests/crash.rs`).
    Ok(())
}

impl Geometry {
    /// Checks all of `raw` that a mount with `access` on a device of `device_bytes` bytes relies on.
    pub fn validate(raw: &RawSuperBlock, device_bytes: u64, access: Access) -> Result<Self> {
        if raw.s_magic.get() != EXT4_SUPER_MAGIC {
            return Err(Corrupt::SuperMagic.into());
        }
        let dynamic = raw.s_rev_level.get() >= EXT4_DYNAMIC_REV;
        let (compat, incompat, ro_compat) = match dynamic {
            true => (raw.s_feature_compat.get(), raw.s_feature_incompat.get(), raw.s_feature_ro_compat.get()),
            false => (0, 0, 0),
        };
        let compat = Compat::from_bits_retain(compat);
        let incompat = Incompat::from_bits_retain(incompat);
        let ro_compat = RoCompat::from_bits_retain(ro_compat);
        if ro_compat.contains(RoCompat::METADATA_CSUM) {
            if raw.s_checksum_type != EXT4_CRC32C_CHKSUM {
                return Err(Corrupt::SuperChecksumType.into());
            }
            if raw.s_checksum.get() != superblock_checksum(raw) {
                return Err(Corrupt::SuperChecksum.into());
            }
        }
        check_features(incompat, ro_compat, access)?;

        let log_block_size = raw.s_log_block_size.get();
        if log_block_size > 6 {
            return Err(Corrupt::BlockSize.into());
        }
        if log_block_size > 2 {
            return Err(Error::Unsupported("blocks larger than 4096 bytes"));
        }
        let block_bits = 10 + log_block_size;
        let block_size = 1_u32 << block_bits;

        let inode_size = if dynamic { raw.s_inode_size.get() } else { GOOD_OLD_INODE_SIZE as u16 };
        if !inode_size.is_power_of_two()
            || (inode_size as usize) < GOOD_OLD_INODE_SIZE
            || inode_size as u32 > block_size
        {
            return Err(Corrupt::InodeSize.into());
        }
        let desc_size = match incompat.contains(Incompat::BIT64) {
            true => raw.s_desc_size.get(),
            false => MIN_DESC_SIZE as u16,
        };
        if !desc_size.is_power_of_two() || (desc_size as usize) < MIN_DESC_SIZE || desc_size > 1024 {
            return Err(Corrupt::DescSize.into());
        }
        if incompat.contains(Incompat::BIT64) && desc_size < 64 {
            return Err(Corrupt::DescSize.into());
        }

        let blocks_per_group = raw.s_blocks_per_group.get();
        if blocks_per_group < 8 || blocks_per_group > block_size * 8 || !blocks_per_group.is_multiple_of(8) {
            return Err(Corrupt::BlocksPerGroup.into());
        }
        let inodes_per_group = raw.s_inodes_per_group.get();
        let inodes_per_block = block_size / inode_size as u32;
        if inodes_per_group < inodes_per_block
            || inodes_per_group > block_size * 8
            || !inodes_per_group.is_multiple_of(8)
        {
            return Err(Corrupt::InodesPerGroup.into());
        }
        let first_data_block = raw.s_first_data_block.get();
        if first_data_block != (block_bits == 10) as u32 {
            return Err(Corrupt::FirstDataBlock.into());
        }
        let blocks_count = wide(raw.s_blocks_count_lo.get(), raw.s_blocks_count_hi.get(), incompat);
        if blocks_count <= first_data_block as u64 + 1 || blocks_count >= 1 << 48 {
            return Err(Corrupt::BlocksCount.into());
        }
        if blocks_count.checked_mul(block_size as u64).is_none_or(|bytes| bytes > device_bytes) {
            return Err(Corrupt::LargerThanDevice.into());
        }
        let groups = (blocks_count - first_data_block as u64).div_ceil(blocks_per_group as u64);
        let groups = u32::try_from(groups).map_err(|_| Corrupt::BlocksCount)?;
        let inodes_count = raw.s_inodes_count.get();
        if groups.checked_mul(inodes_per_group) != Some(inodes_count) {
            return Err(Corrupt::InodesCount.into());
        }
        let free = wide(raw.s_free_blocks_count_lo.get(), raw.s_free_blocks_count_hi.get(), incompat);
        if free > blocks_count {
            return Err(Corrupt::FreeBlocksCount.into());
        }
        let first_inode = if dynamic { raw.s_first_ino.get() } else { 11 };
        if first_inode < 11 || first_inode > inodes_count {
            return Err(Corrupt::FirstInode.into());
        }
        let journal_inode = if compat.contains(Compat::HAS_JOURNAL) { raw.s_journal_inum.get() } else { 0 };
        if journal_inode > inodes_count {
            return Err(Corrupt::JournalInode.into());
        }
        let flags = MiscFlags::from_bits_retain(raw.s_flags.get());
        let hasher = Hasher {
            kind: HashKind::from_version(raw.s_def_hash_version).map_err(|_| Corrupt::DefHashVersion)?,
            sign: if flags.contains(MiscFlags::UNSIGNED_HASH) { CharSign::Unsigned } else { CharSign::Signed },
            seed: raw.s_hash_seed.map(|word| word.get()),
        };
        let room = inode_size.saturating_sub(GOOD_OLD_INODE_SIZE as u16);
        let want_extra_isize = crate::format::inode::FULL_EXTRA_ISIZE.min(room);
        Ok(Self {
            block_bits,
            blocks_count,
            first_data_block,
            blocks_per_group: NonZeroU32::new(blocks_per_group).ok_or(Corrupt::BlocksPerGroup)?,
            inodes_per_group: NonZeroU32::new(inodes_per_group).ok_or(Corrupt::InodesPerGroup)?,
            inodes_count,
            first_inode,
            inode_size,
            want_extra_isize,
            desc_size,
            groups,
            reserved_gdt_blocks: raw.s_reserved_gdt_blocks.get() as u32,
            log_groups_per_flex: raw.s_log_groups_per_flex.min(31),
            backup_groups: raw.s_backup_bgs.map(|group| group.get()),
            compat,
            incompat,
            ro_compat,
            checksum_seed: match incompat.contains(Incompat::CSUM_SEED) {
                true => raw.s_checksum_seed.get(),
                false => crc32c(!0, &raw.s_uuid),
            },
            uuid: raw.s_uuid,
            hasher,
            journal_inode,
        })
    }

    /// Bytes of a block.
    pub fn block_size(&self) -> usize {
        1 << self.block_bits
    }

    /// Whether metadata carries crc32c checksums.
    pub fn has_checksums(&self) -> bool {
        self.ro_compat.contains(RoCompat::METADATA_CSUM)
    }

    /// Whether descriptors carry a checksum of any kind, and so the flags of uninitialised bitmaps.
    pub fn has_group_checksums(&self) -> bool {
        self.ro_compat.intersects(RoCompat::METADATA_CSUM | RoCompat::GDT_CSUM)
    }

    /// Inodes in a block of an inode table.
    pub fn inodes_per_block(&self) -> u32 {
        (self.block_size() / self.inode_size as usize) as u32
    }

    /// Blocks of an inode table.
    pub fn inode_table_blocks(&self) -> u32 {
        self.inodes_per_group.get().div_ceil(self.inodes_per_block())
    }

    /// Blocks of the group descriptor table.
    pub fn gdt_blocks(&self) -> u32 {
        self.groups.div_ceil((self.block_size() / self.desc_size as usize) as u32)
    }

    /// The first block of `group`.
    pub fn group_start(&self, group: u32) -> u64 {
        self.first_data_block as u64 + group as u64 * self.blocks_per_group.get() as u64
    }

    /// Blocks of `group`; the last one may be shorter.
    pub fn group_blocks(&self, group: u32) -> u32 {
        let rest = self.blocks_count - self.group_start(group);
        rest.min(self.blocks_per_group.get() as u64) as u32
    }

    /// The group of `block` and its place in there; `block` lies in the file system.
    pub fn locate_block(&self, block: u64) -> (u32, u32) {
        let relative = block - self.first_data_block as u64;
        let per_group = self.blocks_per_group.get() as u64;
        ((relative / per_group) as u32, (relative % per_group) as u32)
    }

    /// Whether `count` blocks from `start` on are blocks of the file system.
    pub fn contains(&self, start: u64, count: u64) -> bool {
        start >= self.first_data_block as u64 && start.checked_add(count).is_some_and(|end| end <= self.blocks_count)
    }

    /// Whether `group` begins with a copy of the superblock and of the descriptors.
    pub fn has_super(&self, group: u32) -> bool {
        if group == 0 {
            return true;
        }
        if self.compat.contains(Compat::SPARSE_SUPER2) {
            return self.backup_groups.contains(&group);
        }
        if !self.ro_compat.contains(RoCompat::SPARSE_SUPER) {
            return true;
        }
        let is_power_of = |base: u32| {
            let mut rest = group;
            while rest.is_multiple_of(base) {
                rest /= base;
            }
            rest == 1
        };
        group == 1 || is_power_of(3) || is_power_of(5) || is_power_of(7)
    }
}

/// A 64-bit count of which only 32 bits count without the 64bit feature.
pub fn wide(low: u32, high: u32, incompat: Incompat) -> u64 {
    match incompat.contains(Incompat::BIT64) {
        true => low as u64 | (high as u64) << 32,
        false => low as u64,
    }
}

/// `s_checksum` as it should be.
pub fn superblock_checksum(raw: &RawSuperBlock) -> u32 {
    let bytes = raw.as_bytes();
    crc32c(!0, &bytes[..bytes.len() - size_of::<u32>()])
}

/// Whether the file system was unmounted cleanly and no error was noted since the last check.
pub fn is_clean(raw: &RawSuperBlock) -> bool {
    let state = State::from_bits_retain(raw.s_state.get());
    state.contains(State::VALID_FS) && !state.contains(State::ERROR_FS)
}
