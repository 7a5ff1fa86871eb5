//! Device interrupts: the I/O APICs, by global system interrupt (GSI).
//!
//! Registers: Intel 82093AA data sheet. Each GSI is delivered to the first CPU as vector
//! `DEVICES + GSI`. Access is under the kernel lock, except for [`mask`], which its own lock covers.

use super::idt::vector;
use super::lock::SpinLock;
use super::{instructions, physmap};
use kernel_logic::acpi::{Madt, Override};

const MASKED: u32 = 1 << 16;
const LEVEL: u32 = 1 << 15;
const ACTIVE_LOW: u32 = 1 << 13;

/// How a device raises its interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// By a change.
    Edge,
    /// As long as it wants something.
    Level,
}

#[derive(Clone, Copy)]
struct Controller {
    base: usize,
    gsi_base: u32,
    count: u32,
}

const CONTROLLERS_MAX: usize = 4;
const OVERRIDES_MAX: usize = 16;

struct State {
    controllers: [Option<Controller>; CONTROLLERS_MAX],
    overrides: [Option<Override>; OVERRIDES_MAX],
}

static STATE: SpinLock<State> =
    SpinLock::new(State { controllers: [None; CONTROLLERS_MAX], overrides: [None; OVERRIDES_MAX] });

/// Masks the old PICs. Before the local APIC forgets them: a request of theirs that is pending when it does can
/// neither be withdrawn nor be answered by a vector any more, and the first program would meet it as an exception.
pub fn silence_pics() {
    for port in [0x21, 0xa1] {
        // SAFETY: masking the PICs touches no memory.
        unsafe { instructions::outb(port, 0xff) }
    }
}

/// Takes the controllers of the firmware's table and masks everything.
pub fn init(madt: &Madt) {
    let mut state = STATE.lock();
    for (slot, io_apic) in state.controllers.iter_mut().zip(&madt.io_apics) {
        let mut controller =
            Controller { base: physmap::pointer(io_apic.address) as usize, gsi_base: io_apic.gsi_base, count: 0 };
        controller.count = (controller.read(1) >> 16 & 0xff) + 1;
        for pin in 0..controller.count {
            controller.write(0x10 + 2 * pin, MASKED);
        }
        *slot = Some(controller);
    }
    for (slot, entry) in state.overrides.iter_mut().zip(&madt.overrides) {
        *slot = Some(*entry);
    }
}

/// The GSI that an ISA interrupt comes by.
pub fn gsi_of_isa(irq: u8) -> u32 {
    let state = STATE.lock();
    state.overrides.iter().flatten().find(|entry| entry.irq == irq).map_or(u32::from(irq), |entry| entry.gsi)
}

/// ISA interrupts are edges unless the firmware says otherwise; the others are levels.
pub fn trigger_of(gsi: u32) -> (Trigger, bool) {
    let state = STATE.lock();
    let flags = state.overrides.iter().flatten().find(|entry| entry.gsi == gsi).map_or(0, |entry| entry.flags);
    let default = if gsi < 16 { Trigger::Edge } else { Trigger::Level };
    let trigger = match flags >> 2 & 3 {
        1 => Trigger::Edge,
        3 => Trigger::Level,
        _ => default,
    };
    (trigger, flags & 3 == 3)
}

/// Routes a GSI to CPU `apic_id`, still masked; `false` if no controller serves it.
pub fn route(gsi: u32, apic_id: u32) -> bool {
    let (trigger, active_low) = trigger_of(gsi);
    let mut state = STATE.lock();
    let Some((controller, pin)) = state.find(gsi).filter(|_| gsi < u32::from(vector::DEVICES_MAX)) else {
        return false;
    };
    let low = (u32::from(vector::DEVICES) + gsi)
        | if trigger == Trigger::Level { LEVEL } else { 0 }
        | if active_low { ACTIVE_LOW } else { 0 };
    controller.write(0x11 + 2 * pin, apic_id << 24);
    controller.write(0x10 + 2 * pin, low | MASKED);
    true
}

/// The GSI is not delivered until [`unmask`].
pub fn mask(gsi: u32) {
    change(gsi, |low| low | MASKED);
}

/// The GSI is delivered from now on, at once if the device still wants something.
pub fn unmask(gsi: u32) {
    change(gsi, |low| low & !MASKED);
}

fn change(gsi: u32, how: impl Fn(u32) -> u32) {
    if let Some((controller, pin)) = STATE.lock().find(gsi) {
        let low = controller.read(0x10 + 2 * pin);
        controller.write(0x10 + 2 * pin, how(low));
    }
}

impl State {
    fn find(&mut self, gsi: u32) -> Option<(Controller, u32)> {
        self.controllers.iter().flatten().find_map(|controller| {
            let pin = gsi.checked_sub(controller.gsi_base).filter(|&pin| pin < controller.count)?;
            Some((*controller, pin))
        })
    }
}

impl Controller {
    fn read(self, register: u32) -> u32 {
        // SAFETY: the base is an I/O APIC's by the firmware's table, mapped by the physmap.
        unsafe {
            (self.base as *mut u32).write_volatile(register);
            ((self.base + 0x10) as *const u32).read_volatile()
        }
    }

    fn write(self, register: u32, value: u32) {
        // SAFETY: as in `read`; what is written routes interrupts only.
        unsafe {
            (self.base as *mut u32).write_volatile(register);
            ((self.base + 0x10) as *mut u32).write_volatile(value);
        }
    }
}
