//! Runs of pages that clients may map.
//!
//! A client changes a mapped page whenever it likes, so the bytes of a page are never a `&[u8]`:
//! they are copied in and out, and what is parsed, checksummed or compressed is a private copy.

use crate::client::{CopyError, Request};
use crate::host::{self, Access, RawFrames, linked};
use crate::lockdep::FRAME_BYTES;
use core::ops::Range;
use pager_abi::PAGE_SIZE;

/// `4096 << order` contiguous bytes, page aligned, owned; given back when dropped.
///
/// Whoever drops it must have made sure that no client maps it any more (ZAP has returned) and
/// that no device writes to it.
#[derive(Debug)]
pub struct Frames {
    raw: RawFrames,
}

// SAFETY: the memory is owned, and its bytes are only reached by copies that tolerate races.
unsafe impl Send for Frames {}
// SAFETY: as above.
unsafe impl Sync for Frames {}

impl Frames {
    /// Memory of undefined content, or `None` when the host has no more.
    pub fn alloc(order: u8) -> Option<Self> {
        // SAFETY: `set_host!` defined the symbol with this signature.
        unsafe { linked::__platform_alloc_frames(order) }.map(|raw| Self { raw })
    }

    /// Memory of zeros, or `None` when the host has no more.
    pub fn alloc_zeroed(order: u8) -> Option<Self> {
        let frames = Self::alloc(order)?;
        frames.zero(0..frames.len());
        Some(frames)
    }

    /// Pages that the host may hand out in all, and pages that are free now.
    pub fn budget() -> (usize, usize) {
        // SAFETY: as above.
        unsafe { linked::__platform_frame_budget() }
    }

    /// Bytes.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        (PAGE_SIZE as usize) << self.raw.order
    }

    /// log2 of the number of pages.
    pub fn order(&self) -> u8 {
        self.raw.order
    }

    /// Address in the server, for `ProvideMmap` and for drivers.
    pub fn address(&self) -> usize {
        self.raw.address
    }

    /// The first byte of a range that is about to be accessed.
    fn at(&self, range: Range<usize>, access: Access) -> *mut u8 {
        assert!(range.start <= range.end && range.end <= self.len(), "{range:?} of {} bytes of frames", self.len());
        let page = PAGE_SIZE as usize;
        for page in (range.start / page..range.end.div_ceil(page)).map(|index| self.raw.address + index * page) {
            host::point(&FRAME_BYTES, page, access);
        }
        (self.raw.address + range.start) as *mut u8
    }

    /// Copies bytes from `offset` on out into `to`.
    #[inline]
    pub fn copy_out(&self, offset: usize, to: &mut [u8]) {
        let from = self.at(offset..offset + to.len(), Access::Read);
        // SAFETY: `at` checked the range; `to` is private to the caller.
        unsafe { copy_racy(from, to.as_mut_ptr(), to.len()) }
    }

    /// Copies `from` in at `offset`.
    #[inline]
    pub fn copy_in(&self, offset: usize, from: &[u8]) {
        let to = self.at(offset..offset + from.len(), Access::Write);
        // SAFETY: `at` checked the range; nobody holds a reference into frames.
        unsafe { copy_racy(from.as_ptr(), to, from.len()) }
    }

    /// Copies `len` bytes from another run.
    #[inline]
    pub fn copy_from(&self, offset: usize, from: &Frames, from_offset: usize, len: usize) {
        let to = self.at(offset..offset + len, Access::Write);
        let from = from.at(from_offset..from_offset + len, Access::Read);
        // SAFETY: `at` checked both ranges; different runs do not overlap.
        unsafe { copy_racy(from, to, len) }
    }

    /// Fills a range with zeros.
    #[inline]
    pub fn zero(&self, range: Range<usize>) {
        let len = range.len();
        let to = self.at(range, Access::Write);
        // SAFETY: `at` checked the range.
        unsafe { zero_racy(to, len) }
    }

    /// Copies from the client's buffer at `buffer_offset` to this run at `offset`.
    pub fn copy_from_client(
        &self,
        offset: usize,
        len: usize,
        request: Request,
        buffer_offset: usize,
    ) -> Result<(), CopyError> {
        let to = self.at(offset..offset + len, Access::Write);
        // SAFETY: `at` checked the range.
        unsafe { linked::__platform_copy_in(request.0, buffer_offset, to, len) }
    }

    /// Copies from this run at `offset` to the client's buffer at `buffer_offset`.
    pub fn copy_to_client(
        &self,
        offset: usize,
        len: usize,
        request: Request,
        buffer_offset: usize,
    ) -> Result<(), CopyError> {
        let from = self.at(offset..offset + len, Access::Read);
        // SAFETY: `at` checked the range.
        unsafe { linked::__platform_copy_out(request.0, buffer_offset, from, len) }
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        // SAFETY: owned; the type's contract says that nothing maps it or writes to it any more.
        unsafe { linked::__platform_free_frames(self.raw) }
    }
}

/// Copies bytes of which one side may change meanwhile: opaque to the compiler, so that it can
/// neither assume that two looks see the same nor split the copy.
///
/// # Safety
/// Both ranges are valid for `len` bytes and do not overlap.
#[inline]
unsafe fn copy_racy(from: *const u8, to: *mut u8, len: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller's contract; the direction flag is clear by the ABI.
    unsafe {
        core::arch::asm!(
            "rep movsq",
            "mov ecx, {tail:e}",
            "rep movsb",
            tail = in(reg) len & 7,
            inout("rcx") len >> 3 => _,
            inout("rsi") from => _,
            inout("rdi") to => _,
            options(nostack, preserves_flags),
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    for i in 0..len {
        // SAFETY: the caller's contract.
        unsafe { to.add(i).write_volatile(from.add(i).read_volatile()) }
    }
}

/// Zeroes bytes that others may look at meanwhile.
///
/// # Safety
/// The range is valid for `len` bytes.
#[inline]
unsafe fn zero_racy(to: *mut u8, len: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller's contract; the direction flag is clear by the ABI.
    unsafe {
        core::arch::asm!(
            "rep stosq",
            "mov ecx, {tail:e}",
            "rep stosb",
            tail = in(reg) len & 7,
            inout("rcx") len >> 3 => _,
            inout("rdi") to => _,
            in("rax") 0u64,
            options(nostack, preserves_flags),
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    for i in 0..len {
        // SAFETY: the caller's contract.
        unsafe { to.add(i).write_volatile(0) }
    }
}
