//! The explorer: the server's real code under a deterministic scheduler.
//!
//! | module | what |
//! |---|---|
//! | [`oracle`] | what may be expected of a file, and whether a run kept it |
//! | [`report`] | what a person sees of a run: diagram, page, verdict |

pub mod oracle;
pub mod report;
