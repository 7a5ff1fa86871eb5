//! One extent tree node as bytes: checks, search and edits in place.
//!
//! Works on the 60 bytes of `i_block` and on whole blocks alike. What must hold across nodes, blocks
//! and checksums is `tree`'s.

use zerocopy::{FromBytes, IntoBytes};

use crate::checksum::crc32c;
use crate::error::{Corrupt, Result};
use crate::format::extent::*;

/// Whether the blocks of an extent hold data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtentState {
    /// They hold data.
    Written,
    /// They are allocated and read as zeros.
    Unwritten,
}

/// A run of blocks of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First block of the file.
    pub logical: u32,
    /// Blocks, 1..=32768 (32767 if unwritten).
    pub length: u32,
    /// First block of the disk.
    pub physical: u64,
    /// Whether it holds data.
    pub state: ExtentState,
}

impl Extent {
    /// The block of the file behind the last one.
    pub fn end(&self) -> u64 {
        self.logical as u64 + self.length as u64
    }

    /// The part from block `from` up to `to` of the file, both within.
    pub fn part(&self, from: u64, to: u64) -> Self {
        Self {
            logical: from as u32,
            length: (to - from) as u32,
            physical: self.physical + (from - self.logical as u64),
            state: self.state,
        }
    }

    /// Most blocks an extent of this state may have.
    pub fn max_length(state: ExtentState) -> u32 {
        match state {
            ExtentState::Written => EXT_INIT_MAX_LEN as u32,
            ExtentState::Unwritten => EXT_UNWRITTEN_MAX_LEN as u32,
        }
    }

    /// Whether `next` continues this one and both fit in one extent.
    pub fn joins(&self, next: &Self) -> bool {
        self.state == next.state
            && self.end() == next.logical as u64
            && self.physical + self.length as u64 == next.physical
            && self.length + next.length <= Self::max_length(self.state)
    }

    fn from_raw(raw: &RawExtent) -> Self {
        let length = raw.ee_len.get();
        let (length, state) = match length <= EXT_INIT_MAX_LEN {
            true => (length, ExtentState::Written),
            false => (length - EXT_INIT_MAX_LEN, ExtentState::Unwritten),
        };
        Self {
            logical: raw.ee_block.get(),
            length: length as u32,
            physical: raw.ee_start_lo.get() as u64 | (raw.ee_start_hi.get() as u64) << 32,
            state,
        }
    }

    fn to_raw(self) -> RawExtent {
        let unwritten = self.state == ExtentState::Unwritten;
        RawExtent {
            ee_block: self.logical.into(),
            ee_len: (self.length as u16 + if unwritten { EXT_INIT_MAX_LEN } else { 0 }).into(),
            ee_start_hi: ((self.physical >> 32) as u16).into(),
            ee_start_lo: (self.physical as u32).into(),
        }
    }
}

/// An entry of an index node: the subtree for the blocks from `logical` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index {
    /// First block of the file below it.
    pub logical: u32,
    /// The node's block on the disk.
    pub child: u64,
}

impl Index {
    fn from_raw(raw: &RawExtentIdx) -> Self {
        Self { logical: raw.ei_block.get(), child: raw.ei_leaf_lo.get() as u64 | (raw.ei_leaf_hi.get() as u64) << 32 }
    }

    fn to_raw(self) -> RawExtentIdx {
        RawExtentIdx {
            ei_block: self.logical.into(),
            ei_leaf_lo: (self.child as u32).into(),
            ei_leaf_hi: ((self.child >> 32) as u16).into(),
            ei_unused: 0.into(),
        }
    }
}

/// Entries that a node of `bytes` bytes has room for; blocks keep 4 bytes for a checksum.
pub fn capacity(bytes: usize) -> u16 {
    ((bytes - size_of::<RawExtentHeader>()) / ENTRY_SIZE) as u16
}

