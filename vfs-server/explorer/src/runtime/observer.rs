//! Who listens to a run that is told: the recorder of a diagram, a debugger's log.
//!
//! Only a replay has an observer; an exploration has none, and pays one look for it.

use super::trace::ChoiceKind;
use crate::scenario::Failure;
use platform::host::Access;
use platform::lockdep::LockClass;
use platform::thread::{TaskId, ThreadKind};
use platform::waits::Wait;

/// Why a task runs from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// It is the first of the run.
    First,
    /// It ran before and goes on.
    Stays,
    /// The one that ran could have gone on.
    Preempts,
    /// The one that ran waits, gave way or has ended.
    Takes,
}

/// What a task of a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The run lasts until it ends.
    Client,
    /// A thread of the server.
    Server(ThreadKind),
    /// [`crate::Program::settle`].
    Settle,
}

/// Hears of everything in the order in which it happens. The methods run outside the arena; what the
/// tasks hold and wait for can be asked of `platform::lockdep` and `platform::waits` meanwhile.
#[allow(unused_variables)]
pub trait Observer {
    /// A task was made.
    fn task(&mut self, task: TaskId, name: &str, role: Role) {}
    /// The task that runs now was picked, maybe to go on; `number` is that of the decision, if there
    /// was one to make.
    fn switch(&mut self, task: TaskId, switch: Switch, number: Option<usize>) {}
    /// An access to a shared cell is about to happen; `switching`: it is a switch point.
    fn access(&mut self, task: TaskId, class: &'static LockClass, object: usize, access: Access, switching: bool) {}
    /// A step has ended: everything may be looked at.
    fn step_ended(&mut self, task: TaskId) {}
    /// The task waits from now on.
    fn waits(&mut self, task: TaskId, wait: Option<Wait>) {}
    /// The task was woken.
    fn goes_on(&mut self, task: TaskId) {}
    /// The task has ended.
    fn ended(&mut self, task: TaskId) {}
    /// `platform::tell!`, or a log line.
    fn tell(&mut self, task: TaskId, words: &str) {}
    /// A client begins an operation.
    fn begin(&mut self, task: TaskId, words: &str) {}
    /// It has ended.
    fn end(&mut self, task: TaskId, words: &str) {}
    /// The task, a worker, is busy for a client (`None`: for nobody).
    fn serves(&mut self, task: TaskId, client: Option<TaskId>) {}
    /// The server's operation that the task is busy with.
    fn doing(&mut self, task: TaskId, doing: Option<platform::waits::Doing>) {}
    /// A fault was injected or not, or a free choice made.
    fn chosen(&mut self, task: TaskId, site: &str, n: u32, value: u32, kind: ChoiceKind) {}
    /// How a lock or cell is called; names that set-up gave come first.
    fn name_object(&mut self, object: usize, words: &str) {}
    /// The run failed.
    fn failed(&mut self, failure: &Failure) {}
}
