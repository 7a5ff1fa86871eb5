//! Metadata from the disk and to the disk. Owns: superblocks, areas, commit, recovery, mkfs.

use crate::check::Problem;
use crate::format::*;
use crate::state::{Node, State};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use platform::block::{self, BlockDevice, IoError, SECTOR_SIZE};
use vfs_server::error::{Error, Result};
use vfs_server::fs::MappingState::Written;
use zerocopy::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes};

pub(crate) static CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);

impl RawSuperblock {
    fn checksum(&self) -> U32 {
        U32::new(CRC.checksum(&self.as_bytes()[..size_of::<Self>() - size_of::<U32>()]))
    }

    /// Where area `which` begins, in bytes; area 2 would be the first block of data.
    pub(crate) fn area(&self, which: u64) -> u64 {
        AREAS + which * u64::from(self.area_blocks.get()) * u64::from(self.block_size.get())
    }

    pub(crate) fn area_len(&self) -> usize {
        (self.area(1) - self.area(0)) as usize
    }

    pub(crate) fn first_data_block(&self) -> u32 {
        (self.area(2) / u64::from(self.block_size.get())) as u32
    }

    fn is_sane(&self, sectors: u64) -> bool {
        let (block_size, blocks) = (self.block_size.get(), self.blocks.get());
        block_size.is_power_of_two()
            && (512..=4096).contains(&block_size)
            && u64::from(blocks) * u64::from(block_size) <= sectors * SECTOR_SIZE
            && self.area(2) < u64::from(blocks) * u64::from(block_size)
            && self.length.get() as usize <= self.area_len()
    }
}

impl State {
    fn new(device: Arc<dyn BlockDevice>, superblock: RawSuperblock) -> Self {
        let mut busy = vec![false; superblock.blocks.get() as usize];
        busy[..superblock.first_data_block() as usize].fill(true);
        let next_ino = superblock.next_ino.get();
        let (inodes, freed) = (BTreeMap::new(), Vec::new());
        Self { device, superblock, inodes, busy, freed, next_ino, bytes: 0, changed: false, broken: false }
    }

    /// The metadata on `device`, with everything that is wrong with it.
    pub(crate) fn load(device: Arc<dyn BlockDevice>) -> Result<(Self, Vec<Problem>), Problem> {
        let unreadable = |error: IoError| Problem::Unreadable(error.into());
        let mut newest: Option<RawSuperblock> = None;
        for at in SUPERBLOCKS {
            let mut sector = [0; SECTOR_SIZE as usize];
            block::read(&*device, at / SECTOR_SIZE, &mut sector).map_err(unreadable)?;
            if let Ok((found, _)) = RawSuperblock::read_from_prefix(&sector)
                && (found.magic == MAGIC && found.crc == found.checksum() && found.is_sane(device.sectors()))
                && newest.is_none_or(|other| other.sequence.get() < found.sequence.get())
            {
                newest = Some(found);
            }
        }
        let superblock = newest.ok_or(Problem::NoSuperblock)?;
        let length = superblock.length.get() as usize;
        let mut bytes = vec![0; length.next_multiple_of(SECTOR_SIZE as usize)];
        block::read(&*device, superblock.area(superblock.sequence.get() % 2) / SECTOR_SIZE, &mut bytes)
            .map_err(unreadable)?;
        if CRC.checksum(&bytes[..length]) != superblock.area_crc.get() {
            return Err(Problem::AreaChecksum);
        }
        let mut state = Self::new(device, superblock);
        let (mut rest, mut blocks) = (&bytes[..length], superblock.blocks.get());
        while !rest.is_empty() {
            let node = Node::parse(&mut rest, &mut blocks).ok_or(Problem::Record(length - rest.len()))?;
            state.bytes += node.bytes();
            if let Some(twice) = state.inodes.insert(node.raw.ino.get(), node) {
                return Err(Problem::Twice(twice.raw.ino.get()));
            }
        }
        let problems = state.problems();
        Ok((state, problems))
    }

    /// After a power cut: frees what has no name any more, and zeroes what lies behind the ends of
    /// files (a cut may have been committed before its last block was written).
    pub(crate) fn recover(&mut self) -> Result<()> {
        let orphans: Vec<u32> =
            self.inodes.values().filter(|node| node.raw.nlink == 0).map(|node| node.raw.ino.get()).collect();
        orphans.into_iter().try_for_each(|ino| self.free_inode(ino))?;
        for node in self.inodes.values() {
            if let Some((sector, bytes)) = self.unclean_tail(node)? {
                block::write(&*self.device, sector, &bytes)?;
            }
        }
        self.commit()
    }

    /// The last block of a file, and what it should be, if its bytes behind the end are not zeros.
    pub(crate) fn unclean_tail(&self, node: &Node) -> Result<Option<(u64, Vec<u8>)>> {
        let block_size = u64::from(self.superblock.block_size.get());
        let (last, end) = (node.raw.size.get() / block_size, (node.raw.size.get() % block_size) as usize);
        let (Some(Written { device_block }), true) = (node.blocks.get(&(last as u32)), end > 0) else {
            return Ok(None);
        };
        let mut bytes = vec![0; block_size as usize];
        let sector = device_block * block_size / SECTOR_SIZE;
        block::read(&*self.device, sector, &mut bytes)?;
        let clean = bytes[end..].iter().all(|&byte| byte == 0);
        bytes[end..].fill(0);
        Ok((!clean).then_some((sector, bytes)))
    }

    /// Makes all changes durable, and the data that was written before.
    pub(crate) fn commit(&mut self) -> Result<()> {
        self.write(0)
    }

