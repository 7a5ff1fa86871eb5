//! Mappings: anonymous memory and files.
//!
//! A [`Mapping`] of a file is memory that other processes and the file system change at any time,
//! so it is never a slice: single loads and stores are volatile, and runs of bytes are copied.

use crate::descriptor::Fd;
use core::ptr::NonNull;
use pager_abi::PAGE_SIZE;
use syscall::{EFAULT, EINVAL, Error, Map, MapFlags, Result};

/// Whether others see the stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// The stores reach the file and whoever maps it (anonymous: a forked process).
    Shared,
    /// The stores stay here.
    Private,
}

/// What may be done to a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Nothing: a guard.
    None,
    /// Loads.
    Read,
    /// Loads and stores.
    ReadWrite,
    /// Loads and instruction fetches.
    ReadExecute,
}

impl Protection {
    /// As FMAP and MPROTECT take it.
    pub fn flags(self) -> MapFlags {
        match self {
            Self::None => MapFlags::PROT_NONE,
            Self::Read => MapFlags::PROT_READ,
            Self::ReadWrite => MapFlags::PROT_READ | MapFlags::PROT_WRITE,
            Self::ReadExecute => MapFlags::PROT_READ | MapFlags::PROT_EXEC,
        }
    }
}

/// `size` bytes (whole pages) of zeroes, readable and writable, wherever the kernel likes.
pub fn map_anonymous(size: usize, sharing: Sharing) -> Result<NonNull<u8>> {
    map(Fd(usize::MAX), 0, size, Protection::ReadWrite, sharing)
}

/// Maps `size` bytes of `file` from `offset` on (whole pages), by faults where the server can.
pub fn map(file: Fd, offset: usize, size: usize, protection: Protection, sharing: Sharing) -> Result<NonNull<u8>> {
    let sharing = match sharing {
        Sharing::Shared => MapFlags::MAP_SHARED,
        Sharing::Private => MapFlags::MAP_PRIVATE,
    };
    let lazy = if file.0 == usize::MAX { MapFlags::empty() } else { MapFlags::MAP_LAZY };
    let map = Map { offset, size, flags: protection.flags() | sharing | lazy, address: 0 };
    // SAFETY: without MAP_FIXED the kernel chooses addresses that nothing uses.
    let address = unsafe { syscall::fmap(file.0, &map)? };
    NonNull::new(address as *mut u8).ok_or(Error::new(EFAULT))
}

/// # Safety
/// Nothing uses the pages of the range any more.
pub unsafe fn unmap(address: NonNull<u8>, size: usize) -> Result<()> {
    // SAFETY: the caller promises it.
    unsafe { syscall::funmap(address.as_ptr() as usize, size) }.map(|_| ())
}

/// # Safety
/// Nobody relies on rights that the range loses.
pub unsafe fn protect(address: NonNull<u8>, size: usize, protection: Protection) -> Result<()> {
    // SAFETY: the caller promises it.
    unsafe { syscall::mprotect(address.as_ptr() as usize, size, protection.flags()) }.map(|_| ())
}

/// A mapped file, unmapped when it goes out of scope.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping is memory of the process, which all its threads share; every access here is a
// volatile one of at most 8 bytes or a copy that tolerates concurrent change.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes (rounded up to pages) of `file` from `offset` on.
    pub fn new(file: Fd, offset: u64, len: usize, protection: Protection, sharing: Sharing) -> Result<Self> {
        let len = len.checked_next_multiple_of(PAGE_SIZE as usize).ok_or(Error::new(EINVAL))?;
        Ok(Self { base: map(file, offset as usize, len, protection, sharing)?, len })
    }

    /// Anonymous memory with the same careful access; `Shared`: with forked processes.
    pub fn anonymous(len: usize, sharing: Sharing) -> Result<Self> {
        let len = len.checked_next_multiple_of(PAGE_SIZE as usize).ok_or(Error::new(EINVAL))?;
        Ok(Self { base: map_anonymous(len, sharing)?, len })
    }

    /// Bytes of the mapping.
    #[expect(clippy::len_without_is_empty, reason = "the kernel refuses an empty mapping")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The address of the byte at `offset`, of which `size` bytes are inside the mapping.
    pub fn at(&self, offset: usize, size: usize) -> *mut u8 {
        assert!(offset.checked_add(size).is_some_and(|end| end <= self.len), "outside the mapping");
        // SAFETY: just checked to be inside the mapping.
        unsafe { self.base.add(offset).as_ptr() }
    }

    /// Loads the byte at `offset`.
    pub fn load(&self, offset: usize) -> u8 {
        // SAFETY: `at` checked the range; a fault ends the thread, not the type system.
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
        // SAFETY: as for `load`; the base is page aligned, so the word is aligned.
        unsafe { self.at(offset, 8).cast::<u64>().read_volatile() }
    }

    /// Stores the aligned word at `offset`.
    pub fn store_u64(&self, offset: usize, value: u64) {
        assert!(offset.is_multiple_of(8));
        // SAFETY: as for `load_u64`.
        unsafe { self.at(offset, 8).cast::<u64>().write_volatile(value) }
    }

    /// Copies from the mapping at `offset` to `out`.
    pub fn copy_out(&self, offset: usize, out: &mut [u8]) {
        // SAFETY: `at` checked the range, and `out` is not a mapping (it is an exclusive slice).
        unsafe { self.at(offset, out.len()).copy_to_nonoverlapping(out.as_mut_ptr(), out.len()) }
    }

    /// Copies `bytes` into the mapping at `offset`.
    pub fn copy_in(&self, offset: usize, bytes: &[u8]) {
        // SAFETY: as for `copy_out`.
        unsafe { self.at(offset, bytes.len()).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
    }

    /// Changes what may be done to `len` bytes (whole pages) from `offset` on.
    pub fn protect(&self, offset: usize, len: usize, protection: Protection) -> Result<()> {
        let base = NonNull::new(self.at(offset, len)).ok_or(Error::new(EFAULT))?;
        // SAFETY: whoever uses this mapping does so by the methods above, which may fault.
        unsafe { protect(base, len, protection) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: nobody has a reference into the mapping: its methods give none out.
        let unmapped = unsafe { unmap(self.base, self.len) };
        debug_assert!(unmapped.is_ok(), "FUNMAP of a mapping: {unmapped:?}");
    }
}
