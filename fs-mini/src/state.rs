//! The file system in memory. Owns: the tables, names, blocks of files, what is free. Does not own: the log of the
//! tables (`vfs_server::atomic_region`), what must not be in them (`check`).

use crate::format::{MAGIC, ROOT, RawBlock, RawGeometry, RawInode};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use platform::block::{self, BlockDevice, SECTOR_SIZE};
use vfs_server::atomic_region::AtomicRegion;
use vfs_server::error::{Error, Result};
use vfs_server::fs::{Attributes, Credentials, FileKind};
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

pub(crate) struct State {
    pub(crate) device: Arc<dyn BlockDevice>,
    /// The tables as they were committed last.
    region: AtomicRegion,
    pub(crate) geometry: RawGeometry,
    pub(crate) blocks: Vec<RawBlock>,
    pub(crate) inodes: Vec<RawInode>,
    /// The block table the other way round: from an inode and the number of its block to the block of the disk.
    pub(crate) map: BTreeMap<(u32, u32), u32>,
    /// Freed since the last commit: nobody's before the next one.
    pub(crate) freed: BTreeSet<u32>,
}

impl RawGeometry {
    fn table_bytes(&self) -> usize {
        let (blocks, inodes) = (self.blocks.get() as usize, self.inodes.get() as usize);
        size_of::<Self>() + blocks * size_of::<RawBlock>() + inodes * size_of::<RawInode>()
    }

    pub(crate) fn first_data_block(&self) -> u64 {
        (AtomicRegion::sectors(self.table_bytes() as u64) * SECTOR_SIZE).div_ceil(self.block_size.get().into())
    }

    fn is_sane(&self, sectors: u64) -> bool {
        let (block_size, blocks) = (u64::from(self.block_size.get()), u64::from(self.blocks.get()));
        [512, 1024, 2048, 4096].contains(&block_size)
            && (self.first_data_block()..=sectors * SECTOR_SIZE / block_size).contains(&blocks)
            && self.inodes.get() > ROOT
    }
}

impl RawInode {
    pub(crate) fn new(kind: FileKind, attributes: &Attributes) -> Self {
        Self { kind: kind.to_raw(), attributes: attributes.into(), ..Self::new_zeroed() }
    }

    pub(crate) fn kind(&self) -> Option<FileKind> {
        FileKind::from_raw(self.kind)
    }

    pub(crate) fn name(&self) -> &[u8] {
        &self.name[..self.name_length.into()]
    }

    /// Puts it into a directory, in place of where it was; no other inode there has the name. An empty one: nowhere.
    pub(crate) fn set_name(&mut self, directory: u32, name: &[u8]) -> Result<()> {
        self.name_length = u8::try_from(name.len()).map_err(|_| Error::NameTooLong)?;
        self.name = [0; 256];
        self.name[..name.len()].copy_from_slice(name);
        self.parent.set(directory);
        self.attributes.nlink.set(u32::from(!name.is_empty()));
        Ok(())
    }
}

/// Makes an empty file system on `device`, with an inode for every four blocks.
pub fn mkfs(device: Arc<dyn BlockDevice>, block_size: u32) -> Result<()> {
    let blocks = u32::try_from(device.sectors() * SECTOR_SIZE / u64::from(block_size.max(1))).unwrap_or(u32::MAX);
    let [block_size, blocks, inodes] = [block_size, blocks, blocks / 4].map(U32::new);
    let geometry = RawGeometry { block_size, blocks, inodes };
    if !geometry.is_sane(device.sectors()) {
        return Err(Error::Unsupported(alloc::format!("{blocks} blocks of {block_size} bytes")));
    }
    let mut tables = geometry.as_bytes().to_vec();
    tables.resize(geometry.table_bytes(), 0);
    AtomicRegion::create(&*device, MAGIC, tables)?;
    let mut state = State::read(device)?;
    let root = RawInode::new(FileKind::Directory, &Attributes::new(0o755, &Credentials::of_root()));
    state.inodes[ROOT as usize] = RawInode { parent: U32::new(ROOT), ..root };
    state.commit()
}

impl State {
    /// The tables of `device`, which nobody has looked at yet.
    pub(crate) fn read(device: Arc<dyn BlockDevice>) -> Result<Self> {
        let region = AtomicRegion::open(device.clone(), MAGIC)?;
        let bad = || Error::Corrupt("the tables do not fit the disk".into());
        let (geometry, rest) = RawGeometry::read_from_prefix(region.contents()).map_err(|_| bad())?;
        if !geometry.is_sane(device.sectors()) {
            return Err(bad());
        }
        let counts = [geometry.blocks, geometry.inodes].map(|count| count.get() as usize);
        let (blocks, rest) = <[RawBlock]>::ref_from_prefix_with_elems(rest, counts[0]).map_err(|_| bad())?;
        let (inodes, _) = <[RawInode]>::ref_from_prefix_with_elems(rest, counts[1]).map_err(|_| bad())?;
        let (blocks, inodes) = (blocks.to_vec(), inodes.to_vec());
        Ok(Self { device, region, geometry, blocks, inodes, map: BTreeMap::new(), freed: BTreeSet::new() })
    }

