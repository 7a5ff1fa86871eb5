//! Explores an experiment: its scenarios under its variants, one after the other or in parts at the
//! same time.

use crate::arguments::{Explore, Seeds, Shard, Strategy};
use crate::cell;
use crate::jobs::{self, Part};
use crate::progress::Show;
use crate::selection::{Cell, select};
use anyhow::{Context, Result};
use clap::ValueEnum;
use explorer::report::numbers::seconds;
use explorer::report::verdict::{Report, Verdict};
use explorer::world::crash::Looked;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// How far a cell is explored.
#[derive(Clone, Debug)]
pub struct Budget {
    pub strategy: Strategy,
    pub seeds: Option<Seeds>,
    pub time: Option<Duration>,
    pub schedules: Option<u64>,
    pub bound: Option<u32>,
    /// Where the schedules of failures are stored.
    pub save: PathBuf,
}

impl Default for Budget {
    fn default() -> Self {
        Self { strategy: Strategy::Auto, seeds: None, time: None, schedules: None, bound: None, save: ".".into() }
    }
}

/// If neither time nor schedules are given.
pub const TIME: Duration = Duration::from_secs(60);

/// What a process may take beyond its budget, to set up, to minimise and to draw.
const GRACE: Duration = Duration::from_secs(120);

/// A part without a limit of time has run away after this.
const ENDLESS: Duration = Duration::from_secs(24 * 3600);

impl Budget {
    fn of(options: &Explore) -> Self {
        let unlimited = options.time.is_none() && options.schedules.is_none() && options.seeds.is_none();
        Self {
            strategy: options.strategy,
            seeds: options.seeds.clone(),
            time: options.time.or(unlimited.then_some(TIME)),
            schedules: options.schedules,
            bound: options.bound,
            save: options.save.clone(),
        }
    }

    /// The options by which another process is given this budget.
    fn arguments(&self) -> Vec<OsString> {
        let mut arguments = Vec::new();
        let mut option = |name: &str, value: Option<OsString>| {
            if let Some(value) = value {
                arguments.extend([OsString::from(name), value]);
            }
        };
        option("--strategy", self.strategy.to_possible_value().map(|value| value.get_name().into()));
        option("--seeds", self.seeds.as_ref().map(|Seeds(range)| format!("{}..{}", range.start, range.end).into()));
        option("--time", self.time.map(|time| time.as_secs_f64().to_string().into()));
        option("--schedules", self.schedules.map(|count| count.to_string().into()));
        option("--bound", self.bound.map(|bound| bound.to_string().into()));
        option("--save", Some(self.save.clone().into()));
        arguments
    }
}

/// Explores what was asked for; whether nothing broke.
///
/// # Errors
/// A name is not known, a file cannot be written, a process cannot be started.
pub fn run(options: &Explore) -> Result<bool> {
    let experiment = options.experiment.as_deref().unwrap_or_default();
    let cells = select(experiment, options.variant.as_deref(), options.scenario.as_deref())?;
    let budget = Budget::of(options);
    let reports = match (&cells[..], options.jobs) {
        // In this process: simple to debug, and what a part of shared work does.
        ([cell], 1) => vec![here(cell, &budget, options)?],
        _ => in_processes(&cells, &budget, options)?,
    };
    if options.json {
        println!("{}", serde_json::to_string_pretty(&reports)?);
    }
    Ok(reports.iter().all(|report| report.verdict.is_good()))
}

/// One cell, or a part of it.
fn here(cell: &Cell, budget: &Budget, options: &Explore) -> Result<Report> {
    let mut show = match (&options.out, options.json) {
        (Some(_), _) => Show::machine(),
        (None, true) => Show::Nothing,
        (None, false) => Show::person(cell.case.name),
    };
    let shard = options.shard.unwrap_or(Shard { index: 0, of: 1 });
    let report = cell::explore(cell, budget, shard, &mut show)?;
    show.finish();
    match &options.out {
        Some(out) => {
            let json = serde_json::to_vec_pretty(&report)?;
            fs::write(out, json).with_context(|| format!("cannot write {}", out.display()))?;
        }
        None if !options.json => show_report(&report),
        None => {}
    }
    Ok(report)
}

fn in_processes(cells: &[Cell], budget: &Budget, options: &Explore) -> Result<Vec<Report>> {
    // Several cells keep the processes busy by themselves.
    let shards = if cells.len() == 1 { options.jobs } else { 1 };
    let parts: Vec<_> =
        cells.iter().enumerate().flat_map(|(index, cell)| cell_parts(index, cell, budget, shards)).collect();
    let mut show = if options.json { Show::Nothing } else { Show::person(cells[0].experiment.name) };
    let mut reports = Vec::new();
    jobs::run(&parts, options.jobs as usize, &mut show, &mut |_, report| {
        if !options.json {
            show_report(&report);
        }
        reports.push(report);
    })?;
    show.finish();
    if let Some(out) = &options.out {
        let json = serde_json::to_vec_pretty(&reports)?;
        fs::write(out, json).with_context(|| format!("cannot write {}", out.display()))?;
    }
    Ok(reports)
}

/// A cell's work, in `shards` parts for processes of their own.
pub fn cell_parts(index: usize, cell: &Cell, budget: &Budget, shards: u32) -> Vec<Part> {
    let part = |shard: u32| {
        let mut arguments: Vec<OsString> = vec![cell.experiment.name.into()];
        arguments.extend(["--variant", cell.variant.name, "--scenario", cell.case.name].map(OsString::from));
        arguments.extend(budget.arguments());
        arguments.extend([OsString::from("--shard"), format!("{}/{shards}", shard + 1).into()]);
        let patience = budget.time.map_or(ENDLESS, |time| time + GRACE);
        Part { cell: index, blank: blank(cell), arguments, patience }
    };
    (0..shards).map(part).collect()
}

/// Nothing run yet.
fn blank(cell: &Cell) -> Report {
    Report {
        experiment: cell.experiment.name.to_owned(),
        variant: cell.variant.name.to_owned(),
        scenario: cell.case.name.to_owned(),
        verdict: Verdict::Clean { strategies: "stopped".to_owned() },
        schedules: 0,
        distinct: 0,
        crashes: Looked::default(),
        seconds: 0.0,
        switching: Vec::new(),
    }
}

/// The verdict for a person, with what it does not say.
fn show_report(report: &Report) {
    println!("{}\n  {}", report.title(), report.line());
    let limits = report.limits();
    if !limits.is_empty() {
        println!("  {limits}");
    }
    if let Verdict::Failed(_) = report.verdict {
        println!();
        show_failure(report);
    }
    println!();
}

/// The diagram of a failure, and how it is seen again; nothing for any other verdict.
pub fn show_failure(report: &Report) {
    let Verdict::Failed(failed) = &report.verdict else { return };
    println!("{}", "=".repeat(100));
    print!("{}", failed.story());
    println!("found after {} schedules, {}", failed.after_schedules, seconds(failed.after_seconds));
    if let Some(schedule) = &failed.schedule {
        println!("replay: {} replay {}", crate::typed(), schedule.display());
        println!("        add --html OUT for a page to step through, --gdb for a debugger");
    }
    println!();
}
