//! The metadata in memory. Owns: inodes, names, block maps, free blocks. Does not own: the disk (`disk`).

use crate::disk::CRC;
use crate::format::{DIRECTORY, ROOT, RawExtent, RawInode, RawName, RawSuperblock};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use platform::block::BlockDevice;
use vfs_server::error::{Error, Result};
use vfs_server::fs::MappingState::{self, Hole, Unwritten, Written};
use zerocopy::little_endian::I64;

/// All metadata of a file system.
pub struct State {
    pub(crate) device: Arc<dyn BlockDevice>,
    /// The one that counts on the disk.
    pub(crate) superblock: RawSuperblock,
    pub(crate) inodes: BTreeMap<u32, Node>,
    pub(crate) next_ino: u32,
    /// Bytes of an area that they take, extents not counted.
    pub(crate) bytes: usize,
    /// For each block, whether it is in use, or was before it was freed.
    pub(crate) busy: Vec<bool>,
    /// Freed since the last commit: nobody's until the next one.
    pub(crate) freed: Vec<u32>,
    /// Something is to be committed.
    pub(crate) changed: bool,
    /// A superblock could not be written: nobody knows which one counts.
    pub(crate) broken: bool,
}

/// An inode.
#[derive(Default)]
pub struct Node {
    /// What has a fixed length; the counts in it are set when it is written.
    pub(crate) raw: RawInode,
    /// Blocks of the file -> of the disk. Those without data yet (`Unwritten`) are in memory only.
    pub(crate) blocks: BTreeMap<u32, MappingState>,
    /// Of a directory, by position: that stays while others come and go.
    pub(crate) names: BTreeMap<u64, (Vec<u8>, u32)>,
    pub(crate) target: Vec<u8>,
}

/// The state of the block `more` behind one of state `of` in a run of them.
fn following(of: MappingState, more: u32) -> MappingState {
    match of {
        Written { device_block } => Written { device_block: device_block + u64::from(more) },
        Unwritten { device_block } => Unwritten { device_block: device_block + u64::from(more) },
        other => other,
    }
}

impl Node {
    /// What the blocks from `first` on are, and how many of them.
    pub(crate) fn run(&self, first: u32) -> (MappingState, u32) {
        let Some(&state) = self.blocks.get(&first) else {
            return (Hole, self.blocks.range(first..).next().map_or(u32::MAX, |(&next, _)| next) - first);
        };
        let run = (1..).take_while(|&more| self.blocks.get(&(first + more)) == Some(&following(state, more)));
        (state, 1 + run.count() as u32)
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.raw.kind == DIRECTORY
    }

    /// Adds a name at the first free position that its hash gives it.
    pub(crate) fn insert(&mut self, name: Vec<u8>, ino: u32) -> Option<()> {
        let position = positions(&name).find(|position| !self.names.contains_key(position))?;
        self.names.insert(position, (name, ino));
        Some(())
    }

    /// Bytes of an area that it takes, extents not counted.
    pub(crate) fn bytes(&self) -> usize {
        let names = self.names.values().map(|(name, _)| size_of::<RawName>() + name.len());
        size_of::<RawInode>() + self.target.len() + names.sum::<usize>()
    }
}

/// Where a name may be in its directory: by its hash, so that it is found fast, and so that who reads the
/// directory while names are added comes to an end. Positions 0 and 1 are those of `.` and `..`.
fn positions(name: &[u8]) -> Range<u64> {
    let hash = u64::from(CRC.checksum(name)) + 1;
    hash << 16..(hash + 1) << 16
}

/// The block of the disk in a state.
pub(crate) fn device_block(state: MappingState) -> Option<u32> {
    match state {
        Written { device_block } | Unwritten { device_block } => Some(device_block as u32),
        _ => None,
    }
}

impl State {
    pub(crate) fn node(&self, ino: u32) -> Result<&Node> {
        self.inodes.get(&ino).ok_or(Error::Stale)
    }

    pub(crate) fn node_mut(&mut self, ino: u32) -> Result<&mut Node> {
        self.changed = true;
        self.inodes.get_mut(&ino).ok_or(Error::Stale)
    }

    /// Counts links of an inode up or down; its times are `now`.
    pub(crate) fn link(&mut self, ino: u32, more: i32, now: I64) -> Result<()> {
        let node = self.node_mut(ino)?;
        node.raw.nlink.set(node.raw.nlink.get().saturating_add_signed(more));
        node.raw.ctime = now;
        if node.is_directory() {
            node.raw.mtime = now;
        }
        Ok(())
    }

