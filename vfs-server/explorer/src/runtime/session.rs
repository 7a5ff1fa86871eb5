//! A scenario that was set up, and its runs.

use super::arena::{self, Snapshot};
use super::observer::Observer;
use super::run::{Phase, RunEnd, Runtime};
use super::trace::{KnownOrders, Trace};
use crate::scenario::{Failure, Outcome, Program, Scenario, Settings};
use crate::strategy::Strategy;
use std::sync::{Mutex, MutexGuard};

/// There is one arena, so there is one exploration at a time in a process; others wait.
static SESSION: Mutex<()> = Mutex::new(());

/// A scenario that was set up: it can be run any number of times, each time from the same state.
pub struct Explorer {
    name: String,
    runtime: Box<Runtime>,
    /// Lies in the arena.
    program: *const dyn Program,
    snapshot: Snapshot,
    _session: MutexGuard<'static, ()>,
}

impl Explorer {
    /// Sets the scenario up.
    pub fn prepare(scenario: &dyn Scenario) -> Result<Self, Failure> {
        let session = SESSION.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // SAFETY: the session is ours, so nobody else is inside, and the explorer that was before has
        // been dropped.
        unsafe { arena::clear() };
        let runtime = Runtime::new(scenario.settings());
        runtime.activate();
        let program = runtime.on_main(Phase::SetUp, || Box::into_raw(scenario.set_up()));
        // SAFETY: the arena is ours since it was cleared.
        let snapshot = unsafe { Snapshot::take() };
        let program = program.inspect_err(|_| runtime.deactivate())?;
        Ok(Self { name: scenario.name(), runtime, program, snapshot, _session: session })
    }

    /// The scenario's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The scenario's settings.
    pub fn settings(&self) -> &Settings {
        &self.runtime.settings
    }

    /// Bytes that are copied before each run.
    pub fn snapshot_len(&self) -> usize {
        self.snapshot.len()
    }

    /// One run, as `strategy` decides ([`Strategy::begin`] and [`Strategy::end`] are the caller's).
    pub fn run_once(
        &mut self,
        strategy: &mut dyn Strategy,
        observer: Option<&mut (dyn Observer + '_)>,
    ) -> (Outcome, Trace) {
        self.run(strategy, observer, None)
    }

    /// As [`Explorer::run_once`], but a run that is known to end as one before is not checked again.
    pub fn run_unless_known(&mut self, strategy: &mut dyn Strategy, known: &mut KnownOrders) -> (Outcome, Trace) {
        let (outcome, trace) = self.run(strategy, None, Some(known));
        if outcome == Outcome::Passed {
            known.insert(trace.order);
        }
        (outcome, trace)
    }

    fn run(
        &mut self,
        strategy: &mut dyn Strategy,
        observer: Option<&mut (dyn Observer + '_)>,
        known: Option<&mut KnownOrders>,
    ) -> (Outcome, Trace) {
        // SAFETY: no task and no caller holds anything inside: tasks of the last run are not resumed.
        unsafe { self.snapshot.restore() };
        // SAFETY: the program lies in the arena as set-up left it; methods take it shared.
        let program = unsafe { &*self.program };
        self.runtime.set_program(program);
        // SAFETY: the arena has just been restored.
        let end = unsafe { self.runtime.run(strategy, observer, known, || program.start()) };
        let outcome = match end {
            RunEnd::Pruned => Outcome::Pruned,
            RunEnd::Known => Outcome::Passed,
            RunEnd::Failed(failure) => Outcome::Failed(failure),
            RunEnd::Check(end) => match self.runtime.on_main(Phase::Check, || program.check(&end)) {
                Ok(Ok(())) => Outcome::Passed,
                Ok(Err(failure)) => Outcome::Failed(take_out(failure)),
                Err(failure) => Outcome::Failed(failure),
            },
        };
        if let Outcome::Failed(failure) = &outcome {
            self.runtime.observe(|observer| observer.failed(failure));
        }
        (outcome, self.runtime.finish())
    }
}

/// Copies a failure out of the arena; the original is forgotten with it.
fn take_out(failure: Failure) -> Failure {
    let copy = failure.clone();
    std::mem::forget(failure);
    copy
}

impl Drop for Explorer {
    fn drop(&mut self) {
        self.runtime.forget_tasks();
        // SAFETY: as in `run_once`. The kernel that set-up installed lies inside: it is dropped there,
        // whole, before the arena is cleared for others.
        unsafe { self.snapshot.restore() };
        let _ = self.runtime.on_main(Phase::Check, || guest::kernel::install(None));
        self.runtime.deactivate();
    }
}
