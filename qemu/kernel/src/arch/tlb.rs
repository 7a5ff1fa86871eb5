//! Translation lookaside buffers: dropping stale translations on other CPUs.
//!
//! | who | does |
//! |---|---|
//! | the CPU that revoked | [`shootdown`]: asks by generation number and interrupt, waits for every answer |
//! | a CPU in a program, or idle | takes the interrupt, [`poll`]s |
//! | a CPU in the kernel (interrupts off) | holds no translation of a program across a wait; every spin [`poll`]s |
//! | a CPU that copies without the kernel lock | is in `COPYING`: every shootdown waits for the end of its unit |
//!
//! One request at a time. Most hold the kernel lock from the edit of the table to the last answer. A server's own
//! revocations let go of it while they wait ([`Flush`]); whoever then has the lock and something to flush, or
//! something that must not be said before that flush has ended, waits for it ([`wait_for_flush`]).

use super::cpu::{self, Cpu};
use super::idt::vector;
use super::{apic, instructions};
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Beyond this, everything is dropped at once.
const PAGES_SINGLY: usize = 32;

static GENERATION: AtomicU64 = AtomicU64::new(0);
static BASE: AtomicUsize = AtomicUsize::new(0);
static PAGES: AtomicUsize = AtomicUsize::new(0);
/// CPUs (a bit each) that reach frames by translations which they looked up before they let go of the kernel lock.
static COPYING: AtomicU64 = AtomicU64::new(0);
/// A [`Flush`] is under way.
static FLUSHING: AtomicBool = AtomicBool::new(false);
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
/// they are gone and every copy without the lock has ended its unit. The caller holds the kernel lock. Tells whether
/// another CPU was involved.
pub fn shootdown(cpus: u64, base: usize, pages: usize) -> bool {
    wait_for_flush();
    ask(with_copying(cpus), base, pages)
}

/// `cpus`, and those that copy without the kernel lock.
pub fn with_copying(cpus: u64) -> u64 {
    cpus | COPYING.load(Ordering::Acquire)
}

/// Waits for the end of a [`Flush`] of another CPU. The caller holds the kernel lock, which that CPU does not need.
#[inline]
pub fn wait_for_flush() {
    while FLUSHING.load(Ordering::Acquire) {
        poll();
        instructions::pause();
    }
}

/// Shootdowns whose answers are waited for without the kernel lock.
pub struct Flush(());

impl Flush {
    /// The caller holds the kernel lock and has edited the tables; it lets go of the lock next.
    pub fn begin() -> Self {
        wait_for_flush();
        FLUSHING.store(true, Ordering::Release);
        Self(())
    }

    /// As [`shootdown`], of the CPUs that [`with_copying`] gave under the lock.
    pub fn shootdown(&self, cpus: u64, base: usize, pages: usize) -> bool {
        ask(cpus, base, pages)
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        FLUSHING.store(false, Ordering::Release);
    }
}

/// A unit of a copy without the kernel lock: until it is dropped, no shootdown ends.
pub struct CopyUnit(());

impl CopyUnit {
    /// The caller holds the kernel lock, under which it has looked up where to copy; it lets go of the lock next.
    #[inline]
    pub fn begin() -> Self {
        COPYING.fetch_or(1 << Cpu::current().index(), Ordering::AcqRel);
        Self(())
    }
}

impl Drop for CopyUnit {
    #[inline]
    fn drop(&mut self) {
        COPYING.fetch_and(!(1 << Cpu::current().index()), Ordering::AcqRel);
        poll();
    }
}

fn ask(cpus: u64, base: usize, pages: usize) -> bool {
    let own = 1 << Cpu::current().index();
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
