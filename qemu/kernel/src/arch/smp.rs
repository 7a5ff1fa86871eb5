//! Bringing up the other CPUs: INIT, then a start-up interrupt. Intel SDM 3A, 9.4.

use super::boot::{self, Start, TRAMPOLINE};
use super::{apic, clock, cpu};
use kernel_logic::acpi::Madt;

/// How long a CPU may take to come up.
const PATIENCE_NS: u64 = 1_000_000_000;

/// Starts every other CPU of the table; each goes to `entry` with its index. Answers with those that did not come.
pub fn start_others(madt: &Madt, table: u64, entry: extern "C" fn(usize) -> !) -> usize {
    let own = apic::id();
    let mut missing = 0;
    for apic_id in madt.cpus.iter().map(|&id| u32::from(id)).filter(|&id| id != own) {
        let Some(index) = cpu::add(apic_id) else { break };
        // SAFETY: the page is below 1 MiB, which the frame allocator never gives out, and the CPU before has left
        // it (it is online) or is lost.
        unsafe { boot::place_trampoline(Start { table, stack: cpu::stack_top(index), argument: index, entry }) };
        apic::send_init(apic_id);
        wait_until(10_000, || false);
        for _ in 0..2 {
            apic::send_startup(apic_id, (TRAMPOLINE / 4096) as u8);
            if wait_until(PATIENCE_NS / 2, || cpu::is_online(index)) {
                break;
            }
        }
        if !cpu::is_online(index) {
            missing += 1;
        }
    }
    missing
}

fn wait_until(ns: u64, done: impl Fn() -> bool) -> bool {
    let end = clock::now_ns() + ns;
    while clock::now_ns() < end {
        if done() {
            return true;
        }
        super::instructions::pause();
    }
    done()
}
