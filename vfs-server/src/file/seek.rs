//! Holes and data.
//!
//! A block is data if the disk says so, or if a folio has bytes for it that are not there yet: dirty
//! or under writeback (K13 of the known races forgot the latter). The end of the file is a hole.

use crate::error::{Error, Result};
use crate::fs::{FileKind, Mapping, MappingState};
use crate::inode::Inode;
use crate::open_file::OpenFile;
use crate::page_cache::{Mark, PAGE_SHIFT};
use crate::server::Server;

/// A run of blocks that is one or the other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Hole,
    Data,
}

impl Server {
    /// The first hole at or after `from`.
    pub(crate) fn seek_hole(&self, file: &OpenFile, from: u64) -> Result<u64> {
        self.seek(file, from, Kind::Hole)
    }

    /// The first data at or after `from`.
    pub(crate) fn seek_data(&self, file: &OpenFile, from: u64) -> Result<u64> {
        self.seek(file, from, Kind::Data)
    }

    fn seek(&self, file: &OpenFile, from: u64, wanted: Kind) -> Result<u64> {
        let inode = &file.inode;
        if inode.kind != FileKind::Regular {
            return Err(Error::Invalid("not a regular file"));
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
            Kind::Hole => Ok(size),
            Kind::Data => Err(Error::NoData),
        }
    }
}

/// What the blocks from `block` on are, and for how many that is known.
fn run_at(inode: &Inode, block: u64, max: u64) -> Result<(Kind, u64)> {
    loop {
        let mapping = inode.operations().map_blocks(inode, block, max)?;
        let count = mapping.count.clamp(1, max);
        match mapping.state {
            MappingState::Hole => return Ok((Kind::Hole, count)),
            MappingState::Written { .. } | MappingState::Inline => return Ok((Kind::Data, count)),
            MappingState::Unwritten { .. } => {}
        }
        let (kind, known) = cached_run(inode, block, count);
        // A write that ended between the two looks has left a clean folio and a written block.
        let again: Mapping = inode.operations().map_blocks(inode, block, max)?;
        if kind == Kind::Data || again == mapping {
            return Ok((kind, known));
        }
    }
}

/// Whether an allocated, never written block has bytes in memory, and up to where that holds.
fn cached_run(inode: &Inode, block: u64, max: u64) -> (Kind, u64) {
    let shift = inode.mapping.block_shift();
    let page = block << shift >> PAGE_SHIFT;
    let next = |mark| inode.mapping.next(page, mark);
    let first = match (next(Mark::Dirty), next(Mark::Writeback)) {
        (Some(dirty), Some(written)) if written.index() < dirty.index() => Some(written),
        (Some(dirty), _) => Some(dirty),
        (None, written) => written,
    };
    let Some(folio) = first else { return (Kind::Hole, max) };
    if folio.first_block() > block {
        return (Kind::Hole, max.min(folio.first_block() - block));
    }
    let at = (block - folio.first_block()) as u32;
    let busy = folio.is_under_writeback() || folio.dirty_blocks() >> at & 1 == 1;
    (if busy { Kind::Data } else { Kind::Hole }, 1)
}
