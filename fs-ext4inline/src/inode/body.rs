//! An inode's bytes as they are on the disk, with typed access and their checksum.
//!
//! The bytes are the truth while an inode is in use: fields this driver does not know survive.
//! Locking is the owner's business (`inode`).

use alloc::boxed::Box;
use alloc::vec;

use zerocopy::FromBytes;

use crate::checksum::crc32c;
use crate::error::{Corrupt, Result};
use crate::format::feature::RoCompat;
use crate::format::inode::*;
use crate::superblock::Geometry;

/// A point in time: seconds since 1970 and nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds since the epoch.
    pub seconds: i64,
    /// 0..=999_999_999.
    pub nanoseconds: u32,
}

/// Which of an inode's times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeField {
    /// Last access.
    Access,
    /// Last change of the inode.
    Change,
    /// Last change of the contents.
    Modify,
}

/// What an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FileType {
    Regular,
    Directory,
    Symlink,
    CharDevice,
    BlockDevice,
    Fifo,
    Socket,
}

impl FileType {
    /// The type in `i_mode`.
    pub fn from_mode(mode: u16) -> Result<Self> {
        Ok(match mode & S_IFMT {
            S_IFREG => Self::Regular,
            S_IFDIR => Self::Directory,
            S_IFLNK => Self::Symlink,
            S_IFCHR => Self::CharDevice,
            S_IFBLK => Self::BlockDevice,
            S_IFIFO => Self::Fifo,
            S_IFSOCK => Self::Socket,
            _ => return Err(Corrupt::InodeMode.into()),
        })
    }
}

/// The bytes of one inode.
#[derive(Clone, Debug)]
pub struct InodeBody {
    /// At least a whole [`RawInode`], so that a 128-byte inode reads its missing fields as zero.
    bytes: Box<[u8]>,
    /// How many of `bytes` exist on the disk.
    size: usize,
}

impl InodeBody {
    /// An inode of zeros.
    pub fn zeroed(geometry: &Geometry) -> Self {
        let size = geometry.inode_size as usize;
        Self { bytes: vec![0; size.max(size_of::<RawInode>())].into_boxed_slice(), size }
    }

    /// Takes `disk` (one inode's bytes) over and checks what does not depend on its use.
    pub fn parse(geometry: &Geometry, seed: u32, disk: &[u8]) -> Result<Self> {
        let mut body = Self::zeroed(geometry);
        let size = body.size;
        body.bytes[..size].copy_from_slice(&disk[..size]);
        let extra = body.raw().i_extra_isize.get() as usize;
        if !extra.is_multiple_of(4) || GOOD_OLD_INODE_SIZE + extra > size.max(GOOD_OLD_INODE_SIZE) {
            return Err(Corrupt::InodeExtraSize.into());
        }
        if geometry.has_checksums() && body.stored_checksum() != body.checksum(seed_of(&body, geometry, seed)) {
            return Err(Corrupt::InodeChecksum.into());
        }
        Ok(body)
    }

    /// The bytes for the disk.
    pub fn disk_bytes(&self) -> &[u8] {
        &self.bytes[..self.size]
    }

    /// All fields; those beyond `i_extra_isize` are not to be used (see [`has_extra`](Self::has_extra)).
    pub fn raw(&self) -> &RawInode {
        // The slice is never shorter than a RawInode, which is Unaligned: this cannot fail.
        RawInode::ref_from_prefix(&self.bytes).expect("body holds a whole RawInode").0
    }

    /// All fields, to be changed.
    pub fn raw_mut(&mut self) -> &mut RawInode {
        // As in `raw`.
        RawInode::mut_from_prefix(&mut self.bytes).expect("body holds a whole RawInode").0
    }

    /// Whether the field that ends at byte `end` of the inode exists.
    pub fn has_extra(&self, end: usize) -> bool {
        self.size > GOOD_OLD_INODE_SIZE && GOOD_OLD_INODE_SIZE + self.raw().i_extra_isize.get() as usize >= end
    }

    /// The bytes behind the fields: a magic number and extended attributes, or unused.
    pub fn xattr_space(&self) -> &[u8] {
        let start = self.xattr_start();
        &self.bytes[start..self.size]
    }

    /// The same, to be changed.
    pub fn xattr_space_mut(&mut self) -> &mut [u8] {
        let start = self.xattr_start();
        &mut self.bytes[start..self.size]
    }

    fn xattr_start(&self) -> usize {
        let extra = self.raw().i_extra_isize.get() as usize;
        // An inode without extra fields has no attributes, whatever its size.
        if extra == 0 { self.size } else { (GOOD_OLD_INODE_SIZE + extra).min(self.size) }
    }

