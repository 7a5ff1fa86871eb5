//! The page cache: folios of files in memory, how many there may be, and how many are dirty.
//!
//! Owns: the frames that hold file data and their number, each file's folio index with its marks,
//! the clock. Does not own: who reads or writes folios (`file`, `fault`), when they are written
//! (`writeback`) or given back (`reclaim`).
//!
//! | module | what |
//! |---|---|
//! | [`folio`] | a run of pages: lock, state, state of each block |
//! | `folio_batch` | folios that are locked together |
//! | [`address_space`] | the folios of one file |
//! | `invalidate_lock` | between those who add folios and those who take contents away |
//! | `index` | the radix tree with marks under it |
//! | `lru` | the clock |
//!
//! | | read | write | fault | page_mkwrite | truncate | writeback | reclaim |
//! |---|---|---|---|---|---|---|---|
//! | **find** | index lock | index lock | index lock | index lock | index lock; attached is re-checked under the folio lock | index lock | as truncate |
//! | **fill** | folio lock | folio lock | folio lock | folio lock | invalidate lock | (not uptodate: not dirty) | folio lock |
//! | **dirty** | - | folio lock | - | folio lock | folio lock | folio lock | folio lock |

pub mod address_space;
pub mod folio;
mod folio_batch;
mod index;
mod invalidate_lock;
mod lru;

pub use address_space::AddressSpace;
pub use folio::{Folio, FolioPrivate, LockedFolio, MAX_ORDER, PAGE_SHIFT, PINS_MAX, PinnedFolio};
pub use folio_batch::{FolioBatch, FolioOrigin};
pub use index::Mark;
pub use invalidate_lock::{AddGuard, BlockGuard, InvalidateLock, InvalidateLockKind};

use alloc::sync::Arc;
use lru::Clock;
use platform::frame::Frames;
use platform::lockdep::{INODE, LEAF};
use platform::sync::{Long, WaitQueue, Word};

/// The memory of all files' folios.
pub struct PageCache {
    limit: usize,
    /// log2 of the most pages of a folio.
    max_order: u8,
    /// Pages charged.
    used: Long,
    /// Bytes of dirty blocks.
    dirty: Long,
    clock: Clock,
    room_made: WaitQueue,
    wanted: WaitQueue,
    waiting: Word,
    /// 1: the host had no page left although the limit was not reached.
    exhausted: Word,
}

impl PageCache {
    /// A cache of at most `limit` pages, in folios of at most `1 << max_order`.
    pub fn new(limit: usize, max_order: u8) -> Self {
        Self {
            limit,
            max_order,
            used: Long::new(&LEAF, 0),
            dirty: Long::new(&LEAF, 0),
            clock: Clock::new(limit),
            room_made: WaitQueue::new(),
            wanted: WaitQueue::new(),
            waiting: Word::new(&LEAF, 0),
            exhausted: Word::new(&LEAF, 0),
        }
    }

    /// Most pages.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// log2 of the most pages of a folio of `mapping`.
    pub(crate) fn max_order(&self, mapping: &AddressSpace) -> u8 {
        self.max_order.min(mapping.max_order())
    }

    /// Bytes that were reserved at the start for the clock's slots, one for each page of the limit.
    pub fn slot_bytes(&self) -> usize {
        self.clock.bytes()
    }

    /// Pages that must be free for those who wait for a folio: the largest one.
    fn room(&self) -> usize {
        1 << self.max_order
    }

    /// Pages in use.
    pub fn used(&self) -> usize {
        self.used.load() as usize
    }

    /// Bytes of dirty blocks.
    pub fn dirty_bytes(&self) -> usize {
        self.dirty.load() as usize
    }

    /// Pages above which the reclaimer works ahead.
    fn high_mark(&self) -> usize {
        self.limit - self.limit / 16
    }

    /// Whether reclaim has something to do.
    pub(crate) fn is_short(&self) -> bool {
        let used = self.used();
        let somebody_waits = self.waiting.load() != 0;
        used > self.high_mark() || somebody_waits && (used + self.room() > self.limit || self.exhausted.load() != 0)
    }

    /// Frames for a folio; `None`: none are free. It never waits, whatever the caller holds.
    pub fn try_alloc(&self, order: u8) -> Option<Arc<Frames>> {
        let pages = 1usize << order;
        let used = self.used.fetch_add(pages as u64) as usize + pages;
        let allowed = used <= self.limit && platform::host::choose(2, "folio allocation") == 0;
        let frames = if allowed { Frames::alloc(order) } else { None };
        if frames.is_none() {
            self.used.fetch_sub(pages as u64);
            if allowed && order == 0 && self.exhausted.fetch_or(1) == 0 {
                let (total, free) = Frames::budget();
                log::warn!("no page for a folio: {used} of {} used, the host has {free} of {total}", self.limit);
            }
        }
        if used > self.high_mark() {
            self.wanted.wake_all();
        }
        frames.map(Arc::new)
    }

    /// Frames that [`PageCache::try_alloc`] gave are not used, or their folio was detached.
    pub(super) fn uncharge(&self, order: u8) {
        self.used.fetch_sub(1 << order);
        self.exhausted.store(0);
        if self.waiting.load() != 0 {
            self.room_made.wake_all();
        }
    }

    /// Waits until frames may be free. The caller holds no lock that reclaim, writeback or the end of
    /// an I/O takes: none but an inode's, and that only for a write whose bytes are all here.
    pub fn wait_for_room(&self, deadline_ns: u64) -> bool {
        platform::lockdep::assert_none_held_after(&INODE, "wait for a free folio");
        self.waiting.fetch_add(1);
        self.wanted.wake_all();
        let before = self.used();
        let enough = || {
            let used = self.used();
            let room = used + self.room() <= self.limit && self.exhausted.load() == 0;
            (room || used < before).then_some(())
        };
        let room = self.room_made.wait_for_until("a free folio", deadline_ns, enough).is_some();
        self.waiting.fetch_sub(1);
        room
    }

    /// The reclaimer's wait for work.
    pub(crate) fn wait_until_wanted(&self, deadline_ns: u64, mut stop: impl FnMut() -> bool) {
        self.wanted.wait_for_until("memory to be short", deadline_ns, || (self.is_short() || stop()).then_some(()));
    }

    /// Lets the reclaimer look again.
    pub(crate) fn kick_reclaim(&self) {
        self.wanted.wake_all();
    }

    /// Folios that a full turn of the clock looks at.
    pub(crate) fn clock_len(&self) -> usize {
        self.clock.len()
    }

    /// The folio at which the clock's hand stops next.
    pub(crate) fn clock_next(&self) -> Option<Arc<Folio>> {
        self.clock.next()
    }

    fn count_dirty(&self, folio: &Folio, blocks: u64) {
        self.dirty.fetch_add(u64::from(blocks.count_ones()) * folio.block_size() as u64);
    }

    fn count_clean(&self, folio: &Folio, blocks: u64) {
        self.dirty.fetch_sub(u64::from(blocks.count_ones()) * folio.block_size() as u64);
    }
}
