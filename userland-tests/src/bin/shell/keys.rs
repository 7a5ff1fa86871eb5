//! The keyboard: a thread that reads it, and a line that is edited.

use alloc::string::String;
use userland_tests::{
    errno::Errno,
    sys::{self, Receiver},
};

const INTERRUPT: u8 = 0x03;
const END: u8 = 0x04;
const STATUS: u8 = 0x14;
const BACKSPACE: [u8; 2] = [0x08, 0x7f];
const RETURN: [u8; 2] = [b'\r', b'\n'];

/// Starts the thread that reads the keyboard. It answers Ctrl-T itself.
pub fn listen() -> Result<Receiver<u8>, Errno> {
    let (sender, receiver) = sys::channel();
    sys::spawn_thread(move || {
        loop {
            match sys::read_key() {
                Some(STATUS) => print_waits(),
                Some(key) => sender.send(key),
                None => {
                    sender.send(END);
                    return;
                }
            }
        }
    })?
    .detach();
    Ok(receiver)
}

/// Who waits for whom, in the kernel and in the server. The kernel comes first: it never waits.
pub fn print_waits() {
    for (who, text) in [("kernel", sys::kernel_waits()), ("server", sys::server_waits())] {
        match text {
            Ok(text) => text.lines().for_each(|line| sys::print_line(format_args!("{who}: {line}"))),
            Err(errno) => sys::print_line(format_args!("{who}: does not say: {errno}")),
        }
    }
}

/// The next line; `None` at Ctrl-D on an empty one.
pub fn read_line(keys: &Receiver<u8>, prompt: &str) -> Option<String> {
    let mut line = String::new();
    sys::print_text(format_args!("{prompt}"));
    loop {
        match keys.receive() {
            key if RETURN.contains(&key) => {
                sys::print_text(format_args!("\r\n"));
                return Some(line);
            }
            key if BACKSPACE.contains(&key) && line.pop().is_some() => sys::print_text(format_args!("\x08 \x08")),
            INTERRUPT => {
                line.clear();
                sys::print_text(format_args!("^C\r\n{prompt}"));
            }
            END if line.is_empty() => {
                sys::print_text(format_args!("\r\n"));
                return None;
            }
            key if (0x20..0x7f).contains(&key) => {
                line.push(char::from(key));
                sys::print_text(format_args!("{}", char::from(key)));
            }
            _ => {}
        }
    }
}
