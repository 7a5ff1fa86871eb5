//! One scenario of one variant, or a part of it, in this process: explored, and if it breaks,
//! minimised, drawn and stored.

use crate::arguments::{Seeds, Shard, Strategy as Choice};
use crate::explore::Budget;
use crate::progress::{Progress, Show};
use crate::selection::Cell;
use anyhow::{Context, Result, anyhow};
use explorer::experiments::Size;
use explorer::minimise::minimise;
use explorer::report::telling::tell;
use explorer::report::told::Title;
use explorer::report::verdict::{Failed, Report, Verdict};
use explorer::report::{diagram, requests};
use explorer::schedule::{Mark, Schedule};
use explorer::strategy::{self, Exhaustive, Pct, Portfolio, Random, Reduction};
use explorer::world::crash::Looked;
use explorer::{Explorer, Failure, Scenario, Strategy, Trace};
use std::fs;
use std::time::{Duration, Instant};

/// Preemptions that are exhausted if nothing else is said: most faults need one or two.
const BOUND: u32 = 2;

/// Injected faults of an exhaustive run, at most.
const FAULTS: u32 = 2;

/// The seed if none is given.
const SEED: u64 = 1;

/// Schedules of each seed, if neither they nor the time are limited.
const SCHEDULES_OF_A_SEED: u64 = 50_000;

/// One strategy's turn.
struct Turn {
    strategy: Box<dyn Strategy>,
    /// What is shown of it.
    name: String,
    /// The verdict if it has nothing left to run.
    exhausted: Verdict,
    /// Its share of the time that is left when it begins.
    share: f64,
}

/// Explores.
///
/// # Errors
/// The scenario cannot be set up, or the schedule of a failure cannot be stored.
pub fn explore(cell: &Cell, budget: &Budget, shard: Shard, show: &mut Show) -> Result<Report> {
    let scenario = (cell.case.scenario)(cell.variant.name);
    let mut explorer = prepare(&*scenario)?;
    let (began, looked) = (Instant::now(), Looked::so_far());
    let mut report = Report {
        experiment: cell.experiment.name.to_owned(),
        variant: cell.variant.name.to_owned(),
        scenario: cell.case.name.to_owned(),
        verdict: Verdict::Clean { strategies: String::new() },
        schedules: 0,
        distinct: 0,
        crashes: Looked::default(),
        seconds: 0.0,
        switching: class_names(&*scenario),
    };
    let mut names: Vec<String> = Vec::new();
    for turn in turns(budget, cell.case.size, shard) {
        let left = Left::of(budget, &report, began, turn.share);
        let Some(left) = left else { break };
        let Turn { mut strategy, name, exhausted, .. } = turn;
        let before = report.clone();
        let found = explorer::explore(&mut explorer, &mut *strategy, &left, |now| {
            let progress = Progress {
                schedules: before.schedules + now.schedules,
                distinct: before.distinct.max(now.distinct),
                bound: None,
                strategy: now.strategy.clone(),
            };
            show.update(&progress, began.elapsed());
        });
        report.schedules += found.progress.schedules;
        report.distinct = report.distinct.max(found.progress.distinct);
        report.crashes = Looked::so_far().since(looked);
        report.seconds = began.elapsed().as_secs_f64();
        if !names.contains(&name) {
            names.push(name.clone());
        }
        match found.verdict {
            explorer::Verdict::Failed(failure, trace) => {
                let found =
                    Found { failure, trace, strategy: name, schedules: report.schedules, seconds: report.seconds };
                report.verdict = Verdict::Failed(found.store(&mut explorer, cell, budget)?);
                return Ok(report);
            }
            explorer::Verdict::Exhausted => {
                report.verdict = exhausted;
                return Ok(report);
            }
            explorer::Verdict::Clean => {}
        }
    }
    report.verdict = Verdict::Clean { strategies: names.join(", ") };
    Ok(report)
}

/// The names of the classes that switch; two classes may have one name.
fn class_names(scenario: &dyn Scenario) -> Vec<String> {
    let mut names: Vec<_> = scenario.settings().switching.iter().map(|class| class.name.to_owned()).collect();
    names.dedup();
    names
}

/// Sets a scenario up.
///
/// # Errors
/// It cannot be.
pub fn prepare(scenario: &dyn Scenario) -> Result<Explorer> {
    Explorer::prepare(scenario).map_err(|error| anyhow!("{} cannot be set up: {error}", scenario.name()))
}

/// What one turn may take.
struct Left;

impl Left {
    fn of(budget: &Budget, report: &Report, began: Instant, share: f64) -> Option<explorer::Budget> {
        let time = match budget.time {
            Some(time) => time.checked_sub(began.elapsed()).filter(|left| !left.is_zero())?.mul_f64(share),
            None => Duration::MAX,
        };
        let per_seed = budget.seeds.is_some();
        let schedules = match (budget.schedules, per_seed) {
            (Some(each), true) => each,
            (None, true) if budget.time.is_none() => SCHEDULES_OF_A_SEED,
            (None, _) => u64::MAX,
            (Some(all), false) => all.checked_sub(report.schedules).filter(|left| *left > 0)?,
        };
        Some(explorer::Budget { schedules, time })
    }
}

