//! A folio: a power-of-two run of pages of one file, with its lock and its state.
//!
//! Owns: the state word (lock, writeback, mapped, referenced), the state of each block (uptodate,
//! dirty), the frames. Does not own: where it is found (`address_space`), whether it may stay
//! (`lru`, `reclaim`), what is done with it. What needs its lock is in [`LockedFolio`].
//!
//! Clients that map it change its bytes at any moment: they are only copied in and out.
//!
//! Which lock decides, by state:
//!
//! | | set | cleared |
//! |---|---|---|
//! | attached | insertion | folio lock (truncate, reclaim, evict; not reclaim while it is pinned); re-checked by whoever wins the lock |
//! | pinned, a count | anybody, while attached | who did it |
//! | uptodate, a block | folio lock, or the I/O that holds it | never while attached |
//! | dirty, a block | folio lock; or a failed write, while under writeback | folio lock |
//! | writeback | folio lock | I/O completion, without the lock |
//! | mapped, mapped writable | folio lock, before the answer to the fault | folio lock, after ZAP / WRPROTECT |
//! | referenced, readahead | anybody | anybody |

mod blocks;
mod locked;
mod pin;

pub use blocks::{block_bits, block_runs};
pub use locked::LockedFolio;
pub use pin::{PINS_MAX, PinnedFolio};

use crate::inode::Inode;
use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use core::any::Any;
use core::fmt;
use core::ops::Range;
use core::sync::atomic::{AtomicU32, Ordering, fence};
use pager_abi::PAGE_SIZE;
use platform::frame::Frames;
use platform::host::{self, Access};
use platform::lockdep::FOLIO;
use platform::name_object;
use platform::sync::{BitLock, Bits};

/// log2 of the most pages of a folio.
pub const MAX_ORDER: u8 = 4;

/// log2 of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = PAGE_SIZE.trailing_zeros();

/// In an address space; a folio that is no more must be looked up anew.
const ATTACHED: u32 = 1 << 2;
/// Used since the clock's hand last passed.
const REFERENCED: u32 = 1 << 3;
/// Its bytes as of the last look are on their way to the disk.
const WRITEBACK: u32 = 1 << 4;
/// A client may map a page of it.
const MAPPED: u32 = 1 << 5;
/// A client may be able to store to a page of it.
const MAPPED_WRITABLE: u32 = 1 << 6;
/// Whoever reads it starts the next readahead.
const READAHEAD: u32 = 1 << 7;
/// A read of it failed.
const READ_FAILED: u32 = 1 << 8;

/// A client was able to store past the end of the file in a page of it.
const STORED_PAST: u32 = 1 << 9;

/// Those who need it to stay are counted from here on: see [`pin`].
const PIN: u32 = 1 << 10;

/// No place in the clock.
pub(super) const NO_SLOT: u32 = u32::MAX;

/// A run of pages of a file in memory.
pub struct Folio {
    index: u64,
    state: BitLock,
    order: u8,
    block_shift: u8,
    /// Its place in the clock; changed under the clock's lock only.
    pub(super) slot: AtomicU32,
    /// Counts the server's changes of bytes that others may be reading, odd while one is going on: a
    /// seqlock's. What clients store by their mappings is not counted.
    changes: AtomicU32,
    uptodate: Bits,
    dirty: Bits,
    inode: Weak<Inode>,
    frames: Arc<Frames>,
    private: Option<FolioPrivate>,
}

/// "folio 1 of inode 12": its first page and its file.
impl fmt::Display for Folio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.inode.upgrade() {
            Some(inode) => write!(f, "folio {} of inode {}", self.index, inode.ino),
            None => write!(f, "folio {} of a forgotten inode", self.index),
        }
    }
}

/// A folio's state in words, as the explorer reads it.
struct State<'a>(&'a Folio);

impl fmt::Display for State<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(folio) = self;
        if !folio.is_attached() {
            return write!(f, "gone");
        }
        let is = |is: bool, word| if is { word } else { "" };
        let uptodate = is(folio.uptodate_blocks() != 0, "uptodate ");
        let dirty = is(folio.dirty_blocks() != 0, "dirty ");
        let writeback = is(folio.is_under_writeback(), "writeback ");
        let mapped = if folio.has(MAPPED_WRITABLE) { "mapped-rw" } else { is(folio.has(MAPPED), "mapped-ro") };
        write!(f, "{uptodate}{dirty}{writeback}{mapped}")
    }
}

