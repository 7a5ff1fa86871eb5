//! Contents of regular files: where blocks are, allocation for writes, completion, truncation, and the
//! conversion from inline contents to a block.
//!
//! Blocks are allocated unwritten before data goes into the page cache, and become written, with the
//! size on the disk, when the data has reached the disk. Splits which that may need are promised at
//! allocation time ([`promise_for`]).
//!
//! A conversion is *allocate first*: the block is allocated and holds the contents on the disk before
//! anything of the inode changes, so that "no space" and I/O errors change nothing.

use alloc::vec;
use alloc::vec::Vec;

use platform::block::SECTOR_SIZE;

use crate::allocation::blocks::{BlockRun, Purpose};
use crate::error::{Error, Result};
use crate::extent::tree::{BLOCKS_END, Found, Tally, empty_root};
use crate::extent::{Extent, ExtentState, node};
use crate::format::inode::{I_BLOCK_SIZE, InodeFlags};
use crate::inode::body::{FileType, InodeBody, TimeField, Timestamp};
use crate::inode::{BlockMap, Ext4Inode, Layout, indirect, inline};
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

/// Where a write of a file goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Blocks, allocated for all of it.
    Blocks,
    /// The inode.
    Inline,
}

/// Whether an inline write took place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InlineOutcome {
    /// It did.
    Stored,
    /// The layout is another than the one decided on: nothing changed.
    LayoutChanged,
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
    fn block_size(&self) -> u64 {
        self.volume.geometry.block_size() as u64
    }

    /// What the blocks from `first` on are, and how many (at most `max`) are the same.
    pub fn map_run(&self, first: u64, max: u64) -> Result<(RunState, u64)> {
        let map = self.map_read();
        self.map_run_locked(&map, first, max)
    }

    fn map_run_locked(&self, map: &BlockMap, first: u64, max: u64) -> Result<(RunState, u64)> {
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

    /// The whole contents of an inline inode; [`Error::Stale`] if it is inline no more.
    pub fn read_inline(&self) -> Result<Vec<u8>> {
        let _xattr = self.xattr_read();
        if self.map_read().layout != Layout::Inline {
            return Err(Error::Stale);
        }
        self.with_body(inline::contents)
    }

    /// Sectors in use, for stat.
    pub fn sectors(&self) -> u64 {
        self.with_body(|body| body.sectors(&self.volume.geometry))
    }

    /// Size on the disk.
    pub fn disk_size(&self) -> u64 {
        self.with_body(|body| body.file_size())
    }

    // --- writing -----------------------------------------------------------------------------

    /// Decides where a write of [pos, pos + len) to a file of `size` bytes goes, and makes everything
    /// ready for it. The answer comes with the layout count that it was made at.
    pub fn prepare_write(&self, size: u64, pos: u64, len: u64) -> Result<(Destination, u64)> {
        self.volume.check_writable()?;
        let end = pos.checked_add(len).ok_or(Error::FileTooBig)?;
        if end > BLOCKS_END * self.block_size() {
            return Err(Error::FileTooBig);
        }
        let is_inline = {
            let _xattr = self.xattr_read();
            let map = self.map_read();
            let fits = |body: &InodeBody| inline::capacity(body).map(|room| size.max(end) <= room as u64);
            let stays = match &map.layout {
                Layout::Inline => self.with_body(fits)?,
                Layout::Extents(root) => {
                    self.may_be_inline() && !map.never_inline && node::count(root) == 0 && self.with_body(fits)?
                }
                _ => false,
            };
            if stays {
                return Ok((Destination::Inline, self.layout_changes.load()));
            }
            map.layout == Layout::Inline
        };
        if is_inline {
            self.convert_inline()?;
        }
        self.allocate(pos, len)?;
        Ok((Destination::Blocks, self.layout_changes.load()))
    }

    /// Stores `bytes` at `pos` in the inode; the file is `new_size` long afterwards.
    pub fn write_inline(&self, pos: u64, bytes: &[u8], new_size: u64, layout: u64) -> Result<InlineOutcome> {
        let _xattr = self.xattr_write();
        let mut map = self.map_write();
        if self.layout_changes.load() != layout {
            return Ok(InlineOutcome::LayoutChanged);
        }
        let was_empty = match &map.layout {
            Layout::Inline => false,
            Layout::Extents(root) if node::count(root) == 0 && !map.never_inline => true,
            _ => return Ok(InlineOutcome::LayoutChanged),
        };
        self.update_body(|body| {
            if new_size > inline::capacity(body)? as u64 {
                return Err(Error::Invalid);
            }
            if was_empty {
                body.raw_mut().i_block.fill(0);
                let mut flags = body.flags();
                flags.remove(InodeFlags::EXTENTS);
                flags.insert(InodeFlags::INLINE_DATA);
                body.set_flags(flags);
            }
            inline::resize(body, (new_size as usize).max(I_BLOCK_SIZE))?;
            inline::write(body, pos as usize, bytes)?;
            body.set_file_size(new_size);
            Ok(())
        })?;
        if was_empty {
            map.layout = Layout::Inline;
            self.layout_changes.fetch_add(1);
        }
        Ok(InlineOutcome::Stored)
    }

    /// A shared mapping may store into the file from now on: it never is inline again.
    pub fn forbid_inline(&self) -> Result<()> {
        {
            let map = self.map_read();
            if map.never_inline && map.layout != Layout::Inline {
                return Ok(());
            }
        }
        self.map_write().never_inline = true;
        self.convert_inline()
    }

    /// Moves inline contents to a block, if there are any.
    pub fn convert_inline(&self) -> Result<()> {
        let _xattr = self.xattr_write();
        let mut map = self.map_write();
        if map.layout != Layout::Inline {
            return Ok(());
        }
        self.volume.check_writable()?;
        let contents = self.with_body(inline::contents)?;
        let mut root = empty_root();
        if !contents.is_empty() {
            let goal = self.volume.inode_group_start(self.number);
            let run = self.volume.allocate_blocks(goal, 1, Purpose::Ordinary)?;
            if let Err(error) = self.write_first_block(run.start, &contents) {
                self.volume.free_blocks_of_file(run.start, 1)?;
                return Err(error);
            }
            let extent = Extent { logical: 0, length: 1, physical: run.start, state: ExtentState::Written };
            node::insert_extent(&mut root, 0, extent);
        }
        // Nothing can fail from here on but a disk that lies about `system.data`, which was just read.
        self.update_body(|body| {
            inline::remove(body)?;
            become_extents(body, &root);
            let sectors = if contents.is_empty() { 0 } else { self.block_size() / SECTOR_SIZE };
            let others = body.sectors(&self.volume.geometry);
            body.set_sectors(&self.volume.geometry, others + sectors);
            Ok(())
        })?;
        map.layout = Layout::Extents(root);
        self.layout_changes.fetch_add(1);
        Ok(())
    }

    fn write_first_block(&self, block: u64, contents: &[u8]) -> Result<()> {
        let mut bytes = vec![0; self.block_size() as usize];
        bytes[..contents.len()].copy_from_slice(contents);
        self.volume.buffers.write_through(block, &mut bytes).map_err(|_| Error::Io)
    }

    /// Makes sure that every block of [pos, pos + len) is there; new ones are unwritten.
    pub fn allocate(&self, pos: u64, len: u64) -> Result<()> {
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
        let outcome = self.fill_holes(&mut map, &mut root, first, end, &mut added, &mut tally);
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
        first: u64,
        end: u64,
        added: &mut Vec<Extent>,
        tally: &mut Tally,
    ) -> Result<()> {
        let mut at = first;
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
            let run = self.volume.allocate_blocks(goal, wanted, Purpose::Ordinary);
            let got = run.map_or(0, |run| run.count);
            self.set_unwritten(map, map.unwritten - (wanted - got) as u64);
            let run = run?;
            let extent =
                Extent { logical: at as u32, length: run.count, physical: run.start, state: ExtentState::Unwritten };
            if let Err(error) = self.tree().insert(root, extent, Purpose::Ordinary, tally) {
                self.volume.free_blocks_of_file(run.start, run.count as u64)?;
                self.set_unwritten(map, map.unwritten - run.count as u64);
                return Err(error);
            }
            added.push(extent);
            at += run.count as u64;
        }
        Ok(())
    }

    /// Where block `block` of the file should be: behind the one before it.
    fn goal_for(&self, root: &[u8; I_BLOCK_SIZE], block: u64) -> Result<u64> {
        if let Some(before) = block.checked_sub(1)
            && let Found::Extent(extent) = self.tree().find(root, before as u32)?
        {
            return Ok(extent.physical + extent.length as u64);
        }
        Ok(self.volume.inode_group_start(self.number))
    }

    fn set_unwritten(&self, map: &mut BlockMap, unwritten: u64) {
        let promise = promise_for(&self.volume.geometry, unwritten);
        if promise > map.promised {
            self.volume.promised_blocks.fetch_add(promise - map.promised);
        } else {
            self.volume.promised_blocks.fetch_sub(map.promised - promise);
        }
        map.unwritten = unwritten;
        map.promised = promise;
    }

    /// Makes `root` the map, on the disk too, with blocks added to and taken from the count in use.
    fn store_map(
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

    fn free_runs(&self, runs: &[BlockRun]) -> Result<()> {
        for run in runs {
            if self.kind != FileType::Regular {
                // Blocks of directories and links are metadata in memory.
                (run.start..run.start + run.count as u64).for_each(|block| self.volume.buffers.forget(block));
            }
            self.volume.free_blocks_of_file(run.start, run.count as u64)?;
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

    // --- truncation --------------------------------------------------------------------------

    /// Makes the file `size` bytes long: cuts blocks or inline bytes, or adds a hole.
    pub fn set_length(&self, size: u64, now: Timestamp) -> Result<()> {
        self.volume.check_writable()?;
        if size > BLOCKS_END * self.block_size() {
            return Err(Error::FileTooBig);
        }
        if self.set_inline_length(size, now)? {
            return Ok(());
        }
        self.cut_blocks(size)?;
        self.update_body(|body| {
            body.set_file_size(size);
            body.set_time(TimeField::Modify, now);
            body.set_time(TimeField::Change, now);
            Ok(())
        })
    }

    /// Cuts or extends inline contents; `false` if they are not inline, or are no more.
    fn set_inline_length(&self, size: u64, now: Timestamp) -> Result<bool> {
        {
            let _xattr = self.xattr_write();
            let map = self.map_write();
            if map.layout != Layout::Inline {
                return Ok(false);
            }
            let room = self.with_body(inline::capacity)?;
            if size <= room as u64 {
                self.update_body(|body| {
                    inline::zero_tail(body, size as usize)?;
                    inline::resize(body, (size as usize).max(I_BLOCK_SIZE))?;
                    body.set_file_size(size);
                    body.set_time(TimeField::Modify, now);
                    body.set_time(TimeField::Change, now);
                    Ok(())
                })?;
                return Ok(true);
            }
        }
        self.convert_inline()?;
        Ok(false)
    }

    /// Frees all blocks past the first `size` bytes.
    pub(crate) fn cut_blocks(&self, size: u64) -> Result<()> {
        let from = size.div_ceil(self.block_size());
        let mut map = self.map_write();
        let mut tally = Tally::default();
        let mut freed = Vec::new();
        let (root, outcome) = match &map.layout {
            Layout::None | Layout::Inline => return Ok(()),
            Layout::Extents(root) => {
                let mut root = *root;
                let outcome = self.tree().remove(&mut root, from, BLOCKS_END, &mut freed, &mut tally);
                (root, outcome)
            }
            Layout::Indirect(root) if from == 0 => {
                let mut root = *root;
                let outcome = indirect::remove_all(&self.volume, &mut root, &mut freed);
                tally.freed = freed.len() as u64;
                (root, outcome)
            }
            Layout::Indirect(_) if size >= self.disk_size() => return Ok(()),
            Layout::Indirect(_) => return Err(Error::Unsupported("cutting a file without extents")),
        };
        let unwritten = map.unwritten.saturating_sub(tally.unwritten_gone);
        self.set_unwritten(&mut map, unwritten);
        if freed.is_empty() && outcome.is_ok() {
            return Ok(());
        }
        self.store_map(&mut map, root, tally.nodes_allocated, tally.freed, None)?;
        drop(map);
        self.free_runs(&freed)?;
        outcome
    }

    // --- directories and links -----------------------------------------------------------------

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

    /// Replaces inline contents, or nothing, by one block of the disk that is filled already. The
    /// caller holds the xattr lock.
    pub(crate) fn adopt_first_block(&self, block: u64, size: u64) -> Result<()> {
        let mut map = self.map_write();
        let mut root = empty_root();
        let extent = Extent { logical: 0, length: 1, physical: block, state: ExtentState::Written };
        node::insert_extent(&mut root, 0, extent);
        let was_inline = map.layout == Layout::Inline;
        self.update_body(|body| {
            if was_inline {
                inline::remove(body)?;
            }
            become_extents(body, &root);
            let sectors = body.sectors(&self.volume.geometry) + self.block_size() / SECTOR_SIZE;
            body.set_sectors(&self.volume.geometry, sectors);
            body.set_file_size(size);
            Ok(())
        })?;
        map.layout = Layout::Extents(root);
        self.layout_changes.fetch_add(1);
        Ok(())
    }

    /// Gives back what was held back for unwritten blocks.
    pub(crate) fn drop_promise(&self) {
        let mut map = self.map_write();
        self.set_unwritten(&mut map, 0);
    }
}

fn become_extents(body: &mut InodeBody, root: &[u8; I_BLOCK_SIZE]) {
    body.raw_mut().i_block = *root;
    let mut flags = body.flags();
    flags.remove(InodeFlags::INLINE_DATA);
    flags.insert(InodeFlags::EXTENTS);
    body.set_flags(flags);
}
