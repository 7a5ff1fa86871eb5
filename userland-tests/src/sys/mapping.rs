//! Access to mapped memory, which others change at any time: it is never a slice.

use super::{File, Protection, Sharing, implementation::RawMapping};
use crate::errno::Errno;
use alloc::{vec, vec::Vec};

/// A mapped file, or memory that is shared with forked processes.
pub struct Mapping {
    pub(super) raw: RawMapping,
    len: usize,
}

impl Mapping {
    /// Maps `len` bytes of `file` from `offset` on (whole pages).
    pub fn new(file: &File, offset: u64, len: usize, protection: Protection, sharing: Sharing) -> Result<Self, Errno> {
        Ok(Self { raw: RawMapping::of_file(file, offset, len, protection, sharing)?, len })
    }

    /// Zeroes that processes forked later share.
    pub fn shared_memory(len: usize) -> Result<Self, Errno> {
        Ok(Self { raw: RawMapping::shared_memory(len)?, len })
    }

    /// Bytes of the mapping.
    #[expect(clippy::len_without_is_empty, reason = "an empty mapping is refused by both systems")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The address of the byte at `offset`, of which `size` bytes are inside.
    pub(super) fn at(&self, offset: usize, size: usize) -> *mut u8 {
        assert!(offset.checked_add(size).is_some_and(|end| end <= self.len), "outside the mapping");
        self.raw.base().wrapping_add(offset)
    }

    /// Loads the byte at `offset`.
    pub fn load(&self, offset: usize) -> u8 {
        // SAFETY: inside the mapping; if there is no page, the system ends the program.
        unsafe { self.at(offset, 1).read_volatile() }
    }

    /// Stores the byte at `offset`.
    pub fn store(&self, offset: usize, value: u8) {
        // SAFETY: as for `load`.
        unsafe { self.at(offset, 1).write_volatile(value) }
    }

    /// Loads the aligned word at `offset`.
    pub fn load_u64(&self, offset: usize) -> u64 {
        assert!(offset.is_multiple_of(8));
        // SAFETY: as for `load`, and aligned, since the base is.
        unsafe { self.at(offset, 8).cast::<u64>().read_volatile() }
    }

    /// Stores the aligned word at `offset`.
    pub fn store_u64(&self, offset: usize, value: u64) {
        assert!(offset.is_multiple_of(8));
        // SAFETY: as for `load_u64`.
        unsafe { self.at(offset, 8).cast::<u64>().write_volatile(value) }
    }

    /// Copies `len` bytes at `offset` out.
    pub fn bytes(&self, offset: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        // SAFETY: as for `load`; the vector is no mapping.
        unsafe { self.at(offset, len).copy_to_nonoverlapping(bytes.as_mut_ptr(), len) };
        bytes
    }

    /// Copies `bytes` in at `offset`.
    pub fn fill(&self, offset: usize, bytes: &[u8]) {
        // SAFETY: as for `bytes`.
        unsafe { self.at(offset, bytes.len()).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
    }

    /// Changes what may be done to `len` bytes (whole pages) at `offset`.
    pub fn protect(&self, offset: usize, len: usize, protection: Protection) -> Result<(), Errno> {
        self.raw.protect(self.at(offset, len), len, protection)
    }

    /// Waits until what was stored to `len` bytes (whole pages) at `offset` is on the disk.
    pub fn sync(&self, file: &File, offset: usize, len: usize) -> Result<(), Errno> {
        self.raw.sync(file, offset, self.at(offset, len), len)
    }
}
