//! Where an inode's blocks are, and what is kept with its map: blocks in use, and what unwritten ones
//! may still need.
//!
//! Does not own: the tree itself (`extent`), nor why blocks come and go (`write`, `convert`,
//! `truncate`).

use platform::block::SECTOR_SIZE;

use crate::allocation::blocks::{BlockRun, Purpose};
use crate::error::{Error, Result};
use crate::extent::tree::{BLOCKS_END, Found, Tally};
use crate::extent::{Extent, ExtentState, node};
use crate::format::inode::I_BLOCK_SIZE;
use crate::inode::body::FileType;
use crate::inode::{BlockMap, Ext4Inode, Layout, indirect};
use crate::superblock::Geometry;

/// What a run of blocks of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// No block: zeros.
    Hole,
    /// A block that reads as zeros.
    Unwritten(u64),
    /// A block with data.
    Written(u64),
    /// The contents are in the inode.
    Inline,
}

/// Free blocks to hold back for splits while `unwritten` blocks of a file wait for conversion: in the
/// worst case every block becomes an extent, in half-full leaves under half-full index nodes, and the
/// tree grows by a level. A single block cannot be split.
fn promise_for(geometry: &Geometry, unwritten: u64) -> u64 {
    if unwritten <= 1 {
        return 0;
    }
    let half = node::capacity(geometry.block_size() - 4) as u64 / 2;
    let leaves = unwritten.div_ceil(half);
    leaves + leaves.div_ceil(half) + 2
}

impl Ext4Inode {
    pub(crate) fn block_size(&self) -> u64 {
        self.volume.geometry.block_size() as u64
    }

    /// What the blocks from `first` on are, and how many (at most `max`) are the same.
    pub fn map_run(&self, first: u64, max: u64) -> Result<(RunState, u64)> {
        let map = self.map_read();
        self.map_run_locked(&map, first, max)
    }

    pub(super) fn map_run_locked(&self, map: &BlockMap, first: u64, max: u64) -> Result<(RunState, u64)> {
        if first >= BLOCKS_END {
            return Ok((RunState::Hole, max));
        }
        let found = match &map.layout {
            Layout::None => return Ok((RunState::Hole, max)),
            Layout::Inline => return Ok((RunState::Inline, max)),
            Layout::Extents(root) => self.tree().find(root, first as u32)?,
            Layout::Indirect(root) => indirect::find(&self.volume, root, first as u32, max)?,
        };
        Ok(match found {
            Found::Hole { end } if end >= BLOCKS_END => (RunState::Hole, max),
            Found::Hole { end } => (RunState::Hole, (end - first).min(max)),
            Found::Extent(extent) => {
                let start = extent.physical + (first - extent.logical as u64);
                let state = match extent.state {
                    ExtentState::Written => RunState::Written(start),
                    ExtentState::Unwritten => RunState::Unwritten(start),
                };
                (state, (extent.end() - first).min(max))
            }
        })
    }

    /// The block of the disk that block `block` of a directory or link is on, if it has data.
    pub(crate) fn data_block(&self, block: u32) -> Result<Option<u64>> {
        Ok(match self.map_run(block as u64, 1)?.0 {
            RunState::Written(start) => Some(start),
            _ => None,
        })
    }

    /// Sectors in use, for stat.
    pub fn sectors(&self) -> u64 {
        self.with_body(|body| body.sectors(&self.volume.geometry))
    }

    /// Size on the disk.
    pub fn disk_size(&self) -> u64 {
        self.with_body(|body| body.file_size())
    }

    /// Where block `block` of the file should be: behind the one before it.
    pub(super) fn goal_for(&self, root: &[u8; I_BLOCK_SIZE], block: u64) -> Result<u64> {
        if let Some(before) = block.checked_sub(1)
            && let Found::Extent(extent) = self.tree().find(root, before as u32)?
        {
            return Ok(extent.physical + extent.length as u64);
        }
        Ok(self.volume.inode_group_start(self.number))
    }

    pub(super) fn set_unwritten(&self, map: &mut BlockMap, unwritten: u64) {
        let promise = promise_for(&self.volume.geometry, unwritten);
        if promise > map.promised {
            self.volume.promised_blocks.fetch_add(promise - map.promised);
        } else {
            self.volume.promised_blocks.fetch_sub(map.promised - promise);
        }
        map.unwritten = unwritten;
        map.promised = promise;
    }

    /// Holds free blocks back for a write that allocates at its end, instead of those held so far.
    pub(crate) fn set_delayed(&self, map: &mut BlockMap, delayed: u64) -> Result<()> {
        if delayed > map.delayed {
            if self.volume.available_blocks() < delayed - map.delayed {
                return Err(Error::NoSpace);
            }
            self.volume.promised_blocks.fetch_add(delayed - map.delayed);
        } else if delayed < map.delayed {
            self.volume.promised_blocks.fetch_sub(map.delayed - delayed);
        }
        map.delayed = delayed;
        Ok(())
    }

    /// Gives back what was held back.
    pub(crate) fn drop_promise(&self) {
        let mut map = self.map_write();
        self.set_unwritten(&mut map, 0);
        self.volume.promised_blocks.fetch_sub(core::mem::take(&mut map.delayed));
    }

    /// Makes `root` the map, on the disk too, with blocks added to and taken from the count in use.
    pub(crate) fn store_map(
        &self,
        map: &mut BlockMap,
        root: [u8; I_BLOCK_SIZE],
        allocated: u64,
        freed: u64,
        size: Option<u64>,
    ) -> Result<()> {
        let geometry = &self.volume.geometry;
        let sectors_per_block = self.block_size() / SECTOR_SIZE;
        self.update_body(|body| {
            body.raw_mut().i_block = root;
            let sectors = body.sectors(geometry) + allocated * sectors_per_block;
            body.set_sectors(geometry, sectors.saturating_sub(freed * sectors_per_block));
            if let Some(size) = size {
                body.set_file_size(size);
            }
            Ok(())
        })?;
        match &mut map.layout {
            Layout::Extents(current) | Layout::Indirect(current) => *current = root,
            Layout::None | Layout::Inline => {}
        }
        Ok(())
    }

    pub(super) fn free_runs(&self, runs: &[BlockRun]) -> Result<()> {
        for run in runs {
            if self.kind != FileType::Regular {
                // Blocks of directories and links are metadata in memory.
                (run.start..run.start + run.count as u64).for_each(|block| self.volume.buffers.forget(block));
            }
            self.volume.free_blocks_of_file(run.start, run.count as u64)?;
        }
        Ok(())
    }

    /// Adds one written block at the end of a directory or link; its number on the disk. The size grows
    /// to `size`.
    pub(crate) fn append_block(&self, logical: u32, size: u64) -> Result<u64> {
        let mut map = self.map_write();
        let Layout::Extents(root) = &map.layout else {
            return Err(Error::Unsupported("new blocks in a directory without extents"));
        };
        let mut root = *root;
        let mut tally = Tally::default();
        let goal = self.goal_for(&root, logical as u64)?;
        let run = self.volume.allocate_blocks(goal, 1, Purpose::Ordinary)?;
        let extent = Extent { logical, length: 1, physical: run.start, state: ExtentState::Written };
        let outcome = self.tree().insert(&mut root, extent, Purpose::Ordinary, &mut tally);
        let added = outcome.is_ok() as u64;
        self.store_map(&mut map, root, added + tally.nodes_allocated, tally.freed, (added == 1).then_some(size))?;
        if let Err(error) = outcome {
            self.volume.free_blocks_of_file(run.start, 1)?;
            return Err(error);
        }
        Ok(run.start)
    }
}
