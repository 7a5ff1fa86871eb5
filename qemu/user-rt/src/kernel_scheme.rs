//! The kernel's own schemes, by their root descriptors in the upper file table.

use crate::descriptor::{Descriptor, Fd};
use syscall::{Result, UPPER_FDTBL_TAG, data::GlobalSchemes};

/// The root descriptor of a kernel scheme.
pub fn root(scheme: GlobalSchemes) -> Fd {
    Fd(UPPER_FDTBL_TAG | scheme as usize)
}

/// Opens `path` in a kernel scheme.
pub fn open(scheme: GlobalSchemes, path: &str, flags: usize) -> Result<Descriptor> {
    root(scheme).open(path, flags)
}
