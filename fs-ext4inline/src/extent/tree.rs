//! An inode's extent tree: look-up, insertion, conversion and removal over nodes in the inode and in
//! blocks.
//!
//! The caller holds the inode's block map lock (`i_data_sem`) and owns the root's 60 bytes; blocks go
//! through the buffer cache. Every step leaves a valid tree: room is made (and blocks for it
//! allocated) before entries change, so that "no space" changes nothing but the shape.
//!
//! Edits of entries happen in one leaf at a time: [`Tree::room_for`] splits until the leaf has room,
//! then the edit cannot fail.

use alloc::sync::Arc;
use alloc::vec::Vec;

use vfs_server::buffer_cache::Buffer;

use crate::allocation::blocks::{BlockRun, Purpose};
use crate::error::{Corrupt, Error, Result};
use crate::extent::node::{self, Extent, ExtentState, Index};
use crate::format::extent::EXT4_MAX_EXTENT_DEPTH;
use crate::format::inode::I_BLOCK_SIZE;
use crate::volume::{BlockKind, Volume};

/// The root node, in `i_block`.
pub type Root = [u8; I_BLOCK_SIZE];

/// One past the last block that a file can have.
pub const BLOCKS_END: u64 = u32::MAX as u64;

/// What a block of a file is on, and how far that goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// No block up to (not including) `end`.
    Hole {
        /// Block of the file where the hole ends.
        end: u64,
    },
    /// In this extent.
    Extent(Extent),
}

/// What a change did to the number of blocks in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Blocks of nodes that were allocated.
    pub nodes_allocated: u64,
    /// Blocks of nodes and of data that were freed.
    pub freed: u64,
    /// Unwritten blocks among the data that was freed or converted.
    pub unwritten_gone: u64,
}

/// A node on the way from the root to a leaf, with the position that the way goes through.
struct Level {
    /// `None` for the root.
    buffer: Option<Arc<Buffer>>,
    position: usize,
}

/// The way from the root to a leaf. In the leaf, `position` is of the last extent that starts at or
/// before the block looked for; [`Path::found`] tells whether there is one.
struct Path {
    levels: Vec<Level>,
    found: bool,
}

/// A tree of one inode.
pub struct Tree<'a> {
    volume: &'a Volume,
    inode: u32,
    seed: u32,
}

/// An empty tree.
pub fn empty_root() -> Root {
    let mut root = [0; I_BLOCK_SIZE];
    node::init(&mut root, 0, node::capacity(I_BLOCK_SIZE));
    root
}

/// Checks a root that was read from the disk.
pub fn check_root(volume: &Volume, root: &Root) -> Result<()> {
    let depth = node::depth(root);
    if depth > EXT4_MAX_EXTENT_DEPTH {
        return Err(Corrupt::ExtentDepth.into());
    }
    node::check(root, depth, 0, BLOCKS_END, |start, count| volume.is_data(start, count))
}

impl<'a> Tree<'a> {
    /// The tree of inode number `inode`, whose checksum seed is `seed`.
    pub fn new(volume: &'a Volume, inode: u32, seed: u32) -> Self {
        Self { volume, inode, seed }
    }

    // --- look-up -----------------------------------------------------------------------------

    /// What block `block` of the file is on.
    pub fn find(&self, root: &Root, block: u32) -> Result<Found> {
        let mut end = BLOCKS_END;
        let mut child = match step(root, block, &mut end) {
            Step::Done(found) => return Ok(found),
            Step::Down(index) => index,
        };
        for depth in (0..node::depth(root)).rev() {
            let buffer = self.node(child, depth, end)?;
            match buffer.read(|bytes| step(bytes, block, &mut end)) {
                Step::Done(found) => return Ok(found),
                Step::Down(index) => child = index,
            }
        }
        // A leaf always ends the walk, and a checked node of depth 0 is one.
        Err(Corrupt::ExtentDepth.into())
    }

    /// The node that `index` leads to, checked once.
    fn node(&self, index: Index, depth: u16, end: u64) -> Result<Arc<Buffer>> {
        let volume = self.volume;
        let kind = BlockKind::ExtentNode(self.inode, depth);
        volume.checked_block(index.child, kind, |bytes| {
            node::check(bytes, depth, index.logical, end, |start, count| volume.is_data(start, count))?;
            match volume.geometry.has_checksums() && !node::checksum_matches(bytes, self.seed) {
                true => Err(Corrupt::ExtentChecksum.into()),
                false => Ok(()),
            }
        })
    }

