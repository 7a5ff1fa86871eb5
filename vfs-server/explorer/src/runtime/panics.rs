//! A panic of the code under test ends the run, not the process.
//!
//! A task that panics is not unwound: no guard is dropped, so nothing switches or panics again on the
//! way, and the locks that it held are still seen as held by whoever reports. Its memory comes back
//! with the next restore.
//!
//! The hook only notes the message. It must return, for it runs under a lock of the standard library;
//! what comes next is the allocation of the panic's payload, through our allocator, and there the
//! task's stack is left for good. The panic stays counted as one that goes on: after it,
//! `std::thread::panicking` is true on this thread. Panics of set-up and checks, which run on no task,
//! unwind to [`catch`].

use super::arena::{self, Mode};
use super::run::{Runtime, active};
use crate::scenario::Failure;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

/// Makes panics of tasks failures of their run. Once a process.
pub(super) fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let ours = arena::is_inside();
            let Some(runtime) = active().filter(|_| ours) else { return before(info) };
            let _outside = Mode::outside();
            let failure = failure_of(info);
            runtime.note_panic(failure);
            if runtime.on_task() {
                arena::leave_at_next_allocation();
            }
        }));
    });
}

fn failure_of(info: &panic::PanicHookInfo<'_>) -> Failure {
    let payload = info.payload();
    let message = payload.downcast_ref::<&str>().map(|text| text.to_string());
    let message = message.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
    let kind = if message.starts_with("lock order:") { Failure::LOCK_ORDER } else { Failure::PANIC };
    let place = info.location().map(|at| format!(" ({}:{})", at.file(), at.line())).unwrap_or_default();
    Failure::new(kind, message + &place)
}

/// Runs `body`, which is on no task, inside the arena; a panic of it is a failure.
pub(super) fn catch<R>(runtime: &Runtime, body: impl FnOnce() -> R) -> Result<R, Failure> {
    let result = {
        let _inside = Mode::inside();
        panic::catch_unwind(AssertUnwindSafe(body))
    };
    result.map_err(|payload| {
        // It lies inside, and everything there is about to be forgotten.
        std::mem::forget(payload);
        runtime.take_panic().unwrap_or_else(|| Failure::new(Failure::PANIC, "of unknown origin"))
    })
}

/// Leaves the running task, whose panic is about to unwind it.
pub(super) fn leave() -> ! {
    let Some(runtime) = active() else { unreachable!("a task of no runtime panicked") };
    let failure = runtime.take_panic().unwrap_or_else(|| Failure::new(Failure::PANIC, "of unknown origin"));
    runtime.fail_abandoned(failure)
}
