//! Exceptions and interrupts, sorted by what they mean.

use super::cpu::Cpu;
use super::entry::Frame;
use super::idt::vector;
use super::{apic, instructions, tlb, user_copy};
use crate::kernel;

/// What the CPU reports of a page fault. Intel SDM 3A, 4.7.
pub mod page_fault {
    /// It was a store.
    pub const WRITE: usize = 1 << 1;
    /// It was an instruction fetch.
    pub const FETCH: usize = 1 << 4;
}

/// An interrupt that the kernel acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// The local timer's period is over.
    Tick,
    /// A thread was made ready for an idle CPU.
    Wake,
    /// Device interrupt, by its global number.
    Device(u32),
}

/// From a program. Answers with the frame to go on with.
#[inline]
pub(super) fn on_user_interrupt(frame: *mut Frame, number: u8, error: usize) -> *mut Frame {
    let cpu = Cpu::current();
    match number {
        vector::PAGE_FAULT => kernel::on_page_fault(cpu, instructions::read_cr2(), error),
        vector::SHOOTDOWN => {
            tlb::poll();
            apic::end_of_interrupt();
            frame
        }
        0..32 => kernel::on_exception(cpu, number),
        _ => match acknowledge(number) {
            Some(interrupt) => kernel::on_interrupt(cpu, interrupt),
            None => frame,
        },
    }
}

/// From the kernel itself: a bad address in a copy from or to a program, or an interrupt of an idle CPU.
pub(super) extern "C" fn on_kernel_interrupt(frame: &mut Frame) {
    match frame.vector as u8 {
        vector::PAGE_FAULT if user_copy::recover(frame, instructions::read_cr2()) => {}
        vector::SHOOTDOWN => {
            tlb::poll();
            apic::end_of_interrupt();
        }
        number @ 0..32 => panic!(
            "exception {number} in the kernel at {:#x}, error {:#x}, address {:#x}\n{frame:#x?}",
            frame.rip,
            frame.error,
            instructions::read_cr2()
        ),
        number => {
            if let Some(interrupt) = acknowledge(number) {
                kernel::on_idle_interrupt(Cpu::current(), interrupt);
            }
        }
    }
}

fn acknowledge(number: u8) -> Option<Interrupt> {
    let interrupt = match number {
        vector::TIMER => Interrupt::Tick,
        vector::WAKE => Interrupt::Wake,
        vector::HALT => super::halt(),
        vector::SPURIOUS => return None,
        _ => {
            let gsi = u32::from(number.checked_sub(vector::DEVICES)?);
            // A level interrupt stays masked until its driver acknowledges it.
            super::ioapic::mask(gsi);
            Interrupt::Device(gsi)
        }
    };
    apic::end_of_interrupt();
    Some(interrupt)
}
