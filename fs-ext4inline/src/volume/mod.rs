//! The mounted disk: superblock, groups, buffers, and where everything lies.
//!
//! Owns what is one a file system. Allocation works on it from `alloc`, inodes in use are `inode`'s.
//! The superblock and the descriptors on the disk follow at [`Volume::sync`].
//!
//! | | decided by |
//! |---|---|
//! | free block counter | one atomic; blocks are claimed there before a group is searched |
//! | a group's counts and bitmaps | the group's lock |
//! | an inode's bytes in a table block | the buffer's lock (one `modify` an inode) |
//! | superblock | its lock |

use alloc::sync::Arc;
use alloc::vec::Vec;

use platform::block::{self, BlockDevice, SECTOR_SIZE};
use platform::lockdep::{ALLOCATOR, LockClass, ORPHAN};
use platform::sync::{Long, Mutex, Word};
use vfs_server::buffer_cache::{Buffer, BufferCache};
use vfs_server::fs::Access;
use zerocopy::{FromBytes, IntoBytes};

use crate::checksum::crc32c;
use crate::error::{Corrupt, Error, Result};
use crate::format::inode::EXT4_ROOT_INO;
use crate::format::superblock::{RawSuperBlock, SUPERBLOCK_OFFSET, State};
use crate::inode::Ext4Inode;
use crate::inode::body::{FileType, InodeBody};
use crate::superblock::{Geometry, is_clean, superblock_checksum};

pub mod group;
pub mod system_zone;

use group::{Group, GroupPlaces};
use system_zone::SystemZone;

/// The superblock in memory: below the allocator, above buffers.
static SUPERBLOCK: LockClass = LockClass::single("superblock", 62);

/// Blocks the buffer cache keeps, in bytes, before it drops clean ones.
const BUFFER_BYTES: usize = 16 << 20;

/// Most blocks that are held back for what must not fail (splits of extent trees at I/O completion).
const RESERVE_MAX: u64 = 4096;

/// A mounted ext4 file system.
pub struct Volume {
    /// What never changes.
    pub geometry: Geometry,
    /// Whether it may be written.
    pub access: Access,
    /// Metadata blocks.
    pub buffers: BufferCache,
    /// Where groups keep their metadata.
    pub(crate) places: Vec<GroupPlaces>,
    /// What changes in groups, by number.
    pub(crate) groups: Vec<Mutex<Group>>,
    /// Blocks that no file may map.
    pub(crate) system_zone: SystemZone,
    /// Free blocks that nobody has claimed.
    pub(crate) free_blocks: Long,
    /// Blocks of those that inodes hold back for splits to come.
    pub(crate) promised_blocks: Long,
    /// Blocks of those that only splits may use.
    pub(crate) reserve: u64,
    /// Free inodes.
    pub(crate) free_inodes: Long,
    superblock: Mutex<Superblock>,
    /// 1 since the file system has contradicted itself: nothing is written any more.
    broken: Word,
    /// Unlinked inodes in use, the last one first; the chain on the disk.
    pub(crate) orphans: Mutex<Vec<Arc<Ext4Inode>>>,
    /// Feeds `i_generation` of new inodes.
    pub(crate) next_generation: Long,
}

/// The superblock in memory.
struct Superblock {
    raw: RawSuperBlock,
    /// Whether more than the counters, which are kept elsewhere, differs from the disk.
    changed: bool,
}

/// What a block is, for [`BufferCache::get_checked`]: a kind and whose it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BlockKind {
    /// A node of inode `.0`'s extent tree, `.1` levels above the leaves.
    ExtentNode(u32, u16),
    /// A linear directory block or hash tree leaf of an inode.
    Directory(u32),
    /// A hash tree root of an inode.
    HtreeRoot(u32),
    /// A hash tree inner node of an inode.
    HtreeNode(u32),
    /// An attribute block.
    Attributes,
}

impl BlockKind {
    pub(crate) fn tag(self) -> u64 {
        match self {
            Self::ExtentNode(inode, depth) => 1 << 56 | (depth as u64) << 32 | inode as u64,
            Self::Directory(inode) => 2 << 56 | inode as u64,
            Self::HtreeRoot(inode) => 3 << 56 | inode as u64,
            Self::HtreeNode(inode) => 4 << 56 | inode as u64,
            Self::Attributes => 5 << 56,
        }
    }
}

