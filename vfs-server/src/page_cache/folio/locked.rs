//! A folio whose lock the running task holds, and what only its holder does.
//!
//! Owns: the end of the lock, the changes of state and bytes that need it. Does not own: the state
//! itself nor which lock decides about it ([`super`]).

use super::{
    ATTACHED, Folio, FolioPrivate, MAPPED, MAPPED_WRITABLE, NO_SLOT, READ_FAILED, READAHEAD, REFERENCED, STORED_PAST,
    WRITEBACK,
};
use alloc::sync::Arc;
use core::fmt;
use core::ops::Deref;
use core::sync::atomic::{AtomicU32, Ordering, fence};
use platform::frame::Frames;
use platform::host::Access;
use platform::lockdep::FOLIO;
use platform::sync::{BitLock, Bits};

/// A folio that the running task has locked.
pub struct LockedFolio {
    folio: Arc<Folio>,
    /// False once the lock was handed over.
    held: bool,
}

impl LockedFolio {
    /// A folio whose lock the running task has just won.
    pub(super) fn holding(folio: Arc<Folio>) -> Self {
        Self { folio, held: true }
    }

    /// The folio, to be used after the lock.
    pub fn folio(&self) -> &Arc<Folio> {
        &self.folio
    }

    /// A folio with the same contents and state in other frames, for the place of this one; nobody maps it.
    /// `private` is the copy of what the file system keeps of it.
    pub(in crate::page_cache) fn copy_to(&self, frames: Arc<Frames>, private: Option<FolioPrivate>) -> Arc<Folio> {
        frames.copy_from(0, &self.folio.frames, 0, self.folio.len());
        let kept = self.folio.state.flags(&FOLIO) & (ATTACHED | REFERENCED | READAHEAD | READ_FAILED | STORED_PAST);
        Arc::new(Folio {
            index: self.folio.index,
            state: BitLock::new(kept),
            order: self.folio.order,
            block_shift: self.folio.block_shift,
            slot: AtomicU32::new(NO_SLOT),
            changes: AtomicU32::new(0),
            uptodate: Bits::new(self.folio.uptodate_blocks()),
            dirty: Bits::new(self.folio.dirty_blocks()),
            inode: self.folio.inode.clone(),
            frames,
            private,
        })
    }

    /// Runs `change`, which copies bytes in or zeroes them: who looks at them meanwhile looks again.
    #[inline]
    pub fn change<R>(&self, change: impl FnOnce(&Frames) -> R) -> R {
        self.folio.touch_changes(Access::Write);
        // Only the holder of the lock counts.
        let before = self.folio.changes.load(Ordering::Relaxed);
        self.folio.changes.store(before.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        let outcome = change(&self.folio.frames);
        self.folio.touch_changes(Access::Write);
        self.folio.changes.store(before.wrapping_add(2), Ordering::Release);
        outcome
    }

    /// Marks blocks as holding the file's contents.
    pub fn set_uptodate(&self, blocks: u64) {
        self.folio.uptodate.set(&FOLIO, blocks);
        self.folio.state.clear(&FOLIO, READ_FAILED);
        self.folio.tell_state();
    }

    /// A new read of it begins.
    pub(crate) fn clear_read_failed(&self) {
        self.folio.state.clear(&FOLIO, READ_FAILED);
    }

    /// Clients may map it from now on, with the right to store if `writable`.
    pub fn set_mapped(&self, writable: bool) {
        let flags = if writable { MAPPED | MAPPED_WRITABLE | STORED_PAST } else { MAPPED };
        if self.folio.state.flags(&FOLIO) & flags != flags {
            self.folio.state.set(&FOLIO, flags);
            self.folio.tell_state();
        }
    }

    /// Whether a client may map it.
    pub fn is_mapped(&self) -> bool {
        self.folio.has(MAPPED)
    }

    /// Whether a client may be able to store to it.
    pub fn is_mapped_writable(&self) -> bool {
        self.folio.has(MAPPED_WRITABLE)
    }

    /// Whether the bytes past the end of the file may be other than zero.
    pub fn may_have_stores_past_end(&self) -> bool {
        self.folio.has(STORED_PAST)
    }

    /// The bytes past the end of the file are zero, and nobody stores to them.
    pub fn clear_stores_past_end(&self) {
        self.folio.state.clear(&FOLIO, STORED_PAST);
    }

    /// ZAP has returned: nobody maps it.
    pub fn clear_mapped(&self) {
        self.folio.state.clear(&FOLIO, MAPPED | MAPPED_WRITABLE);
        self.folio.tell_state();
    }

    /// WRPROTECT has returned: nobody stores to it.
    pub fn clear_mapped_writable(&self) {
        self.folio.state.clear(&FOLIO, MAPPED_WRITABLE);
        self.folio.tell_state();
    }

    pub(in crate::page_cache) fn set_dirty(&self, blocks: u64) -> u64 {
        let before = self.folio.dirty.set(&FOLIO, blocks);
        self.folio.tell_state();
        before
    }

    pub(in crate::page_cache) fn clear_dirty(&self, blocks: u64) -> u64 {
        let before = self.folio.dirty.clear(&FOLIO, blocks);
        self.folio.tell_state();
        before
    }

    pub(in crate::page_cache) fn set_writeback(&self) {
        self.folio.state.set(&FOLIO, WRITEBACK);
        self.folio.tell_state();
    }

    pub(in crate::page_cache) fn detach(&self) {
        self.folio.state.clear(&FOLIO, ATTACHED | MAPPED | MAPPED_WRITABLE);
        self.folio.tell_state();
    }

    /// Gives the lock to a read that will call [`Folio::end_read`].
    pub(crate) fn hand_over(mut self) -> Arc<Folio> {
        self.folio.state.hand_over(&FOLIO);
        self.held = false;
        self.folio.clone()
    }
}

impl Deref for LockedFolio {
    type Target = Folio;
    fn deref(&self) -> &Folio {
        &self.folio
    }
}

impl Drop for LockedFolio {
    fn drop(&mut self) {
        if self.held {
            self.folio.state.unlock(&FOLIO);
        }
    }
}

impl fmt::Display for LockedFolio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&*self.folio, f)
    }
}
