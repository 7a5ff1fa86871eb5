//! Folios of one file that are locked together, ascending (Linux: `struct folio_batch`).

use super::folio::LockedFolio;
use alloc::vec::Vec;

/// Where a folio of a batch came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FolioOrigin {
    /// It was in the cache.
    Found,
    /// Whoever locked the batch added it.
    Added,
}

/// Locked folios, ascending, without a gap between them.
#[derive(Default)]
pub struct FolioBatch {
    folios: Vec<(LockedFolio, FolioOrigin)>,
}

impl FolioBatch {
    /// Most folios that one task may lock together.
    pub const MAX: usize = 32;

    pub(crate) fn push(&mut self, folio: LockedFolio, origin: FolioOrigin) {
        self.folios.push((folio, origin));
    }

    /// Folios.
    pub fn len(&self) -> usize {
        self.folios.len()
    }

    /// Not one was to be had.
    pub fn is_empty(&self) -> bool {
        self.folios.is_empty()
    }

    /// The byte of the file after the last folio; 0 if there is none.
    pub fn end(&self) -> u64 {
        self.last().map_or(0, |folio| folio.position() + folio.len() as u64)
    }

    /// The folio with the start of the range.
    pub fn first(&self) -> Option<&LockedFolio> {
        self.folios.first().map(|(folio, _)| folio)
    }

    /// The folio with its end.
    pub fn last(&self) -> Option<&LockedFolio> {
        self.folios.last().map(|(folio, _)| folio)
    }

    /// All of them, ascending.
    pub fn iter(&self) -> impl Iterator<Item = &LockedFolio> {
        self.folios.iter().map(|(folio, _)| folio)
    }

    /// Takes all but the first `count` folios out, still locked.
    pub fn split_off(&mut self, count: usize) -> impl Iterator<Item = (LockedFolio, FolioOrigin)> {
        self.folios.split_off(count.min(self.folios.len())).into_iter()
    }
}
