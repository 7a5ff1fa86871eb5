//! The explorer: the server's own code under a scheduler that owns every switch, error and crash.
//!
//! A [`Scenario`] is set up once. Each run starts from that state, and a [`Strategy`] makes its
//! decisions: which task goes on at a switch point, which error is injected, where the machine
//! crashes. A run that breaks a promise is a list of decisions, which can be made again.
//!
//! This crate is the host of the programs that link it (`platform::set_host!`) and their global
//! allocator.
//!
//! | module | what |
//! |---|---|
//! | [`scenario`] | what is explored |
//! | [`runtime`] | tasks, memory, the trace: the deterministic platform |
//! | [`strategy`] | how the next run differs from the ones before |
//! | [`explore`](mod@explore) | runs, counted, until one fails |
//! | [`world`] | disk, server and clients on the runtime: what most scenarios are made of |
//! | [`minimise`](mod@minimise) | the same failure with as little as possible in the way |
//! | [`oracle`] | what may be expected of a file, and whether a run kept it |
//! | [`experiments`] | the table of what there is to explore |
//! | [`schedule`] | the replay file |
//! | [`mutants`] | code that is broken on purpose, and the case that must catch it |
//! | [`report`] | what a person sees of a run: diagram, page, verdict |
#![deny(unsafe_code)]

pub mod experiments;
pub mod explore;
pub mod minimise;
pub mod mutants;
pub mod oracle;
pub mod report;
pub mod runtime;
pub mod scenario;
pub mod schedule;
pub mod strategy;
pub mod world;

pub use explore::{Budget, Progress, Report, Verdict, explore};
pub use minimise::{Minimised, minimise};
pub use runtime::{Decision, Explorer, Observer, Trace};
pub use scenario::{End, Failure, FaultSites, Outcome, Program, Scenario, Settings};
pub use strategy::Strategy;
