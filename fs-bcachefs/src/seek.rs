//! SEEK_DATA and SEEK_HOLE: the extents, and the sectors that the page cache knows more about.
//!
//! No lock is held over the whole: what changes meanwhile may be seen or not. But data that was written
//! before the seek began must not be taken for a hole, wherever it is: in a dirty sector, on its way to
//! the device (which the upstream code forgets: K13), or in an extent. It only ever moves in that order,
//! so it is looked for in that order.

use crate::extents::{ExtentState, SECTOR_SIZE};
use crate::options::WriteProtocol;
use crate::sectors::SectorStates;
use crate::volume::Volume;
use platform::mutant::{Mutant, mutant};
use vfs_server::error::{Error, Result};
use vfs_server::fs::{Inode, SeekWhat};
use vfs_server::page_cache::{Mark, PAGE_SHIFT};

/// Which sectors of the page cache are data although they have no data on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CachedData {
    /// Those that are dirty.
    Dirty,
    /// Those that are dirty or under writeback.
    DirtyOrUnderWriteback,
}

impl CachedData {
    fn of(protocol: WriteProtocol) -> Self {
        match protocol {
            WriteProtocol::InodeLock | WriteProtocol::Lockless => Self::Dirty,
            WriteProtocol::SharedInodeLock if mutant(Mutant::SeekForgetsWriteback) => Self::Dirty,
            WriteProtocol::SharedInodeLock => Self::DirtyOrUnderWriteback,
        }
    }
}

/// The first hole or data at or after `from`; the end of the file is a hole.
pub fn llseek(volume: &Volume, inode: &Inode, from: u64, what: SeekWhat) -> Result<u64> {
    let size = inode.size();
    if from >= size {
        return Err(Error::NoData);
    }
    let end = size.div_ceil(SECTOR_SIZE);
    let mut sector = from / SECTOR_SIZE;
    while sector < end {
        let (found, count) = run_at(volume, inode, sector, end - sector);
        if found == what {
            return Ok((sector * SECTOR_SIZE).max(from));
        }
        sector += count;
    }
    match what {
        SeekWhat::Hole => Ok(size),
        SeekWhat::Data => Err(Error::NoData),
    }
}

/// What the sectors from `sector` on are, and for how many that is known.
fn run_at(volume: &Volume, inode: &Inode, sector: u64, max: u64) -> (SeekWhat, u64) {
    let data = CachedData::of(volume.options.write);
    // What no folio covers now is in an extent by now, if it is data at all.
    let uncached = uncached(inode, sector, max);
    if uncached == 0
        && let Some(count) = cached(data, inode, sector, max)
    {
        return (SeekWhat::Data, count);
    }
    let extent = volume.extents.lookup(inode.ino, sector, uncached.max(1));
    match extent.state {
        ExtentState::Written { .. } => (SeekWhat::Data, extent.sectors),
        ExtentState::Hole | ExtentState::InFlight { .. } => (SeekWhat::Hole, extent.sectors),
    }
}

/// How many sectors from `sector` on no folio covers; at most `max`.
fn uncached(inode: &Inode, sector: u64, max: u64) -> u64 {
    let next = inode.mapping.next(sector * SECTOR_SIZE >> PAGE_SHIFT, Mark::Present);
    next.map_or(max, |folio| folio.first_block().saturating_sub(sector).min(max))
}

/// How many sectors from `sector` on are data in the page cache; `None`: not even that one.
fn cached(data: CachedData, inode: &Inode, sector: u64, max: u64) -> Option<u64> {
    let folio = inode.mapping.find(sector * SECTOR_SIZE >> PAGE_SHIFT)?;
    let states = SectorStates::of(&folio).ok()?;
    let mut sectors = states.dirty();
    // The states first: a sector that is dirty no more is under writeback from before on.
    if data == CachedData::DirtyOrUnderWriteback && folio.is_under_writeback() {
        sectors |= states.allocated();
    }
    let run = (sectors >> (sector - folio.first_block())).trailing_ones();
    (run > 0).then(|| u64::from(run).min(max))
}