/// Checks a node: magic number, capacity, depth, order and ranges of its entries.
///
/// `lowest` and `end` bound the blocks of the file that the parent sends here; `valid` says whether
/// a run of blocks of the disk may be used for data.
pub fn check(node: &[u8], depth: u16, lowest: u32, end: u64, valid: impl Fn(u64, u64) -> bool) -> Result<()> {
    let header = header(node);
    if header.eh_magic.get() != EXT4_EXT_MAGIC {
        return Err(Corrupt::ExtentMagic.into());
    }
    if header.eh_depth.get() != depth {
        return Err(Corrupt::ExtentDepth.into());
    }
    let max = header.eh_max.get();
    // The smallest node in use is the root with four; splitting needs two at least.
    if max < 3 || max > capacity(node.len()) {
        return Err(Corrupt::ExtentMax.into());
    }
    let count = header.eh_entries.get();
    if count > max || (count == 0 && depth > 0) {
        return Err(Corrupt::ExtentEntries.into());
    }
    let mut next = lowest as u64;
    for position in 0..count as usize {
        if depth > 0 {
            let index = index(node, position);
            let first = index.logical as u64;
            if position > 0 && first < next {
                return Err(Corrupt::ExtentOrder.into());
            }
            // The first entry of a root may start late: a hole before it.
            if first >= end || (position == 0 && first < next) {
                return Err(Corrupt::ExtentRange.into());
            }
            if !valid(index.child, 1) {
                return Err(Corrupt::ExtentBlocks.into());
            }
            next = first + 1;
        } else {
            let extent = extent(node, position);
            if extent.length == 0 || extent.end() > u32::MAX as u64 {
                return Err(Corrupt::ExtentLength.into());
            }
            if (extent.logical as u64) < next {
                let kind = if position == 0 { Corrupt::ExtentRange } else { Corrupt::ExtentOrder };
                return Err(kind.into());
            }
            if extent.end() > end {
                return Err(Corrupt::ExtentRange.into());
            }
            if !valid(extent.physical, extent.length as u64) {
                return Err(Corrupt::ExtentBlocks.into());
            }
            next = extent.end();
        }
    }
    Ok(())
}

fn header(node: &[u8]) -> &RawExtentHeader {
    // Every node is at least 60 bytes, and the type is Unaligned: this cannot fail.
    RawExtentHeader::ref_from_prefix(node).expect("a node holds a header").0
}

fn header_mut(node: &mut [u8]) -> &mut RawExtentHeader {
    // As in `header`.
    RawExtentHeader::mut_from_prefix(node).expect("a node holds a header").0
}

/// Makes `node` an empty node of `depth` with room for `max` entries.
pub fn init(node: &mut [u8], depth: u16, max: u16) {
    *header_mut(node) = RawExtentHeader {
        eh_magic: EXT4_EXT_MAGIC.into(),
        eh_entries: 0.into(),
        eh_max: max.into(),
        eh_depth: depth.into(),
        eh_generation: 0.into(),
    };
}

/// Levels of nodes below this one.
pub fn depth(node: &[u8]) -> u16 {
    header(node).eh_depth.get()
}

/// Entries in use.
pub fn count(node: &[u8]) -> usize {
    header(node).eh_entries.get() as usize
}

/// Entries that there is room for.
pub fn max(node: &[u8]) -> usize {
    header(node).eh_max.get() as usize
}

fn at(position: usize) -> usize {
    size_of::<RawExtentHeader>() + position * ENTRY_SIZE
}

/// The extent at `position` of a checked leaf.
pub fn extent(node: &[u8], position: usize) -> Extent {
    // `position` is below a checked count, so the entry lies in the node.
    let raw = RawExtent::ref_from_prefix(&node[at(position)..]).expect("an entry lies in its node").0;
    Extent::from_raw(raw)
}

/// The index entry at `position` of a checked inner node.
pub fn index(node: &[u8], position: usize) -> Index {
    // As in `extent`.
    let raw = RawExtentIdx::ref_from_prefix(&node[at(position)..]).expect("an entry lies in its node").0;
    Index::from_raw(raw)
}

/// The first block of the file that entry `position` is for, in a node of either kind.
pub fn logical(node: &[u8], position: usize) -> u32 {
    let start = at(position);
    u32::from_le_bytes([node[start], node[start + 1], node[start + 2], node[start + 3]])
}

