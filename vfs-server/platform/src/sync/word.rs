//! Atomics whose order matters to the protocol: every access is a switch point.

use crate::atomic::{AtomicU32, AtomicU64, Ordering, constructor};
use crate::host::{self, Access};
use crate::lockdep::LockClass;

macro_rules! ordered {
    ($(#[$doc:meta])* $name:ident, $atomic:ty, $int:ty) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name {
            class: &'static LockClass,
            value: $atomic,
        }

        impl $name {
            constructor! {
                /// A cell whose accesses count as accesses to an object of `class`.
                pub const fn new(class: &'static LockClass, value: $int) -> Self {
                    Self { class, value: <$atomic>::new(value) }
                }
            }

            /// The number by which switch points and reports know it: an address.
            pub fn object(&self) -> usize {
                (&raw const self.value) as usize
            }

            #[inline(always)]
            fn point(&self, access: Access) {
                host::point(self.class, self.object(), access);
            }

            /// The value (acquire).
            #[inline]
            pub fn load(&self) -> $int {
                self.point(Access::Read);
                self.value.load(Ordering::Acquire)
            }

            /// Sets the value (release).
            #[inline]
            pub fn store(&self, value: $int) {
                self.point(Access::Write);
                self.value.store(value, Ordering::Release)
            }

            /// Sets bits; the value before.
            #[inline]
            pub fn fetch_or(&self, bits: $int) -> $int {
                self.point(Access::Write);
                self.value.fetch_or(bits, Ordering::AcqRel)
            }

            /// Keeps only `bits`; the value before.
            #[inline]
            pub fn fetch_and(&self, bits: $int) -> $int {
                self.point(Access::Write);
                self.value.fetch_and(bits, Ordering::AcqRel)
            }

            /// Adds, wrapping; the value before.
            #[inline]
            pub fn fetch_add(&self, n: $int) -> $int {
                self.point(Access::Write);
                self.value.fetch_add(n, Ordering::AcqRel)
            }

            /// Subtracts, wrapping; the value before.
            #[inline]
            pub fn fetch_sub(&self, n: $int) -> $int {
                self.point(Access::Write);
                self.value.fetch_sub(n, Ordering::AcqRel)
            }

            /// The greater of the value and `n` becomes the value; the value before.
            #[inline]
            pub fn fetch_max(&self, n: $int) -> $int {
                self.point(Access::Write);
                self.value.fetch_max(n, Ordering::AcqRel)
            }

            /// Sets the value to `new` if it is `old`; whether it was.
            #[inline]
            pub fn replace_if(&self, old: $int, new: $int) -> bool {
                self.point(Access::Write);
                self.value.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).is_ok()
            }
        }
    };
}

ordered!(
    /// 32 bits: flag words, counts.
    Word,
    AtomicU32,
    u32
);
ordered!(
    /// 64 bits: file sizes, generations, bitmaps.
    Long,
    AtomicU64,
    u64
);
