//! The first serial port (16550), which is the debug console.

use super::instructions::{inb, outb};

const PORT: u16 = 0x3f8;
const LINE_STATUS: u16 = PORT + 5;
const DATA_READY: u8 = 1 << 0;
const CAN_SEND: u8 = 1 << 5;

/// Its ISA interrupt.
pub const IRQ: u8 = 4;

/// 8 bits, no parity, FIFOs on, an interrupt for each byte that comes in.
pub fn init() {
    for (register, value) in [(1, 0), (3, 0x80), (0, 1), (1, 0), (3, 0x03), (2, 0xc7), (4, 0x0b), (1, 1)] {
        // SAFETY: the port is the UART's on every PC; it does not touch memory.
        unsafe { outb(PORT + register, value) }
    }
}

/// Sends bytes; a newline becomes carriage return and newline.
pub fn write(bytes: &[u8]) {
    for &byte in bytes {
        if byte == b'\n' {
            send(b'\r');
        }
        send(byte);
    }
}

/// A byte that came in, if any.
pub fn read() -> Option<u8> {
    // SAFETY: as in `init`.
    unsafe { (inb(LINE_STATUS) & DATA_READY != 0).then(|| inb(PORT)) }
}

fn send(byte: u8) {
    // Bounded: a port that is not there must not stop the kernel.
    for _ in 0..100_000 {
        // SAFETY: as in `init`.
        if unsafe { inb(LINE_STATUS) } & CAN_SEND != 0 {
            break;
        }
        super::tlb::poll();
    }
    // SAFETY: as in `init`.
    unsafe { outb(PORT, byte) }
}