impl Volume {
    /// Reads and checks superblock and descriptors of `device`. Writes nothing yet.
    pub fn open(device: Arc<dyn BlockDevice>, access: Access) -> Result<Self> {
        let device_bytes = device.sectors().saturating_mul(SECTOR_SIZE);
        if device_bytes < SUPERBLOCK_OFFSET + size_of::<RawSuperBlock>() as u64 {
            return Err(Corrupt::SuperMagic.into());
        }
        if access == Access::ReadWrite && device.read_only() {
            return Err(Error::ReadOnly);
        }
        let mut raw = [0; size_of::<RawSuperBlock>()];
        block::read(&*device, SUPERBLOCK_OFFSET / SECTOR_SIZE, &mut raw)?;
        let superblock = RawSuperBlock::read_from_bytes(&raw).map_err(|_| Error::Invalid)?;
        let geometry = Geometry::validate(&superblock, device_bytes, access)?;
        if access == Access::ReadWrite && !is_clean(&superblock) {
            return Err(Error::NotClean);
        }
        let capacity = BUFFER_BYTES >> geometry.block_bits;
        let buffers = BufferCache::new(device, geometry.block_size() as u32, capacity)?;

        let mut places = Vec::with_capacity(geometry.groups as usize);
        let mut groups = Vec::with_capacity(geometry.groups as usize);
        let (mut free_blocks, mut free_inodes) = (0, 0);
        for number in 0..geometry.groups {
            let (block, offset) = descriptor_place(&geometry, number);
            let bytes = buffers.get(block)?;
            let desc_size = geometry.desc_size as usize;
            let (place, group) =
                bytes.read(|bytes| group::parse(&geometry, number, &bytes[offset..offset + desc_size]))?;
            free_blocks += group.free_blocks as u64;
            free_inodes += group.free_inodes as u64;
            places.push(place);
            groups.push(Mutex::new(&ALLOCATOR, group));
        }
        let system_zone = SystemZone::new(&geometry, &places);
        let generation = crc32c(superblock.s_wtime.get(), &superblock.s_uuid);
        Ok(Self {
            reserve: (geometry.blocks_count / 50).min(RESERVE_MAX),
            access,
            buffers,
            places,
            groups,
            system_zone,
            free_blocks: Long::new(&ALLOCATOR, free_blocks),
            promised_blocks: Long::new(&ALLOCATOR, 0),
            free_inodes: Long::new(&ALLOCATOR, free_inodes),
            superblock: Mutex::new(&SUPERBLOCK, Superblock { raw: superblock, changed: false }),
            broken: Word::new(&SUPERBLOCK, 0),
            orphans: Mutex::new(&ORPHAN, Vec::new()),
            next_generation: Long::new(&ALLOCATOR, generation as u64),
            geometry,
        })
    }

    /// Checks that the root directory is one.
    pub fn check_root(&self) -> Result<()> {
        match self.read_body(EXT4_ROOT_INO)?.file_type()? {
            FileType::Directory => Ok(()),
            _ => Err(Corrupt::RootNotDirectory.into()),
        }
    }

    /// Fails unless the file system may be written.
    pub fn check_writable(&self) -> Result<()> {
        if self.is_writable() { Ok(()) } else { Err(Error::ReadOnly) }
    }

    /// Whether it was mounted for writing and is whole.
    pub fn is_writable(&self) -> bool {
        self.access == Access::ReadWrite && self.broken.load() == 0
    }

    /// Something cannot be: reports it, and lets nothing more be written. The disk stays marked as in
    /// use, so that it is checked before it is mounted again.
    #[cold]
    pub(crate) fn bug(&self, what: &'static str) -> Error {
        self.broken.store(1);
        platform::bug(what);
        Error::Bug(what)
    }

    /// Free blocks, those that are held back included.
    pub fn free_block_count(&self) -> u64 {
        self.free_blocks.load()
    }

    /// Free inodes.
    pub fn free_inode_count(&self) -> u64 {
        self.free_inodes.load()
    }

