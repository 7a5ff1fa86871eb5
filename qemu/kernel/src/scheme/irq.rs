//! Device interrupts, by global system interrupt number.
//!
//! Open "N"; a read of 8 bytes waits until the interrupt has come since the last acknowledgement and
//! gives the count of all that came; a write of that count acknowledges it, which lets the next one
//! in (a level interrupt is masked meanwhile).

use crate::arch::cpu::Cpu;
use crate::arch::{cpu, ioapic, serial};
use crate::context::{Context, State, Wait};
use crate::file::File;
use crate::kernel::Kernel;
use crate::syscall::{Outcome, Stop};
use crate::vspace::user::UserSlice;
use kernel_logic::arena::Id;
use syscall::error::{EBUSY, EINVAL, ENOENT, Error, Result};

/// The most interrupts.
const INTERRUPTS: usize = crate::arch::idt::vector::DEVICES_MAX as usize;

/// What came.
pub struct Interrupts {
    lines: [Line; INTERRUPTS],
}

#[derive(Clone, Copy)]
struct Line {
    open: bool,
    count: u64,
    acknowledged: u64,
}

impl Interrupts {
    /// Nothing came.
    pub const fn new() -> Self {
        Self { lines: [Line { open: false, count: 0, acknowledged: 0 }; INTERRUPTS] }
    }
}

/// Opens interrupt `name`, which one at a time may have open.
pub fn open(k: &mut Kernel, _cpu: &Cpu, name: &str) -> Result<File> {
    let gsi: u32 = name.parse().map_err(|_| Error::new(ENOENT))?;
    let line = k.interrupts.lines.get_mut(gsi as usize).ok_or(Error::new(ENOENT))?;
    if line.open || gsi == ioapic::gsi_of_isa(serial::IRQ) {
        return Err(Error::new(EBUSY));
    }
    if !ioapic::route(gsi, cpu::all()[0].apic_id()) {
        return Err(Error::new(ENOENT));
    }
    *line = Line { open: true, count: 0, acknowledged: 0 };
    ioapic::unmask(gsi);
    Ok(File::Irq(gsi))
}

/// Waits for it.
pub fn read(k: &mut Kernel, cpu: &Cpu, id: Id<Context>, gsi: u32, buffer: UserSlice) -> Outcome {
    let buffer = buffer.exact(8)?;
    let line = k.interrupts.lines[gsi as usize];
    if line.count == line.acknowledged {
        k.contexts[id].state = State::Waiting(Wait::Interrupt { gsi });
        return Err(Stop::Wait);
    }
    k.write_user(cpu, id, buffer, &line.count.to_ne_bytes())?;
    Ok(8)
}

/// Acknowledges it.
pub fn write(k: &mut Kernel, cpu: &Cpu, id: Id<Context>, gsi: u32, buffer: UserSlice) -> Outcome {
    let buffer = buffer.exact(8)?;
    let mut count = [0; 8];
    k.read_user(cpu, id, buffer, &mut count)?;
    let line = &mut k.interrupts.lines[gsi as usize];
    if u64::from_ne_bytes(count) != line.count {
        return Err(Error::new(EINVAL).into());
    }
    line.acknowledged = line.count;
    ioapic::unmask(gsi);
    Ok(8)
}

impl Kernel {
    /// A device wants something; it is masked until it is acknowledged.
    pub fn on_device(&mut self, gsi: u32) {
        if gsi == ioapic::gsi_of_isa(serial::IRQ) {
            return self.on_console_input();
        }
        if let Some(line) = self.interrupts.lines.get_mut(gsi as usize).filter(|line| line.open) {
            line.count += 1;
            self.remake_calls(|wait| matches!(wait, Wait::Interrupt { gsi: other } if *other == gsi));
        }
    }

    /// Nobody has it open any more.
    pub fn close_interrupt(&mut self, gsi: u32) {
        ioapic::mask(gsi);
        self.interrupts.lines[gsi as usize].open = false;
    }
}
