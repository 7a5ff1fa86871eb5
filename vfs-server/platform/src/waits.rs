//! Who waits for whom, right now: one record a task, written only on the slow path of a wait.
//!
//! A shell's `waits` command, a missed deadline and the explorer's deadlock report read it.

use crate::lockdep::{self, LockClass};
use crate::thread::{TASKS_MAX, TaskId, now_ns};
use alloc::string::String;
use core::fmt::Write;
use spin::Mutex as Spin;

/// What a task waits for.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// The kind of lock, or [`lockdep::EVENT`].
    pub class: &'static LockClass,
    /// Address of the lock, or what the event is about.
    pub object: usize,
    /// Who holds it, where that is known.
    pub holder: Option<TaskId>,
    /// In the words of whoever waits ("writeback of inode 12").
    pub what: &'static str,
    /// When the wait began ([`now_ns`]).
    pub since_ns: u64,
}

#[derive(Clone, Copy)]
struct Task {
    name: Option<&'static str>,
    doing: Option<Doing>,
    wait: Option<Wait>,
}

/// What a task is busy with, in a few words and numbers.
#[derive(Clone, Copy, Debug)]
pub struct Doing {
    /// The operation ("write", "fault", "writeback").
    pub what: &'static str,
    /// The inode, where there is one.
    pub inode: u64,
    /// The request's tag, where there is one.
    pub tag: u32,
    /// Who sent the request, by the kernel's name of it.
    pub caller: u64,
}

static TASKS: [Spin<Task>; TASKS_MAX] = [const { Spin::new(Task { name: None, doing: None, wait: None }) }; TASKS_MAX];

/// Names the running task, for the report.
pub fn name_current(name: &'static str) {
    TASKS[crate::host::current().index()].lock().name = Some(name);
}

/// Says what the running task is busy with (`None`: it waits for work).
pub fn set_doing(doing: Option<Doing>) {
    TASKS[crate::host::current().index()].lock().doing = doing;
    // SAFETY: `set_host!` defined the symbol with this signature.
    unsafe { crate::host::linked::__platform_doing(doing) }
}

/// What `task` waits for, if it does.
pub fn of(task: TaskId) -> Option<Wait> {
    TASKS[task.index()].lock().wait
}

/// Runs `f`, during which the running task waits for `what` in a way that no lock knows of.
pub fn while_waiting_for<R>(what: &'static str, f: impl FnOnce() -> R) -> R {
    let _waiting = begin(&lockdep::EVENT, 0, None, what);
    f()
}

/// Forgets all about `task`: it ended, or a host that runs things again starts over.
pub fn forget(task: TaskId) {
    *TASKS[task.index()].lock() = Task { name: None, doing: None, wait: None };
}

/// Marks the running task as waiting until the guard is dropped.
pub(crate) fn begin(class: &'static LockClass, object: usize, holder: Option<TaskId>, what: &'static str) -> Waiting {
    let task = crate::host::current();
    TASKS[task.index()].lock().wait = Some(Wait { class, object, holder, what, since_ns: now_ns() });
    Waiting(task)
}

pub(crate) struct Waiting(TaskId);

impl Drop for Waiting {
    fn drop(&mut self) {
        TASKS[self.0.index()].lock().wait = None;
    }
}

/// The [`report`], if a task has waited within an operation ([`set_doing`]) for longer than `limit_ns`.
/// Who waits for work is in no operation and is never late.
pub fn overdue(limit_ns: u64) -> Option<String> {
    let now = now_ns();
    let late =
        |task: Task| task.doing.is_some() && task.wait.is_some_and(|wait| now.saturating_sub(wait.since_ns) > limit_ns);
    TASKS.iter().any(|slot| late(*slot.lock())).then(report)
}

/// One line a waiting task: what it does, what it waits for, who holds that, for how long; then
/// the cycle, if the holders form one.
pub fn report() -> String {
    let mut text = String::new();
    let now = now_ns();
    let mut next = [None; TASKS_MAX];
    for (index, slot) in TASKS.iter().enumerate() {
        let task = *slot.lock();
        let Some(wait) = task.wait else { continue };
        next[index] = wait.holder.map(TaskId::index);
        let _ = write!(text, "task {index} ({}) ", task.name.unwrap_or("?"));
        if let Some(doing) = task.doing {
            let _ = write!(text, "in {} of inode {} (tag {}) ", doing.what, doing.inode, doing.tag);
        }
        if core::ptr::eq(wait.class, &lockdep::EVENT) {
            let _ = write!(text, "waits for {}", wait.what);
        } else {
            let _ = write!(text, "waits for {} {:#x} ", wait.class.name, wait.object);
            match wait.holder {
                Some(holder) => {
                    let name = TASKS[holder.index()].lock().name.unwrap_or("?");
                    let _ = write!(text, "held by task {} ({name})", holder.0);
                }
                None => text.push_str("held by readers"),
            }
        }
        let _ = write!(text, " for {} us", now.saturating_sub(wait.since_ns) / 1000);
        lockdep::for_each_held(TaskId(index as u16), |class, object| {
            let _ = write!(text, "; holds {class} {object:#x}");
        });
        text.push('\n');
    }
    if let Some(cycle) = find_cycle(&next) {
        text.push_str("DEADLOCK:");
        for task in cycle {
            let _ = write!(text, " task {task} ->");
        }
        text.push_str(" back to the first\n");
    }
    text
}

fn find_cycle(next: &[Option<usize>; TASKS_MAX]) -> Option<alloc::vec::Vec<usize>> {
    for start in 0..TASKS_MAX {
        let mut at = next[start];
        for _ in 0..TASKS_MAX {
            match at {
                Some(task) if task == start => {
                    let mut cycle = alloc::vec![start];
                    let mut at = next[start];
                    while let Some(task) = at.filter(|&task| task != start) {
                        cycle.push(task);
                        at = next[task];
                    }
                    return Some(cycle);
                }
                Some(task) => at = next[task],
                None => break,
            }
        }
    }
    None
}
