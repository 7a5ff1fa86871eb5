//! The deterministic platform: tasks as coroutines, memory that is put back, and a trace.
//!
//! | module | what |
//! |---|---|
//! | [`arena`] | the memory of what is explored, restored before each run |
//! | [`session`] | a scenario that was set up, and its runs |
//! | [`run`] | one run, from its start to its end |
//! | [`decide`] | which task goes on |
//! | [`calls`] | what tasks call |
//! | [`host`] | the seam's functions |
//! | [`foreign`] | the same for a scheduler that is not ours, as a cross-check |
//! | [`deadlock`] | who waits although nobody will wake him |
//! | [`task`], [`stack`] | coroutines and their stacks |
//! | [`trace`] | decisions, footprints, the partial order of accesses |
//! | [`observer`] | who listens to a replay |
//! | [`panics`] | a panic ends the run, not the process |
//!
//! `unsafe` is in [`arena`], [`stack`], [`task`], [`host`], [`run`] and [`session`], and nowhere else
//! in the crate.

#![allow(unsafe_code)]

mod arena;
mod calls;
mod classes;
mod deadlock;
mod decide;
pub mod foreign;
mod host;
mod observer;
mod panics;
mod run;
mod session;
mod stack;
mod task;
mod trace;

pub use calls::{
    begin_operation, client, clients_order, end_operation, fail, is_frame, is_told, outside, pick, serves, stop,
};
pub use observer::{Observer, Role, Switch};
pub use session::Explorer;
pub use trace::{ChoiceKind, Decision, Footprint, KnownOrders, Trace};
pub(crate) use trace::{Itself, mix};
