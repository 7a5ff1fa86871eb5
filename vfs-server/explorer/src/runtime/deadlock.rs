//! Nobody can go on: who waits, for what, and whether there is a clock to wait for.

use super::observer::Role;
use super::run::Runtime;
use super::task::Blocked;
use crate::scenario::Failure;
use platform::lockdep::EVENT;
use platform::thread::TaskId;

/// Timers that may fire in a row while no client gets any further.
const TIMERS_IN_A_ROW: u32 = 64;

/// One of the first `tasks` tasks that waits for a lock. When everything is at rest there must be none.
pub(super) fn stuck_for_a_lock(tasks: usize) -> Option<usize> {
    (0..tasks).find(|&task| {
        let wait = platform::waits::of(TaskId(task as u16));
        wait.is_some_and(|wait| !std::ptr::eq(wait.class, &EVENT))
    })
}

impl Runtime {
    /// Nobody is ready: time passes until the earliest deadline. Whether there is one.
    pub(super) fn fire_timer(&self) -> bool {
        let mut tasks = self.tasks.borrow_mut();
        let earliest = tasks
            .iter_mut()
            .enumerate()
            .filter_map(|(number, task)| {
                Some((task.blocked.filter(|blocked| blocked.deadline_ns != u64::MAX)?, number))
            })
            .min_by_key(|(blocked, _)| (blocked.deadline_ns, blocked.since));
        let Some((Blocked { deadline_ns, .. }, number)) = earliest else { return false };
        self.timers_in_a_row.set(self.timers_in_a_row.get() + 1);
        if self.timers_in_a_row.get() > TIMERS_IN_A_ROW {
            return false;
        }
        self.now_ns.set(self.now_ns.get().max(deadline_ns));
        tasks[number].blocked = None;
        self.ready.set(self.ready.get() | 1 << number);
        true
    }

    /// The failure of a run in which nobody can go on, or `task` cannot.
    pub(super) fn deadlock(&self, task: Option<usize>) -> Failure {
        let mut words = platform::waits::report();
        for (number, task) in self.tasks.borrow().iter().enumerate() {
            let known = platform::waits::of(TaskId(number as u16)).is_some();
            if task.blocked.is_some() && task.role == Role::Client && !known {
                words += &format!("task {number} ({}) waits\n", task.name);
            }
        }
        // It takes the kernel's lock, at which nobody is to be switched to any more.
        let telling = self.telling.replace(true);
        let kernel = platform::client::kernel_waits();
        self.telling.set(telling);
        Failure { task, ..Failure::new(Failure::DEADLOCK, words + &kernel) }
    }
}
