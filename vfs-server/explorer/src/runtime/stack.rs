//! The stacks of tasks: at fixed addresses, because locks and conditions may lie on them.

use super::arena::STACKS_BASE;
use corosensei::stack::{Stack, StackPointer};
use std::sync::Once;

/// Most tasks of a run.
pub const TASKS: usize = 64;
/// Bytes of a stack, its guard page included. Unoptimised code with deep formatting must fit.
const LEN: usize = 512 << 10;
const GUARD: usize = 4096;

/// The stack of one task number.
pub struct TaskStack {
    slot: usize,
}

impl TaskStack {
    /// The stack of the task with this number, which no living coroutine may use.
    pub(super) fn of(task: usize) -> Self {
        assert!(task < TASKS, "more than {TASKS} tasks");
        static GUARDED: Once = Once::new();
        GUARDED.call_once(|| {
            for slot in 0..TASKS {
                let bottom = (STACKS_BASE + slot * LEN) as *mut libc::c_void;
                // SAFETY: the lowest page of a slot of the region, which nothing uses.
                let done = unsafe { libc::mprotect(bottom, GUARD, libc::PROT_NONE) };
                assert!(done == 0, "cannot guard a stack: {}", std::io::Error::last_os_error());
            }
        });
        Self { slot: task }
    }

    fn bottom(&self) -> usize {
        STACKS_BASE + self.slot * LEN
    }
}

// SAFETY: the slot is mapped for the life of the process, its lowest page is a guard, and its number
// belongs to one coroutine at a time.
unsafe impl Stack for TaskStack {
    fn base(&self) -> StackPointer {
        // The region is nowhere near address 0.
        StackPointer::new(self.bottom() + LEN).unwrap_or(StackPointer::MIN)
    }

    fn limit(&self) -> StackPointer {
        StackPointer::new(self.bottom()).unwrap_or(StackPointer::MIN)
    }
}
