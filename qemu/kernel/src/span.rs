//! Ranges of pages, and the map of a vspace's regions.

use crate::PAGE_SIZE;
use alloc::vec::Vec;
use core::cell::Cell;

/// A range of whole pages, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First address; page aligned.
    pub base: usize,
    /// Bytes; a multiple of the page size, at least one page.
    pub len: usize,
}

impl Span {
    /// The range, if it is aligned, not empty and ends at or below `end`.
    pub fn new(base: usize, len: usize, end: usize) -> Option<Self> {
        let aligned = base.is_multiple_of(PAGE_SIZE) && len.is_multiple_of(PAGE_SIZE) && len > 0;
        (aligned && base.checked_add(len)? <= end).then_some(Self { base, len })
    }

    /// The smallest range that holds `len` bytes from `addr` on.
    pub fn around(addr: usize, len: usize, end: usize) -> Option<Self> {
        let base = addr & !(PAGE_SIZE - 1);
        let len = (addr - base).checked_add(len)?.checked_next_multiple_of(PAGE_SIZE)?;
        Self::new(base, len, end)
    }

    /// The first address after it.
    #[inline]
    pub const fn end(self) -> usize {
        self.base + self.len
    }

    /// How many pages.
    #[inline]
    pub const fn pages(self) -> usize {
        self.len / PAGE_SIZE
    }

    /// `addr` lies in it.
    #[inline]
    pub const fn contains(self, addr: usize) -> bool {
        self.base <= addr && addr < self.end()
    }

    /// What both have.
    pub fn intersection(self, other: Self) -> Option<Self> {
        let (base, end) = (self.base.max(other.base), self.end().min(other.end()));
        (base < end).then(|| Self { base, len: end - base })
    }

    /// The addresses of its pages.
    pub fn page_addresses(self) -> impl DoubleEndedIterator<Item = usize> {
        (self.base..self.end()).step_by(PAGE_SIZE)
    }
}

/// What can be cut: a region whose start moves by `bytes` keeps naming the same contents.
pub trait Cut: Clone {
    /// The region's start moves up by `bytes` (whole pages).
    fn advance(&mut self, bytes: usize);
}

/// Regions that do not overlap, by address.
#[derive(Clone, Debug)]
pub struct SpanMap<R> {
    regions: Vec<(Span, R)>,
    /// Where the last look-up succeeded.
    last: Cell<usize>,
}

impl<R> Default for SpanMap<R> {
    fn default() -> Self {
        Self { regions: Vec::new(), last: Cell::new(0) }
    }
}

impl<R: Cut> SpanMap<R> {
    /// The region that holds `addr`.
    #[inline]
    pub fn find(&self, addr: usize) -> Option<&(Span, R)> {
        match self.regions.get(self.last.get()) {
            Some(region) if region.0.contains(addr) => Some(region),
            _ => self.search(addr),
        }
    }

    fn search(&self, addr: usize) -> Option<&(Span, R)> {
        let index = self.regions.partition_point(|(span, _)| span.base <= addr).checked_sub(1)?;
        let found = self.regions.get(index).filter(|(span, _)| span.contains(addr))?;
        self.last.set(index);
        Some(found)
    }

    /// As [`SpanMap::find`], to change it.
    pub fn find_mut(&mut self, addr: usize) -> Option<&mut (Span, R)> {
        let index = self.regions.partition_point(|(span, _)| span.base <= addr);
        self.regions[..index].last_mut().filter(|(span, _)| span.contains(addr))
    }

    /// Something of `span` is taken.
    pub fn overlaps(&self, span: Span) -> bool {
        self.overlapping(span).next().is_some()
    }

    /// The regions that have something of `span`, whole.
    pub fn overlapping(&self, span: Span) -> impl Iterator<Item = &(Span, R)> {
        let first = self.regions.partition_point(|(other, _)| other.end() <= span.base);
        self.regions[first..].iter().take_while(move |(other, _)| other.base < span.end())
    }

    /// Every page of `span` lies in some region.
    pub fn covers(&self, span: Span) -> bool {
        self.overlapping(span).filter_map(|(other, _)| other.intersection(span)).map(|part| part.len).sum::<usize>()
            == span.len
    }

    /// The lowest free range of `len` bytes in `min..end`.
    pub fn find_free(&self, len: usize, min: usize, end: usize) -> Option<Span> {
        let mut base = min;
        for (span, _) in &self.regions {
            if span.end() <= base {
                continue;
            }
            if span.base >= base && span.base - base >= len {
                break;
            }
            base = span.end();
        }
        Span::new(base, len, end)
    }