    /// Whether a file may use these blocks: in the file system, and none of its metadata.
    pub fn is_data(&self, start: u64, count: u64) -> bool {
        self.geometry.contains(start, count) && !self.system_zone.overlaps(start, count)
    }

    // --- inodes --------------------------------------------------------------------------------

    /// The group of inode `number`, and its place in the group.
    pub(crate) fn locate_inode(&self, number: u32) -> Result<(u32, u32)> {
        if number == 0 || number > self.geometry.inodes_count {
            return Err(Corrupt::InodeNumber.into());
        }
        let per_group = self.geometry.inodes_per_group.get();
        Ok(((number - 1) / per_group, (number - 1) % per_group))
    }

    /// The seed for everything of inode `number` but its generation.
    fn number_seed(&self, number: u32) -> u32 {
        crc32c(self.geometry.checksum_seed, &number.to_le_bytes())
    }

    /// The checksum seed of an inode.
    pub(crate) fn inode_seed(&self, number: u32, body: &InodeBody) -> u32 {
        crate::checksum::inode_seed(self.geometry.checksum_seed, number, body.raw().i_generation.get())
    }

    /// The first block of the group that inode `number` is in: where its blocks should be near.
    pub(crate) fn inode_group_start(&self, number: u32) -> u64 {
        self.locate_inode(number).map_or(0, |(group, _)| self.geometry.group_start(group))
    }

    /// The table block of inode `number` and its offset there.
    fn inode_place(&self, number: u32) -> Result<(u64, usize)> {
        let (group, index) = self.locate_inode(number)?;
        let per_block = self.geometry.inodes_per_block();
        let block = self.places[group as usize].inode_table + (index / per_block) as u64;
        Ok((block, (index % per_block) as usize * self.geometry.inode_size as usize))
    }

    /// Reads an inode's bytes and checks what they say of themselves.
    pub fn read_body(&self, number: u32) -> Result<InodeBody> {
        let (block, offset) = self.inode_place(number)?;
        let size = self.geometry.inode_size as usize;
        let buffer = self.buffers.get(block)?;
        buffer.read(|bytes| InodeBody::parse(&self.geometry, self.number_seed(number), &bytes[offset..offset + size]))
    }

    /// Puts an inode's bytes into its table block, with a checksum.
    pub(crate) fn write_body(&self, number: u32, seed: u32, body: &mut InodeBody) -> Result<()> {
        if self.geometry.has_checksums() {
            body.seal(seed);
        }
        let (block, offset) = self.inode_place(number)?;
        let buffer = self.buffers.get(block)?;
        buffer.modify(|bytes| bytes[offset..offset + body.disk_bytes().len()].copy_from_slice(body.disk_bytes()));
        Ok(())
    }

    // --- the superblock --------------------------------------------------------------------------

    /// Changes the superblock in memory; [`Volume::sync`] brings it to the disk.
    pub(crate) fn update_superblock<R>(&self, change: impl FnOnce(&mut RawSuperBlock) -> R) -> R {
        let mut superblock = self.superblock.lock();
        superblock.changed = true;
        change(&mut superblock.raw)
    }

    /// Marks the disk as in use, durably, before anything else is written.
    pub fn mark_in_use(&self, now_seconds: i64) -> Result<()> {
        self.update_superblock(|raw| {
            let state = State::from_bits_retain(raw.s_state.get()).difference(State::VALID_FS);
            raw.s_state.set(state.bits());
            raw.s_mtime.set(now_seconds as u32);
            raw.s_mtime_hi = (now_seconds >> 32) as u8;
            raw.s_mnt_count.set(raw.s_mnt_count.get().saturating_add(1));
        });
        self.sync(now_seconds)
    }

    /// Marks the disk as unmounted cleanly, durably, after everything else is on it.
    pub fn mark_clean(&self, now_seconds: i64) -> Result<()> {
        self.sync(now_seconds)?;
        self.update_superblock(|raw| {
            let state = State::from_bits_retain(raw.s_state.get()).union(State::VALID_FS);
            raw.s_state.set(state.bits());
        });
        self.sync(now_seconds)
    }

