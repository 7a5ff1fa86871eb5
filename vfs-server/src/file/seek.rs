//! Holes and data.
//!
//! A block is data if the disk says so, or if a folio has bytes for it that are not there yet: dirty
//! or under writeback (K13 of the known races forgot the latter). The end of the file is a hole.

use super::filemap::Filemap;
use crate::error::{Error, Result};
use crate::fs::{FileKind, Mapping, MappingState, SeekWhat};
use crate::inode::Inode;
use crate::open_file::OpenFile;
use crate::page_cache::{Mark, PAGE_SHIFT};
use crate::server::Server;

impl Server {
    /// The first hole at or after `from`.
    pub(crate) fn seek_hole(&self, file: &OpenFile, from: u64) -> Result<u64> {
        self.seek(file, from, SeekWhat::Hole)
    }

    /// The first data at or after `from`.
    pub(crate) fn seek_data(&self, file: &OpenFile, from: u64) -> Result<u64> {
        self.seek(file, from, SeekWhat::Data)
    }

    fn seek(&self, file: &OpenFile, from: u64, wanted: SeekWhat) -> Result<u64> {
        let inode = &file.inode;
        if inode.kind != FileKind::Regular {
            return Err(Error::Invalid("not a regular file"));
        }
        if let Some(own) = inode.operations().file_operations() {
            return own.llseek(&Filemap::new(self, inode.arc()), from, wanted);
        }
        let _lock = inode.lock.read_key(inode.ino);
        let size = inode.size();
        if from >= size {
            return Err(Error::NoData);
        }
        let shift = inode.mapping.block_shift();
        let end = size.div_ceil(1 << shift);
        let mut block = from >> shift;
        while block < end {
            let (kind, count) = run_at(inode, block, end - block)?;
            if kind == wanted {
                return Ok((block << shift).max(from));
            }
            block += count;
        }
        match wanted {
            SeekWhat::Hole => Ok(size),
            SeekWhat::Data => Err(Error::NoData),
        }
    }
}

/// What the blocks from `block` on are, and for how many that is known.
fn run_at(inode: &Inode, block: u64, max: u64) -> Result<(SeekWhat, u64)> {
    loop {
        let mapping = inode.operations().map_blocks(inode, block, max)?;
        let count = mapping.count.clamp(1, max);
        match mapping.state {
            MappingState::Hole => return Ok((SeekWhat::Hole, count)),
            MappingState::Written { .. } | MappingState::Inline => return Ok((SeekWhat::Data, count)),
            MappingState::Unwritten { .. } => {}
        }
        let Some((kind, known)) = cached_run(inode, block, count) else { continue };
        // A write that ended between the two looks has left a clean folio and a written block.
        let again: Mapping = inode.operations().map_blocks(inode, block, max)?;
        if kind == SeekWhat::Data || again == mapping {
            return Ok((kind, known));
        }
    }
}

/// Whether an allocated, never written block has bytes in memory, and up to where that holds. `None`: the
/// folio that was looked at is the file's no more.
fn cached_run(inode: &Inode, block: u64, max: u64) -> Option<(SeekWhat, u64)> {
    let shift = inode.mapping.block_shift();
    let page = block << shift >> PAGE_SHIFT;
    let next = |mark| inode.mapping.next(page, mark);
    let first = match (next(Mark::Dirty), next(Mark::Writeback)) {
        (Some(dirty), Some(written)) if written.index() < dirty.index() => Some(written),
        (Some(dirty), _) => Some(dirty),
        (None, written) => written,
    };
    let Some(folio) = first else { return Some((SeekWhat::Hole, max)) };
    if folio.first_block() > block {
        return Some((SeekWhat::Hole, max.min(folio.first_block() - block)));
    }
    let at = (block - folio.first_block()) as u32;
    // In this order: blocks that are dirty no more are under writeback from before on, or a copy's.
    if folio.dirty_blocks() >> at & 1 == 1 || folio.is_under_writeback() {
        return Some((SeekWhat::Data, 1));
    }
    if !folio.is_attached() {
        // Whoever moves it holds its lock until the copy has its place.
        folio.wait_unlocked();
        return None;
    }
    Some((SeekWhat::Hole, 1))
}