    fn path(&self, root: &Root, block: u32) -> Result<Path> {
        let mut levels = Vec::with_capacity(node::depth(root) as usize + 1);
        let mut end = BLOCKS_END;
        let position = node::search(root, block);
        let mut found = position.is_some();
        let mut position = position.unwrap_or(0);
        levels.push(Level { buffer: None, position });
        let mut child = (node::depth(root) > 0).then(|| child_at(root, position, &mut end));
        for depth in (0..node::depth(root)).rev() {
            let index = child.ok_or(Corrupt::ExtentDepth)?;
            let buffer = self.node(index, depth, end)?;
            buffer.read(|bytes| {
                let at = node::search(bytes, block);
                found = at.is_some();
                position = at.unwrap_or(0);
                child = (depth > 0).then(|| child_at(bytes, position, &mut end));
            });
            levels.push(Level { buffer: Some(buffer), position });
        }
        Ok(Path { levels, found })
    }

    // --- edits of one node -------------------------------------------------------------------

    fn look<R>(&self, root: &Root, level: &Level, look: impl FnOnce(&[u8]) -> R) -> R {
        match &level.buffer {
            None => look(root),
            Some(buffer) => buffer.read(look),
        }
    }

    fn edit<R>(&self, root: &mut Root, level: &Level, change: impl FnOnce(&mut [u8]) -> R) -> R {
        match &level.buffer {
            None => change(root),
            Some(buffer) => buffer.modify(|bytes| {
                let result = change(bytes);
                self.seal(bytes);
                result
            }),
        }
    }

    fn seal(&self, bytes: &mut [u8]) {
        if self.volume.geometry.has_checksums() {
            node::seal(bytes, self.seed);
        }
    }

    /// After the first entry of the leaf changed: its parents' entries name the same block.
    fn fix_keys(&self, root: &mut Root, path: &Path) {
        let mut first = match path.levels.last() {
            Some(leaf) => self.look(root, leaf, |node| (node::count(node) > 0).then(|| node::logical(node, 0))),
            None => None,
        };
        for level in path.levels.iter().rev().skip(1) {
            let Some(block) = first else { return };
            let position = level.position;
            if self.look(root, level, |node| node::logical(node, position)) == block {
                return;
            }
            self.edit(root, level, |node| node::set_logical(node, position, block));
            first = (position == 0).then_some(block);
        }
    }

    // --- making room -------------------------------------------------------------------------

    /// The path to the leaf for `block`, which has room for `needed` (1 or 2) more extents.
    fn room_for(
        &self,
        root: &mut Root,
        block: u32,
        needed: usize,
        purpose: Purpose,
        tally: &mut Tally,
    ) -> Result<Path> {
        loop {
            let path = self.path(root, block)?;
            let has_room = |level: &Level, needed: usize| {
                self.look(root, level, |node| node::count(node) + needed <= node::max(node))
            };
            let leaf = path.levels.len() - 1;
            if has_room(&path.levels[leaf], needed) {
                return Ok(path);
            }
            // The lowest node above the leaf that can take one more child.
            match (0..leaf).rev().find(|&level| has_room(&path.levels[level], 1)) {
                Some(parent) => self.split(root, &path, parent, block, purpose, tally)?,
                None => self.grow(root, purpose, tally)?,
            }
        }
    }

    fn allocate_node(&self, goal: u64, purpose: Purpose, tally: &mut Tally) -> Result<(u64, Arc<Buffer>)> {
        let run = self.volume.allocate_blocks(goal, 1, purpose)?;
        tally.nodes_allocated += 1;
        Ok((run.start, self.volume.buffers.get_zeroed(run.start)))
    }

    /// Moves the root's entries into a new block below it.
    fn grow(&self, root: &mut Root, purpose: Purpose, tally: &mut Tally) -> Result<()> {
        let depth = node::depth(root);
        if depth >= EXT4_MAX_EXTENT_DEPTH {
            return Err(Error::FileTooBig);
        }
        let (block, buffer) = self.allocate_node(self.goal_near(root), purpose, tally)?;
        let first = if node::count(root) > 0 { node::logical(root, 0) } else { 0 };
        buffer.modify(|bytes| {
            let size = bytes.len() - 4;
            node::init(bytes, depth, node::capacity(size));
            node::move_tail(root, 0, bytes);
            self.seal(bytes);
        });
        node::init(root, depth + 1, node::capacity(I_BLOCK_SIZE));
        node::insert_index(root, 0, Index { logical: first, child: block });
        Ok(())
    }

