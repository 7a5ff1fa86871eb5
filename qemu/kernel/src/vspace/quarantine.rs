//! The memory of a program that drove a device, after its end (rule 8 of the paging protocol).
//!
//! A device goes on writing to the memory that its driver gave it, whether the driver lives or not.
//! Before a vspace with device registers is taken down, the kernel resets the devices that it knows.
//! If there is one that it does not know, the memory of the vspace is never used for anything else.

use super::{Backing, Vspace};
use crate::arch::paging::Entry;
use crate::arch::virtio_mmio::{self, Stopped};
use crate::kernel::Kernel;
use crate::log;
use kernel_logic::arena::Id;

/// What may become of a dead program's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Afterlife {
    /// It is given back.
    Freed,
    /// A device may still write to it.
    Quarantined,
}

impl Kernel {
    /// Stops the devices of a vspace that nobody runs in any more.
    pub fn stop_devices(&mut self, id: Id<Vspace>) -> Afterlife {
        let vspace = &self.vspaces[id];
        let registers = vspace.regions.iter().filter(|(_, region)| matches!(region.backing, Backing::Physical));
        let entries = registers.flat_map(|(span, _)| span.page_addresses()).map(|page| vspace.table.get(page));
        let mut unknown = None;
        for entry in entries.filter(|entry| *entry != Entry::NONE) {
            let page = entry.frame().address();
            if virtio_mmio::reset_page(page) == Stopped::Unknown {
                unknown = Some(page);
            }
        }
        let Some(device) = unknown else { return Afterlife::Freed };
        log::line(format_args!(
            "kernel: a program ended that drove a device at {device:#x}, which cannot be reset: its memory stays unused"
        ));
        Afterlife::Quarantined
    }
}
