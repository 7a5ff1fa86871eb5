//! Translation lookaside buffers: dropping stale translations on other CPUs.
//!
//! | who | does |
//! |---|---|
//! | the CPU that revoked | [`shootdown`]: asks by generation number and interrupt, waits for every answer |
//! | a CPU in a program, or idle | takes the interrupt, [`poll`]s |
//! | a CPU in the kernel (interrupts off) | holds no translation of a program across a wait; every spin [`poll`]s |
//!
//! One request at a time: the kernel lock is held from the edit of the table to the last answer.

use super::cpu::{self, Cpu};
use super::idt::vector;
use super::{apic, instructions};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Beyond this, everything is dropped at once.
const PAGES_SINGLY: usize = 32;

static GENERATION: AtomicU64 = AtomicU64::new(0);
static BASE: AtomicUsize = AtomicUsize::new(0);
static PAGES: AtomicUsize = AtomicUsize::new(0);
/// Shootdowns that reached another CPU, since boot.
static SENT: AtomicU64 = AtomicU64::new(0);

/// Does what this CPU was asked to, if anything.
#[inline]
pub fn poll() {
    let cpu = Cpu::current();
    let asked = cpu.asked.load(Ordering::Acquire);
    if asked != cpu.reached.load(Ordering::Relaxed) {
        flush_current(BASE.load(Ordering::Relaxed), PAGES.load(Ordering::Relaxed));
        cpu.reached.store(asked, Ordering::Release);
    }
}

/// Drops this CPU's translations of `pages` pages from `base` on.
#[inline]
pub fn flush_current(base: usize, pages: usize) {
    if pages <= PAGES_SINGLY {
        (0..pages).for_each(|page| instructions::invlpg(base + page * 4096));
    } else {
        // SAFETY: the same table again.
        unsafe { instructions::write_cr3(instructions::read_cr3()) }
    }
}

/// Drops the translations of `pages` pages from `base` on, on every CPU of `cpus` (a bit each), and waits until
/// they are gone. Tells whether another CPU was involved.
pub fn shootdown(cpus: u64, base: usize, pages: usize) -> bool {
    let me = Cpu::current();
    let own = 1 << me.index();
    if cpus & own != 0 {
        flush_current(base, pages);
    }
    let others = cpus & !own;
    if others == 0 {
        return false;
    }
    BASE.store(base, Ordering::Relaxed);
    PAGES.store(pages, Ordering::Relaxed);
    let generation = GENERATION.fetch_add(1, Ordering::Relaxed) + 1;
    SENT.fetch_add(1, Ordering::Relaxed);
    let targets = || cpu::all().iter().filter(|cpu| others & 1 << cpu.index() != 0);
    for target in targets() {
        target.asked.store(generation, Ordering::Release);
        apic::send(target.apic_id.get(), vector::SHOOTDOWN);
    }
    for target in targets() {
        while target.reached.load(Ordering::Acquire) != generation {
            instructions::pause();
        }
    }
    true
}

/// Shootdowns that reached another CPU, since boot.
pub fn sent() -> u64 {
    SENT.load(Ordering::Relaxed)
}
