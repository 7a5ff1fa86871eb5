//! One pass of a write: some folios, locked together, written, published, unlocked.
//!
//! Owns: what happens under the folio locks, in this order: copy, size, uptodate, sector states and
//! reservations, dirty. Does not own: the inode lock and the pagecache lock (add), which the protocol
//! holds, nor how passes make a write.

use crate::error::Error as OwnError;
use crate::extents::Extents;
use crate::options::Options;
use crate::sectors::SectorStates;
use crate::volume::Volume;
use alloc::sync::Arc;
use alloc::vec::Vec;
use platform::mutant::{Mutant, mutant};
use platform::tell;
use vfs_server::error::{Error, Result};
use vfs_server::file::filemap::{Filemap, Patience};
use vfs_server::file::iov_iter::IovIter;
use vfs_server::fs::Inode;
use vfs_server::page_cache::{FolioBatch, LockedFolio};

/// A file that is being written.
pub struct Pass<'a> {
    file: &'a Filemap<'a>,
    extents: &'a dyn Extents,
    options: Options,
}

/// What else keeps other writers out while the folios are locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exclusion {
    /// The inode lock: the write may take several passes, and it may extend the file.
    InodeLock,
    /// Nothing: all folios of the write at once, or none of it.
    FolioLocks,
}

/// Who cleans up folios past the end of the file that a short write left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trim {
    /// Whoever leaves early and believes that the last folio was its own: down to the size of the file.
    WhoeverLeavesEarly,
    /// The holder of the inode lock, and only what the pass itself added.
    OwnFolios,
}

/// How far a pass came, and why not further.
#[derive(Debug)]
pub struct Passed {
    /// Bytes written.
    pub copied: usize,
    /// Why no more.
    pub stop: Stop,
}

/// Why a pass ended.
#[derive(Debug)]
pub enum Stop {
    /// All is written, or as many folios as a pass may lock.
    Done,
    /// The folios of the write cannot be locked all at once.
    NeedInodeLock,
    /// The next page of the client's buffer is missing.
    MissingBuffer,
    /// No.
    Failed(Error),
}

impl<'a> Pass<'a> {
    /// For writes of a file.
    pub fn new(volume: &'a Volume, file: &'a Filemap<'a>) -> Self {
        Self { file, extents: &*volume.extents, options: volume.options }
    }

