//! Each strategy finds what it should, and those that exhaust agree with brute force.

mod toys;

use explorer::runtime::Decision;
use explorer::strategy::{Exhaustive, Pct, Portfolio, Random, Reduction, Replay, Shard};
use explorer::world::{Actor, Script, file_systems};
use explorer::{Budget, Explorer, Failure, Outcome, Scenario, Strategy, Trace, Verdict, explore, minimise};
use platform::lockdep::INODE;
use std::collections::BTreeSet;
use toys::Toy;

fn prepare(scenario: &dyn Scenario) -> Explorer {
    Explorer::prepare(scenario).unwrap_or_else(|failure| panic!("set-up: {failure}"))
}

fn verdict(toy: &Toy, strategy: &mut dyn Strategy, schedules: u64) -> Verdict {
    explore(&mut prepare(toy), strategy, &Budget::schedules(schedules), |_| {}).verdict
}

/// Runs `strategy` to its end: kinds of outcomes, the partial orders before the clients' ends, how many ran in full.
fn exhaust(scenario: &dyn Scenario, strategy: &mut dyn Strategy) -> (BTreeSet<String>, BTreeSet<u64>, usize) {
    exhaust_where(scenario, strategy, |_| true)
}

/// The same of the runs that `counts`.
fn exhaust_where(
    scenario: &dyn Scenario,
    strategy: &mut dyn Strategy,
    counts: impl Fn(&Trace) -> bool,
) -> (BTreeSet<String>, BTreeSet<u64>, usize) {
    let (mut kinds, mut orders, mut runs) = (BTreeSet::new(), BTreeSet::new(), 0);
    let mut explorer = prepare(scenario);
    while strategy.begin() {
        let (outcome, trace) = explorer.run_once(strategy, None);
        strategy.end(&trace, &outcome);
        let kind = match outcome {
            Outcome::Pruned => continue,
            Outcome::Passed => String::from("passed"),
            Outcome::Failed(failure) => failure.kind,
        };
        if !counts(&trace) {
            continue;
        }
        runs += 1;
        assert!(runs < 500_000, "{} has too many runs for this test", scenario.name());
        kinds.insert(kind);
        orders.insert(trace.clients);
    }
    (kinds, orders, runs)
}

const FAULTY: [(Toy, &str, u32); 6] = [
    (toys::LOST_UPDATE, "lost-update", 1),
    (toys::ABBA, Failure::DEADLOCK, 1),
    (toys::LOST_WAKEUP, Failure::DEADLOCK, 1),
    (toys::FLAG_BEFORE_DATA, Failure::PANIC, 1),
    (toys::TWO_PREEMPTIONS, "ping-pong", 2),
    (toys::FAULT, Failure::PANIC, 2),
];

#[test]
fn the_preemption_bound_finds_each_fault_with_the_fewest_preemptions() {
    for (toy, kind, preemptions) in FAULTY {
        match verdict(&toy, &mut Exhaustive::new(Reduction::Preemptions(3), 1), 100_000) {
            Verdict::Failed(failure, trace) => {
                assert_eq!((failure.kind.as_str(), trace.preemptions()), (kind, preemptions as usize), "{}", toy.name);
            }
            other => panic!("{}: {other:?}", toy.name),
        }
        let below = verdict(&toy, &mut Exhaustive::new(Reduction::Preemptions(preemptions - 1), 1), 100_000);
        assert!(matches!(below, Verdict::Exhausted), "{}: {below:?}", toy.name);
    }
}

#[test]
fn pct_and_the_portfolio_find_each_fault() {
    for (toy, kind, _) in FAULTY {
        for seed in 0..3 {
            let strategies: [Box<dyn Strategy>; 3] = [
                Box::new(Pct::new(seed, 3)),
                Box::new(Pct::new(seed, 5)),
                Box::new(Portfolio::new(seed, Shard::WHOLE)),
            ];
            for mut strategy in strategies {
                let Verdict::Failed(failure, _) = verdict(&toy, &mut *strategy, 3_000) else {
                    panic!("{} does not find {} with seed {seed}", strategy.name(), toy.name)
                };
                assert_eq!(failure.kind, kind, "{}", toy.name);
            }
        }
    }
}

