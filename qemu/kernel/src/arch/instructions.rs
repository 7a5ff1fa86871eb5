//! Single instructions that Rust has no word for.

use core::arch::asm;

/// Model-specific registers.
pub mod msr {
    /// Extended features: syscall, long mode, no-execute.
    pub const EFER: u32 = 0xc000_0080;
    /// Selectors of `syscall` and `sysret`.
    pub const STAR: u32 = 0xc000_0081;
    /// Entry of `syscall`.
    pub const LSTAR: u32 = 0xc000_0082;
    /// Flags that `syscall` clears.
    pub const SFMASK: u32 = 0xc000_0084;
    /// The program's thread pointer.
    pub const FS_BASE: u32 = 0xc000_0100;
    /// This CPU's record while in the kernel.
    pub const GS_BASE: u32 = 0xc000_0101;
    /// What `swapgs` brings.
    pub const KERNEL_GS_BASE: u32 = 0xc000_0102;
}

/// Writes an I/O port.
///
/// # Safety
/// The device does nothing to memory because of it.
#[inline]
pub unsafe fn outb(port: u16, value: u8) {
    // SAFETY: by the caller's promise.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags)) }
}

/// Reads an I/O port.
///
/// # Safety
/// As [`outb`].
#[inline]
pub unsafe fn inb(port: u16) -> u8 {
    let value;
    // SAFETY: by the caller's promise.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags)) }
    value
}

/// Writes a model-specific register.
///
/// # Safety
/// The value keeps the CPU in the state that the kernel is built on.
#[inline]
pub unsafe fn wrmsr(register: u32, value: u64) {
    // SAFETY: by the caller's promise.
    unsafe {
        asm!("wrmsr", in("ecx") register, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nostack, preserves_flags));
    }
}

/// Reads a model-specific register that exists.
///
/// # Safety
/// It exists (else: general protection fault).
#[inline]
pub unsafe fn rdmsr(register: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: by the caller's promise.
    unsafe {
        asm!("rdmsr", in("ecx") register, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags))
    }
    u64::from(high) << 32 | u64::from(low)
}

/// The time stamp counter.
#[inline]
pub fn rdtsc() -> u64 {
    // SAFETY: always allowed in the kernel, no effect.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// The address of the last page fault.
#[inline]
pub fn read_cr2() -> usize {
    let value;
    // SAFETY: no effect.
    unsafe { asm!("mov {}, cr2", out(reg) value, options(nomem, nostack, preserves_flags)) }
    value
}

/// The page table in force.
#[inline]
pub fn read_cr3() -> u64 {
    let value;
    // SAFETY: no effect.
    unsafe { asm!("mov {}, cr3", out(reg) value, options(nomem, nostack, preserves_flags)) }
    value
}

/// Changes the page table and drops every translation that is not global.
///
/// # Safety
/// The table maps the kernel as every table does.
#[inline]
pub unsafe fn write_cr3(value: u64) {
    // SAFETY: by the caller's promise.
    unsafe { asm!("mov cr3, {}", in(reg) value, options(nostack, preserves_flags)) }
}

/// Drops every translation of this CPU, those of the kernel too.
pub fn flush_global() {
    const PAGE_GLOBAL_ENABLE: u64 = 1 << 7;
    // SAFETY: switching global translations off and on again drops them and changes nothing else.
    unsafe {
        asm!("mov {cr4}, cr4", "xor {cr4}, {bit}", "mov cr4, {cr4}", "xor {cr4}, {bit}", "mov cr4, {cr4}",
            cr4 = out(reg) _, bit = in(reg) PAGE_GLOBAL_ENABLE, options(nostack));
    }
}

/// Drops this CPU's translation of one page.
#[inline]
pub fn invlpg(address: usize) {
    // SAFETY: dropping a translation changes no memory.
    unsafe { asm!("invlpg [{}]", in(reg) address, options(nostack, preserves_flags)) }
}

/// Lets interrupts in and sleeps until one came; returns with interrupts off.
#[inline]
pub fn wait_for_interrupt() {
    // SAFETY: the interrupt table is loaded, and its handlers expect exactly this place in the kernel.
    unsafe { asm!("sti", "hlt", "cli", options(nostack)) }
}

/// Lets the CPU know that it spins.
#[inline]
pub fn pause() {
    core::hint::spin_loop();
}
