//! The experiment `bcachefs-buffered-write`: each variant breaks where it is known to, and nowhere else.
//!
//! `CASE=seek VARIANT=lockless SCHEDULES=100000 cargo test --profile explore ...` looks closer; what is
//! found is drawn.

use explorer::experiments::bcachefs_buffered_write::EXPERIMENT;
use explorer::experiments::{Case, Size};
use explorer::report::listener::Listener;
use explorer::report::told::Title;
use explorer::report::{diagram, requests};
use explorer::strategy::{Exhaustive, Portfolio, Reduction, Replay, Shard};
use explorer::{Budget, Explorer, Failure, Strategy, Trace, Verdict, explore};
use platform::mutant::{self, Mutant};

/// Schedules of a case and variant, at most.
const SCHEDULES: u64 = 10_000;

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn diagram_of(explorer: &mut Explorer, case: &Case, variant: &str, trace: &Trace) -> String {
    let title = Title {
        experiment: EXPERIMENT.name.into(),
        variant: variant.into(),
        scenario: case.name.into(),
        replay: String::new(),
    };
    let mut at_step = |_| {};
    let mut listener = Listener::new(title, &mut at_step);
    let mut again = Replay::new(trace.decisions.clone());
    again.begin();
    explorer.run_once(&mut again, Some(&mut listener));
    diagram::render(&requests::follow(&listener.finish()), 110)
}

/// What is found in a case: small ones are exhausted at two preemptions as far as the budget goes.
fn look(case: &Case, variant: &str) -> Option<Failure> {
    let scenario = (case.scenario)(variant);
    let mut explorer = Explorer::prepare(&*scenario).unwrap_or_else(|failure| panic!("set-up: {failure}"));
    let mut strategy: Box<dyn Strategy> = match case.size {
        Size::Small if case.expected(variant).is_empty() && setting("MUTANT").is_none() => {
            Box::new(Exhaustive::new(Reduction::Preemptions(2), 1))
        }
        _ => Box::new(Portfolio::new(1, Shard::WHOLE)),
    };
    let schedules = setting("SCHEDULES").map_or(SCHEDULES, |text| text.parse().unwrap());
    let report = explore(&mut explorer, &mut *strategy, &Budget::schedules(schedules), |_| {});
    let progress = &report.progress;
    let rate = progress.schedules as f64 / progress.elapsed.as_secs_f64();
    let found = match &report.verdict {
        Verdict::Failed(failure, _) => failure.kind.as_str(),
        Verdict::Clean => "clean",
        Verdict::Exhausted => "exhausted",
    };
    eprintln!("{} {variant}: {found} after {} schedules ({rate:.0}/s)", case.name, progress.schedules);
    match report.verdict {
        Verdict::Failed(failure, trace) => {
            if case.expected(variant).is_empty() || setting("DRAW").is_some() {
                eprintln!("{failure}\n{}", diagram_of(&mut explorer, case, variant, &trace));
            }
            Some(failure)
        }
        Verdict::Clean | Verdict::Exhausted => None,
    }
}

fn check(variant: &str) {
    if setting("VARIANT").is_some_and(|only| only != variant) {
        return;
    }
    let only = setting("CASE");
    let mutant = setting("MUTANT").map(|id| Mutant::ALL.iter().copied().find(|mutant| mutant.id() == id).unwrap());
    assert!(mutant::set(mutant), "this build has no mutants");
    let mut wrong = Vec::new();
    for case in EXPERIMENT.cases.iter().filter(|case| only.as_ref().is_none_or(|only| case.name == only)) {
        let expected = case.expected(variant);
        match look(case, variant) {
            None if expected.is_empty() => {}
            Some(failure) if expected.contains(&failure.kind.as_str()) => {}
            other => wrong.push(format!("{} {variant}: expected {expected:?}, found {other:?}", case.name)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn inode_lock_has_what_upstream_has() {
    check("inode-lock");
}

#[test]
fn lockless_has_the_known_defects() {
    check("lockless");
}

#[test]
fn shared_inode_lock_is_clean() {
    check("shared-inode-lock");
}