    /// A block near which a node of this tree should lie.
    fn goal_near(&self, node: &[u8]) -> u64 {
        match (node::count(node), node::depth(node)) {
            (0, _) => self.volume.inode_group_start(self.inode),
            (_, 0) => node::extent(node, 0).physical,
            _ => node::index(node, 0).child,
        }
    }

    /// Splits the child of level `parent` on the path in two.
    fn split(
        &self,
        root: &mut Root,
        path: &Path,
        parent: usize,
        block: u32,
        purpose: Purpose,
        tally: &mut Tally,
    ) -> Result<()> {
        let child = &path.levels[parent + 1];
        let (count, depth, last) = self.look(root, child, |node| {
            (node::count(node), node::depth(node), node::logical(node, node::count(node) - 1))
        });
        // Files mostly grow at their end: leave the left node full then.
        let at = if block >= last { count - 1 } else { count / 2 };
        let goal = child.buffer.as_ref().map_or(0, |buffer| buffer.block());
        let (right_block, right) = self.allocate_node(goal, purpose, tally)?;
        // Two buffers are never locked at once: the moved entries go through a copy.
        let mut copy = alloc::vec![0; self.volume.geometry.block_size()];
        let first = self.edit(root, child, |node| {
            let size = copy.len() - 4;
            node::init(&mut copy, depth, node::capacity(size));
            node::move_tail(node, at, &mut copy);
            node::logical(&copy, 0)
        });
        self.seal(&mut copy);
        right.modify(|bytes| bytes.copy_from_slice(&copy));
        let level = &path.levels[parent];
        let position = level.position + 1;
        self.edit(root, level, |node| node::insert_index(node, position, Index { logical: first, child: right_block }));
        Ok(())
    }

    // --- changes -----------------------------------------------------------------------------

    /// Adds `extent`, whose blocks of the file are a hole. Joins it to a neighbour where possible.
    pub fn insert(&self, root: &mut Root, extent: Extent, purpose: Purpose, tally: &mut Tally) -> Result<()> {
        let path = self.path(root, extent.logical)?;
        if self.join(root, &path, extent) {
            return Ok(());
        }
        let path = self.room_for(root, extent.logical, 1, purpose, tally)?;
        let Some(leaf) = path.levels.last() else { return Err(Corrupt::ExtentDepth.into()) };
        let position = if path.found { leaf.position + 1 } else { 0 };
        self.edit(root, leaf, |node| node::insert_extent(node, position, extent));
        if position == 0 {
            self.fix_keys(root, &path);
        }
        Ok(())
    }

    /// Lets a neighbour in the leaf take `extent` up, if one can.
    fn join(&self, root: &mut Root, path: &Path, extent: Extent) -> bool {
        let Some(leaf) = path.levels.last() else { return false };
        let (left, right) = self.look(root, leaf, |node| {
            let left = path.found.then(|| (leaf.position, node::extent(node, leaf.position)));
            let after = if path.found { leaf.position + 1 } else { 0 };
            (left, (after < node::count(node)).then(|| (after, node::extent(node, after))))
        });
        if let Some((position, left)) = left.filter(|(_, left)| left.joins(&extent)) {
            let joined = Extent { length: left.length + extent.length, ..left };
            self.edit(root, leaf, |node| {
                node::set_extent(node, position, joined);
                if let Some((after, right)) = right.filter(|(_, right)| joined.joins(right)) {
                    node::set_extent(node, position, Extent { length: joined.length + right.length, ..joined });
                    node::remove(node, after);
                }
            });
            return true;
        }
        if let Some((position, right)) = right.filter(|(_, right)| extent.joins(right)) {
            self.edit(root, leaf, |node| {
                node::set_extent(node, position, Extent { length: extent.length + right.length, ..extent });
            });
            if position == 0 {
                self.fix_keys(root, path);
            }
            return true;
        }
        false
    }