    /// Makes everything durable: the data that was written before, and then the tables as they are.
    pub(crate) fn commit(&mut self) -> Result<()> {
        self.region.commit([self.geometry.as_bytes(), self.blocks.as_bytes(), self.inodes.as_bytes()].concat())?;
        self.freed.clear();
        Ok(())
    }

    /// The numbers of free inodes.
    pub(crate) fn free_inodes(&self) -> impl Iterator<Item = u32> {
        (0..).zip(&self.inodes).skip(ROOT as usize).filter(|(_, inode)| inode.kind == 0).map(|(ino, _)| ino)
    }

    /// Frees an inode that has no name.
    pub(crate) fn free_inode(&mut self, ino: u32) {
        self.cut(ino, 0);
        self.inodes[ino as usize] = RawInode::new_zeroed();
    }

    /// What is in a directory.
    pub(crate) fn names(&self, directory: u32) -> impl Iterator<Item = (u32, &RawInode)> {
        (0..).zip(&self.inodes).filter(move |(_, inode)| inode.parent == directory && inode.name_length > 0)
    }

    pub(crate) fn block_size(&self) -> u64 {
        self.geometry.block_size.get().into()
    }

    /// The first sector of a block.
    pub(crate) fn sector(&self, block: u32) -> u64 {
        u64::from(block) * self.block_size() / SECTOR_SIZE
    }

    /// What all blocks of an inode come to.
    pub(crate) fn sectors(&self, ino: u32) -> u64 {
        self.map.range((ino, 0)..=(ino, u32::MAX)).count() as u64 * self.sector(1)
    }

    /// The block of the disk that is an inode's `first` one, or none, and how many of `most` are like it: behind one
    /// another on the disk, or not there.
    pub(crate) fn run(&self, ino: u32, first: u32, most: u32) -> (Option<u32>, u32) {
        let mut blocks = self.map.range((ino, first)..=(ino, u32::MAX)).map(|(&(_, number), &block)| (number, block));
        match blocks.next() {
            Some((number, block)) if number == first => {
                let is_next = |more: &u32| blocks.next() == Some((first + more, block + more));
                (Some(block), 1 + (1..most).take_while(is_next).count() as u32)
            }
            next => (None, next.map_or(most, |(number, _)| most.min(number - first))),
        }
    }

    /// The free blocks of the disk, those behind `near` first.
    pub(crate) fn free_blocks(&self, near: u32) -> impl Iterator<Item = u32> {
        let (first, end) = (self.geometry.first_data_block() as u32, self.geometry.blocks.get());
        let is_free = |block: &u32| self.blocks[*block as usize].ino == 0 && !self.freed.contains(block);
        (near.max(first)..end).chain(first..near.max(first)).filter(is_free)
    }

    /// Sees to it that an inode has the blocks [first, end): all of them or `NoSpace`. New ones have zeros.
    /// How many are new.
    pub(crate) fn fill_holes(&mut self, ino: u32, first: u32, end: u32) -> Result<u64> {
        let holes: Vec<u32> = (first..end).filter(|number| !self.map.contains_key(&(ino, *number))).collect();
        let near = first.checked_sub(1).and_then(|before| self.map.get(&(ino, before)).copied()).unwrap_or(0);
        let mut blocks: Vec<u32> = self.free_blocks(near).take(holes.len()).collect();
        if blocks.len() < holes.len() && !self.freed.is_empty() {
            self.commit()?;
            blocks = self.free_blocks(near).take(holes.len()).collect();
        }
        if blocks.len() < holes.len() {
            return Err(Error::NoSpace);
        }
        let zeros = vec![0; self.block_size() as usize];
        blocks.iter().try_for_each(|&block| block::write(&*self.device, self.sector(block), &zeros))?;
        for (&number, block) in holes.iter().zip(blocks) {
            self.map.insert((ino, number), block);
            self.blocks[block as usize] = RawBlock { ino: U32::new(ino), number: U32::new(number) };
        }
        Ok(holes.len() as u64)
    }

    /// Frees the blocks of an inode from `keep` on.
    pub(crate) fn cut(&mut self, ino: u32, keep: u32) {
        for (_, block) in self.map.extract_if((ino, keep)..=(ino, u32::MAX), |_, _| true) {
            self.blocks[block as usize] = RawBlock::default();
            self.freed.insert(block);
        }
    }
}