    /// The file.
    pub fn inode(&self) -> &'a Arc<Inode> {
        self.file.inode()
    }

    /// To wait for folios with.
    pub fn patience(&self) -> Patience<'a> {
        self.file.patience()
    }

    /// Writes the bytes of `from` at `position`, as many as one pass can; consumes nothing.
    pub fn run(&self, position: u64, from: &IovIter<'_>, exclusion: Exclusion, trim: Trim) -> Passed {
        // Where the last folio starts that the write may leave behind it; until one is locked, the end
        // of the file.
        let mut last_folio_position = self.inode().size();
        let passed = match self.locked(position, from, exclusion, trim, &mut last_folio_position) {
            Ok(passed) => passed,
            Err(error) => Passed { copied: 0, stop: Stop::Failed(error) },
        };
        if trim == Trim::WhoeverLeavesEarly {
            let size = self.inode().size();
            if last_folio_position >= size {
                self.trim(size);
            }
        }
        passed
    }

    /// Cleans up past `size`, which the caller believes to be the end of the file still.
    pub fn trim(&self, size: u64) {
        tell!("believes that the last folio was its own: trims to {size}");
        self.file.truncate_pagecache(size);
    }

    fn locked(
        &self,
        position: u64,
        from: &IovIter<'_>,
        exclusion: Exclusion,
        trim: Trim,
        last_folio_position: &mut u64,
    ) -> Result<Passed> {
        let wanted_end = position + from.count() as u64;
        let tail = match exclusion {
            Exclusion::InodeLock => self.file.lock_tail_before(position, wanted_end)?,
            Exclusion::FolioLocks => None,
        };
        let batch = self.file.lock_folios(position..wanted_end, self.options.folios_at_once);
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else {
            return Ok(match exclusion {
                Exclusion::FolioLocks => Passed { copied: 0, stop: Stop::NeedInodeLock },
                Exclusion::InodeLock => Passed { copied: 0, stop: Stop::Failed(Error::NoFolio) },
            });
        };
        if exclusion == Exclusion::FolioLocks && batch.end() < wanted_end {
            tell!("has locked [{}, {}), which is not all that it needs", position, batch.end());
            return Ok(Passed { copied: 0, stop: Stop::NeedInodeLock });
        }
        let mut end = wanted_end.min(batch.end());
        self.complete_first_sector(first, position)?;
        *last_folio_position = last.position();
        self.complete_last_sector(last, end)?;
        let reserved = match self.reserve(&batch, position, &mut end) {
            Ok(reserved) if exclusion == Exclusion::FolioLocks && end < wanted_end => {
                self.unreserve(&reserved, &batch);
                return Ok(Passed { copied: 0, stop: Stop::NeedInodeLock });
            }
            reserved => reserved?,
        };
        let copied = self.copy(&batch, position, end, from).inspect_err(|_| self.unreserve(&reserved, &batch))?;
        let stop = if position + (copied as u64) < end { Stop::MissingBuffer } else { Stop::Done };
        let written_end = position + copied as u64;
        if !mutant(Mutant::SizePublishedAfterUnlock) {
            self.publish_size(written_end, copied, exclusion);
        }
        for folio in batch.iter() {
            self.dirty(folio, position, written_end);
        }
        self.unreserve(&reserved, &batch);
        if copied > 0 {
            tell!("writes [{position}, {written_end})");
        }
        self.unlock(batch, written_end, exclusion, trim);
        drop(tail);
        if mutant(Mutant::SizePublishedAfterUnlock) {
            self.publish_size(written_end, copied, exclusion);
        }
        Ok(Passed { copied, stop })
    }

    /// Reads the sector of which only the end is overwritten.
    fn complete_first_sector(&self, folio: &LockedFolio, position: u64) -> Result<()> {
        let start = (position - folio.position()) as usize;
        let head = folio.blocks_touched(start..start + 1) & !folio.blocks_within(start..folio.len());
        if head & !folio.uptodate_blocks() != 0 { self.file.read_folio(folio) } else { Ok(()) }
    }

    /// Reads the sector of which only the start is overwritten, or zeroes its rest past the end of the
    /// file.
    fn complete_last_sector(&self, folio: &LockedFolio, end: u64) -> Result<()> {
        let end_in_folio = (end - folio.position()) as usize;
        let tail = folio.blocks_touched(end_in_folio - 1..end_in_folio) & !folio.blocks_within(0..end_in_folio);
        if tail & !folio.uptodate_blocks() == 0 {
            return Ok(());
        }
        if end >= self.inode().size() {
            let sector_end = end_in_folio.next_multiple_of(folio.block_size());
            folio.change(|frames| frames.zero(end_in_folio..sector_end));
            return Ok(());
        }
        self.file.read_folio(folio)
    }

    /// Reserves space folio by folio; where there is none for a later one, the pass ends before it.
    fn reserve(&self, batch: &FolioBatch, position: u64, end: &mut u64) -> Result<Vec<u64>> {
        let mut reserved = Vec::with_capacity(batch.len());
        for folio in batch.iter() {
            let states = SectorStates::of(folio)?;
            states.load(self.extents, self.inode().ino, folio);
            match states.reserve(self.extents, sectors_of(folio, position, *end)) {
                Ok(newly) => reserved.push(newly),
                Err(OwnError::NoSpace) if !reserved.is_empty() => {
                    *end = folio.position();
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(reserved)
    }

    /// Gives back what was reserved and is not dirty.
    fn unreserve(&self, reserved: &[u64], batch: &FolioBatch) {
        for (folio, &newly) in batch.iter().zip(reserved) {
            if let Ok(states) = SectorStates::of(folio) {
                states.unreserve(self.extents, newly);
            }
        }
    }

    /// Copies until `end` or to the first missing page of the client's buffer. A sector that is not
    /// uptodate is written entirely or not at all.
    fn copy(&self, batch: &FolioBatch, position: u64, end: u64, from: &IovIter<'_>) -> Result<usize> {
        let extends = end > self.inode().size();
        let mut from = *from;
        let mut at = position;
        for folio in batch.iter().take_while(|folio| folio.position() < end) {
            if extends {
                self.file.protect_tail(folio);
            }
            let offset = (at - folio.position()) as usize;
            let wanted = folio.len().min((end - folio.position()) as usize) - offset;
            let mut copied = from.copy_to_folio(folio, offset, wanted)?;
            if copied < wanted {
                let half = folio.blocks_touched(offset..offset + copied) & !folio.blocks_within(0..offset + copied);
                if half & !folio.uptodate_blocks() != 0 {
                    copied = ((offset + copied) & !(folio.block_size() - 1)).saturating_sub(offset);
                }
            }
            at += copied as u64;
            from.advance(copied);
            if copied < wanted {
                break;
            }
        }
        Ok((at - position) as usize)
    }

    fn publish_size(&self, end: u64, copied: usize, exclusion: Exclusion) {
        if copied > 0 && end > self.inode().size() {
            assert_eq!(exclusion, Exclusion::InodeLock, "a write past the end without the inode lock");
            tell!("the file ends at {end}");
            self.inode().set_size(end);
        }
    }

    /// What was written of a folio is uptodate and dirty.
    fn dirty(&self, folio: &LockedFolio, position: u64, end: u64) {
        let sectors = sectors_of(folio, position, end);
        if sectors != 0 {
            folio.set_uptodate(sectors);
            self.file.dirty(folio, sectors);
            folio.mark_referenced();
        }
    }

    /// Unlocks the folios. Those past the end of the file that the pass has added and not written are
    /// nobody's: the holder of the inode lock takes them out while they are locked.
    fn unlock(&self, mut batch: FolioBatch, written_end: u64, exclusion: Exclusion, trim: Trim) {
        if exclusion == Exclusion::InodeLock && trim == Trim::OwnFolios {
            let end = written_end.max(self.inode().size());
            let kept = batch.iter().take_while(|folio| folio.position() < end).count();
            for (folio, origin) in batch.split_off(kept) {
                self.file.remove(folio, origin);
            }
        }
    }
}

/// The sectors of a folio that a write of [position, end) touches.
fn sectors_of(folio: &LockedFolio, position: u64, end: u64) -> u64 {
    let start = position.max(folio.position()) - folio.position();
    let end = end.saturating_sub(folio.position()).min(folio.len() as u64);
    if start >= end { 0 } else { folio.blocks_touched(start as usize..end as usize) }
}
