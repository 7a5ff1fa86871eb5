//! Block allocation: claim from the counter of free blocks, then search bitmaps from a goal on.
//!
//! The counter decides who gets ENOSPC, so that the search, group by group under each group's lock,
//! need not be repeated. Some blocks are held back for splits of extent trees at I/O completion,
//! which must not fail: a fixed reserve, and what inodes with unwritten blocks promised.

use alloc::sync::Arc;

use vfs_server::buffer_cache::Buffer;

use crate::allocation::bitmap::{self, Run};
use crate::checksum::crc32c;
use crate::error::{Corrupt, Error, Result};
use crate::format::group_desc::GroupFlags;
use crate::volume::Volume;
use crate::volume::group::{self, Group};

/// What blocks are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Anything that may fail with "no space".
    Ordinary,
    /// What was promised not to fail: may use the reserve.
    Promised,
}

/// Consecutive blocks of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRun {
    /// First block.
    pub start: u64,
    /// Blocks, at least 1.
    pub count: u32,
}

impl Volume {
    /// Allocates 1 to `wanted` consecutive blocks, at or behind `goal` if it can.
    pub(crate) fn allocate_blocks(&self, goal: u64, wanted: u32, purpose: Purpose) -> Result<BlockRun> {
        if purpose == Purpose::Ordinary && platform::host::choose(2, "ext4 allocate block") == 1 {
            return Err(Error::NoSpace);
        }
        let claimed = self.claim(wanted, purpose)?;
        match self.search(goal, claimed) {
            Ok(run) => {
                platform::tell!("takes {} free block(s) from {} on", run.count, run.start);
                self.free_blocks.fetch_add((claimed - run.count) as u64);
                Ok(run)
            }
            Err(error) => {
                self.free_blocks.fetch_add(claimed as u64);
                Err(error)
            }
        }
    }

    /// Takes up to `wanted` blocks off the counter.
    fn claim(&self, wanted: u32, purpose: Purpose) -> Result<u32> {
        loop {
            let free = self.free_blocks.load();
            let held_back = match purpose {
                Purpose::Ordinary => self.reserve + self.promised_blocks.load(),
                Purpose::Promised => 0,
            };
            let count = free.saturating_sub(held_back).min(wanted as u64);
            if count == 0 {
                return Err(Error::NoSpace);
            }
            if self.free_blocks.replace_if(free, free - count) {
                return Ok(count as u32);
            }
        }
    }

    /// Blocks that an ordinary allocation could get.
    pub(crate) fn available_blocks(&self) -> u64 {
        self.free_blocks.load().saturating_sub(self.reserve + self.promised_blocks.load())
    }

    /// Finds and marks a run: a whole one of `wanted` blocks anywhere, else the longest of the first
    /// group that has any.
    fn search(&self, goal: u64, wanted: u32) -> Result<BlockRun> {
        let geometry = &self.geometry;
        let goal = if geometry.contains(goal, 1) { goal } else { geometry.first_data_block as u64 };
        let (goal_group, goal_bit) = geometry.locate_block(goal);
        for least in [wanted, 1] {
            for step in 0..geometry.groups {
                let number = (goal_group as u64 + step as u64) % geometry.groups as u64;
                let from = if step == 0 { goal_bit } else { 0 };
                if let Some(run) = self.search_group(number as u32, from, wanted, least)? {
                    return Ok(BlockRun {
                        start: geometry.group_start(number as u32) + run.start as u64,
                        count: run.count,
                    });
                }
            }
        }
        // The counter promised blocks that no bitmap has.
        Err(Corrupt::BlockBitmapCount.into())
    }