    /// `i_block`.
    pub fn block_area(&self) -> &[u8; I_BLOCK_SIZE] {
        &self.raw().i_block
    }

    /// `i_flags`.
    pub fn flags(&self) -> InodeFlags {
        InodeFlags::from_bits_retain(self.raw().i_flags.get())
    }

    /// Sets `i_flags`.
    pub fn set_flags(&mut self, flags: InodeFlags) {
        self.raw_mut().i_flags.set(flags.bits());
    }

    /// The type.
    pub fn file_type(&self) -> Result<FileType> {
        FileType::from_mode(self.raw().i_mode.get())
    }

    /// Length of the contents in bytes.
    pub fn file_size(&self) -> u64 {
        let raw = self.raw();
        raw.i_size_lo.get() as u64 | (raw.i_size_high.get() as u64) << 32
    }

    /// Sets the length.
    pub fn set_file_size(&mut self, size: u64) {
        let raw = self.raw_mut();
        raw.i_size_lo.set(size as u32);
        raw.i_size_high.set((size >> 32) as u32);
    }

    /// Blocks in use in 512-byte sectors, block maps and attribute block included.
    pub fn sectors(&self, geometry: &Geometry) -> u64 {
        let raw = self.raw();
        let low = raw.i_blocks_lo.get() as u64;
        if !geometry.ro_compat.contains(RoCompat::HUGE_FILE) {
            return low;
        }
        let count = low | (raw.l_i_blocks_high.get() as u64) << 32;
        match self.flags().contains(InodeFlags::HUGE_FILE) {
            true => count << (geometry.block_bits - 9),
            false => count,
        }
    }

    /// Sets the blocks in use, in sectors.
    pub fn set_sectors(&mut self, geometry: &Geometry, sectors: u64) {
        let huge = geometry.ro_compat.contains(RoCompat::HUGE_FILE);
        let in_blocks = huge && sectors >= 1 << 48;
        let mut flags = self.flags();
        flags.set(InodeFlags::HUGE_FILE, in_blocks);
        let count = if in_blocks { sectors >> (geometry.block_bits - 9) } else { sectors };
        let raw = self.raw_mut();
        raw.i_flags.set(flags.bits());
        raw.i_blocks_lo.set(count as u32);
        if huge {
            raw.l_i_blocks_high.set((count >> 32) as u16);
        }
    }

    /// Whether this symbolic link's target is in `i_block`: it has no block of its own (an attribute
    /// block does not count) and its target fits.
    pub fn is_fast_symlink(&self, geometry: &Geometry) -> bool {
        let attributes = if self.file_acl() != 0 { 1 << (geometry.block_bits - 9) } else { 0 };
        self.file_size() < I_BLOCK_SIZE as u64
            && !self.flags().contains(InodeFlags::EXTENTS)
            && self.sectors(geometry) <= attributes
    }

    /// User and group.
    pub fn owner(&self) -> (u32, u32) {
        let raw = self.raw();
        (
            raw.i_uid.get() as u32 | (raw.l_i_uid_high.get() as u32) << 16,
            raw.i_gid.get() as u32 | (raw.l_i_gid_high.get() as u32) << 16,
        )
    }

    /// Sets user and group.
    pub fn set_owner(&mut self, uid: u32, gid: u32) {
        let raw = self.raw_mut();
        raw.i_uid.set(uid as u16);
        raw.l_i_uid_high.set((uid >> 16) as u16);
        raw.i_gid.set(gid as u16);
        raw.l_i_gid_high.set((gid >> 16) as u16);
    }

    /// The attribute block, 0 if none.
    pub fn file_acl(&self) -> u64 {
        let raw = self.raw();
        raw.i_file_acl_lo.get() as u64 | (raw.l_i_file_acl_high.get() as u64) << 32
    }

    /// Sets the attribute block.
    pub fn set_file_acl(&mut self, block: u64) {
        let raw = self.raw_mut();
        raw.i_file_acl_lo.set(block as u32);
        raw.l_i_file_acl_high.set((block >> 32) as u16);
    }

    /// A time. Seconds are signed 32 bits, extended by two epoch bits where there are extra fields.
    pub fn time(&self, field: TimeField) -> Timestamp {
        let raw = self.raw();
        let (low, extra, end) = match field {
            TimeField::Access => (raw.i_atime, raw.i_atime_extra, 0x90),
            TimeField::Change => (raw.i_ctime, raw.i_ctime_extra, 0x88),
            TimeField::Modify => (raw.i_mtime, raw.i_mtime_extra, 0x8c),
        };
        let extra = if self.has_extra(end) { extra.get() } else { 0 };
        decode_time(low.get(), extra)
    }