    /// Marks the unwritten blocks among [from, to) of the file as written.
    pub fn convert(&self, root: &mut Root, from: u64, to: u64, tally: &mut Tally) -> Result<()> {
        let mut at = from;
        while at < to.min(BLOCKS_END) {
            let extent = match self.find(root, at as u32)? {
                Found::Hole { end } => {
                    at = end;
                    continue;
                }
                Found::Extent(extent) => extent,
            };
            let end = extent.end().min(to);
            if extent.state == ExtentState::Unwritten {
                self.convert_part(root, extent, at, end, tally)?;
                tally.unwritten_gone += end - at;
            }
            at = end;
        }
        Ok(())
    }

    /// Marks [from, to), all in the unwritten `extent`, as written.
    fn convert_part(&self, root: &mut Root, extent: Extent, from: u64, to: u64, tally: &mut Tally) -> Result<()> {
        let written = Extent { state: ExtentState::Written, ..extent.part(from, to) };
        // Written in sequence, a boundary just moves: no entry is needed.
        if from == extent.logical as u64 && self.shift_boundary(root, extent, written)? {
            return Ok(());
        }
        let path = self.room_for(root, extent.logical, 2, Purpose::Promised, tally)?;
        let Some(leaf) = path.levels.last() else { return Err(Corrupt::ExtentDepth.into()) };
        let mut position = leaf.position;
        self.edit(root, leaf, |node| {
            node::remove(node, position);
            if from > extent.logical as u64 {
                node::insert_extent(node, position, extent.part(extent.logical as u64, from));
                position += 1;
            }
            node::insert_extent(node, position, written);
            if to < extent.end() {
                node::insert_extent(node, position + 1, extent.part(to, extent.end()));
            }
            join_around(node, position);
        });
        Ok(())
    }

    /// Lets the extent left of `extent` take its first part `written` up, if it can.
    fn shift_boundary(&self, root: &mut Root, extent: Extent, written: Extent) -> Result<bool> {
        let path = self.path(root, extent.logical)?;
        let Some(leaf) = path.levels.last() else { return Ok(false) };
        let Some(before) = leaf.position.checked_sub(1) else { return Ok(false) };
        let left = self.look(root, leaf, |node| node::extent(node, before));
        if !left.joins(&written) {
            return Ok(false);
        }
        self.edit(root, leaf, |node| {
            node::set_extent(node, before, Extent { length: left.length + written.length, ..left });
            match written.end() < extent.end() {
                true => node::set_extent(node, leaf.position, extent.part(written.end(), extent.end())),
                false => node::remove(node, leaf.position),
            }
            join_around(node, before);
        });
        Ok(true)
    }

    /// Unmaps [from, to) of the file. The runs of data blocks to free are appended to `freed`; nodes
    /// that become empty are freed here.
    pub fn remove(
        &self,
        root: &mut Root,
        from: u64,
        to: u64,
        freed: &mut Vec<BlockRun>,
        tally: &mut Tally,
    ) -> Result<()> {
        let mut to = to.min(BLOCKS_END);
        // From the end on, so that a truncated file never has a hole where its rest begins.
        while from < to {
            let path = self.path(root, (to - 1) as u32)?;
            let Some(leaf) = path.levels.last() else { return Err(Corrupt::ExtentDepth.into()) };
            if !path.found {
                // All in this leaf start later: go on in the one before it.
                let Some(key) = self.leaf_key(root, &path) else { return Ok(()) };
                to = key as u64;
                continue;
            }
            let position = leaf.position;
            let extent = self.look(root, leaf, |node| node::extent(node, position));
            if extent.end() <= from {
                return Ok(());
            }
            let (start, end) = (from.max(extent.logical as u64), to.min(extent.end()));
            if start >= end {
                // A gap between this extent and `to`.
                to = extent.end();
                continue;
            }
            let gone = extent.part(start, end);
            if start > extent.logical as u64 && end < extent.end() {
                let path = self.room_for(root, extent.logical, 1, Purpose::Promised, tally)?;
                let Some(leaf) = path.levels.last() else { return Err(Corrupt::ExtentDepth.into()) };
                self.edit(root, leaf, |node| {
                    node::set_extent(node, leaf.position, extent.part(extent.logical as u64, start));
                    node::insert_extent(node, leaf.position + 1, extent.part(end, extent.end()));
                });
            } else if start > extent.logical as u64 {
                self.edit(root, leaf, |node| {
                    node::set_extent(node, position, extent.part(extent.logical as u64, start))
                });
            } else if end < extent.end() {
                self.edit(root, leaf, |node| node::set_extent(node, position, extent.part(end, extent.end())));
                self.fix_keys(root, &path);
            } else {
                self.edit(root, leaf, |node| node::remove(node, position));
                self.drop_empty(root, &path, tally)?;
            }
            freed.push(BlockRun { start: gone.physical, count: gone.length });
            tally.freed += gone.length as u64;
            if gone.state == ExtentState::Unwritten {
                tally.unwritten_gone += gone.length as u64;
            }
            to = start;
        }
        Ok(())
    }

