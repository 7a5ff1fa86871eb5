//! Threads and time.

use crate::host::linked;
use alloc::boxed::Box;

/// Most threads of a server at the same time.
pub const TASKS_MAX: usize = 128;

/// The running task: a small number that no other living task has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub u16);

impl TaskId {
    /// For tables of [`TASKS_MAX`] entries.
    pub fn index(self) -> usize {
        usize::from(self.0) % TASKS_MAX
    }
}

/// What a thread is for: each kind has its own reserve, so that none waits for another (rule 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadKind {
    /// Answers page faults.
    FaultWorker,
    /// Answers everything else.
    RequestWorker,
    /// Writes dirty folios back.
    Writeback,
    /// Finishes I/O: converts unwritten extents, ends writeback.
    IoCompletion,
    /// Gives clean folios back.
    Reclaim,
    /// A driver's interrupt thread, or a test's own.
    Other,
}

/// Starts a thread; `false` if the host has no room for it.
pub fn spawn(name: &'static str, kind: ThreadKind, body: impl FnOnce() + Send + 'static) -> bool {
    // SAFETY: `set_host!` defined the symbol with this signature.
    unsafe { linked::__platform_spawn(name, kind, Box::new(body)) }
}

/// Nanoseconds since some start, never going back.
pub fn now_ns() -> u64 {
    // SAFETY: as above.
    unsafe { linked::__platform_now_ns() }
}

/// Nanoseconds since 1970-01-01 UTC.
pub fn realtime_ns() -> u64 {
    // SAFETY: as above.
    unsafe { linked::__platform_realtime_ns() }
}
