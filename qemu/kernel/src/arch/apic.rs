//! The local APIC (memory-mapped, as TCG has no x2APIC): timer, and interrupts between CPUs.
//!
//! Registers: Intel SDM 3A, chapter 11.

use super::idt::vector;
use super::physmap;
use core::sync::atomic::{AtomicU64, Ordering};

const ID: usize = 0x20;
const END_OF_INTERRUPT: usize = 0xb0;
const SPURIOUS: usize = 0xf0;
const COMMAND_LOW: usize = 0x300;
const COMMAND_HIGH: usize = 0x310;
const TIMER: usize = 0x320;
const LOCAL_0: usize = 0x350;
const LOCAL_1: usize = 0x360;
const TIMER_START: usize = 0x380;
const TIMER_NOW: usize = 0x390;
const TIMER_DIVIDE: usize = 0x3e0;

const MASKED: u32 = 1 << 16;
const PERIODIC: u32 = 1 << 17;
const PENDING: u32 = 1 << 12;
const ASSERT: u32 = 1 << 14;

static BASE: AtomicU64 = AtomicU64::new(0);

/// Where the registers are, from the firmware's tables.
pub fn set_base(paddr: u64) {
    BASE.store(physmap::pointer(paddr) as u64, Ordering::Relaxed);
}

/// Switches this CPU's local APIC on.
pub fn init_current() {
    write(SPURIOUS, 0x100 | u32::from(vector::SPURIOUS));
    write(LOCAL_0, MASKED);
    write(LOCAL_1, MASKED);
    write(TIMER, MASKED | u32::from(vector::TIMER));
    write(TIMER_DIVIDE, 0b1011); // by 1
}

/// The id of the CPU that asks.
pub fn id() -> u32 {
    read(ID) >> 24
}

/// The interrupt that is being handled is done.
#[inline]
pub fn end_of_interrupt() {
    write(END_OF_INTERRUPT, 0);
}

/// Interrupts another CPU.
pub fn send(apic_id: u32, vector: u8) {
    command(apic_id, ASSERT | u32::from(vector));
}

/// Puts another CPU into its start state.
pub fn send_init(apic_id: u32) {
    command(apic_id, ASSERT | 0x500);
}

/// Lets another CPU run real-mode code at `page` * 4096.
pub fn send_startup(apic_id: u32, page: u8) {
    command(apic_id, ASSERT | 0x600 | u32::from(page));
}

/// Lets the timer count down from its largest value, without interrupts.
pub fn start_counting() {
    write(TIMER_START, u32::MAX);
}

/// Ticks since [`start_counting`].
pub fn counted() -> u32 {
    u32::MAX - read(TIMER_NOW)
}

/// Interrupts this CPU every `ticks`.
pub fn start_periodic(ticks: u32) {
    write(TIMER, PERIODIC | u32::from(vector::TIMER));
    write(TIMER_START, ticks);
}

fn command(apic_id: u32, low: u32) {
    write(COMMAND_HIGH, apic_id << 24);
    write(COMMAND_LOW, low);
    while read(COMMAND_LOW) & PENDING != 0 {
        super::tlb::poll();
    }
}

#[inline]
fn write(register: usize, value: u32) {
    let address = BASE.load(Ordering::Relaxed) as usize + register;
    // SAFETY: the base is the local APIC's, mapped by the physmap; the registers used keep memory alone.
    unsafe { (address as *mut u32).write_volatile(value) }
}

#[inline]
fn read(register: usize) -> u32 {
    let address = BASE.load(Ordering::Relaxed) as usize + register;
    // SAFETY: as in `write`.
    unsafe { (address as *const u32).read_volatile() }
}