    /// Adds a region where nothing is.
    ///
    /// # Panics
    /// If something of `span` is taken.
    pub fn insert(&mut self, span: Span, region: R) {
        let index = self.regions.partition_point(|(other, _)| other.base < span.base);
        let free = self.regions[..index].last().is_none_or(|(other, _)| other.end() <= span.base)
            && self.regions.get(index).is_none_or(|(other, _)| span.end() <= other.base);
        assert!(free, "regions overlap at {span:x?}");
        self.regions.insert(index, (span, region));
    }

    /// Takes out what lies in `span`, cutting the regions at its edges.
    pub fn carve(&mut self, span: Span) -> Vec<(Span, R)> {
        let first = self.regions.partition_point(|(other, _)| other.end() <= span.base);
        let count = self.regions[first..].iter().take_while(|(other, _)| other.base < span.end()).count();
        let mut kept = Vec::new();
        let mut taken = Vec::with_capacity(count);
        for (whole, region) in self.regions.drain(first..first + count) {
            if whole.base < span.base {
                kept.push((Span { base: whole.base, len: span.base - whole.base }, region.clone()));
            }
            if let Some(part) = whole.intersection(span) {
                taken.push((part, advanced(&region, part.base - whole.base)));
            }
            if whole.end() > span.end() {
                let rest = Span { base: span.end(), len: whole.end() - span.end() };
                kept.push((rest, advanced(&region, rest.base - whole.base)));
            }
        }
        self.regions.splice(first..first, kept);
        taken
    }

    /// All regions from low to high.
    pub fn iter(&self) -> impl Iterator<Item = &(Span, R)> {
        self.regions.iter()
    }

    /// How many regions there are.
    pub fn len(&self) -> usize {
        self.regions.len()
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }
}

fn advanced<R: Cut>(region: &R, bytes: usize) -> R {
    let mut region = region.clone();
    region.advance(bytes);
    region
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: usize = PAGE_SIZE;

    #[derive(Clone, Debug, PartialEq)]
    struct File(usize);
    impl Cut for File {
        fn advance(&mut self, bytes: usize) {
            self.0 += bytes;
        }
    }

    fn span(first: usize, pages: usize) -> Span {
        Span { base: first * P, len: pages * P }
    }

    #[test]
    fn a_hole_in_the_middle_keeps_both_ends_and_their_offsets() {
        let mut map = SpanMap::default();
        map.insert(span(10, 10), File(0));
        assert_eq!(map.carve(span(13, 2)), [(span(13, 2), File(3 * P))]);
        assert!(map.iter().eq(&[(span(10, 3), File(0)), (span(15, 5), File(5 * P))]));
        assert_eq!(map.find(14 * P), None);
        assert_eq!(map.find(15 * P + 1), Some(&(span(15, 5), File(5 * P))));
    }

    #[test]
    fn carve_takes_from_several_regions() {
        let mut map = SpanMap::default();
        map.insert(span(1, 2), File(0));
        map.insert(span(4, 2), File(0));
        map.insert(span(6, 2), File(0));
        assert_eq!(map.carve(span(2, 5)).len(), 3);
        assert!(map.iter().eq(&[(span(1, 1), File(0)), (span(7, 1), File(P))]));
    }

    #[test]
    fn the_lowest_gap_that_is_wide_enough_is_found() {
        let mut map = SpanMap::default();
        map.insert(span(1, 1), File(0));
        map.insert(span(3, 1), File(0));
        assert_eq!(map.find_free(P, P, 100 * P), Some(span(2, 1)));
        assert_eq!(map.find_free(2 * P, P, 100 * P), Some(span(4, 2)));
        assert_eq!(map.find_free(2 * P, P, 5 * P), None);
        assert_eq!(map.find_free(P, 0, 100 * P), Some(span(0, 1)));
    }

    #[test]
    fn covers_needs_every_page() {
        let mut map = SpanMap::default();
        map.insert(span(1, 2), File(0));
        map.insert(span(3, 2), File(0));
        assert!(map.covers(span(2, 2)));
        assert!(!map.covers(span(4, 2)));
    }

    #[test]
    fn hostile_ranges_are_refused() {
        assert_eq!(Span::new(usize::MAX - 4095, 8192, usize::MAX), None);
        assert_eq!(Span::new(1, P, usize::MAX), None);
        assert_eq!(Span::around(usize::MAX - 1, 5, usize::MAX), None);
        assert_eq!(Span::around(P - 1, 2, usize::MAX), Some(span(0, 2)));
    }
}
