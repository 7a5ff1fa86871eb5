//! The kernel's own lines on the console, and its last words.

use crate::arch::{exit, serial};
use core::fmt::{self, Write};

/// A line, written at once as far as it fits.
pub fn line(what: fmt::Arguments<'_>) {
    let mut buffer = Buffer { bytes: [0; 512], len: 0 };
    // What does not fit is cut.
    let _ = buffer.write_fmt(what);
    serial::write(&buffer.bytes[..buffer.len]);
    serial::write(b"\n");
}

struct Buffer {
    bytes: [u8; 512],
    len: usize,
}

impl Write for Buffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let count = text.len().min(self.bytes.len() - self.len);
        self.bytes[self.len..self.len + count].copy_from_slice(&text.as_bytes()[..count]);
        self.len += count;
        if count == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

struct Serial;

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        serial::write(text.as_bytes());
        Ok(())
    }
}

/// A bug of the kernel: says where, and ends the machine with a failure.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let _ = writeln!(Serial, "\nkernel {info}");
    exit::exit(exit::PANIC_CODE)
}