/// Position of the last entry that starts at or before `block`; `None` if all start later.
pub fn search(node: &[u8], block: u32) -> Option<usize> {
    let (mut low, mut high) = (0, count(node));
    // Appending is the common case: look at the end first.
    if high > 0 && logical(node, high - 1) <= block {
        return Some(high - 1);
    }
    while low < high {
        let middle = (low + high) / 2;
        match logical(node, middle) <= block {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    low.checked_sub(1)
}

/// Replaces the extent at `position`.
pub fn set_extent(node: &mut [u8], position: usize, extent: Extent) {
    node[at(position)..at(position + 1)].copy_from_slice(extent.to_raw().as_bytes());
}

/// Replaces the index entry at `position`.
pub fn set_index(node: &mut [u8], position: usize, index: Index) {
    node[at(position)..at(position + 1)].copy_from_slice(index.to_raw().as_bytes());
}

fn open_gap(node: &mut [u8], position: usize) {
    let count = count(node);
    node.copy_within(at(position)..at(count), at(position + 1));
    header_mut(node).eh_entries.set(count as u16 + 1);
}

/// Inserts an extent at `position`; there is room.
pub fn insert_extent(node: &mut [u8], position: usize, extent: Extent) {
    open_gap(node, position);
    set_extent(node, position, extent);
}

/// Inserts an index entry at `position`; there is room.
pub fn insert_index(node: &mut [u8], position: usize, index: Index) {
    open_gap(node, position);
    set_index(node, position, index);
}

/// Removes the entry at `position`.
pub fn remove(node: &mut [u8], position: usize) {
    let count = count(node);
    node.copy_within(at(position + 1)..at(count), at(position));
    node[at(count - 1)..at(count)].fill(0);
    header_mut(node).eh_entries.set(count as u16 - 1);
}

/// Moves the entries from `position` on to the end of `to`, which has room for them.
pub fn move_tail(from: &mut [u8], position: usize, to: &mut [u8]) {
    let (moved, before) = (count(from) - position, count(to));
    to[at(before)..at(before + moved)].copy_from_slice(&from[at(position)..at(position + moved)]);
    from[at(position)..at(position + moved)].fill(0);
    header_mut(to).eh_entries.set((before + moved) as u16);
    header_mut(from).eh_entries.set(position as u16);
}

/// Sets the first block of the file that entry `position` is for.
pub fn set_logical(node: &mut [u8], position: usize, block: u32) {
    node[at(position)..at(position) + 4].copy_from_slice(&block.to_le_bytes());
}

/// Where the checksum of a node in a block lies: behind the last possible entry.
fn tail_offset(node: &[u8]) -> usize {
    at(max(node))
}

/// Whether the checksum of a node in a block is right. Its header was checked.
pub fn checksum_matches(node: &[u8], seed: u32) -> bool {
    let tail = tail_offset(node);
    node.get(tail..tail + 4).is_none_or(|stored| stored == crc32c(seed, &node[..tail]).to_le_bytes())
}

/// Puts the checksum of a node in a block right.
pub fn seal(node: &mut [u8], seed: u32) {
    let tail = tail_offset(node);
    let checksum = crc32c(seed, &node[..tail]);
    if let Some(stored) = node.get_mut(tail..tail + 4) {
        stored.copy_from_slice(&checksum.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(logical: u32, length: u32, physical: u64) -> Extent {
        Extent { logical, length, physical, state: ExtentState::Written }
    }

    fn leaf(extents: &[Extent]) -> [u8; 60] {
        let mut node = [0; 60];
        init(&mut node, 0, 4);
        for (position, &extent) in extents.iter().enumerate() {
            insert_extent(&mut node, position, extent);
        }
        node
    }

    #[test]
    fn extents_round_trip_with_48_bit_blocks_and_both_states() {
        for state in [ExtentState::Written, ExtentState::Unwritten] {
            for length in [1, 2, Extent::max_length(state)] {
                let extent = Extent { logical: 0xfffe_0000, length, physical: 0xffff_1234_5678, state };
                assert_eq!(Extent::from_raw(&extent.to_raw()), extent);
            }
        }
    }

    #[test]
    fn golden_leaf() {
        let node = leaf(&[
            written(5, 3, 0x1_0000_0002),
            Extent { logical: 9, length: 2, physical: 7, state: ExtentState::Unwritten },
        ]);
        assert_eq!(node[..12], [0x0a, 0xf3, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(node[12..24], [5, 0, 0, 0, 3, 0, 1, 0, 2, 0, 0, 0]);
        assert_eq!(node[24..36], [9, 0, 0, 0, 2, 0x80, 0, 0, 7, 0, 0, 0]);
    }

    #[test]
    fn search_finds_the_last_entry_at_or_before() {
        let node = leaf(&[written(2, 2, 10), written(8, 1, 20), written(9, 5, 30)]);
        let found: alloc::vec::Vec<_> = [0, 1, 2, 7, 8, 9, 100].iter().map(|&block| search(&node, block)).collect();
        assert_eq!(found, [None, None, Some(0), Some(0), Some(1), Some(2), Some(2)]);
    }

    #[test]
    fn every_check_names_its_finding() {
        let all = |_: u64, _: u64| true;
        let fails = |change: &dyn Fn(&mut [u8]), depth: u16, kind: Corrupt| {
            let mut node = leaf(&[written(2, 2, 10), written(8, 1, 20)]);
            change(&mut node);
            assert_eq!(check(&node, depth, 0, 1 << 32, all), Err(kind.into()));
        };
        fails(&|node| node[0] = 0, 0, Corrupt::ExtentMagic);
        fails(&|node| node[2] = 5, 0, Corrupt::ExtentEntries);
        fails(&|node| node[4] = 5, 0, Corrupt::ExtentMax);
        fails(&|_| (), 1, Corrupt::ExtentDepth);
        fails(&|node| node[16] = 0, 0, Corrupt::ExtentLength);
        fails(&|node| node[16] = 200, 0, Corrupt::ExtentOrder);
        let node = leaf(&[written(2, 2, 10)]);
        assert_eq!(check(&node, 0, 0, 3, all), Err(Corrupt::ExtentRange.into()));
        assert_eq!(check(&node, 0, 3, 9, all), Err(Corrupt::ExtentRange.into()));
        assert_eq!(check(&node, 0, 0, 9, |_, _| false), Err(Corrupt::ExtentBlocks.into()));
        assert_eq!(check(&node, 0, 0, 9, all), Ok(()));
    }
}
