//! Folios that somebody needs to stay in the cache: a count in the state word.
//!
//! Reclaim and migration leave a pinned folio where it is, as Linux's do with a page that is referenced.
//! Whoever takes contents away (truncate, evict) may detach it all the same.

use super::{ATTACHED, Folio, LockedFolio, MAPPED, MAPPED_WRITABLE, PIN, WRITEBACK};
use alloc::sync::Arc;
use core::ops::Deref;
use platform::lockdep::FOLIO;
use platform::sync::BitLock;

const PINS: u32 = BitLock::FLAGS & !(PIN - 1);

/// Most pins of a folio at a time.
pub const PINS_MAX: usize = (PINS / PIN) as usize;

/// A folio that stays.
pub struct PinnedFolio(Arc<Folio>);

impl Folio {
    /// Keeps the folio in its place; `None`: it is detached already.
    pub fn pin(self: &Arc<Self>) -> Option<PinnedFolio> {
        let pinned = |flags: u32| (flags & ATTACHED != 0 && flags & PINS != PINS).then(|| flags + PIN);
        self.state.update(&FOLIO, pinned).map(|_| PinnedFolio(self.clone()))
    }

    /// Whether a fault needs it to stay.
    pub fn is_pinned(&self) -> bool {
        self.has(PINS)
    }

    /// Whether a fault or the disk needs it to stay.
    pub fn is_needed(&self) -> bool {
        self.has(PINS | WRITEBACK)
    }
}

impl LockedFolio {
    /// Detaches it, if nobody needs it to stay; whether it did.
    pub(in crate::page_cache) fn try_detach(&self) -> bool {
        let detached = |flags: u32| (flags & PINS == 0).then_some(flags & !(ATTACHED | MAPPED | MAPPED_WRITABLE));
        let done = self.state.update(&FOLIO, detached).is_some();
        self.tell_state();
        done
    }
}

impl Deref for PinnedFolio {
    type Target = Arc<Folio>;
    fn deref(&self) -> &Arc<Folio> {
        &self.0
    }
}

impl Drop for PinnedFolio {
    fn drop(&mut self) {
        self.0.state.update(&FOLIO, |flags| Some(flags - PIN));
    }
}
