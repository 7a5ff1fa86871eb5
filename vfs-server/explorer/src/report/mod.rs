//! What a person sees of a run: its story as data, the diagram, the page.
//!
//! Owns: the data of one told run and its renderings. Does not own: how a run is found, minimised
//! and replayed, and what is wrong with it ([`crate::oracle`]): it is told both.
//!
//! | module | what |
//! |---|---|
//! | [`told`] | one run as data: lanes, steps in words, locks, folios, what broke |
//! | [`recorder`] | makes that of what happens, one thing after the other |
//! | [`listener`] | feeds it from a replay |
//! | [`telling`] | makes a run again to be told |
//! | [`requests`] | lets each column follow a client's request through the tasks that serve it |
//! | [`waits`] | who waits for whom at the end of a deadlock |
//! | [`columns`] | words laid out in columns of a bounded width |
//! | [`diagram`] | the `cpu1 | cpu2` interleaving, as plain text |
//! | [`html`] | one self-contained page to step through |
//! | [`verdict`] | what an exploration came to, and how far that goes |
//! | [`numbers`] | numbers for readers |

pub mod columns;
pub mod diagram;
pub mod html;
pub mod listener;
pub mod numbers;
pub mod recorder;
pub mod requests;
pub mod telling;
pub mod told;
pub mod verdict;
pub mod waits;

#[cfg(test)]
pub(crate) mod samples;