#[test]
fn sound_toys_are_exhausted() {
    for toy in [toys::LOCKED_UPDATE, toys::ABAB, toys::WAKEUP, toys::STORE_BUFFER, toys::SPIN] {
        let bounded = verdict(&toy, &mut Exhaustive::new(Reduction::Preemptions(2), 1), 200_000);
        assert!(matches!(bounded, Verdict::Exhausted), "{}: {bounded:?}", toy.name);
    }
}

/// Toys of which every schedule can be run.
const TINY: [toys::Toy; 10] = [
    toys::LOST_UPDATE,
    toys::LOCKED_UPDATE,
    toys::ABBA,
    toys::ABAB,
    toys::LOST_WAKEUP,
    toys::WAKEUP,
    toys::STORE_BUFFER,
    toys::FLAG_BEFORE_DATA,
    toys::TWO_PREEMPTIONS,
    toys::FAULT,
];

#[test]
fn sleep_sets_see_what_full_enumeration_sees() {
    for toy in TINY {
        let (kinds, orders, runs) = exhaust(&toy, &mut Exhaustive::new(Reduction::None, 1));
        let (reduced_kinds, reduced_orders, reduced_runs) =
            exhaust(&toy, &mut Exhaustive::new(Reduction::SleepSets, 1));
        println!("{}: {runs} runs, {reduced_runs} with sleep sets, {} partial orders", toy.name, orders.len());
        assert_eq!(kinds, reduced_kinds, "{}", toy.name);
        assert_eq!(orders, reduced_orders, "{}", toy.name);
        assert!(reduced_runs <= runs);
    }
}

/// A client that appends and another one, on as few switch points as there can be.
fn of_the_server(name: &str, second: fn(&Actor)) -> Script {
    Script::new(name, &file_systems::MINI)
        .switching(&[&INODE])
        .set_up(|stage| {
            stage.actor(0).create("a").unwrap_or_else(|errno| panic!("create: errno {errno}"));
            stage.actor(0).write("a", 0, 1024).unwrap_or_else(|errno| panic!("write: errno {errno}"));
            stage.actor(1).open("a").unwrap_or_else(|errno| panic!("open: errno {errno}"));
        })
        .client("append", |me| _ = me.append("a", 512))
        .client("second", second)
}

/// An atomic of the server's real code that changes what others do and does not report itself would make sleep sets
/// leave out what the full enumeration has.
#[test]
fn sleep_sets_see_what_full_enumeration_sees_of_the_server() {
    let scripts = [
        of_the_server("append against truncate", |me| _ = me.truncate("a", 512)),
        of_the_server("append against stat", |me| _ = me.size("a")),
    ];
    for scenario in scripts {
        let (kinds, orders, runs) = exhaust(&scenario, &mut Exhaustive::new(Reduction::None, 0));
        let (reduced_kinds, reduced_orders, reduced_runs) =
            exhaust(&scenario, &mut Exhaustive::new(Reduction::SleepSets, 0));
        let name = scenario.name();
        println!("{name}: {runs} runs, {reduced_runs} with sleep sets, {} partial orders", orders.len());
        assert_eq!(kinds, reduced_kinds, "{name}");
        assert_eq!(orders, reduced_orders, "{name}");
        assert!(orders.len() > 1 && reduced_runs < runs, "{name}");
    }
}

