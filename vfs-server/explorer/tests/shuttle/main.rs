//! The founding experiments under shuttle: somebody else's scheduler, random choices and PCT must see in the server's code
//! what the explorer sees in it.
//!
//! What breaks must break in the same way, and what is clean must stay clean. Nothing of the explorer's runtime
//! has a part in it but the seam ([`explorer::runtime::foreign`]): no arena, no tasks and no trace of ours, no
//! knowledge of partial orders. The table that is printed has the runs that each needed, beside our own.

mod scheduler;

use explorer::experiments::{Case, Experiment};
use explorer::runtime::foreign;
use explorer::strategy::{Pct, Random};
use explorer::{Budget, Explorer, Failure, Scenario, Strategy, Verdict, explore};
use scheduler::{Found, Shuttle};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};
use std::any::Any;
use std::fmt;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const SEED: u64 = 20;
/// Of PCT: ordered steps that a failure needs, at most.
const DEPTH: usize = 3;
/// Switches of a run at most; more are taken for a run that does not end.
const STEPS: usize = 200_000;

/// Who decides.
#[derive(Clone, Copy, Debug)]
enum Choices {
    Random,
    Pct,
}

impl fmt::Display for Choices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random => f.pad("random"),
            Self::Pct => f.pad("pct3"),
        }
    }
}

/// What came of some runs.
struct Seen {
    runs: u64,
    time: Duration,
    failure: Option<Failure>,
}

impl Seen {
    fn kind(&self) -> &str {
        self.failure.as_ref().map_or("clean", |failure| &failure.kind)
    }

    /// A run that fails takes longer to be told than others to be made.
    fn rate(&self) -> String {
        match self.failure {
            Some(_) => String::new(),
            None => format!("{:.0}/s", self.runs as f64 / self.time.as_secs_f64()),
        }
    }
}

/// Up to `runs` runs under shuttle, until one fails.
fn under_shuttle(
    scenario: fn(&str) -> Box<dyn Scenario>,
    variant: &'static str,
    choices: Choices,
    runs: usize,
) -> Seen {
    let (found, count) = (Found::default(), Arc::new(AtomicU64::new(0)));
    let (finds, counts) = (found.clone(), count.clone());
    let run = move || {
        counts.fetch_add(1, Ordering::Relaxed);
        foreign::play(Rc::new(Shuttle::new(finds.clone())), &*scenario(variant));
    };
    let mut config = Config::new();
    config.stack_size = 512 << 10;
    config.max_steps = MaxSteps::FailAfter(STEPS);
    config.failure_persistence = FailurePersistence::None;
    config.ungraceful_shutdown_config.immediately_return_on_panic = true;
    let start = Instant::now();
    let runs = || match choices {
        Choices::Random => Runner::new(RandomScheduler::new_from_seed(SEED, runs), config).run(run),
        Choices::Pct => Runner::new(PctScheduler::new_from_seed(SEED, DEPTH, runs), config).run(run),
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| foreign::lend(runs)));
    let time = start.elapsed();
    let failure = outcome.err().map(|panic| {
        let told = found.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        told.unwrap_or_else(|| of_panic(&*panic))
    });
    Seen { runs: count.load(Ordering::Relaxed), time, failure }
}

/// What shuttle itself noticed: a panic of a thread, or that no thread can go on.
fn of_panic(panic: &(dyn Any + Send)) -> Failure {
    let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    let kind = match &text {
        text if text.starts_with("deadlock!") => Failure::DEADLOCK,
        text if text.starts_with("exceeded max_steps") => Failure::LIVELOCK,
        text if text.starts_with("lock order:") => Failure::LOCK_ORDER,
        _ => Failure::PANIC,
    };
    Failure::new(kind, text)
}

/// The same by the explorer.
fn by_the_explorer(scenario: &dyn Scenario, choices: Choices, runs: usize) -> Seen {
    let mut explorer = Explorer::prepare(scenario).unwrap_or_else(|failure| panic!("set-up: {failure}"));
    let mut strategy: Box<dyn Strategy> = match choices {
        Choices::Random => Box::new(Random::new(SEED)),
        Choices::Pct => Box::new(Pct::new(SEED, DEPTH)),
    };
    let report = explore(&mut explorer, &mut *strategy, &Budget::schedules(runs as u64), |_| {});
    let failure = match report.verdict {
        Verdict::Failed(failure, _) => Some(failure),
        Verdict::Clean | Verdict::Exhausted => None,
    };
    Seen { runs: report.progress.schedules, time: report.progress.elapsed, failure }
}

/// One at a time: the machine and its locks are the process's.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Not `println!`, whose output is shown of tests that fail only.
fn print(words: fmt::Arguments<'_>) {
    _ = writeln!(std::io::stdout(), "{words}");
}

/// Runs that a failure is looked for in.
const SEARCH: usize = 20_000;
/// Runs that must be clean.
const CLEAN: usize = 200;

/// Runs the named variants of a case, and expects of each what the table of experiments expects.
fn agree(experiment: &str, case: &str, variants: &[&'static str]) {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let experiment = Experiment::find(experiment).unwrap_or_else(|| panic!("no experiment {experiment}"));
    let case: &Case =
        experiment.cases.iter().find(|each| each.name == case).unwrap_or_else(|| panic!("no case {case}"));
    for &variant in variants {
        assert!(experiment.variants.iter().any(|each| each.name == variant), "no variant {variant}");
        let expected = case.expected(variant);
        let runs = if expected.is_empty() { CLEAN } else { SEARCH };
        for choices in [Choices::Random, Choices::Pct] {
            let theirs = under_shuttle(case.scenario, variant, choices, runs);
            let ours = by_the_explorer(&*(case.scenario)(variant), choices, runs);
            let name = format!("{} {} {variant}", experiment.name, case.name);
            print(format_args!(
                "{name:<60} {choices:<6}  shuttle: {:<10} {:>5} {:>7}   explorer: {:<10} {:>5} {:>8}",
                theirs.kind(),
                theirs.runs,
                theirs.rate(),
                ours.kind(),
                ours.runs,
                ours.rate(),
            ));
            for (who, seen) in [("shuttle", theirs), ("the explorer", ours)] {
                match seen.failure {
                    None => assert!(expected.is_empty(), "{who} finds nothing in {name}, {choices}"),
                    Some(failure) => {
                        assert!(expected.contains(&&*failure.kind), "{who} in {name}, {choices}: {failure}")
                    }
                }
            }
        }
    }
}

#[test]
fn lockless_writes_lose_appends_under_shuttle() {
    agree("bcachefs-buffered-write", "early-exit", &["lockless", "shared-inode-lock", "inode-lock"]);
}

#[test]
fn writes_that_start_over_are_torn_under_shuttle() {
    agree("bcachefs-buffered-write", "restart", &["lockless", "shared-inode-lock"]);
}

#[test]
fn inline_data_goes_under_a_write_under_shuttle() {
    agree("ext4-inline-mkwrite", "room", &["mkwrite-unlocked", "allocate-first", "latched"]);
}

#[test]
fn a_fault_that_takes_the_inode_lock_deadlocks_under_shuttle() {
    agree("ext4-inline-mkwrite", "pool-reclaim", &["mkwrite-inode-lock", "latched"]);
}

#[test]
fn a_shared_pool_of_workers_deadlocks_under_shuttle() {
    agree("fault-pool", "two-writes", &["shared", "dedicated", "shared-retry"]);
}

#[test]
fn a_store_against_truncate_is_sound_under_shuttle() {
    agree("truncate-fault", "store", &["zap-under-invalidate"]);
}
