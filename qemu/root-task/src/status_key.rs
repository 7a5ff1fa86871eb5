//! Ctrl-T on the serial line while programs run: who waits for whom, as BSD terminals have it.
//!
//! (The shell reads the line itself and does the same.)

use pager_abi::server_verb::ServerVerb;
use user_rt::{
    descriptor::{ROOT, STDIN},
    kernel_scheme, println, thread,
};

const STATUS_KEY: u8 = 0x14;

/// Starts the thread that reads the serial line. Without it, all else goes on.
pub fn watch() {
    match thread::spawn(read_keys) {
        Ok(thread) => thread.detach(),
        Err(error) => println!("root-task: no status key: {error}"),
    }
}

fn read_keys() {
    let mut key = [0];
    while STDIN.read(&mut key) == Ok(1) {
        if key[0] == STATUS_KEY {
            print_waits();
        }
    }
}

/// The kernel comes first: it never waits.
fn print_waits() {
    match kernel_scheme::text("context") {
        Ok(text) => text.lines().for_each(|line| println!("contexts: {line}")),
        Err(error) => println!("contexts: the kernel does not say: {error}"),
    }
    match ROOT.server_text(ServerVerb::Waits) {
        Ok(text) => text.lines().for_each(|line| println!("waits: {line}")),
        Err(error) => println!("waits: the server does not say: {error}"),
    }
}
