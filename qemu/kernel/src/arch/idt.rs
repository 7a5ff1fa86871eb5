//! The interrupt table: every vector has a stub in [`super::entry`].

use super::cpu::{FAULT_STACK, KERNEL_CODE};
use core::arch::asm;
use core::cell::UnsafeCell;

/// Vectors above the CPU's own exceptions.
pub mod vector {
    /// Device interrupts: GSI n comes as `DEVICES + n`.
    pub const DEVICES: u8 = 0x30;
    /// How many device interrupts there can be.
    pub const DEVICES_MAX: u8 = 0x80;
    /// The local timer.
    pub const TIMER: u8 = 0xf0;
    /// There is work for an idle CPU.
    pub const WAKE: u8 = 0xf1;
    /// Translations are to be dropped.
    pub const SHOOTDOWN: u8 = 0xf2;
    /// Another CPU panicked.
    pub const HALT: u8 = 0xf3;
    /// What the local APIC delivers when an interrupt went away.
    pub const SPURIOUS: u8 = 0xff;

    /// Double fault.
    pub const DOUBLE_FAULT: u8 = 8;
    /// Page fault.
    pub const PAGE_FAULT: u8 = 14;
}

/// Intel SDM 3A, 6.14.1.
#[derive(Clone, Copy)]
#[repr(C)]
struct Gate {
    low: u64,
    high: u64,
}

#[repr(C, align(16))]
struct Table(UnsafeCell<[Gate; 256]>);
// SAFETY: written once by the first CPU before others run, read by the hardware only.
unsafe impl Sync for Table {}
static TABLE: Table = Table(UnsafeCell::new([Gate { low: 0, high: 0 }; 256]));

/// Fills the table; once, on the first CPU.
pub fn init() {
    let stubs = (&raw const super::entry::interrupt_stubs) as u64;
    for vector in 0..256u64 {
        let address = stubs + vector * 16;
        // Breakpoints may come from programs.
        let privilege: u64 = if vector == 3 { 3 } else { 0 };
        let stack = if vector == u64::from(vector::DOUBLE_FAULT) { u64::from(FAULT_STACK) } else { 0 };
        let low = address & 0xffff
            | u64::from(KERNEL_CODE) << 16
            | stack << 32
            | (0x8e | privilege << 5) << 40
            | (address >> 16 & 0xffff) << 48;
        // SAFETY: nobody uses the table yet.
        unsafe { (*TABLE.0.get())[vector as usize] = Gate { low, high: address >> 32 } }
    }
}

/// This CPU uses the table from now on.
pub(super) fn load() {
    let address = TABLE.0.get() as u64;
    let at = |shift: u32| (address >> shift) as u16;
    let pointer: [u16; 5] = [4095, at(0), at(16), at(32), at(48)];
    // SAFETY: the table is static and complete.
    unsafe { asm!("lidt [{}]", in(reg) &pointer, options(nostack, readonly, preserves_flags)) }
}
