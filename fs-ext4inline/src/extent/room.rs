//! Making room in a tree: a node that is full is split, a full root moves into a block below it.
//!
//! Blocks are allocated before entries move, and every step leaves a valid tree.

use alloc::sync::Arc;

use vfs_server::buffer_cache::Buffer;

use crate::allocation::blocks::Purpose;
use crate::error::{Error, Result};
use crate::extent::node::{self, Index};
use crate::extent::tree::{Level, Path, Root, Tally, Tree};
use crate::format::extent::EXT4_MAX_EXTENT_DEPTH;
use crate::format::inode::I_BLOCK_SIZE;

impl Tree<'_> {
    /// The path to the leaf for `block`, which has room for `needed` (1 or 2) more extents.
    pub(super) fn room_for(
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
}
