//! What a task does, in words: the lines of the explorer's interleaving diagrams.
//!
//! A line stands where a kernel developer would draw an arrow ("trims the page cache to 6"), not at
//! every lock. In production nothing is evaluated, formatted or stored; under the explorer only while
//! a schedule is replayed to be drawn. What the words look at is no access then, so that the run that
//! is told is the run that was not.

use crate::host::linked;
use core::fmt;

/// Says what the running task does next: `tell!("trims the page cache to {size}")`.
#[macro_export]
macro_rules! tell {
    ($($words:tt)+) => {
        if $crate::tell::begin() {
            $crate::tell::tell(::core::format_args!($($words)+));
        }
    };
}

/// Says how a lock or cell is called: `name_object!(inode.lock.object(), "inode lock of {ino}")`.
#[macro_export]
macro_rules! name_object {
    ($object:expr, $($words:tt)+) => {
        if $crate::tell::begin() {
            $crate::tell::name_object($object, ::core::format_args!($($words)+));
        }
    };
}

/// Whether anybody listens; if so, words must follow.
#[doc(hidden)]
#[inline(always)]
pub fn begin() -> bool {
    // SAFETY: `set_host!` defined the symbol with this signature.
    unsafe { linked::__platform_tells() }
}

/// See [`tell!`].
#[doc(hidden)]
pub fn tell(words: fmt::Arguments<'_>) {
    // SAFETY: as above.
    unsafe { linked::__platform_tell(words) }
}

/// See [`name_object!`].
#[doc(hidden)]
pub fn name_object(object: usize, words: fmt::Arguments<'_>) {
    // SAFETY: as above.
    unsafe { linked::__platform_name_object(object, words) }
}
