//! The states of a folio's sectors: bcachefs's `struct bch_folio`, kept as the folio's private data.
//!
//! Owns: which sectors have an extent, hold a reservation, are dirty. Does not own: the extents.
//!
//! | state | has an extent | reservation | dirty |
//! |---|---|---|---|
//! | unallocated | no | no | no |
//! | allocated | yes, or data is on its way there | no | no |
//! | dirty | yes | no | yes |
//! | dirty reserved | no | yes | yes |
//!
//! A write reserves, then dirties; at submission of writeback a dirty sector becomes allocated, before
//! its data has arrived; truncate makes it unallocated. All of it happens under the folio lock. Only
//! a seek looks without it.

use crate::error::{Corrupt, Error, Result};
use crate::extents::{Extent, ExtentState, Extents, Place};
use platform::lockdep::FOLIO;
use platform::mutant::{Mutant, mutant};
use platform::sync::Bits;
use vfs_server::fs::Ino;
use vfs_server::page_cache::Folio;
use vfs_server::page_cache::folio::{block_bits, block_runs};

/// One bit a sector in each word.
#[derive(Debug, Default)]
pub struct SectorStates {
    allocated: Bits,
    reserved: Bits,
    dirty: Bits,
    /// All ones once `allocated` was read from the extents.
    known: Bits,
}

impl SectorStates {
    /// A folio's.
    pub fn of(folio: &Folio) -> Result<&Self> {
        folio.private().ok_or(Error::Corrupt(Corrupt::NoSectorStates))
    }

    /// The same states, for the folio that takes this one's place.
    pub fn copy(&self) -> Self {
        let copy = |bits: &Bits| Bits::new(bits.load(&FOLIO));
        Self {
            allocated: copy(&self.allocated),
            reserved: copy(&self.reserved),
            dirty: copy(&self.dirty),
            known: copy(&self.known),
        }
    }

    /// Reads from the extents which sectors have one, unless that is known.
    pub fn load(&self, extents: &dyn Extents, ino: Ino, folio: &Folio) {
        if self.known.load(&FOLIO) != 0 {
            return;
        }
        let mut at = 0;
        while at < folio.blocks() {
            let Extent { state, sectors } =
                extents.lookup(ino, folio.first_block() + u64::from(at), u64::from(folio.blocks() - at));
            let end = at + sectors as u32;
            if state != ExtentState::Hole {
                self.allocated.set(&FOLIO, block_bits(at..end));
            }
            at = end;
        }
        self.known.set(&FOLIO, u64::MAX);
    }

    /// Reserves what sectors need to become dirty; gives those that hold a reservation newly.
    pub fn reserve(&self, extents: &dyn Extents, sectors: u64) -> Result<u64> {
        let needed = sectors & !self.allocated.load(&FOLIO) & !self.reserved.load(&FOLIO);
        extents.reserve(u64::from(needed.count_ones()))?;
        self.reserved.set(&FOLIO, needed);
        Ok(needed)
    }

    /// Gives the reservations of sectors back that are not dirty.
    pub fn unreserve(&self, extents: &dyn Extents, sectors: u64) {
        let held = self.reserved.load(&FOLIO) & sectors & !self.dirty.load(&FOLIO);
        if held == 0 {
            return;
        }
        self.reserved.clear(&FOLIO, held);
        extents.release(u64::from(held.count_ones()));
        if mutant(Mutant::ReservationReleasedTwice) {
            extents.release(u64::from(held.count_ones()));
        }
    }

    /// Sectors are dirty.
    pub fn set_dirty(&self, sectors: u64) {
        self.dirty.set(&FOLIO, sectors);
    }

    /// The dirty sectors.
    pub fn dirty(&self) -> u64 {
        self.dirty.load(&FOLIO)
    }

    /// Sectors that have an extent or are on their way to one.
    pub fn allocated(&self) -> u64 {
        self.allocated.load(&FOLIO)
    }

    /// Dirty sectors from `first` on got a place and are on their way to it.
    pub fn submitted(&self, extents: &dyn Extents, first: u32, place: &Place) {
        let sectors = block_bits(first..first + place.sectors as u32);
        // Allocated before it is dirty no more: a seek, which takes no lock, must find one of them.
        self.allocated.set(&FOLIO, sectors);
        if !mutant(Mutant::SectorStateClearedLate) {
            self.dirty.clear(&FOLIO, sectors);
        }
        let held = self.reserved.clear(&FOLIO, sectors) & sectors;
        // Where there was an extent already, the reservation was not needed.
        extents.release(u64::from(held.count_ones()).saturating_sub(place.reservations));
    }

    /// Data of sectors has arrived.
    pub fn arrived(&self, sectors: u64) {
        if mutant(Mutant::SectorStateClearedLate) {
            self.dirty.clear(&FOLIO, sectors);
        }
    }

    /// The contents of sectors are void.
    pub fn invalidate(&self, extents: &dyn Extents, sectors: u64) {
        self.dirty.clear(&FOLIO, sectors);
        self.unreserve(extents, sectors);
        self.allocated.clear(&FOLIO, sectors);
        self.known.clear(&FOLIO, u64::MAX);
    }

    /// The first run of dirty sectors among `range` or the first run that is not, and which it is.
    pub fn first_run(&self, range: core::ops::Range<u32>) -> (bool, u32) {
        let dirty = self.dirty() & block_bits(range.clone());
        match block_runs(dirty).next() {
            Some(run) if run.start == range.start => (true, run.end - run.start),
            Some(run) => (false, run.start - range.start),
            None => (false, range.end - range.start),
        }
    }
}
