//! An inode's extent tree: nodes in the inode and in blocks, and the ways through them.
//!
//! The caller holds the inode's block map lock (`i_data_sem`) and owns the root's 60 bytes; blocks go
//! through the buffer cache. Every step leaves a valid tree: room is made (and blocks for it
//! allocated) before entries change, so that "no space" changes nothing but the shape.
//!
//! Here: the walk down, and edits of one node. Making room is `room`'s, changes are `change`'s.

use alloc::sync::Arc;
use alloc::vec::Vec;

use vfs_server::buffer_cache::Buffer;

use crate::error::{Corrupt, Result};
use crate::extent::node::{self, Extent, Index};
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
pub(super) struct Level {
    /// `None` for the root.
    pub(super) buffer: Option<Arc<Buffer>>,
    pub(super) position: usize,
}

/// The way from the root to a leaf. In the leaf, `position` is of the last extent that starts at or
/// before the block looked for; [`Path::found`] tells whether there is one.
pub(super) struct Path {
    pub(super) levels: Vec<Level>,
    pub(super) found: bool,
}

/// A tree of one inode.
pub struct Tree<'a> {
    pub(super) volume: &'a Volume,
    pub(super) inode: u32,
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

    pub(super) fn path(&self, root: &Root, block: u32) -> Result<Path> {
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

    pub(super) fn look<R>(&self, root: &Root, level: &Level, look: impl FnOnce(&[u8]) -> R) -> R {
        match &level.buffer {
            None => look(root),
            Some(buffer) => buffer.read(look),
        }
    }

    pub(super) fn edit<R>(&self, root: &mut Root, level: &Level, change: impl FnOnce(&mut [u8]) -> R) -> R {
        match &level.buffer {
            None => change(root),
            Some(buffer) => buffer.modify(|bytes| {
                let result = change(bytes);
                self.seal(bytes);
                result
            }),
        }
    }

    pub(super) fn seal(&self, bytes: &mut [u8]) {
        if self.volume.geometry.has_checksums() {
            node::seal(bytes, self.seed);
        }
    }

    /// After the first entry of the leaf changed: its parents' entries name the same block.
    pub(super) fn fix_keys(&self, root: &mut Root, path: &Path) {
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