    /// The last commit: the next mount has nothing to recover.
    pub(crate) fn close(&mut self) -> Result<()> {
        self.changed = true;
        self.write(CLEAN)
    }

    fn write(&mut self, state: u32) -> Result<()> {
        if self.broken {
            return Err(Error::Io(IoError::Device));
        }
        if !self.changed {
            return Ok(block::flush(&*self.device)?);
        }
        let mut bytes = Vec::new();
        self.inodes.values().for_each(|node| node.append_to(&mut bytes));
        let (length, area_crc) = (U32::new(bytes.len() as u32), U32::new(CRC.checksum(&bytes)));
        let sequence = self.superblock.sequence + 1;
        let (next_ino, state) = (U32::new(self.next_ino), U32::new(state));
        let mut next = RawSuperblock { sequence, length, area_crc, next_ino, state, ..self.superblock };
        next.crc = next.checksum();
        let which = sequence.get() % 2;
        bytes.resize(bytes.len().next_multiple_of(SECTOR_SIZE as usize), 0);
        block::write(&*self.device, next.area(which) / SECTOR_SIZE, &bytes)?;
        block::flush(&*self.device)?;
        let mut sector = [0; SECTOR_SIZE as usize];
        sector[..size_of::<RawSuperblock>()].copy_from_slice(next.as_bytes());
        // Until the disk says that it has the new superblock, nobody knows which one counts.
        self.broken = true;
        block::write(&*self.device, SUPERBLOCKS[which as usize] / SECTOR_SIZE, &sector)?;
        block::flush(&*self.device)?;
        self.broken = false;
        self.superblock = next;
        self.changed = false;
        self.freed.drain(..).for_each(|block| self.busy[block as usize] = false);
        Ok(())
    }
}

impl Node {
    /// Takes one record; `None`: there is no whole one, or not so many `blocks` are left.
    fn parse(rest: &mut &[u8], blocks: &mut u32) -> Option<Self> {
        let (raw, after) = RawInode::read_from_prefix(rest).ok()?;
        let (extents, mut after) = <[RawExtent]>::ref_from_prefix_with_elems(after, raw.extents.get() as usize).ok()?;
        let mut node = Self { raw, ..Self::default() };
        for extent in extents {
            let (first, start, count) = (extent.first.get(), u64::from(extent.start.get()), extent.count.get());
            *blocks = blocks.checked_sub(count)?;
            for at in 0..count {
                let state = Written { device_block: start + u64::from(at) };
                node.blocks.insert(first.checked_add(at)?, state).is_none().then_some(())?;
            }
        }
        for _ in 0..raw.names.get() {
            let (name, behind) = RawName::read_from_prefix(after).ok()?;
            let (bytes, behind) = behind.split_at_checked(name.length.get().into())?;
            node.insert(bytes.to_vec(), name.ino.get())?;
            after = behind;
        }
        let (target, after) = after.split_at_checked(raw.target.get() as usize)?;
        node.target = target.to_vec();
        *rest = after;
        Some(node)
    }

    fn append_to(&self, bytes: &mut Vec<u8>) {
        let mut extents = Vec::new();
        let mut at = 0;
        while let Some((&first, _)) = self.blocks.range(at..).next() {
            let (state, count) = self.run(first);
            if let Written { device_block } = state {
                let [first, start, count] = [first, device_block as u32, count].map(U32::new);
                extents.push(RawExtent { first, start, count });
            }
            at = first + count;
        }
        let [count, names, target] = [extents.len(), self.names.len(), self.target.len()].map(|n| U32::new(n as u32));
        bytes.extend(RawInode { extents: count, names, target, ..self.raw }.as_bytes());
        bytes.extend(extents.as_bytes());
        for (name, ino) in self.names.values() {
            bytes.extend(RawName { ino: U32::new(*ino), length: U16::new(name.len() as u16) }.as_bytes());
            bytes.extend(name);
        }
        bytes.extend(&self.target);
    }
}

/// Makes an empty file system of blocks of `block_size` bytes on all of `device`.
pub fn mkfs(device: Arc<dyn BlockDevice>, block_size: u32) -> Result<()> {
    let blocks = (device.sectors() * SECTOR_SIZE / u64::from(block_size.max(512))).min(u32::MAX.into()) as u32;
    // Each block may be an extent, and has 32 bytes of names and inodes besides.
    let area = (u64::from(blocks) * (size_of::<RawExtent>() as u64 + 32)).max(2048);
    let [block_size, blocks, area_blocks, next_ino] =
        [block_size, blocks, area.div_ceil(block_size.max(512).into()) as u32, ROOT + 1].map(U32::new);
    let (zero, sequence) = (U32::ZERO, U64::ZERO);
    let superblock = RawSuperblock {
        magic: MAGIC,
        block_size,
        blocks,
        area_blocks,
        next_ino,
        sequence,
        length: zero,
        area_crc: zero,
        state: zero,
        crc: zero,
    };
    if !superblock.is_sane(device.sectors()) {
        return Err(Error::Unsupported(alloc::format!("{blocks} blocks of {block_size} bytes")));
    }
    let mut state = State::new(device, superblock);
    let now = I64::new(platform::thread::realtime_ns() as i64);
    let (ino, nlink, permissions) = (U32::new(ROOT), U32::new(2), U16::new(0o755));
    let root = RawInode {
        ino,
        kind: DIRECTORY,
        permissions,
        nlink,
        parent: ino,
        atime: now,
        mtime: now,
        ctime: now,
        ..RawInode::default()
    };
    state.inodes.insert(ROOT, Node { raw: root, ..Node::default() });
    state.close()?;
    // The other superblock too: what was on the disk before must not come back.
    state.close()
}