/// The strategies, one after the other.
fn turns(budget: &Budget, size: Size, shard: Shard) -> Vec<Turn> {
    let part = strategy::Shard { number: shard.index, of: shard.of };
    let bound = budget.bound.unwrap_or(BOUND);
    let bounded = |share| {
        let strategy = Exhaustive::new(Reduction::Preemptions(bound), FAULTS).shard(part);
        let exhausted = Verdict::Exhausted { bound: Some(bound) };
        Turn { strategy: Box::new(strategy), name: format!("bound {bound}"), exhausted, share }
    };
    let Seeds(seeds) = budget.seeds.clone().unwrap_or(Seeds(SEED..SEED + 1));
    let of_shard = |seed: u64| seed.wrapping_mul(u64::from(shard.of)).wrapping_add(u64::from(shard.index));
    let many = seeds.end - seeds.start > 1;
    let seeded = |name: &str, make: &dyn Fn(u64) -> Box<dyn Strategy>| {
        let turn = |seed: u64| {
            let name = if many { format!("{name}, seed {seed}") } else { name.to_owned() };
            let share = 1.0 / (seeds.end - seed) as f64;
            // A sample is never exhausted, but for the portfolio, which has gone through all bounds then.
            Turn { strategy: make(seed), name, exhausted: Verdict::Exhausted { bound: Some(bound) }, share }
        };
        seeds.clone().map(turn).collect::<Vec<_>>()
    };
    match budget.strategy {
        Choice::Auto => {
            let first = if size == Size::Small { vec![bounded(0.5)] } else { Vec::new() };
            let rest = seeded("portfolio", &|seed| Box::new(Portfolio::new(seed, part)));
            first.into_iter().chain(rest).collect()
        }
        Choice::Random => seeded("random", &|seed| Box::new(Random::new(of_shard(seed)))),
        Choice::Pct => seeded("PCT 3 and 5", &|seed| {
            let seed = of_shard(seed);
            Box::new(Portfolio::of(vec![Box::new(Pct::new(seed, 3)), Box::new(Pct::new(!seed, 5))]))
        }),
        Choice::Pb => vec![bounded(1.0)],
        Choice::Sleep => {
            let strategy = Exhaustive::new(Reduction::SleepSets, FAULTS).shard(part);
            let exhausted = Verdict::Exhausted { bound: None };
            vec![Turn { strategy: Box::new(strategy), name: "sleep sets".to_owned(), exhausted, share: 1.0 }]
        }
    }
}

/// A failure as it was found.
struct Found {
    failure: Failure,
    trace: Trace,
    strategy: String,
    schedules: u64,
    seconds: f64,
}

impl Found {
    /// Makes the run as small as it gets while it fails the same way, draws it and stores it.
    fn store(self, explorer: &mut Explorer, cell: &Cell, budget: &Budget) -> Result<Failed> {
        let small = minimise(explorer, &self.failure, &self.trace);
        let schedule = Schedule {
            experiment: cell.experiment.name.to_owned(),
            variant: cell.variant.name.to_owned(),
            scenario: cell.case.name.to_owned(),
            failure: small.failure.kind.clone(),
            decisions: small.trace.decisions.clone(),
            mark: Mark::of(&small.trace),
        };
        let name = format!(
            "{}-{}-{}-{}.schedule",
            cell.experiment.name, cell.variant.name, cell.case.name, small.failure.kind
        );
        let path = budget.save.join(name);
        let replay = format!("{} replay {}", crate::typed(), path.display());
        let telling = tell(explorer, schedule.decisions.clone(), title(cell, replay), &mut |_| {});
        // A run that cannot be made again is a defect of the explorer: it is said, not hidden.
        let diagram = match telling.compare(&schedule) {
            Ok(()) => diagram::render(&requests::follow(&telling.run), diagram::WIDTH),
            Err(why) => format!("THIS RUN CANNOT BE REPLAYED: {why}\n{}\n", small.failure),
        };
        fs::create_dir_all(&budget.save).with_context(|| format!("cannot make {}", budget.save.display()))?;
        fs::write(&path, schedule.to_string()).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Failed {
            kind: small.failure.kind.clone(),
            summary: small.failure.words.lines().next().unwrap_or_default().to_owned(),
            strategy: self.strategy,
            after_schedules: self.schedules,
            after_seconds: self.seconds,
            decisions: (self.trace.decisions.len(), small.trace.decisions.len()),
            preemptions: (self.trace.preemptions(), small.trace.preemptions()),
            schedule: Some(path),
            diagram,
        })
    }
}

/// What stands above the diagram of a cell's run.
pub fn title(cell: &Cell, replay: String) -> Title {
    Title {
        experiment: cell.experiment.name.to_owned(),
        variant: cell.variant.name.to_owned(),
        scenario: cell.case.summary.to_owned(),
        replay,
    }
}
