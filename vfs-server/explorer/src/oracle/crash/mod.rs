//! What a disk may hold after a crash, and what must be found on it after recovery.
//!
//! | module | what |
//! |---|---|
//! | [`disk_log`] | writes and flushes as the device saw them; what is durable and what is pending at a point |
//! | [`states`] | the disks that a crash at that point may leave |
//! | [`files`] | the contents of a file against what was synced |
//! | [`names`] | the directory tree against the order of the namespace operations |
//!
//! Owns no file system: whoever has one writes a state to a disk, recovers it, reads the files and the tree back, and
//! hands them to [`files::check`] and [`names::check`].

pub mod disk_log;
pub mod files;
pub mod names;
pub mod states;

pub use disk_log::{DiskLog, Pending};
pub use names::{NameCall, NameHistory, Tree};
pub use states::{Coverage, CrashState, CrashStates};

#[cfg(test)]
mod tests;
