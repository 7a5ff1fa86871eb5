//! Stopping virtio devices on the memory-mapped transport, whose drivers are programs.
//!
//! Registers: Virtual I/O Device (VIRTIO) Version 1.2, 4.2.2. A write of 0 to the status resets the
//! device, which then touches no memory any more.

use super::{instructions, physmap};

/// Bytes from one device's registers to the next one's, on QEMU's machines.
const STRIDE: u64 = 0x200;
const MAGIC: u64 = 0x00;
const DEVICE: u64 = 0x08;
const STATUS: u64 = 0x70;

/// "virt", little-endian.
const MAGIC_VALUE: u32 = 0x7472_6976;

/// How often the status is looked at: far more than any device needs.
const PATIENCE: u32 = 1_000_000;

/// What became of the devices whose registers are in a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// They are reset, or there are none.
    All,
    /// The page is not this transport's, or a device did not reset.
    Unknown,
}

/// Resets every device whose registers are in the page of device memory at `page`.
pub fn reset_page(page: u64) -> Stopped {
    let slots = || (page..page + 4096).step_by(STRIDE as usize);
    if !slots().all(|slot| load(slot + MAGIC) == MAGIC_VALUE) {
        return Stopped::Unknown;
    }
    let stopped = slots().all(|slot| load(slot + DEVICE) == 0 || reset(slot));
    if stopped { Stopped::All } else { Stopped::Unknown }
}

fn reset(slot: u64) -> bool {
    store(slot + STATUS, 0);
    (0..PATIENCE).any(|_| {
        instructions::pause();
        load(slot + STATUS) == 0
    })
}

fn load(register: u64) -> u32 {
    // SAFETY: device registers of this transport (or of an unknown device, whose first word may be read), mapped by
    // the physmap and used by nobody: the program that drove the device has ended.
    unsafe { physmap::pointer(register).cast::<u32>().read_volatile() }
}

fn store(register: u64, value: u32) {
    // SAFETY: as in `load`; a reset makes the device forget all memory that it was given.
    unsafe { physmap::pointer(register).cast::<u32>().write_volatile(value) }
}
