//! Block maps of ext2 and ext3 (`ifork.rst`, "Direct/Indirect Block Addressing"): 12 direct block
//! numbers, then one indirect, one double and one triple indirect block.
//!
//! Such files are read, overwritten and freed; nothing is added to them.

use alloc::vec::Vec;

use crate::allocation::blocks::BlockRun;
use crate::error::{Corrupt, Result};
use crate::extent::tree::{Found, Root};
use crate::extent::{Extent, ExtentState};
use crate::volume::Volume;

const DIRECT: u64 = 12;

fn word(bytes: &[u8], index: usize) -> u64 {
    let at = index * 4;
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as u64
}

fn check(volume: &Volume, block: u64) -> Result<u64> {
    if block != 0 && !volume.is_data(block, 1) {
        return Err(Corrupt::IndirectBlock.into());
    }
    Ok(block)
}

/// The block of the disk for block `block` of the file, 0 for a hole; and how many blocks of the file
/// a hole goes on for at least.
fn resolve(volume: &Volume, root: &Root, block: u64) -> Result<(u64, u64)> {
    if block < DIRECT {
        return Ok((check(volume, word(root, block as usize))?, 1));
    }
    let per_block = volume.geometry.block_size() as u64 / 4;
    let mut relative = block - DIRECT;
    let mut span = per_block;
    for level in 0..3 {
        if relative < span {
            let mut at = check(volume, word(root, DIRECT as usize + level))?;
            let mut below = span;
            for _ in 0..=level {
                if at == 0 {
                    return Ok((0, below - relative % below));
                }
                below /= per_block;
                let index = (relative / below % per_block) as usize;
                at = check(volume, volume.buffers.get(at)?.read(|bytes| word(bytes, index)))?;
            }
            return Ok((at, 1));
        }
        relative -= span;
        span *= per_block;
    }
    // Past what three levels reach: nothing is there.
    Ok((0, u32::MAX as u64))
}

/// What block `block` of the file is on; a run is as long as its blocks are consecutive, up to `max`.
pub fn find(volume: &Volume, root: &Root, block: u32, max: u64) -> Result<Found> {
    let (first, hole) = resolve(volume, root, block as u64)?;
    if first == 0 {
        return Ok(Found::Hole { end: block as u64 + hole });
    }
    let mut length = 1;
    while length < max.min(Extent::max_length(ExtentState::Written) as u64) {
        match resolve(volume, root, block as u64 + length)? {
            (next, _) if next == first + length => length += 1,
            _ => break,
        }
    }
    Ok(Found::Extent(Extent { logical: block, length: length as u32, physical: first, state: ExtentState::Written }))
}

/// Unmaps all blocks of the file; what is to be freed is appended to `freed`, map blocks included.
/// A map that names more blocks than the file system has names some twice.
pub fn remove_all(volume: &Volume, root: &mut Root, freed: &mut Vec<BlockRun>) -> Result<()> {
    let per_block = volume.geometry.block_size() / 4;
    let mut pending: Vec<(u64, u32)> = Vec::new();
    for index in 0..15 {
        let block = check(volume, word(root, index))?;
        if block != 0 {
            pending.push((block, index.saturating_sub(DIRECT as usize - 1) as u32));
        }
    }
    while let Some((block, level)) = pending.pop() {
        if level > 0 {
            let buffer = volume.buffers.get(block)?;
            let children: Vec<u64> = buffer
                .read(|bytes| (0..per_block).map(|index| word(bytes, index)).filter(|&child| child != 0).collect());
            for child in children {
                pending.push((check(volume, child)?, level - 1));
            }
            volume.buffers.forget(block);
        }
        freed.push(BlockRun { start: block, count: 1 });
        if freed.len() as u64 > volume.geometry.blocks_count {
            return Err(Corrupt::IndirectBlock.into());
        }
    }
    root.fill(0);
    Ok(())
}
