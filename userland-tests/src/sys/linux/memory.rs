//! Mapped memory, by libc.

use super::{File, Result, last_error, result};
use crate::sys::{Protection, Sharing};
use std::ptr;

pub(in crate::sys) struct RawMapping {
    base: *mut u8,
    len: usize,
}

// SAFETY: a mapping is memory of the process, which all its threads share.
unsafe impl Send for RawMapping {}
// SAFETY: as above.
unsafe impl Sync for RawMapping {}

impl RawMapping {
    pub(in crate::sys) fn of_file(
        file: &File,
        offset: u64,
        len: usize,
        protection: Protection,
        sharing: Sharing,
    ) -> Result<Self> {
        let flags = match sharing {
            Sharing::Shared => libc::MAP_SHARED,
            Sharing::Private => libc::MAP_PRIVATE,
        };
        Self::map(len, rights(protection), flags, file.0, offset)
    }

    pub(in crate::sys) fn shared_memory(len: usize) -> Result<Self> {
        Self::map(len, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, 0)
    }

    fn map(len: usize, rights: libc::c_int, flags: libc::c_int, fd: libc::c_int, offset: u64) -> Result<Self> {
        // SAFETY: the kernel chooses addresses that nothing uses.
        let base = unsafe { libc::mmap(ptr::null_mut(), len, rights, flags, fd, offset as i64) };
        if base == libc::MAP_FAILED { Err(last_error()) } else { Ok(Self { base: base.cast(), len }) }
    }

    pub(in crate::sys) fn base(&self) -> *mut u8 {
        self.base
    }

    pub(in crate::sys) fn protect(&self, address: *mut u8, len: usize, protection: Protection) -> Result<()> {
        // SAFETY: the range is inside this mapping.
        result(unsafe { libc::mprotect(address.cast(), len, rights(protection)) }).map(|_| ())
    }

    pub(in crate::sys) fn sync(&self, _file: &File, _offset: usize, address: *mut u8, len: usize) -> Result<()> {
        // SAFETY: the range is inside this mapping.
        result(unsafe { libc::msync(address.cast(), len, libc::MS_SYNC) }).map(|_| ())
    }
}

impl Drop for RawMapping {
    fn drop(&mut self) {
        // SAFETY: nobody has a reference into the mapping.
        unsafe { libc::munmap(self.base.cast(), self.len) };
    }
}

fn rights(protection: Protection) -> libc::c_int {
    match protection {
        Protection::None => libc::PROT_NONE,
        Protection::Read => libc::PROT_READ,
        Protection::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
    }
}
