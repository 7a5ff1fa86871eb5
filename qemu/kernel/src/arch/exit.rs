//! The end of the machine.

use super::instructions::outb;

/// QEMU's `isa-debug-exit`: ends QEMU with status (code << 1) | 1.
const EXIT_PORT: u16 = 0xf4;

/// What a panic ends QEMU with (status 255).
pub const PANIC_CODE: u8 = 127;

/// Ends the machine; where there is no exit device, all CPUs stop.
pub fn exit(code: u8) -> ! {
    // SAFETY: the device ends the emulation; nothing happens to memory.
    unsafe { outb(EXIT_PORT, code) }
    super::halt()
}
