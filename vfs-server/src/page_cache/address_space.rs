//! The folios of one file, Linux's `struct address_space`.
//!
//! Owns: the index with its lock, the invalidate lock, the changes of a folio that the index and
//! the counts must follow (attach, detach, replace, dirty, writeback). Does not own: reading and writing.
//!
//! A folio found in the index may be detached before its lock is won: whoever locks one looks at
//! [`Folio::is_attached`] and starts over (K2 of the known races is the code that does not).

use super::PageCache;
use super::folio::{Folio, FolioPrivate, LockedFolio, PAGE_SHIFT};
use super::index::{FolioIndex, Mark};
use super::invalidate_lock::{InvalidateLock, InvalidateLockKind};
use crate::errseq::ErrSeq;
use crate::inode::Inode;
use crate::readahead::ReadaheadState;
use alloc::sync::Arc;
use pager_abi::Cookie;
use platform::frame::Frames;
use platform::lockdep::PAGE_INDEX;
use platform::sync::{Long, RwLock};
use platform::{Mutant, mutant, tell};

/// The folios of one file.
pub struct AddressSpace {
    /// Names the file's mapping object to the kernel; never used again for another inode.
    pub cookie: Cookie,
    /// Add: folios may be added. Block: truncate and its like.
    pub invalidate_lock: InvalidateLock,
    /// Errors of writeback.
    pub errors: ErrSeq,
    /// How page faults have walked over the file.
    pub(crate) fault_readahead: ReadaheadState,
    /// Mappings that clients have of it, as far as the kernel has told.
    pub(crate) grants: Long,
    block_shift: u8,
    index: RwLock<FolioIndex>,
}

impl AddressSpace {
    /// An empty one of a file with blocks of `1 << block_shift` bytes.
    pub(crate) fn new(cookie: Cookie, block_shift: u8, invalidate_lock: InvalidateLockKind) -> Self {
        Self {
            cookie,
            invalidate_lock: InvalidateLock::new(invalidate_lock),
            errors: ErrSeq::new(),
            fault_readahead: ReadaheadState::new(),
            grants: Long::new(&PAGE_INDEX, 0),
            block_shift,
            index: RwLock::new(&PAGE_INDEX, FolioIndex::new()),
        }
    }

    /// log2 of the bytes of a block.
    pub fn block_shift(&self) -> u8 {
        self.block_shift
    }

    /// log2 of the most pages of a folio of this file: the state of its blocks is 64 bits.
    pub fn max_order(&self) -> u8 {
        super::MAX_ORDER.min((6 + self.block_shift).saturating_sub(PAGE_SHIFT as u8))
    }

    /// The folio that covers `page`.
    #[inline]
    pub fn find(&self, page: u64) -> Option<Arc<Folio>> {
        self.index.read().get(page).cloned()
    }

    /// The folio that covers `page`, locked and still attached.
    pub fn find_locked(&self, page: u64) -> Option<LockedFolio> {
        loop {
            let locked = self.find(page)?.lock();
            if locked.is_attached() || mutant(Mutant::NoMappingRecheck) {
                return Some(locked);
            }
        }
    }

    /// The first folio with `mark` that covers `page` or lies after it.
    pub fn next(&self, page: u64, mark: Mark) -> Option<Arc<Folio>> {
        self.index.read().next(page, mark).cloned()
    }

    /// Whether any folio has the mark.
    pub fn any(&self, mark: Mark) -> bool {
        self.index.read().any(mark)
    }

    /// A new folio at `page` in `frames`, locked; `None` if a page of it is covered already.
    pub fn add(&self, cache: &PageCache, inode: &Arc<Inode>, page: u64, frames: Arc<Frames>) -> Option<LockedFolio> {
        let order = frames.order();
        let locked = Folio::new_locked(inode, page, self.block_shift, frames);
        locked.attach();
        if !self.index.write().insert(locked.folio().clone()) {
            cache.uncharge(order);
            return None;
        }
        tell!("adds {locked} to the cache");
        cache.clock.insert(locked.folio().clone());
        Some(locked)
    }

    /// Takes a locked folio out. It is clean or its contents are void; nobody maps it; it is not
    /// under writeback.
    pub fn detach(&self, cache: &PageCache, folio: &LockedFolio) {
        let faulty = mutant(Mutant::TruncateForgetsWriteback) || mutant(Mutant::ReclaimForgetsWriteback);
        debug_assert!(!folio.is_mapped() && (!folio.is_under_writeback() || faulty));
        let dirty = folio.clear_dirty(u64::MAX);
        tell!("drops {folio}{}", if dirty != 0 { ", which is dirty" } else { "" });
        cache.count_clean(folio, dirty);
        folio.detach();
        self.forget(cache, folio);
    }

