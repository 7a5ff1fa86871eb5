//! virtio disks on PCI bus 0, as on QEMU's q35: the firmware has placed the registers.

use super::{parse_number, start};
use crate::dma::PoolDma;
use crate::mmio;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::ptr::NonNull;
use platform::block::BlockDevice;
use virtio_blk::transport::DeviceType;
use virtio_blk::transport::pci::bus::{Command, ConfigurationAccess, DeviceFunction, PciRoot};
use virtio_blk::transport::pci::{PciTransport, virtio_device_type};

/// Bytes of the configuration space of one bus (PCI Express: 4 KiB for each of 256 functions).
const BUS_SIZE: usize = 1 << 20;

/// Register with the interrupt pin in bits 15..8: 1 is INTA.
const INTERRUPT: u8 = 0x3c;

/// The GSI of PIRQE, to which INTA of slot 0 goes on an ICH9 as QEMU's firmware sets it up.
const PIRQE: usize = 20;

/// Configuration space of bus 0.
struct Bus0(NonNull<u8>);

// SAFETY: configuration registers may be used by any thread; the `PciRoot` is used by one.
unsafe impl Send for Bus0 {}

impl Bus0 {
    fn register(&self, function: DeviceFunction, offset: u8) -> Option<NonNull<u32>> {
        let index = usize::from(function.device) << 3 | usize::from(function.function);
        let at = index << 12 | usize::from(offset & !3);
        // SAFETY: `index` has 8 bits, so `at` is within the megabyte that is mapped.
        (function.bus == 0 && function.valid()).then(|| unsafe { self.0.add(at) }.cast())
    }
}

impl ConfigurationAccess for Bus0 {
    fn read_word(&self, function: DeviceFunction, offset: u8) -> u32 {
        // A function that is not there reads as ones.
        // SAFETY: the register is mapped.
        self.register(function, offset).map_or(u32::MAX, |register| unsafe { register.read_volatile() })
    }

    fn write_word(&mut self, function: DeviceFunction, offset: u8, data: u32) {
        if let Some(register) = self.register(function, offset) {
            // SAFETY: the register is mapped.
            unsafe { register.write_volatile(data) }
        }
    }

    unsafe fn unsafe_clone(&self) -> Self {
        Self(self.0)
    }
}

/// Takes the `wanted`th disk into use; `ecam` is the physical address of the configuration space.
pub fn open(ecam: &str, wanted: usize) -> Result<Arc<dyn BlockDevice>, String> {
    let base = parse_number(ecam).ok_or_else(|| format!("bad argument virtio-pci={ecam}"))?;
    let bus = Bus0(mmio::map(base as u64, BUS_SIZE).map_err(|error| format!("PCI configuration space: {error}"))?);
    // SAFETY: the clone only reads the read-only interrupt pin.
    let pins = unsafe { bus.unsafe_clone() };
    let mut root = PciRoot::new(bus);
    let mut disks = root.enumerate_bus(0).filter(|(_, info)| virtio_device_type(info) == Some(DeviceType::Block));
    let (function, _) = disks.nth(wanted).ok_or_else(|| format!("no disk virtio{wanted} on PCI bus 0"))?;
    let (_, command) = root.get_status_command(function);
    root.set_command(function, command | Command::MEMORY_SPACE | Command::BUS_MASTER);
    let transport = PciTransport::new::<PoolDma, _>(&mut root, function)
        .map_err(|error| format!("virtio disk at {function}: {error}"))?;
    let pin = (pins.read_word(function, INTERRUPT) >> 8 & 0xff) as usize;
    let interrupt = PIRQE + (usize::from(function.device) + pin.saturating_sub(1)) % 4;
    start(format!("virtio{wanted}"), transport, interrupt)
}
