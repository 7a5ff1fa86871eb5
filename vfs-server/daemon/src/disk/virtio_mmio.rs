//! virtio disks in memory-mapped slots, as on QEMU's microvm.

use super::{parse_number, start};
use crate::mmio;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use platform::block::BlockDevice;
use virtio_blk::transport::mmio::{MmioTransport, VirtIOHeader};
use virtio_blk::transport::{DeviceType, Transport};

/// Where the machine has its slots.
struct Slots {
    /// Physical address of the first.
    base: u64,
    /// Bytes from one to the next.
    stride: usize,
    count: usize,
    /// The global system interrupt of the first; the others follow.
    first_interrupt: usize,
}

impl Slots {
    fn parse(place: Option<&str>, interrupt: Option<&str>) -> Option<Self> {
        let mut numbers = place?.split(',').map(parse_number);
        let slots = Self {
            base: numbers.next()?? as u64,
            stride: numbers.next()??,
            count: numbers.next()??,
            first_interrupt: parse_number(interrupt?)?,
        };
        numbers.next().is_none().then_some(slots)
    }
}

/// Takes the `wanted`th disk into use.
pub fn open(place: Option<&str>, interrupt: Option<&str>, wanted: usize) -> Result<Arc<dyn BlockDevice>, String> {
    let slots = Slots::parse(place, interrupt)
        .ok_or_else(|| format!("bad arguments virtio-mmio={place:?} virtio-irq={interrupt:?}"))?;
    let registers =
        mmio::map(slots.base, slots.stride * slots.count).map_err(|error| format!("virtio registers: {error}"))?;
    let mut found = 0;
    // QEMU fills the slots from the last to the first.
    for slot in (0..slots.count).rev() {
        // SAFETY: within the mapping.
        let header = unsafe { registers.add(slot * slots.stride) }.cast::<VirtIOHeader>();
        // SAFETY: the mapping stays for good, and only this driver uses it. An empty slot is an error.
        let Ok(transport) = (unsafe { MmioTransport::new(header, slots.stride) }) else { continue };
        if transport.device_type() != DeviceType::Block {
            continue;
        }
        if found == wanted {
            return start(format!("virtio{wanted}"), transport, slots.first_interrupt + slot);
        }
        found += 1;
    }
    Err(format!("no disk virtio{wanted}: {found} found"))
}
