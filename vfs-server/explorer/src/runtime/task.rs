//! A task of a run: a coroutine, and why it does not run.

use super::arena::{self, Mode};
use super::observer::Role;
use super::run::active;
use super::stack::TaskStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

type Body = Box<dyn FnOnce()>;

/// A task.
pub(super) struct Task {
    pub name: String,
    pub role: Role,
    /// `None` while it runs, and when it has ended.
    coroutine: Option<Coroutine<(), (), (), TaskStack>>,
    /// What it waits for.
    pub blocked: Option<Blocked>,
    /// The operation that it is busy with, for the budget's message.
    pub operation: &'static str,
    /// Switch points that the operation has passed.
    pub points: u32,
}

/// Why a task waits.
#[derive(Clone, Copy)]
pub(super) struct Blocked {
    /// Address of the word it sleeps on.
    pub word: usize,
    /// When it gives up; `u64::MAX`: never.
    pub deadline_ns: u64,
    /// Those who slept longer are woken first.
    pub since: u64,
}

/// A coroutine that has been taken out of its task to be run.
pub(super) struct Running(Coroutine<(), (), (), TaskStack>);

/// Where a coroutine came to a halt.
pub(super) enum Halt {
    Suspended(Running),
    Ended,
}

impl Task {
    /// A task with the number `number` that has not run.
    pub fn new(number: usize, name: String, role: Role, body: Body) -> Self {
        let coroutine = Coroutine::with_stack(TaskStack::of(number), move |yielder: &Yielder<(), ()>, ()| {
            if let Some(runtime) = active() {
                runtime.yielders[number].set(yielder);
            }
            body();
        });
        Self { name, role, coroutine: Some(coroutine), blocked: None, operation: "start", points: 0 }
    }

    #[inline]
    pub fn take(&mut self) -> Running {
        Running(self.coroutine.take().expect("a task that is ready is suspended"))
    }

    #[inline]
    pub fn put_back(&mut self, running: Running) {
        self.coroutine = Some(running.0);
    }
}

impl Running {
    /// Runs the task, inside, until it gives up the CPU.
    #[inline(always)]
    pub fn resume(mut self) -> Halt {
        let result = {
            let _inside = Mode::inside();
            self.0.resume(())
        };
        match result {
            CoroutineResult::Yield(()) => Halt::Suspended(self),
            CoroutineResult::Return(()) => Halt::Ended,
        }
    }
}

impl Drop for Task {
    /// Leaves a task that has not ended where it is: its memory comes back with the next restore.
    fn drop(&mut self) {
        if let Some(coroutine) = &mut self.coroutine {
            // SAFETY: what lies on the stack owns memory of the arena only, which is never looked at
            // again; values of the explorer itself are not kept on tasks' stacks across a switch,
            // but for references.
            unsafe { coroutine.force_reset() };
        }
    }
}

/// Gives up the CPU; returns when the task is picked again.
///
/// # Safety
/// `yielder` is that of the running task.
#[inline(always)]
pub(super) unsafe fn suspend(yielder: *const Yielder<(), ()>) {
    let inside = arena::is_inside();
    // SAFETY: the caller's contract; a yielder lives as long as its coroutine.
    unsafe { (*yielder).suspend(()) };
    // The main stack set its own mode meanwhile.
    let mode = if inside { Mode::inside() } else { Mode::outside() };
    std::mem::forget(mode);
}