    /// The first block that the way to the leaf is for; `None` if it is the leftmost leaf.
    fn leaf_key(&self, root: &Root, path: &Path) -> Option<u32> {
        let above = path.levels.len() - 1;
        let level = path.levels[..above].iter().rev().find(|level| level.position > 0)?;
        Some(self.look(root, level, |node| node::logical(node, level.position)))
    }

    /// After an entry of the leaf was removed: frees nodes without entries, puts keys right.
    fn drop_empty(&self, root: &mut Root, path: &Path, tally: &mut Tally) -> Result<()> {
        let mut lowest = path.levels.len() - 1;
        while lowest > 0 && self.look(root, &path.levels[lowest], |node| node::count(node) == 0) {
            let parent = &path.levels[lowest - 1];
            self.edit(root, parent, |node| node::remove(node, parent.position));
            if let Some(buffer) = &path.levels[lowest].buffer {
                self.volume.buffers.forget(buffer.block());
                self.volume.free_blocks_of_file(buffer.block(), 1)?;
                tally.freed += 1;
            }
            lowest -= 1;
        }
        if lowest == 0 && node::count(root) == 0 {
            *root = empty_root();
            return Ok(());
        }
        // The node at `lowest` lost an entry: its own first key may have changed.
        let position = path.levels[lowest].position;
        if position == 0 {
            let mut first = self.look(root, &path.levels[lowest], |node| node::logical(node, 0));
            for level in path.levels[..lowest].iter().rev() {
                self.edit(root, level, |node| node::set_logical(node, level.position, first));
                if level.position > 0 {
                    break;
                }
                first = self.look(root, level, |node| node::logical(node, 0));
            }
        }
        Ok(())
    }

    /// Calls `each` for every node's block of the tree.
    pub fn for_each_node(&self, root: &Root, mut each: impl FnMut(u64)) -> Result<()> {
        let mut pending = Vec::new();
        let children = |bytes: &[u8], pending: &mut Vec<(Index, u16)>| {
            let depth = node::depth(bytes);
            if depth > 0 {
                pending.extend((0..node::count(bytes)).map(|at| (node::index(bytes, at), depth - 1)));
            }
        };
        children(root, &mut pending);
        while let Some((index, depth)) = pending.pop() {
            each(index.child);
            if depth > 0 {
                self.node(index, depth, BLOCKS_END)?.read(|bytes| children(bytes, &mut pending));
            }
        }
        Ok(())
    }
}

enum Step {
    Done(Found),
    Down(Index),
}

/// One node of a look-up; narrows `end`, the block where the next entry on the right begins.
fn step(bytes: &[u8], block: u32, end: &mut u64) -> Step {
    let position = node::search(bytes, block);
    let after = position.map_or(0, |position| position + 1);
    if after < node::count(bytes) {
        *end = (*end).min(node::logical(bytes, after) as u64);
    }
    let Some(position) = position else {
        return Step::Done(Found::Hole { end: *end });
    };
    if node::depth(bytes) > 0 {
        return Step::Down(node::index(bytes, position));
    }
    let extent = node::extent(bytes, position);
    match (block as u64) < extent.end() {
        true => Step::Done(Found::Extent(extent)),
        false => Step::Done(Found::Hole { end: *end }),
    }
}

fn child_at(bytes: &[u8], position: usize, end: &mut u64) -> Index {
    if position + 1 < node::count(bytes) {
        *end = (*end).min(node::logical(bytes, position + 1) as u64);
    }
    node::index(bytes, position)
}

/// Joins the extent at `position` of a leaf with its neighbours where they continue each other.
fn join_around(leaf: &mut [u8], position: usize) {
    for left in [Some(position), position.checked_sub(1)].into_iter().flatten() {
        if left + 1 >= node::count(leaf) {
            continue;
        }
        let (first, second) = (node::extent(leaf, left), node::extent(leaf, left + 1));
        if first.joins(&second) {
            node::set_extent(leaf, left, Extent { length: first.length + second.length, ..first });
            node::remove(leaf, left + 1);
        }
    }
}
