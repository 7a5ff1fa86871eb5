//! Sixty-four flags in one word, of which there are many: the class is given by the caller.

use crate::atomic::{AtomicU64, Ordering, constructor};
use crate::host::{self, Access};
use crate::lockdep::LockClass;

/// Flags whose order matters; see [`super::Long`] for the kind that carries its class.
#[derive(Debug, Default)]
pub struct Bits {
    value: AtomicU64,
}

impl Bits {
    constructor! {
        /// These are set.
        pub const fn new(bits: u64) -> Self {
            Self { value: AtomicU64::new(bits) }
        }
    }

    #[inline(always)]
    fn point(&self, class: &'static LockClass, access: Access) {
        host::point(class, (&raw const self.value) as usize, access);
    }

    /// All flags (acquire).
    #[inline]
    pub fn load(&self, class: &'static LockClass) -> u64 {
        self.point(class, Access::Read);
        self.value.load(Ordering::Acquire)
    }

    /// Sets flags; the flags before.
    #[inline]
    pub fn set(&self, class: &'static LockClass, bits: u64) -> u64 {
        self.point(class, Access::Write);
        self.value.fetch_or(bits, Ordering::AcqRel)
    }

    /// Clears flags; the flags before.
    #[inline]
    pub fn clear(&self, class: &'static LockClass, bits: u64) -> u64 {
        self.point(class, Access::Write);
        self.value.fetch_and(!bits, Ordering::AcqRel)
    }
}
