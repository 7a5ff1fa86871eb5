//! Schedules a CPU second of every case, by random decisions: `cargo run --profile explore -p explorer
//! --example speed [seconds a case] [experiment [case [variant]]]`.
//!
//! Runs whose partial order is known are not checked again, as in an exploration. Failures are counted and the
//! exploration goes on, so that what is measured is the run and not the luck. The first line is the platform alone:
//! tasks on two cells, without a server; it is left out when a case is named.

use explorer::experiments::ALL;
use explorer::runtime::{KnownOrders, client};
use explorer::strategy::Random;
use explorer::{End, Explorer, Failure, Outcome, Program, Scenario, Settings, Strategy};
use platform::lockdep::LockClass;
use platform::sync::Word;
use std::sync::Arc;
use std::time::{Duration, Instant};

static CELL: LockClass = LockClass::single("cell", 50);

/// Four clients with 25 switch points each on two cells.
struct Cells;

struct Shared(Arc<[Word; 2]>);

impl Scenario for Cells {
    fn name(&self) -> String {
        "platform alone/4 tasks, 100 switch points".into()
    }

    fn settings(&self) -> Settings {
        Settings::switching(&[&CELL])
    }

    fn set_up(&self) -> Box<dyn Program> {
        Box::new(Shared(Arc::new([Word::new(&CELL, 0), Word::new(&CELL, 0)])))
    }
}

impl Program for Shared {
    fn start(&self) {
        for number in 0..4 {
            let cells = self.0.clone();
            client("adder", move || {
                for round in 0..25 {
                    cells[(number + round) % 2].fetch_add(1);
                }
            });
        }
    }

    fn check(&self, _end: &End) -> Result<(), Failure> {
        let sum = self.0[0].load() + self.0[1].load();
        if sum == 100 { Ok(()) } else { Err(Failure::new("sum", sum.to_string())) }
    }
}

/// What this process has had of the CPUs: other programs on the machine do not count.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let first = text.split_whitespace().next().and_then(|first| first.parse().ok());
    Duration::from_nanos(first.unwrap_or_else(|| panic!("this Linux does not tell how long a process ran")))
}

fn measure(scenario: &dyn Scenario, time: Duration) {
    let mut explorer = match Explorer::prepare(scenario) {
        Ok(explorer) => explorer,
        Err(failure) => return println!("{}: set-up: {failure}", scenario.name()),
    };
    let mut random = Random::new(1);
    let (mut runs, mut failed, mut decisions, mut steps, mut accesses) = (0u64, 0u64, 0usize, 0u64, 0u64);
    let mut known = KnownOrders::default();
    let (start, cpu_start) = (Instant::now(), cpu_time());
    while start.elapsed() < time {
        for _ in 0..16 {
            random.begin();
            let (outcome, trace) = explorer.run_unless_known(&mut random, &mut known);
            random.end(&trace, &outcome);
            runs += 1;
            failed += u64::from(matches!(outcome, Outcome::Failed(_)));
            decisions += trace.decisions.len();
            steps += trace.steps;
            accesses += trace.accesses;
        }
    }
    let rate = runs as f64 / (cpu_time() - cpu_start).as_secs_f64();
    println!(
        "{rate:>9.0}/s {:>4.1} % known, {:>4} decisions, {:>4} steps, {:>5} accesses a run, {:>4} KiB restored, {:>4.1} % failed  {}",
        (runs - failed - known.count().min(runs - failed)) as f64 * 100.0 / runs as f64,
        decisions as u64 / runs,
        steps / runs,
        accesses / runs,
        explorer.snapshot_len() >> 10,
        failed as f64 * 100.0 / runs as f64,
        scenario.name(),
    );
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    let only: Vec<String> = arguments.collect();
    let wanted = |at: usize, name: &str| only.get(at).is_none_or(|only| only == name);
    let time = Duration::from_secs_f64(seconds);
    if only.len() < 2 {
        measure(&Cells, time);
    }
    for experiment in ALL.iter().filter(|experiment| wanted(0, experiment.name)) {
        for case in experiment.cases.iter().filter(|case| wanted(1, case.name)) {
            for variant in experiment.variants.iter().filter(|variant| wanted(2, variant.name)) {
                print!("{:<60}", format!("{} {} {}", experiment.name, case.name, variant.name));
                measure(&*(case.scenario)(variant.name), time);
            }
        }
    }
}
