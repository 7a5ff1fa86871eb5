//! A panic says where, then ends the whole process with [`CODE`].

use crate::{console, entry, thread};
use core::{fmt::Write, panic::PanicInfo};

/// The exit code of a process that panicked (Rust's on other systems).
const CODE: i32 = 101;

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    // The heap may be what failed: the message goes through a buffer on the stack.
    let mut line = console::Line::new();
    let _ = write!(line, "panic in thread {}: {info}", thread::current().id());
    line.end();
    entry::exit(CODE)
}
