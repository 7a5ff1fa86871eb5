//! Changing a tree: new extents, unwritten blocks that become written, blocks that go.
//!
//! Room is made first (`room`); then entries of one leaf change, which cannot fail.

use alloc::vec::Vec;

use crate::allocation::blocks::{BlockRun, Purpose};
use crate::error::{Corrupt, Result};
use crate::extent::node::{self, Extent, ExtentState};
use crate::extent::tree::{BLOCKS_END, Found, Path, Root, Tally, Tree, empty_root};

impl Tree<'_> {
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
