//! Which folios there are in all, for the clock that looks for ones to give back.
//!
//! Owns: one slot a folio and the clock's hand. Does not own: the decision (`reclaim`).

use super::folio::{Folio, NO_SLOT};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use platform::lockdep::LEAF;
use platform::sync::Mutex;

/// Every folio of the page cache.
pub(super) struct Clock {
    inner: Mutex<Inner>,
}

struct Inner {
    slots: Vec<Option<Arc<Folio>>>,
    free: Vec<u32>,
    hand: usize,
}

impl Clock {
    /// Room for `capacity` folios; more grow it.
    pub(super) fn new(capacity: usize) -> Self {
        let inner = Inner { slots: Vec::with_capacity(capacity), free: Vec::with_capacity(capacity), hand: 0 };
        Self { inner: Mutex::new(&LEAF, inner) }
    }

    /// Memory of the slots.
    pub(super) fn bytes(&self) -> usize {
        let inner = self.inner.lock();
        inner.slots.capacity() * size_of::<Option<Arc<Folio>>>() + inner.free.capacity() * size_of::<u32>()
    }

    pub(super) fn insert(&self, folio: Arc<Folio>) {
        let mut inner = self.inner.lock();
        let slot = match inner.free.pop() {
            Some(slot) => slot,
            None => {
                inner.slots.push(None);
                (inner.slots.len() - 1) as u32
            }
        };
        folio.slot.store(slot, Ordering::Relaxed);
        inner.slots[slot as usize] = Some(folio);
    }

    pub(super) fn remove(&self, folio: &Folio) {
        let mut inner = self.inner.lock();
        let slot = folio.slot.swap(NO_SLOT, Ordering::Relaxed);
        if slot == NO_SLOT {
            return;
        }
        let taken = inner.slots[slot as usize].take();
        inner.free.push(slot);
        drop(inner);
        drop(taken);
    }

    /// Slots; a full turn of the hand looks at as many.
    pub(super) fn len(&self) -> usize {
        self.inner.lock().slots.len()
    }

    /// Moves the hand to the next folio.
    pub(super) fn next(&self) -> Option<Arc<Folio>> {
        let mut inner = self.inner.lock();
        let count = inner.slots.len();
        for _ in 0..count {
            inner.hand = (inner.hand + 1) % count;
            if let Some(folio) = &inner.slots[inner.hand] {
                return Some(folio.clone());
            }
        }
        None
    }
}
