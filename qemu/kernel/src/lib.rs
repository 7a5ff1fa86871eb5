//! The kernel's logic that needs no hardware: it is built and tested on the host as well.
//!
//! | module | what |
//! |---|---|
//! | [`arena`] | kernel objects by typed index |
//! | [`buddy`] | physical frames: who is free, who is referenced how often |
//! | [`acpi`] | the tables that name CPUs and interrupt controllers |
//! | [`span`] | ranges of pages and the map of a vspace's regions |
//! | [`slots`] | a descriptor table's slots |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod acpi;
pub mod arena;
pub mod buddy;
pub mod slots;
pub mod span;

/// Bytes of a page and of a frame.
pub const PAGE_SIZE: usize = 4096;