    /// Sets a time; without extra fields it loses its nanoseconds and what 32 bits do not hold.
    pub fn set_time(&mut self, field: TimeField, time: Timestamp) {
        let end = match field {
            TimeField::Access => 0x90,
            TimeField::Change => 0x88,
            TimeField::Modify => 0x8c,
        };
        let has_extra = self.has_extra(end);
        let (low, high) = if has_extra { encode_time(time) } else { (clamp_time(time), 0) };
        let raw = self.raw_mut();
        let (low_field, extra_field) = match field {
            TimeField::Access => (&mut raw.i_atime, &mut raw.i_atime_extra),
            TimeField::Change => (&mut raw.i_ctime, &mut raw.i_ctime_extra),
            TimeField::Modify => (&mut raw.i_mtime, &mut raw.i_mtime_extra),
        };
        low_field.set(low);
        if has_extra {
            extra_field.set(high);
        }
    }

    /// The time of creation, where it is known.
    pub fn creation_time(&self) -> Option<Timestamp> {
        let raw = self.raw();
        self.has_extra(0x98).then(|| decode_time(raw.i_crtime.get(), raw.i_crtime_extra.get()))
    }

    /// Sets the time of creation, where there is room for it.
    pub fn set_creation_time(&mut self, time: Timestamp) {
        if self.has_extra(0x98) {
            let (low, high) = encode_time(time);
            let raw = self.raw_mut();
            raw.i_crtime.set(low);
            raw.i_crtime_extra.set(high);
        }
    }

    /// Puts the checksum right; `seed` is the inode's.
    pub fn seal(&mut self, seed: u32) {
        let checksum = self.checksum(seed);
        let has_high = self.has_extra(I_CHECKSUM_HI_OFFSET + 2);
        let raw = self.raw_mut();
        raw.l_i_checksum_lo.set(checksum as u16);
        if has_high {
            raw.i_checksum_hi.set((checksum >> 16) as u16);
        }
    }

    fn stored_checksum(&self) -> u32 {
        let raw = self.raw();
        let high = if self.has_extra(I_CHECKSUM_HI_OFFSET + 2) { raw.i_checksum_hi.get() as u32 } else { 0 };
        raw.l_i_checksum_lo.get() as u32 | high << 16
    }

    /// crc32c over the inode with its checksum fields taken as zero; 16 bits where only they fit.
    fn checksum(&self, seed: u32) -> u32 {
        let bytes = self.disk_bytes();
        let crc = crc32c(seed, &bytes[..I_CHECKSUM_LO_OFFSET]);
        let crc = crc32c(crc, &[0; 2]);
        let crc = crc32c(crc, &bytes[I_CHECKSUM_LO_OFFSET + 2..GOOD_OLD_INODE_SIZE]);
        if self.size == GOOD_OLD_INODE_SIZE {
            return crc & 0xffff;
        }
        let rest = &bytes[GOOD_OLD_INODE_SIZE..];
        if !self.has_extra(I_CHECKSUM_HI_OFFSET + 2) {
            return crc32c(crc, rest) & 0xffff;
        }
        let crc = crc32c(crc, &rest[..2]);
        let crc = crc32c(crc, &[0; 2]);
        crc32c(crc, &rest[4..])
    }
}

/// The inode's seed, given that of file system and number (`number_seed`).
fn seed_of(body: &InodeBody, _geometry: &Geometry, number_seed: u32) -> u32 {
    crc32c(number_seed, &body.raw().i_generation.get().to_le_bytes())
}

fn decode_time(low: u32, extra: u32) -> Timestamp {
    Timestamp { seconds: low as i32 as i64 + (((extra & 3) as i64) << 32), nanoseconds: (extra >> 2).min(999_999_999) }
}

fn encode_time(time: Timestamp) -> (u32, u32) {
    let seconds = time.seconds.clamp(i32::MIN as i64, i32::MAX as i64 + (3 << 32));
    let epoch = ((seconds - (seconds as i32 as i64)) >> 32) as u32 & 3;
    (seconds as u32, epoch | time.nanoseconds << 2)
}

fn clamp_time(time: Timestamp) -> u32 {
    time.seconds.clamp(i32::MIN as i64, i32::MAX as i64) as i32 as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_from_1901_to_2446() {
        for seconds in [i32::MIN as i64, -1, 0, i32::MAX as i64, 1 << 31, 1 << 32, (1 << 33) + 5, 0x3_7fff_ffff] {
            let time = Timestamp { seconds, nanoseconds: 999_999_999 };
            let (low, extra) = encode_time(time);
            assert_eq!(decode_time(low, extra), time);
        }
    }
}