    /// Whether a directory leads to the root by its parents.
    pub(crate) fn is_below_root(&self, directory: u32) -> bool {
        let parent = |ino: &u32| self.inodes.get(ino).map(|node| node.raw.parent.get());
        core::iter::successors(Some(directory), parent).take(self.inodes.len() + 1).any(|ino| ino == ROOT)
    }

    // --- names ---------------------------------------------------------------------------------------

    /// Where a directory has a name, and which inode it is.
    pub(crate) fn find(&self, directory: u32, name: &[u8]) -> Result<Option<(u64, u32)>> {
        let mut same_hash = self.node(directory)?.names.range(positions(name));
        Ok(same_hash.find_map(|(&position, (at, ino))| (at == name).then_some((position, *ino))))
    }

    /// Adds a name that is not there, if the area has room for it and `more` bytes.
    pub(crate) fn insert(&mut self, directory: u32, name: &[u8], ino: u32, more: usize) -> Result<()> {
        let bytes = size_of::<RawName>() + name.len() + more;
        if bytes > self.room() {
            return Err(Error::NoSpace);
        }
        self.node_mut(directory)?.insert(name.to_vec(), ino).ok_or(Error::NoSpace)?;
        self.bytes += bytes;
        Ok(())
    }

    pub(crate) fn remove(&mut self, directory: u32, name: &[u8]) -> Result<()> {
        let (position, _) = self.find(directory, name)?.ok_or(Error::NotFound)?;
        self.node_mut(directory)?.names.remove(&position);
        self.bytes -= size_of::<RawName>() + name.len();
        Ok(())
    }

    /// Bytes of an area that are free. Each block may come to be an extent of its own: that is set aside.
    pub(crate) fn room(&self) -> usize {
        self.superblock.area_len().saturating_sub(self.busy.len() * size_of::<RawExtent>() + self.bytes)
    }

    pub(crate) fn max_file_size(&self) -> u64 {
        u64::from(u32::MAX) * u64::from(self.superblock.block_size.get())
    }

    // --- blocks --------------------------------------------------------------------------------------

    /// Sees to it that [first, end) of a file has no holes: all of it or `NoSpace`.
    pub(crate) fn fill_holes(&mut self, ino: u32, first: u32, end: u32) -> Result<()> {
        let blocks = &self.node(ino)?.blocks;
        let holes: Vec<u32> = (first..end).filter(|block| !blocks.contains_key(block)).collect();
        // Behind the block before; the first blocks of files are far from each other.
        let before = first.checked_sub(1).and_then(|before| device_block(*blocks.get(&before)?));
        let mut near = before.map_or(ino.wrapping_mul(0x9e37_79b1) as usize % self.busy.len(), |block| block as usize);
        if self.free_blocks() < holes.len() && !self.freed.is_empty() {
            self.commit()?;
        }
        if self.free_blocks() < holes.len() {
            return Err(Error::NoSpace);
        }
        for block in holes {
            let (low, high) = self.busy.split_at(near);
            let behind = high.iter().position(|busy| !busy).map(|at| near + at);
            near = behind.or_else(|| low.iter().position(|busy| !busy)).ok_or(Error::NoSpace)?;
            self.busy[near] = true;
            self.node_mut(ino)?.blocks.insert(block, Unwritten { device_block: near as u64 });
        }
        Ok(())
    }

    pub(crate) fn free_blocks(&self) -> usize {
        self.busy.iter().filter(|busy| !**busy).count()
    }

    /// The data of [first, end) is on the disk, and so the file has `size` bytes there at least.
    pub(crate) fn written(&mut self, ino: u32, first: u32, end: u32, size: u64) -> Result<()> {
        let node = self.node_mut(ino)?;
        node.raw.size.set(node.raw.size.get().max(size));
        for state in node.blocks.range_mut(first..end).map(|(_, state)| state) {
            if let Unwritten { device_block } = *state {
                *state = Written { device_block };
            }
        }
        Ok(())
    }

    /// Frees the blocks of a file from `keep` on: at the next commit, if the disk has them as the file's.
    pub(crate) fn cut(&mut self, ino: u32, keep: u32) -> Result<()> {
        for state in self.node_mut(ino)?.blocks.split_off(&keep).into_values() {
            match state {
                Written { device_block } => self.freed.push(device_block as u32),
                Unwritten { device_block } => self.busy[device_block as usize] = false,
                _ => {}
            }
        }
        Ok(())
    }

    /// Frees an inode that has no name.
    pub(crate) fn free_inode(&mut self, ino: u32) -> Result<()> {
        self.cut(ino, 0)?;
        self.bytes -= self.inodes.remove(&ino).map_or(0, |node| node.bytes());
        Ok(())
    }
}
