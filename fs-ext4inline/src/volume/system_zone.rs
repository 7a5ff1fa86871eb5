//! The blocks that hold the file system's own metadata at fixed places: superblocks, descriptor
//! tables, bitmaps and inode tables. No file's block map may lead there.

use alloc::vec::Vec;

use crate::superblock::Geometry;
use crate::volume::group::GroupPlaces;

/// Disjoint ranges in ascending order, adjacent ones joined.
#[derive(Clone, Debug, Default)]
pub struct SystemZone {
    /// (first block, block behind the last).
    ranges: Vec<(u64, u64)>,
}

impl SystemZone {
    /// The zone of a file system with these groups.
    pub fn new(geometry: &Geometry, groups: &[GroupPlaces]) -> Self {
        let table = geometry.inode_table_blocks() as u64;
        let mut ranges = Vec::with_capacity(groups.len() * 4);
        for (group, places) in groups.iter().enumerate() {
            if geometry.has_super(group as u32) {
                let start = geometry.group_start(group as u32);
                // Blocks reserved for a growing descriptor table belong to the resize inode, which
                // nobody reads as a file.
                let reserved = geometry.reserved_gdt_blocks as u64;
                ranges.push((start, start + 1 + geometry.gdt_blocks() as u64 + reserved));
            }
            ranges.push((places.block_bitmap, places.block_bitmap + 1));
            ranges.push((places.inode_bitmap, places.inode_bitmap + 1));
            ranges.push((places.inode_table, places.inode_table + table));
        }
        ranges.sort_unstable();
        let mut joined: Vec<(u64, u64)> = Vec::new();
        for (start, end) in ranges {
            match joined.last_mut() {
                Some(last) if last.1 >= start => last.1 = last.1.max(end),
                _ => joined.push((start, end)),
            }
        }
        Self { ranges: joined }
    }

    /// Whether any of `count` blocks from `start` on is metadata.
    pub fn overlaps(&self, start: u64, count: u64) -> bool {
        let after = self.ranges.partition_point(|&(_, end)| end <= start);
        self.ranges.get(after).is_some_and(|&(first, _)| first < start.saturating_add(count))
    }

    /// The parts of the zone within [start, end).
    pub fn within(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let after = self.ranges.partition_point(|&(_, stop)| stop <= start);
        self.ranges[after..]
            .iter()
            .take_while(move |&&(first, _)| first < end)
            .map(move |&(first, stop)| (first.max(start), stop.min(end)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaps_are_seen_at_every_edge() {
        let zone = SystemZone { ranges: alloc::vec![(1, 4), (10, 20)] };
        let hits: Vec<_> = [(0, 1), (0, 2), (3, 1), (4, 6), (4, 7), (19, 1), (20, 5), (0, u64::MAX)]
            .into_iter()
            .map(|(start, count)| zone.overlaps(start, count))
            .collect();
        assert_eq!(hits, [false, true, true, false, true, true, false, true]);
        assert_eq!(zone.within(3, 11).collect::<Vec<_>>(), [(3, 4), (10, 11)]);
    }
}