    /// Takes a locked folio out, which is clean, mapped by nobody and not under writeback; `false`: somebody
    /// needs it to stay.
    pub fn try_detach(&self, cache: &PageCache, folio: &LockedFolio) -> bool {
        if !folio.try_detach() {
            return false;
        }
        tell!("drops {folio}");
        self.forget(cache, folio);
        true
    }

    fn forget(&self, cache: &PageCache, folio: &LockedFolio) {
        let removed = self.index.write().remove(folio.index());
        debug_assert!(removed.is_some_and(|removed| Arc::ptr_eq(&removed, folio.folio())));
        cache.clock.remove(folio);
        cache.uncharge(folio.order());
    }

    /// Puts a copy in `frames`, with `private`, in the place of a locked folio, which is detached then. Nobody
    /// maps it, and it is not under writeback. `false`: somebody needs it to stay.
    pub fn replace(
        &self,
        cache: &PageCache,
        old: &LockedFolio,
        frames: Arc<Frames>,
        private: Option<FolioPrivate>,
    ) -> bool {
        debug_assert!(old.is_attached() && !old.is_mapped() && !old.is_under_writeback());
        if mutant(Mutant::MigrateForgetsDirty) {
            self.cancel_dirty(cache, old, u64::MAX);
        }
        let order = frames.order();
        let new = old.copy_to(frames, private);
        if !old.try_detach() {
            cache.uncharge(order);
            return false;
        }
        tell!("moves {old} to other frames");
        // Dirty blocks are the copy's now: the count and the marks stay. Who looks without the lock and
        // finds none dirty any more finds the folio detached.
        old.clear_dirty(u64::MAX);
        let replaced = self.index.write().replace(new.clone());
        debug_assert!(replaced.is_some_and(|replaced| Arc::ptr_eq(&replaced, old.folio())));
        cache.clock.remove(old);
        new.tell_state();
        cache.clock.insert(new);
        cache.uncharge(old.order());
        true
    }

    /// Dirties blocks of a locked folio; whether the folio was clean.
    pub fn set_dirty(&self, cache: &PageCache, folio: &LockedFolio, blocks: u64) -> bool {
        debug_assert!(folio.is_attached() && folio.uptodate_blocks() & blocks == blocks);
        let before = folio.set_dirty(blocks);
        cache.count_dirty(folio, blocks & !before);
        if before == 0 {
            self.index.write().set_mark(folio.index(), Mark::Dirty, true);
        }
        before == 0
    }

    /// Blocks of a locked folio are dirty no more: they lie past the end of the file now.
    pub fn cancel_dirty(&self, cache: &PageCache, folio: &LockedFolio, blocks: u64) {
        let before = folio.clear_dirty(blocks);
        cache.count_clean(folio, before & blocks);
        if before != 0 && before & !blocks == 0 {
            self.index.write().set_mark(folio.index(), Mark::Dirty, false);
        }
    }

    /// Takes the dirty blocks of a locked folio and puts it under writeback.
    pub(crate) fn begin_writeback(&self, cache: &PageCache, folio: &LockedFolio) -> u64 {
        debug_assert!(!folio.is_under_writeback());
        debug_assert!(!folio.is_mapped_writable() || mutant(Mutant::NoWrprotectBeforeCopy));
        tell!("takes the dirty blocks of {folio} to write them");
        // In this order: who looks without the lock finds what is on its way in one state or the other.
        let marked_late = mutant(Mutant::WritebackMarkedLate);
        if !marked_late {
            folio.set_writeback();
        }
        let blocks = folio.clear_dirty(u64::MAX);
        cache.count_clean(folio, blocks);
        if marked_late {
            folio.set_writeback();
        }
        let mut index = self.index.write();
        index.set_mark(folio.index(), Mark::Dirty, false);
        index.set_mark(folio.index(), Mark::Writeback, true);
        blocks
    }

    /// Blocks of a folio under writeback could not be written.
    pub(crate) fn redirty(&self, cache: &PageCache, folio: &Folio, blocks: u64) {
        let before = folio.redirty(blocks);
        cache.count_dirty(folio, blocks & !before);
        self.index.write().set_mark(folio.index(), Mark::Dirty, true);
    }

    /// The writeback of a folio has ended, well or not.
    pub(crate) fn end_writeback(&self, folio: &Folio) {
        tell!("ends the writeback of {folio}");
        self.index.write().set_mark(folio.index(), Mark::Writeback, false);
        folio.end_writeback();
    }
}
