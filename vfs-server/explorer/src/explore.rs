//! Runs, counted, until one fails, the budget is spent or nothing is left to try.

use crate::runtime::{Explorer, KnownOrders, Trace};
use crate::scenario::{Failure, Outcome};
use crate::strategy::Strategy;
use std::time::{Duration, Instant};

/// How long to go on.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Runs at most.
    pub schedules: u64,
    /// Time at most.
    pub time: Duration,
}

impl Budget {
    /// That many runs, however long they take.
    pub fn schedules(schedules: u64) -> Self {
        Self { schedules, time: Duration::MAX }
    }
}

/// How far an exploration is.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Runs so far, pruned ones included.
    pub schedules: u64,
    /// Runs that were given up because another stands for them.
    pub pruned: u64,
    /// Different partial orders of accesses among them.
    pub distinct: u64,
    /// Decisions of all runs.
    pub decisions: u64,
    /// Since the start.
    pub elapsed: Duration,
    /// In the strategy's words.
    pub strategy: String,
}

/// What an exploration found.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// A run failed: why, and what it decided.
    Failed(Failure, Trace),
    /// No run failed; there are others.
    Clean,
    /// No run failed, and within its bounds the strategy has none left.
    Exhausted,
}

/// The end of an exploration.
#[derive(Clone, Debug)]
pub struct Report {
    /// What it found.
    pub verdict: Verdict,
    /// How far it came.
    pub progress: Progress,
}

/// Runs between two reports of progress.
const REPORT_EVERY: u64 = 1 << 10;

/// Runs the scenario as `strategy` decides until a run fails; `on_progress` hears now and then how
/// far it is. A run whose partial order has been checked is mostly not checked again ([`KnownOrders`]).
pub fn explore(
    explorer: &mut Explorer,
    strategy: &mut dyn Strategy,
    budget: &Budget,
    mut on_progress: impl FnMut(&Progress),
) -> Report {
    let start = Instant::now();
    let mut known = KnownOrders::default();
    let mut progress = Progress {
        schedules: 0,
        pruned: 0,
        distinct: 0,
        decisions: 0,
        elapsed: Duration::ZERO,
        strategy: strategy.progress(),
    };
    let verdict = loop {
        if progress.schedules == budget.schedules || progress.elapsed >= budget.time {
            break Verdict::Clean;
        }
        if !strategy.begin() {
            break Verdict::Exhausted;
        }
        let (outcome, trace) = explorer.run_unless_known(strategy, &mut known);
        strategy.end(&trace, &outcome);
        progress.schedules += 1;
        progress.decisions += trace.decisions.len() as u64;
        match outcome {
            Outcome::Passed => {}
            Outcome::Pruned => progress.pruned += 1,
            Outcome::Failed(failure) => {
                known.insert(trace.order);
                break Verdict::Failed(failure, trace);
            }
        }
        if progress.schedules.is_multiple_of(REPORT_EVERY) || progress.schedules == 1 {
            progress.elapsed = start.elapsed();
            progress.distinct = known.count();
            progress.strategy = strategy.progress();
            on_progress(&progress);
        }
    };
    progress.elapsed = start.elapsed();
    progress.distinct = known.count();
    progress.strategy = strategy.progress();
    Report { verdict, progress }
}
