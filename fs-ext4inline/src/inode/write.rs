//! Writes to a file: blocks for them, and what happens when their data is on the disk.
//!
//! Blocks are allocated unwritten before data goes into the page cache, and become written, with the
//! size on the disk, when the data has reached the disk. The splits which that may need are promised
//! at allocation time (`map`). Whether a write goes to blocks at all is `protocol`'s business.

use alloc::vec::Vec;
use core::ops::Range;

use crate::allocation::blocks::Purpose;
use crate::error::{Error, Result};
use crate::extent::tree::{BLOCKS_END, Found, Tally};
use crate::extent::{Extent, ExtentState};
use crate::format::inode::I_BLOCK_SIZE;
use crate::inode::map::RunState;
use crate::inode::{BlockMap, Ext4Inode, Layout};

impl Ext4Inode {
    /// Makes sure that every block of [pos, pos + len) is there; new ones are unwritten.
    pub fn allocate(&self, pos: u64, len: u64) -> Result<()> {
        self.allocate_for(pos, len, Purpose::Ordinary)
    }

    /// The same with blocks that may be held back for it.
    pub(crate) fn allocate_for(&self, pos: u64, len: u64, purpose: Purpose) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        let bits = self.volume.geometry.block_bits;
        let (first, end) = (pos >> bits, ((pos + len - 1) >> bits) + 1);
        if end > BLOCKS_END {
            return Err(Error::FileTooBig);
        }
        if self.is_allocated(first, end)? {
            return Ok(());
        }
        self.volume.check_writable()?;
        let mut map = self.map_write();
        let Layout::Extents(root) = &map.layout else {
            return Err(match map.layout {
                Layout::Indirect(_) => Error::Unsupported("new blocks in a file without extents"),
                _ => Error::Stale,
            });
        };
        let mut root = *root;
        let mut tally = Tally::default();
        let mut added = Vec::new();
        let outcome = self.fill_holes(&mut map, &mut root, first..end, purpose, &mut added, &mut tally);
        let mut freed = Vec::new();
        if outcome.is_err() {
            // All or nothing: what was added goes again.
            for extent in &added {
                self.tree().remove(&mut root, extent.logical as u64, extent.end(), &mut freed, &mut tally)?;
            }
        }
        let kept = if outcome.is_ok() { added.iter().map(|extent| extent.length as u64).sum() } else { 0 };
        let unwritten = map.unwritten - freed.iter().map(|run| run.count as u64).sum::<u64>();
        self.set_unwritten(&mut map, unwritten);
        // Freed data blocks were counted as allocated too when they were added.
        let nodes_freed = tally.freed - freed.iter().map(|run| run.count as u64).sum::<u64>();
        self.store_map(&mut map, root, kept + tally.nodes_allocated, nodes_freed, None)?;
        self.free_runs(&freed)?;
        outcome
    }

    /// Whether no block of [first, end) is a hole.
    fn is_allocated(&self, first: u64, end: u64) -> Result<bool> {
        let map = self.map_read();
        let mut at = first;
        while at < end {
            match self.map_run_locked(&map, at, end - at)? {
                (RunState::Written(_) | RunState::Unwritten(_), count) => at += count,
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    fn fill_holes(
        &self,
        map: &mut BlockMap,
        root: &mut [u8; I_BLOCK_SIZE],
        blocks: Range<u64>,
        purpose: Purpose,
        added: &mut Vec<Extent>,
        tally: &mut Tally,
    ) -> Result<()> {
        let Range { start: mut at, end } = blocks;
        while at < end {
            let hole_end = match self.tree().find(root, at as u32)? {
                Found::Extent(extent) => {
                    at = extent.end();
                    continue;
                }
                Found::Hole { end: hole } => hole.min(end),
            };
            let wanted = (hole_end - at).min(Extent::max_length(ExtentState::Unwritten) as u64) as u32;
            let goal = self.goal_for(root, at)?;
            // The promise first, so that the blocks themselves cannot eat it up.
            self.set_unwritten(map, map.unwritten + wanted as u64);
            let run = self.volume.allocate_blocks(goal, wanted, purpose);
            let got = run.map_or(0, |run| run.count);
            self.set_unwritten(map, map.unwritten - (wanted - got) as u64);
            let run = run?;
            let extent =
                Extent { logical: at as u32, length: run.count, physical: run.start, state: ExtentState::Unwritten };
            if let Err(error) = self.tree().insert(root, extent, purpose, tally) {
                self.volume.free_blocks_of_file(run.start, run.count as u64)?;
                self.set_unwritten(map, map.unwritten - run.count as u64);
                return Err(error);
            }
            added.push(extent);
            at += run.count as u64;
        }
        Ok(())
    }

    /// The data of `count` blocks from `first` on is on the disk: they are written now, and the size on
    /// the disk is `size` at least.
    pub fn complete_write(&self, first: u64, count: u64, size: u64) -> Result<()> {
        let end = first.saturating_add(count).min(BLOCKS_END);
        if self.is_written(first, end)? {
            return match self.disk_size() < size {
                true => self.update_body(|body| {
                    let size = body.file_size().max(size);
                    body.set_file_size(size);
                    Ok(())
                }),
                false => Ok(()),
            };
        }
        let mut map = self.map_write();
        let Layout::Extents(root) = &map.layout else {
            // Truncated, or inline meanwhile: there is nothing to convert.
            return Ok(());
        };
        let mut root = *root;
        let mut tally = Tally::default();
        let outcome = self.tree().convert(&mut root, first, end, &mut tally);
        let unwritten = map.unwritten.saturating_sub(tally.unwritten_gone);
        self.set_unwritten(&mut map, unwritten);
        let size = outcome.is_ok().then(|| self.disk_size().max(size));
        self.store_map(&mut map, root, tally.nodes_allocated, tally.freed, size)?;
        outcome
    }

    fn is_written(&self, first: u64, end: u64) -> Result<bool> {
        let map = self.map_read();
        let mut at = first;
        while at < end {
            match self.map_run_locked(&map, at, end - at)? {
                (RunState::Unwritten(_), _) => return Ok(false),
                (_, count) => at += count,
            }
        }
        Ok(true)
    }
}
