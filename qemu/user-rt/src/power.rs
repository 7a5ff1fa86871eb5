//! The off switch.

use crate::kernel_scheme;
use alloc::format;
use syscall::{O_WRONLY, data::GlobalSchemes};

/// Ends the machine; whoever started it sees `code`.
pub fn off(code: u8) -> ! {
    let switched = kernel_scheme::open(GlobalSchemes::Sys, "kstop", O_WRONLY)
        .and_then(|file| file.fd().write(format!("shutdown {code}").as_bytes()));
    // Only a kernel that has no such switch comes here.
    panic!("the machine does not power off: {switched:?}")
}
