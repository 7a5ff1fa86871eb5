//! How a mapping object comes into being and how it ends.
//!
//! A client's FMAP of a descriptor of the server reaches it as Redox's `Opcode::MmapPrep`
//! (args = [file id, size in bytes, `MapFlags`, file offset, 0, uid / gid]). A pager answers with
//! the inode's cookie and [`lazy_extra`]; each such answer opens one grant on the object.
//! When grants end (FUNMAP, MREMAP, death), the kernel gives `n` of them back at once by a one-way
//! `Opcode::Munmap` with args = [cookie, n, [`MUNMAP_COUNTED`], 0, 0, 0]. It is counted, like
//! FUSE's FORGET, so that a `MmapPrep` answer on its way cannot be lost: the object ends when the
//! server has got back as many grants as it has given.
//!
//! An answer without the lazy bit is Redox's own: the result is an address in the server, and all
//! pages are mapped at once.

use syscall::schemev2::Cqe;

/// In `extra_raw[0]` of a `MmapPrep` answer: the result is a cookie, pages come by faults.
pub const EXTRA_LAZY: u8 = 1 << 7;

/// In `extra_raw[0]`: mprotect may make the mapping readable.
pub const EXTRA_MAX_READ: u8 = 1 << 0;

/// In `extra_raw[0]`: mprotect may make the mapping writable.
pub const EXTRA_MAX_WRITE: u8 = 1 << 1;

/// In `extra_raw[0]`: mprotect may make the mapping executable.
pub const EXTRA_MAX_EXECUTE: u8 = 1 << 2;

/// Third argument of a counted `Munmap` (Redox has `MapFlags` there, which do not use this bit).
pub const MUNMAP_COUNTED: u64 = 1 << 63;

/// The most that a mapping may ever be allowed to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MaxProtection {
    /// Loads.
    pub read: bool,
    /// Stores (for a private mapping: to the private copy).
    pub write: bool,
    /// Instruction fetches.
    pub execute: bool,
}

/// `extra_raw[0]` of a lazy `MmapPrep` answer.
pub fn lazy_extra(max: MaxProtection) -> u8 {
    EXTRA_LAZY
        | if max.read { EXTRA_MAX_READ } else { 0 }
        | if max.write { EXTRA_MAX_WRITE } else { 0 }
        | if max.execute { EXTRA_MAX_EXECUTE } else { 0 }
}

/// The maximum protection that a `MmapPrep` answer grants; `None` if the answer is not lazy.
pub fn lazy_protection(cqe: &Cqe) -> Option<MaxProtection> {
    let extra = cqe.extra_raw[0];
    (extra & EXTRA_LAZY != 0).then_some(MaxProtection {
        read: extra & EXTRA_MAX_READ != 0,
        write: extra & EXTRA_MAX_WRITE != 0,
        execute: extra & EXTRA_MAX_EXECUTE != 0,
    })
}
