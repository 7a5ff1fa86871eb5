//! The world that a scenario plays in: a disk, a mounted server, a machine with clients, and the
//! record of what they did.
//!
//! A [`Script`] says what is set up and who does what; it is the usual [`Scenario`](crate::Scenario).
//! Owns everything between the runtime's tasks and the experiments; the server, the file systems and
//! pager-core are the real ones. Does not own: what the experiments do, nor what may be expected of
//! files ([`crate::oracle`]).
//!
//! | module | what |
//! |---|---|
//! | [`script`] | a scenario in a few lines: set-up, clients, tasks, checks |
//! | [`stage`] | the parts of a run: machine, server, disk, actors |
//! | [`actor`] | a client whose operations are recorded, with its files by name |
//! | [`log`] | the record for the oracle |
//! | [`disk`] | a disk in memory: its image stays outside the arena, writes are logged |
//! | [`crash`] | what a crash may leave, mounted anew and held against what was synced |
//! | [`file_systems`] | what can be mounted, and the small images |
//! | [`tree`] | what has a name, as a client finds it |
//! | [`rest`] | when all has come to rest: what is read, written back and compared |

pub mod actor;
pub mod crash;
pub mod disk;
pub mod file_systems;
pub mod log;
mod rest;
pub mod script;
pub mod stage;
mod tree;

pub use actor::Actor;
pub use crash::CrashTest;
pub use disk::{Disk, DiskFault};
pub use file_systems::FileSystemKind;
pub use log::Log;
pub use script::Script;
pub use stage::Stage;

/// The classes at which most scenarios switch: what locking protocols between write, fault,
/// truncate, writeback and reclaim are made of.
pub fn protocol_classes() -> Vec<&'static platform::lockdep::LockClass> {
    use platform::lockdep::{FOLIO, INODE, INVALIDATE, PAGECACHE_ADD};
    use platform::lockdep::{TRANSACTION_AFTER_FOLIO, TRANSACTION_BEFORE_FOLIO, XATTR};
    vec![
        &INODE,
        &INVALIDATE,
        &PAGECACHE_ADD,
        &FOLIO,
        &TRANSACTION_BEFORE_FOLIO,
        &TRANSACTION_AFTER_FOLIO,
        &XATTR,
        &guest::PAGER,
        &guest::TLB,
    ]
}
