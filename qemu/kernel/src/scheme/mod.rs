//! The kernel's own schemes, and those of servers.
//!
//! | module | root descriptor | what |
//! |---|---|---|
//! | [`debug`] | 1 | the console |
//! | [`memory`] | 3 | memory by kind, and physical addresses |
//! | [`irq`] | 6 | device interrupts |
//! | [`time`] | 7 | clocks |
//! | [`sys`] | 8 | what the kernel tells of itself; the power switch |
//! | [`proc`] | 9 | contexts, vspaces, descriptor tables |
//! | [`user`] | - | schemes of servers |

pub mod debug;
pub mod irq;
pub mod memory;
pub mod proc;
pub mod sys;
pub mod time;
pub mod user;
