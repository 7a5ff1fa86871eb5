//! The kernel's own schemes, by their root descriptors in the upper file table.

use crate::descriptor::{Descriptor, Fd};
use alloc::{string::String, vec::Vec};
use syscall::{O_RDONLY, Result, UPPER_FDTBL_TAG, data::GlobalSchemes};

/// The root descriptor of a kernel scheme.
pub fn root(scheme: GlobalSchemes) -> Fd {
    Fd(UPPER_FDTBL_TAG | scheme as usize)
}

/// Opens `path` in a kernel scheme.
pub fn open(scheme: GlobalSchemes, path: &str, flags: usize) -> Result<Descriptor> {
    root(scheme).open(path, flags)
}

/// The text of a file of the `sys` scheme, such as `context`: what every context does or waits for.
pub fn text(name: &str) -> Result<String> {
    let file = open(GlobalSchemes::Sys, name, O_RDONLY)?;
    let mut bytes = Vec::new();
    let mut piece = [0; 1024];
    loop {
        match file.fd().read(&mut piece)? {
            0 => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
            count => bytes.extend_from_slice(&piece[..count]),
        }
    }
}