    fn search_group(&self, number: u32, from: u32, wanted: u32, least: u32) -> Result<Option<Run>> {
        let mut group = self.groups[number as usize].lock_key(number as u64);
        if group.free_blocks < least || group.longest_run < least {
            return Ok(None);
        }
        let buffer = self.block_bitmap(number, &mut group)?;
        let bits = self.geometry.group_blocks(number);
        let Some(run) = buffer.read(|bytes| bitmap::find_run(bytes, bits, from, wanted)) else {
            return Ok(None);
        };
        if run.count < wanted {
            group.longest_run = run.count;
        }
        if run.count < least {
            return Ok(None);
        }
        // Nobody else changes the bitmap: its group is locked.
        let covered = group::block_bitmap_covered(&self.geometry);
        let checksum = &mut group.block_bitmap_checksum;
        buffer.modify(|bytes| bitmap::flip(bytes, run.start, run.count, checksum, covered));
        group.free_blocks = group.free_blocks.saturating_sub(run.count);
        group.dirty = true;
        Ok(Some(run))
    }

    /// Frees blocks of a file. The caller forgot what was in memory of them.
    pub(crate) fn free_blocks_of_file(&self, start: u64, count: u64) -> Result<()> {
        if !self.is_data(start, count) {
            return Err(Corrupt::ExtentBlocks.into());
        }
        let (mut at, end) = (start, start + count);
        while at < end {
            let (number, bit) = self.geometry.locate_block(at);
            let in_group = (end - at).min((self.geometry.group_blocks(number) - bit) as u64) as u32;
            self.free_in_group(number, bit, in_group)?;
            self.free_blocks.fetch_add(in_group as u64);
            at += in_group as u64;
        }
        Ok(())
    }

    fn free_in_group(&self, number: u32, bit: u32, count: u32) -> Result<()> {
        let mut group = self.groups[number as usize].lock_key(number as u64);
        let buffer = self.block_bitmap(number, &mut group)?;
        let covered = group::block_bitmap_covered(&self.geometry);
        let checksum = &mut group.block_bitmap_checksum;
        buffer.try_modify(|bytes| {
            if !bitmap::all_set(bytes, bit, count) {
                return Err(Error::from(Corrupt::DoubleFree));
            }
            bitmap::flip(bytes, bit, count, checksum, covered);
            Ok(())
        })?;
        group.free_blocks += count;
        group.longest_run = u32::MAX;
        group.dirty = true;
        Ok(())
    }

    /// The group's block bitmap: made if it never was, checked when it is first read.
    pub(crate) fn block_bitmap(&self, number: u32, group: &mut Group) -> Result<Arc<Buffer>> {
        if let Some(buffer) = &group.block_bitmap {
            return Ok(buffer.clone());
        }
        let geometry = &self.geometry;
        let bits = geometry.group_blocks(number);
        let covered = group::block_bitmap_covered(geometry);
        let block = self.places[number as usize].block_bitmap;
        let buffer = if group.flags.contains(GroupFlags::BLOCK_UNINIT) {
            let start = geometry.group_start(number);
            let mut bytes = alloc::vec![0; geometry.block_size()];
            for (first, end) in self.system_zone.within(start, start + bits as u64) {
                bitmap::set(&mut bytes, (first - start) as u32, (end - first) as u32);
            }
            bitmap::set(&mut bytes, bits, geometry.block_size() as u32 * 8 - bits);
            if bitmap::count_clear(&bytes, bits) != group.free_blocks {
                return Err(Corrupt::BlockBitmapCount.into());
            }
            let buffer = self.buffers.get_zeroed(block);
            buffer.modify(|to| to.copy_from_slice(&bytes));
            group.block_bitmap_checksum = crc32c(geometry.checksum_seed, &bytes[..covered]);
            group.flags.remove(GroupFlags::BLOCK_UNINIT);
            group.dirty = true;
            buffer
        } else {
            let buffer = self.buffers.get(block)?;
            let descriptor = self.descriptor_bytes(number)?;
            buffer.read(|bytes| {
                let checksum = crc32c(geometry.checksum_seed, &bytes[..covered]);
                if geometry.has_checksums() && !group::block_bitmap_matches(&descriptor, checksum) {
                    return Err(Corrupt::BlockBitmapChecksum);
                }
                group.block_bitmap_checksum = checksum;
                match bitmap::count_clear(bytes, bits) == group.free_blocks {
                    true => Ok(()),
                    false => Err(Corrupt::BlockBitmapCount),
                }
            })?;
            buffer
        };
        group.block_bitmap = Some(buffer.clone());
        Ok(buffer)
    }
}