/// What a file system keeps of each folio (Linux: `folio->private`): sector states, for example. It
/// is changed under the folio lock, by cells of [`platform::sync`].
pub type FolioPrivate = Box<dyn Any + Send + Sync>;

impl Folio {
    /// A new folio of `inode` at page `index`, attached to nothing and locked by the running task.
    pub(super) fn new_locked(inode: &Arc<Inode>, index: u64, block_shift: u8, frames: Arc<Frames>) -> LockedFolio {
        let folio = Arc::new(Self {
            index,
            state: BitLock::new(REFERENCED),
            order: frames.order(),
            block_shift,
            slot: AtomicU32::new(NO_SLOT),
            changes: AtomicU32::new(0),
            uptodate: Bits::new(0),
            dirty: Bits::new(0),
            inode: Arc::downgrade(inode),
            frames,
            private: inode.operations().folio_private(),
        });
        name_object!(folio.state.object(), "folio lock of {folio}");
        folio.state.lock(&FOLIO, index);
        LockedFolio::holding(folio)
    }

    /// The first page.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// log2 of the number of pages.
    pub fn order(&self) -> u8 {
        self.order
    }

    /// Pages.
    pub fn pages(&self) -> u64 {
        1 << self.order
    }

    /// The page after the last.
    pub fn end_index(&self) -> u64 {
        self.index + self.pages()
    }

    /// Byte offset in the file.
    pub fn position(&self) -> u64 {
        self.index << PAGE_SHIFT
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        (PAGE_SIZE as usize) << self.order
    }

    /// A folio has bytes.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The bytes.
    pub fn frames(&self) -> &Arc<Frames> {
        &self.frames
    }

    /// The inode it belongs to, while that is in memory.
    pub fn inode(&self) -> Option<Arc<Inode>> {
        self.inode.upgrade()
    }

    /// Whether its file system keeps something of it.
    pub fn has_private(&self) -> bool {
        self.private.is_some()
    }