    /// Brings counts and checksums into the descriptors and the superblock, writes all metadata and
    /// makes it durable.
    pub fn sync(&self, now_seconds: i64) -> Result<()> {
        self.start_sync(now_seconds)?;
        match self.access {
            Access::ReadOnly => Ok(()),
            Access::ReadWrite => Ok(block::flush(&**self.buffers.device())?),
        }
    }

    /// As [`Volume::sync`], without making it durable.
    pub fn start_sync(&self, now_seconds: i64) -> Result<()> {
        if !self.is_writable() {
            return Ok(());
        }
        for number in 0..self.geometry.groups {
            self.store_group(number)?;
        }
        self.store_superblock(now_seconds)?;
        Ok(self.buffers.write_back()?)
    }

    fn store_group(&self, number: u32) -> Result<()> {
        let mut group = self.groups[number as usize].lock_key(number as u64);
        if !group.dirty {
            return Ok(());
        }
        let (block, offset) = descriptor_place(&self.geometry, number);
        let buffer = self.buffers.get(block)?;
        let desc_size = self.geometry.desc_size as usize;
        // Work on a copy: the bitmaps' buffers are locked for their checksums, one at a time.
        let mut bytes = buffer.read(|bytes| bytes[offset..offset + desc_size].to_vec());
        group::store(&self.geometry, number, &group, &mut bytes);
        buffer.modify(|table| table[offset..offset + desc_size].copy_from_slice(&bytes));
        group.dirty = false;
        Ok(())
    }

    fn store_superblock(&self, now_seconds: i64) -> Result<()> {
        let mut guard = self.superblock.lock();
        let Superblock { raw, changed } = &mut *guard;
        let before = (raw.s_free_blocks_count_lo, raw.s_free_blocks_count_hi, raw.s_free_inodes_count);
        let free = self.free_blocks.load();
        raw.s_free_blocks_count_lo.set(free as u32);
        if self.geometry.incompat.contains(crate::format::feature::Incompat::BIT64) {
            raw.s_free_blocks_count_hi.set((free >> 32) as u32);
        }
        raw.s_free_inodes_count.set(self.free_inodes.load() as u32);
        // The time of the last write alone is no reason for another one.
        if !*changed && before == (raw.s_free_blocks_count_lo, raw.s_free_blocks_count_hi, raw.s_free_inodes_count) {
            return Ok(());
        }
        *changed = false;
        raw.s_wtime.set(now_seconds as u32);
        raw.s_wtime_hi = (now_seconds >> 32) as u8;
        if self.geometry.has_checksums() {
            let checksum = superblock_checksum(raw);
            raw.s_checksum.set(checksum);
        }
        let block = SUPERBLOCK_OFFSET >> self.geometry.block_bits;
        let offset = SUPERBLOCK_OFFSET as usize % self.geometry.block_size();
        let buffer = self.buffers.get(block)?;
        buffer.modify(|bytes| bytes[offset..offset + size_of::<RawSuperBlock>()].copy_from_slice(raw.as_bytes()));
        Ok(())
    }

    /// The descriptor of a group as the table has it.
    pub(crate) fn descriptor_bytes(&self, number: u32) -> Result<Vec<u8>> {
        let (block, offset) = descriptor_place(&self.geometry, number);
        let size = self.geometry.desc_size as usize;
        Ok(self.buffers.get(block)?.read(|bytes| bytes[offset..offset + size].to_vec()))
    }

    /// A block that was read before, or is now, with `check` passed for `kind`.
    pub(crate) fn checked_block(
        &self,
        block: u64,
        kind: BlockKind,
        check: impl FnOnce(&[u8]) -> Result<()>,
    ) -> Result<Arc<Buffer>> {
        self.buffers.get_checked(block, kind.tag(), check)
    }
}

/// The block of the table that holds a group's descriptor, and its offset there.
fn descriptor_place(geometry: &Geometry, group: u32) -> (u64, usize) {
    let per_block = (geometry.block_size() / geometry.desc_size as usize) as u32;
    let block = geometry.first_data_block as u64 + 1 + (group / per_block) as u64;
    (block, (group % per_block) as usize * geometry.desc_size as usize)
}
