//! The atomics that the locks are made of: `core`'s, or loom's when loom checks the locks.
//!
//! Beside them: [`constructor!`], because loom's atomics cannot be made in a `const`, and
//! [`seq_cst`], because loom knows less of sequentially consistent accesses than the language does.

#[cfg(not(loom))]
pub use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering, fence};
#[cfg(loom)]
pub use loom::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering, fence};

/// Stands between two sequentially consistent accesses of different words, of which the second must
/// not be seen before the first. The accesses say that themselves; to loom, which takes them for
/// acquire and release, it has to be said by a fence.
#[inline(always)]
pub(crate) fn seq_cst() {
    #[cfg(loom)]
    fence(Ordering::SeqCst);
}

/// A function that is `const` wherever its atomics can be made in a `const`.
macro_rules! constructor {
    ($(#[$meta:meta])* pub const fn $name:ident($($args:tt)*) -> $result:ty $body:block) => {
        $(#[$meta])*
        #[cfg(not(loom))]
        pub const fn $name($($args)*) -> $result $body
        $(#[$meta])*
        #[cfg(loom)]
        pub fn $name($($args)*) -> $result $body
    };
}
pub(crate) use constructor;
