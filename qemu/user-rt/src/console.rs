//! Lines on descriptor 1, each by one write, so that lines of several CPUs do not mix.

use core::fmt::{self, Write};

/// The debug console's descriptor for output.
pub const STDOUT: usize = 1;

/// Most bytes of a line that go out by one write.
const LINE_MAX: usize = 1024;

/// A line in the making. A longer one than [`LINE_MAX`] goes out in several writes.
pub struct Line {
    bytes: [u8; LINE_MAX],
    len: usize,
}

impl Line {
    /// An empty line.
    #[expect(clippy::new_without_default, reason = "a line is begun, not defaulted")]
    pub fn new() -> Self {
        Self { bytes: [0; LINE_MAX], len: 0 }
    }

    /// Puts the newline and writes.
    pub fn end(mut self) {
        let _ = self.write_str("\n");
        self.flush();
    }

    /// Writes what is there without a newline.
    pub fn flush(&mut self) {
        let mut rest = &self.bytes[..self.len];
        while !rest.is_empty() {
            match syscall::write(STDOUT, rest) {
                // Nobody is left to tell that the console is gone.
                Ok(0) | Err(_) => break,
                Ok(n) => rest = &rest[n.min(rest.len())..],
            }
        }
        self.len = 0;
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            if self.len == LINE_MAX {
                self.flush();
            }
            let n = rest.len().min(LINE_MAX - self.len);
            self.bytes[self.len..self.len + n].copy_from_slice(&rest[..n]);
            self.len += n;
            rest = &rest[n..];
        }
        Ok(())
    }
}

/// Writes `args` and a newline.
pub fn print_line(args: fmt::Arguments) {
    let mut line = Line::new();
    let _ = line.write_fmt(args);
    line.end();
}

/// Writes `args` as they are.
pub fn print(args: fmt::Arguments) {
    let mut line = Line::new();
    let _ = line.write_fmt(args);
    line.flush();
}

/// A line on the console.
#[macro_export]
macro_rules! println {
    ($($arg:tt)*) => { $crate::console::print_line(::core::format_args!($($arg)*)) };
}

/// Text on the console, without a newline.
#[macro_export]
macro_rules! print {
    ($($arg:tt)*) => { $crate::console::print(::core::format_args!($($arg)*)) };
}

/// The `log` crate's way to the console.
struct Logger;

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &log::Record) {
        if self.enabled(record.metadata()) {
            println!("{:5} {}: {}", record.level(), record.target(), record.args());
        }
    }

    fn flush(&self) {}
}

/// Sends what the `log` macros say at `level` and above to the console.
pub fn start_log(level: log::LevelFilter) {
    // An error means that it was set before; then only the level changes.
    let _ = log::set_logger(&Logger);
    log::set_max_level(level);
}