#[test]
fn a_bounded_search_sees_every_order_within_its_bound() {
    for toy in TINY {
        for bound in 0..=3 {
            let within = |trace: &Trace| trace.preemptions() <= bound as usize && trace.faults() <= 1;
            let (kinds, orders, runs) = exhaust_where(&toy, &mut Exhaustive::new(Reduction::None, 1), within);
            let mut bounded = Exhaustive::new(Reduction::Preemptions(bound), 1);
            let (seen_kinds, seen_orders, seen_runs) = exhaust_where(&toy, &mut bounded, within);
            println!("{}, bound {bound}: {runs} runs, {seen_runs} in full, {} orders", toy.name, orders.len());
            assert_eq!(kinds, seen_kinds, "{}, bound {bound}", toy.name);
            assert_eq!(orders, seen_orders, "{}, bound {bound}", toy.name);
        }
    }
}

#[test]
fn shards_together_are_everything() {
    for toy in [toys::LOST_UPDATE, toys::TWO_PREEMPTIONS, toys::FAULT, toys::LOCKED_UPDATE] {
        let whole = exhaust(&toy, &mut Exhaustive::new(Reduction::Preemptions(2), 1));
        let mut parts = (BTreeSet::new(), BTreeSet::new());
        for number in 0..3 {
            let shard = Shard { number, of: 3 };
            let part = exhaust(&toy, &mut Exhaustive::new(Reduction::Preemptions(2), 1).shard(shard));
            assert!(part.2 < whole.2, "{}", toy.name);
            parts.0.extend(part.0);
            parts.1.extend(part.1);
        }
        assert_eq!((whole.0, whole.1), parts, "{}", toy.name);
    }
}

#[test]
fn a_replay_is_the_same_run_and_says_when_it_is_not() {
    let mut explorer = prepare(&toys::LOST_UPDATE);
    let report = explore(&mut explorer, &mut Random::new(5), &Budget::schedules(1_000), |_| {});
    let Verdict::Failed(failure, trace) = report.verdict else { panic!("{:?}", report.verdict) };
    let mut again = |decisions: Vec<Decision>| -> (Outcome, Trace, Option<String>) {
        let mut replay = Replay::new(decisions);
        assert!(replay.begin());
        let (outcome, trace) = explorer.run_once(&mut replay, None);
        (outcome, trace, replay.divergence())
    };
    let (outcome, replayed, divergence) = again(trace.decisions.clone());
    assert_eq!((outcome, divergence), (Outcome::Failed(failure), None));
    assert_eq!((replayed.order, &replayed.decisions), (trace.order, &trace.decisions));

    let mut longer = trace.decisions.clone();
    longer.push(Decision::Switch { task: 0, current: None, ready: 3 });
    assert!(again(longer).2.is_some_and(|why| why.contains("ended with 1 of its decisions not made")));
    let mut other = trace.decisions.clone();
    other[0] = Decision::Switch { task: 1, current: None, ready: 7 };
    assert!(again(other).2.is_some_and(|why| why.starts_with("decision 1 was")));
    assert!(again(trace.decisions[..1].to_vec()).2.is_some_and(|why| why.contains("more than its 1 decisions")));
}

#[test]
fn long_random_failures_shrink_to_the_fewest_preemptions() {
    for (toy, kind, preemptions) in FAULTY {
        for seed in 10..13 {
            let mut explorer = prepare(&toy);
            let report = explore(&mut explorer, &mut Random::new(seed), &Budget::schedules(5_000), |_| {});
            let Verdict::Failed(failure, trace) = report.verdict else { panic!("{}: {:?}", toy.name, report.verdict) };
            let small = minimise(&mut explorer, &failure, &trace);
            assert_eq!(
                (small.failure.kind.as_str(), small.trace.preemptions()),
                (kind, preemptions as usize),
                "{}",
                toy.name
            );
            assert!(small.trace.faults() <= trace.faults() && small.trace.steps <= trace.steps);
            let mut replay = Replay::new(small.trace.decisions.clone());
            let (outcome, again) = explorer.run_once(&mut replay, None);
            assert_eq!((outcome, again.order), (Outcome::Failed(small.failure), small.trace.order));
            assert_eq!(replay.divergence(), None);
        }
    }
}
