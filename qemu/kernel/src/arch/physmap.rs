//! Where the kernel sees physical memory.

use kernel_logic::buddy::Frame;

/// All physical memory is mapped from here on (slot 256 of every page table's top level).
pub const BASE: usize = 0xffff_8000_0000_0000;

/// The kernel's image is mapped here: virtual minus physical address.
pub const KERNEL_BASE: usize = 0xffff_ffff_8000_0000;

/// The kernel's pointer to a physical address.
#[inline]
pub fn pointer(paddr: u64) -> *mut u8 {
    (BASE + paddr as usize) as *mut u8
}

/// Fills a frame with zeros.
///
/// The frame must be the caller's own: this is the one way to write frames from safe code, and it
/// is exact in that the physmap is never used for Rust objects of their own.
#[inline]
pub fn zero(frame: Frame) {
    let target = pointer(frame.address());
    // SAFETY: the physmap maps every managed frame; frames hold user bytes or page tables, never Rust objects
    // (the kernel's heap and the frame records lie in frames that the allocator does not manage).
    unsafe {
        core::arch::asm!("rep stosq", inout("rcx") 512usize => _, inout("rdi") target => _, in("rax") 0usize,
            options(nostack, preserves_flags));
    }
}

/// Copies a whole frame.
#[inline]
pub fn copy(to: Frame, from: Frame) {
    let (to, from) = (pointer(to.address()), pointer(from.address()));
    // SAFETY: as in `zero`; user programs may change the source meanwhile, which `rep movs` does not mind.
    unsafe {
        core::arch::asm!("rep movsq", inout("rcx") 512usize => _, inout("rdi") to => _, inout("rsi") from => _,
            options(nostack, preserves_flags));
    }
}

/// Copies bytes into a frame.
///
/// # Panics
/// If they do not fit.
pub fn write(frame: Frame, offset: usize, bytes: &[u8]) {
    assert!(offset + bytes.len() <= 4096);
    let to = pointer(frame.address() + offset as u64);
    // SAFETY: as in `zero`; the range lies inside the frame.
    unsafe { copy_bytes(to, bytes.as_ptr(), bytes.len()) }
}

/// Copies bytes out of a frame.
///
/// # Panics
/// If the frame has not so many.
pub fn read(frame: Frame, offset: usize, bytes: &mut [u8]) {
    assert!(offset + bytes.len() <= 4096);
    let from = pointer(frame.address() + offset as u64);
    // SAFETY: as in `zero`; the range lies inside the frame.
    unsafe { copy_bytes(bytes.as_mut_ptr(), from, bytes.len()) }
}

/// Copies between two frames.
///
/// # Panics
/// If the range leaves a frame.
pub fn copy_part(to: Frame, to_offset: usize, from: Frame, from_offset: usize, len: usize) {
    assert!(to_offset + len <= 4096 && from_offset + len <= 4096);
    let (to, from) = (pointer(to.address() + to_offset as u64), pointer(from.address() + from_offset as u64));
    // SAFETY: as in `zero`; both ranges lie inside their frames.
    unsafe { copy_bytes(to, from, len) }
}

/// # Safety
/// Both ranges are mapped and no Rust reference covers the target.
unsafe fn copy_bytes(to: *mut u8, from: *const u8, len: usize) {
    // SAFETY: by the caller's promise.
    unsafe {
        core::arch::asm!("rep movsq", "mov rcx, {tail}", "rep movsb", tail = in(reg) len % 8,
            inout("rcx") len / 8 => _, inout("rdi") to => _, inout("rsi") from => _,
            options(nostack, preserves_flags));
    }
}

/// An aligned word of a frame, read at once.
#[inline]
pub fn load_u32(paddr: u64) -> u32 {
    assert!(paddr.is_multiple_of(4));
    // SAFETY: aligned and mapped; user programs write it concurrently, which volatile access allows.
    unsafe { pointer(paddr).cast::<u32>().read_volatile() }
}

/// As [`load_u32`], eight bytes.
#[inline]
pub fn load_u64(paddr: u64) -> u64 {
    assert!(paddr.is_multiple_of(8));
    // SAFETY: as in `load_u32`.
    unsafe { pointer(paddr).cast::<u64>().read_volatile() }
}

/// Firmware tables, boot modules: bytes that nobody changes.
///
/// # Safety
/// The range is RAM below the end of the physmap and is not written while the slice lives.
pub unsafe fn bytes(paddr: u64, len: usize) -> &'static [u8] {
    // SAFETY: by the caller's promise.
    unsafe { core::slice::from_raw_parts(pointer(paddr), len) }
}

/// Memory that is set aside for the kernel at boot, for good.
///
/// # Safety
/// The range is RAM that nobody else uses, and large enough and aligned for `count` values.
pub unsafe fn claim<T: Copy>(paddr: u64, count: usize, value: T) -> &'static mut [T] {
    let first = pointer(paddr).cast::<T>();
    for index in 0..count {
        // SAFETY: by the caller's promise.
        unsafe { first.add(index).write(value) };
    }
    // SAFETY: just initialised, and the caller gives it away for good.
    unsafe { core::slice::from_raw_parts_mut(first, count) }
}
