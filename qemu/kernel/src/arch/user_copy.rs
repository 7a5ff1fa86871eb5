//! Copying from and to the running program's memory, by its own translations.
//!
//! A pointer from a program is a claim: the range is checked against the user half by the caller,
//! and a page that is missing or forbids the access ends the copy with its address instead of
//! faulting the kernel. (CR0.WP is set, so the kernel's stores respect read-only pages.)

use super::entry::Frame;
use core::arch::global_asm;

/// The copy met a page that is not there, or may not be used so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unmapped {
    /// The address that faulted.
    pub address: usize,
}

#[repr(C)]
struct Answer {
    failed: usize,
    address: usize,
}

// rdi: to, rsi: from, rdx: bytes. A page fault between the labels goes on at `user_copy_failed`.
global_asm!(
    r#"
.text
.balign 16
.globl user_probe_read, user_probe_write, user_probe_end
.globl user_copy, user_copy_start, user_copy_end, user_copy_failed
user_copy:
    mov rcx, rdx
    shr rcx, 3
    and edx, 7
user_copy_start:
    rep movsq
    mov ecx, edx
    rep movsb
user_copy_end:
    xor eax, eax
    ret
user_copy_failed:
    mov eax, 1
    ret

# rdi: address. Touches the byte there, changing nothing.
user_probe_read:
    mov al, [rdi]
    xor eax, eax
    ret
user_probe_write:
    lock or byte ptr [rdi], 0
    xor eax, eax
    ret
user_probe_end:
"#
);

// SAFETY: the assembly above defines them with these signatures.
unsafe extern "C" {
    fn user_copy(to: *mut u8, from: *const u8, len: usize) -> Answer;
    fn user_probe_read(address: usize) -> Answer;
    fn user_probe_write(address: usize) -> Answer;
    static user_probe_end: u8;
    static user_copy_start: u8;
    static user_copy_end: u8;
    static user_copy_failed: u8;
}

/// Copies from the program. The range must lie in the user half.
#[inline]
pub fn read(from: usize, to: &mut [u8]) -> Result<(), Unmapped> {
    debug_assert!(from + to.len() <= 1 << 47);
    // SAFETY: the target is a Rust slice; the source is in the user half, where faults are recovered.
    unsafe { check(user_copy(to.as_mut_ptr(), from as *const u8, to.len())) }
}

/// Copies to the program. The range must lie in the user half.
#[inline]
pub fn write(to: usize, from: &[u8]) -> Result<(), Unmapped> {
    debug_assert!(to + from.len() <= 1 << 47);
    // SAFETY: as in `read`, the other way round.
    unsafe { check(user_copy(to as *mut u8, from.as_ptr(), from.len())) }
}

/// Copies from the program into physical memory (a frame of some other program).
#[inline]
pub fn read_to_frame(from: usize, paddr: u64, len: usize) -> Result<(), Unmapped> {
    debug_assert!(paddr % 4096 + len as u64 <= 4096 && from + len <= 1 << 47);
    // SAFETY: the target is in a frame of a program (see `physmap::zero`), the source as in `read`.
    unsafe { check(user_copy(super::physmap::pointer(paddr), from as *const u8, len)) }
}

/// Copies from physical memory (a frame of some other program) to the program.
#[inline]
pub fn write_from_frame(to: usize, paddr: u64, len: usize) -> Result<(), Unmapped> {
    debug_assert!(paddr % 4096 + len as u64 <= 4096 && to + len <= 1 << 47);
    // SAFETY: as in `read_to_frame`, the other way round.
    unsafe { check(user_copy(to as *mut u8, super::physmap::pointer(paddr), len)) }
}

/// Whether the program could load the byte at `address`, which is in the user half.
#[inline]
pub fn can_read(address: usize) -> bool {
    debug_assert!(address < 1 << 47);
    // SAFETY: a load from the user half, where faults are recovered.
    unsafe { user_probe_read(address).failed == 0 }
}

/// Whether the program could store to `address`, which is in the user half.
#[inline]
pub fn can_write(address: usize) -> bool {
    debug_assert!(address < 1 << 47);
    // SAFETY: as in `can_read`; or-ing zero changes nothing, atomically.
    unsafe { user_probe_write(address).failed == 0 }
}

#[inline]
fn check(answer: Answer) -> Result<(), Unmapped> {
    if answer.failed == 0 { Ok(()) } else { Err(Unmapped { address: answer.address }) }
}

/// A page fault in the kernel: if it came from a copy, the copy goes on by failing.
pub(super) fn recover(frame: &mut Frame, address: usize) -> bool {
    let (start, end) = ((&raw const user_copy_start) as usize, (&raw const user_copy_end) as usize);
    let probe = user_probe_read as *const () as usize..(&raw const user_probe_end) as usize;
    let inside = ((start..end).contains(&frame.rip) || probe.contains(&frame.rip)) && address < 1 << 47;
    if inside {
        frame.rip = (&raw const user_copy_failed) as usize;
        frame.rdx = address;
    }
    inside
}