    /// What its file system keeps of it, if that is a `T`.
    pub fn private<T: 'static>(&self) -> Option<&T> {
        self.private.as_ref()?.downcast_ref()
    }

    /// Bytes of a block.
    pub fn block_size(&self) -> usize {
        1 << self.block_shift
    }

    /// Blocks of the file before this folio.
    pub fn first_block(&self) -> u64 {
        self.position() >> self.block_shift
    }

    /// Blocks of the folio.
    pub fn blocks(&self) -> u32 {
        (self.len() >> self.block_shift) as u32
    }

    /// The blocks that `bytes` of the folio touch, as bits.
    pub fn blocks_touched(&self, bytes: Range<usize>) -> u64 {
        if bytes.is_empty() {
            return 0;
        }
        let first = bytes.start >> self.block_shift;
        let end = (bytes.end + self.block_size() - 1) >> self.block_shift;
        block_bits(first as u32..end as u32)
    }

    /// The blocks of one of its pages, as bits.
    #[inline]
    pub fn blocks_of_page(&self, page: u64) -> u64 {
        let blocks = 1 << (PAGE_SHIFT - u32::from(self.block_shift));
        ((1 << blocks) - 1) << (blocks * (page - self.index))
    }

    /// The blocks that lie entirely within `bytes` of the folio, as bits.
    pub fn blocks_within(&self, bytes: Range<usize>) -> u64 {
        let first = (bytes.start + self.block_size() - 1) >> self.block_shift;
        let end = bytes.end >> self.block_shift;
        block_bits(first as u32..end.max(first) as u32)
    }

    /// Whether all of `page`, one of its pages, holds the file's contents.
    #[inline]
    pub fn has_page(&self, page: u64) -> bool {
        let wanted = self.blocks_of_page(page);
        self.uptodate.load(&FOLIO) & wanted == wanted
    }

    /// Whether the blocks that `bytes` touch hold the file's contents.
    #[inline]
    pub fn is_uptodate(&self, bytes: Range<usize>) -> bool {
        let wanted = self.blocks_touched(bytes);
        self.uptodate.load(&FOLIO) & wanted == wanted
    }

    /// The uptodate blocks.
    pub fn uptodate_blocks(&self) -> u64 {
        self.uptodate.load(&FOLIO)
    }

    /// The dirty blocks.
    pub fn dirty_blocks(&self) -> u64 {
        self.dirty.load(&FOLIO)
    }

    fn has(&self, flag: u32) -> bool {
        self.state.flags(&FOLIO) & flag != 0
    }

    /// Whether the folio is still the cache's; only the folio lock keeps it so.
    pub fn is_attached(&self) -> bool {
        self.has(ATTACHED)
    }

    /// Whether it is on its way to the disk.
    pub fn is_under_writeback(&self) -> bool {
        self.has(WRITEBACK)
    }

    /// Whether the last read of it failed.
    pub fn read_failed(&self) -> bool {
        self.has(READ_FAILED)
    }

    /// Whether somebody holds the lock.
    pub fn is_locked(&self) -> bool {
        self.state.is_locked()
    }

    /// It is being used: the clock shall spare it once.
    #[inline]
    pub fn mark_referenced(&self) {
        if !self.has(REFERENCED) {
            self.state.set(&FOLIO, REFERENCED);
        }
    }

    /// Takes the mark of [`Folio::mark_referenced`]; whether it was there.
    pub fn take_referenced(&self) -> bool {
        self.has(REFERENCED) && self.state.clear(&FOLIO, REFERENCED) & REFERENCED != 0
    }

    /// Whoever reads this folio shall start the next readahead.
    pub fn mark_readahead(&self) {
        self.state.set(&FOLIO, READAHEAD);
    }

    /// Takes the mark of [`Folio::mark_readahead`]; whether it was there.
    #[inline]
    pub fn take_readahead(&self) -> bool {
        self.has(READAHEAD) && self.state.clear(&FOLIO, READAHEAD) & READAHEAD != 0
    }

    /// Runs `look`, which copies bytes out, such that the server changes none of them meanwhile: at
    /// first without a lock, once more with the folio lock if that met a change.
    #[inline]
    pub fn look<R>(self: &Arc<Self>, look: impl Fn(&Frames) -> R) -> R {
        self.touch_changes(Access::Read);
        let before = self.changes.load(Ordering::Acquire);
        if before.is_multiple_of(2) {
            let seen = look(&self.frames);
            fence(Ordering::Acquire);
            self.touch_changes(Access::Read);
            if self.changes.load(Ordering::Relaxed) == before {
                return seen;
            }
        }
        let _held = self.lock();
        look(&self.frames)
    }

    #[inline(always)]
    fn touch_changes(&self, access: Access) {
        host::touch(&FOLIO, (&raw const self.changes) as usize, access);
    }

    /// Locks the folio, waiting for its holder. It may be detached by then.
    pub fn lock(self: &Arc<Self>) -> LockedFolio {
        self.state.lock(&FOLIO, self.index);
        LockedFolio::holding(self.clone())
    }

    /// Locks the folio if nobody holds it.
    pub fn try_lock(self: &Arc<Self>) -> Option<LockedFolio> {
        self.state.try_lock(&FOLIO, self.index).then(|| LockedFolio::holding(self.clone()))
    }

    /// Waits until nobody holds the lock.
    pub fn wait_unlocked(&self) {
        self.state.wait_unlocked("a folio's read");
    }

    /// Waits until it is not under writeback.
    pub fn wait_writeback(&self) {
        self.state.wait_clear(WRITEBACK, "writeback of a folio");
    }

    /// The read that the locked folio was handed to has ended: `blocks` hold the file's contents.
    pub(crate) fn end_read(&self, blocks: Option<u64>) {
        match blocks {
            Some(blocks) => {
                self.uptodate.set(&FOLIO, blocks);
                self.tell_state();
            }
            None => {
                self.state.set(&FOLIO, READ_FAILED);
            }
        }
        self.state.unlock_handed(&FOLIO);
    }

    /// Dirties blocks again whose write failed; the folio is still under writeback.
    pub(super) fn redirty(&self, blocks: u64) -> u64 {
        let before = self.dirty.set(&FOLIO, blocks);
        self.tell_state();
        before
    }

    pub(super) fn end_writeback(&self) {
        self.state.clear(&FOLIO, WRITEBACK);
        self.tell_state();
    }

    pub(super) fn attach(&self) {
        self.state.set(&FOLIO, ATTACHED);
        self.tell_state();
    }

    /// Tells the explorer its state: "folio 1 of inode 12 = uptodate dirty".
    pub(super) fn tell_state(&self) {
        // The byte after the lock's address has no other name.
        name_object!(self.state.object() + 1, "{self} = {}", State(self));
    }
}
