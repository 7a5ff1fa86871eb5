//! How far to read ahead, and in which folio sizes.
//!
//! Owns: the memory of where a stream of reads stands, and the choice of the next window. Does not
//! own: the reading (`file::fill`). One state an open file for `read`, one a mapping for faults.
//!
//! A state is a hint: two threads that race over it read too much or too little, never wrongly.

use crate::page_cache::MAX_ORDER;
use core::sync::atomic::{AtomicU64, Ordering};

/// Pages of the first window of a sequential stream.
const FIRST_WINDOW: u64 = 4;

/// Most pages that are read ahead of a stream.
pub const WINDOW_MAX: u64 = 64;

/// Where a stream of reads stands.
#[derive(Debug)]
pub(crate) struct ReadaheadState {
    /// The page after the last window, in bits 63..8, and the window's size in pages, in bits 7..0.
    packed: AtomicU64,
}

/// What shall be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// The first page.
    pub first: u64,
    /// Pages, at least 1.
    pub count: u64,
    /// log2 of the most pages of a folio in it.
    pub order: u8,
}

impl Window {
    /// The part with `page` in it of at most `most` pages.
    pub(crate) fn around(self, page: u64, most: u64) -> Self {
        if self.count <= most {
            return self;
        }
        let first = self.first + (page - self.first) / most * most;
        Self { first, count: most.min(self.first + self.count - first), order: self.order }
    }
}

impl ReadaheadState {
    pub(crate) const fn new() -> Self {
        Self { packed: AtomicU64::new(0) }
    }

    fn get(&self) -> (u64, u64) {
        let packed = self.packed.load(Ordering::Relaxed);
        (packed >> 8, packed & 0xff)
    }

    fn set(&self, window: Window) {
        self.packed.store((window.first + window.count) << 8 | window.count.min(0xff), Ordering::Relaxed);
    }

    /// `page` is read and not there; `wanted` pages from it on are asked for, the file has `end`.
    pub(crate) fn miss(&self, page: u64, wanted: u64, end: u64) -> Window {
        let (next, size) = self.get();
        let sequential = page == next && (size > 0 || page == 0);
        let count = if sequential { (size * 2).clamp(FIRST_WINDOW, WINDOW_MAX) } else { 1 };
        self.take(page, count.max(wanted.min(WINDOW_MAX)), end)
    }

    /// `page` is faulted on and not there: the aligned window around it, for the pages next to it
    /// are likely to be touched too.
    pub(crate) fn fault_miss(&self, page: u64, end: u64) -> Window {
        let (next, size) = self.get();
        if page == next && size > 0 {
            return self.take(page, (size * 2).clamp(1 << MAX_ORDER, WINDOW_MAX), end);
        }
        self.take(page & !((1 << MAX_ORDER) - 1), 1 << MAX_ORDER, end)
    }

    /// The marked folio at `page` is read: the window after the last one.
    pub(crate) fn hit_mark(&self, page: u64, end: u64) -> Option<Window> {
        let (next, size) = self.get();
        (next > page && next < end).then(|| self.take(next, (size * 2).clamp(FIRST_WINDOW, WINDOW_MAX), end))
    }

    fn take(&self, first: u64, count: u64, end: u64) -> Window {
        let count = count.min(end.saturating_sub(first)).max(1);
        // Folios as large as the window, so that one answer to a fault maps all of it.
        let order = (u64::BITS - 1 - count.leading_zeros()).min(u32::from(MAX_ORDER)) as u8;
        let window = Window { first, count, order };
        self.set(window);
        window
    }
}

/// log2 of the pages of the folio at `page`, at most `order`: aligned, and not past page `end`.
pub(crate) fn order_at(page: u64, order: u8, end: u64) -> u8 {
    let aligned = page.trailing_zeros().min(u32::from(order)) as u8;
    (0..=aligned).rev().find(|&order| page + (1 << order) <= end).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequential_stream_doubles_its_window_and_a_random_one_does_not() {
        let state = ReadaheadState::new();
        let first = state.miss(0, 1, 1000);
        assert_eq!((first.first, first.count), (0, 4));
        assert_eq!(state.miss(4, 1, 1000).count, 8);
        assert_eq!(state.miss(500, 1, 1000).count, 1);
        assert_eq!(state.miss(100, 2, 1000).count, 2);
    }

    #[test]
    fn a_window_ends_with_the_file() {
        let state = ReadaheadState::new();
        assert_eq!(state.miss(0, 1, 3).count, 3);
        assert_eq!(state.fault_miss(2, 3), Window { first: 0, count: 3, order: 1 });
        assert_eq!(Window { first: 16, count: 9, order: 4 }.around(24, 4), Window { first: 24, count: 1, order: 4 });
        assert_eq!(order_at(0, 4, 3), 1);
        assert_eq!(order_at(2, 4, 3), 0);
        assert_eq!(order_at(16, 4, 1000), 4);
        assert_eq!(order_at(6, 4, 1000), 1);
    }
}
