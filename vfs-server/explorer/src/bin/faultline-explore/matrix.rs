//! `matrix`: every variant of every experiment, and whether each does what is expected of it.

use crate::arguments::{Matrix, Strategy};
use crate::explore::{Budget, cell_parts, show_failure};
use crate::jobs;
use crate::progress::Show;
use crate::selection::{Cell, select};
use crate::suggest::unknown;
use anyhow::{Result, bail};
use explorer::experiments::{ALL, Size};
use explorer::report::numbers::{grouped, seconds};
use explorer::report::verdict::{Report, Verdict};
use std::fmt::Write;
use std::time::{Duration, Instant};

/// Seconds for a cell, if nothing else is said.
const TIME: Duration = Duration::from_secs(10);

/// Seconds for a cell that must be exhausted, if nothing else is said: many times what it takes.
const TIME_TO_EXHAUST: Duration = Duration::from_secs(120);

/// What a cell must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Demand {
    /// What the experiment says of it: to break, or to be clean.
    AsKnown,
    /// To be clean in every schedule within the bound.
    Exhausted,
}

/// Explores all cells; whether every one is as expected.
///
/// # Errors
/// A process cannot be started, or an experiment is not known.
pub fn run(options: &Matrix) -> Result<bool> {
    let began = Instant::now();
    let demand = if options.exhaust { Demand::Exhausted } else { Demand::AsKnown };
    let cells = cells(options, demand)?;
    let (strategy, unlimited) = match demand {
        Demand::AsKnown => (Strategy::Auto, TIME),
        Demand::Exhausted => (Strategy::Pb, TIME_TO_EXHAUST),
    };
    let time = options.time.or(options.schedules.is_none().then_some(unlimited));
    let save = options.save.clone();
    let budget = Budget { strategy, time, schedules: options.schedules, save, ..Budget::default() };
    let parts: Vec<_> =
        cells.iter().enumerate().flat_map(|(index, cell)| cell_parts(index, cell, &budget, 1)).collect();
    let mut reports: Vec<Option<Report>> = cells.iter().map(|_| None).collect();
    let mut show = Show::person("matrix");
    let quiet = options.brief || options.json;
    jobs::run(&parts, options.jobs as usize, &mut show, &mut |index, report| {
        if !quiet {
            show_failure(&report);
        }
        reports[index] = Some(report);
    })?;
    show.finish();
    let rows: Vec<_> = cells.iter().zip(reports.into_iter().flatten()).collect();
    let good = rows.iter().all(|(cell, report)| judge(demand, cell, report).is_ok());
    if options.json {
        println!("{}", serde_json::to_string_pretty(&rows.iter().map(|(_, report)| report).collect::<Vec<_>>())?);
    } else {
        print!("{}", table(demand, &rows));
        let unexpected = rows.iter().filter(|(cell, report)| judge(demand, cell, report).is_err()).count();
        let total = format!("{} cells in {}", rows.len(), seconds(began.elapsed().as_secs_f64()));
        match unexpected {
            0 => println!("\nall as expected: {total}"),
            _ => println!("\n{unexpected} UNEXPECTED of {total}"),
        }
        println!("{LIMITS}");
    }
    Ok(good && !rows.is_empty())
}

/// What the table does not say.
const LIMITS: &str = "\
Under sequential consistency; \"exhausted\" holds for the scenario and its bound, \"clean\" for the sample only.";

fn cells(options: &Matrix, demand: Demand) -> Result<Vec<Cell>> {
    let names: Vec<_> = match &options.only[..] {
        [] => ALL.iter().map(|experiment| experiment.name).collect(),
        only => only.iter().map(String::as_str).collect(),
    };
    let mut cells = Vec::new();
    for name in names {
        cells.extend(select(name, None, None)?);
    }
    let mut variants = cells.iter().map(|cell| cell.variant.name);
    if let Some(none) = options.variants.iter().find(|wanted| !variants.clone().any(|name| name == **wanted)) {
        bail!(unknown("variant", none, &mut variants));
    }
    cells.retain(|cell| {
        let is_wanted =
            options.variants.is_empty() || options.variants.iter().any(|wanted| wanted == cell.variant.name);
        let can_be = cell.case.size == Size::Small && cell.expected().is_empty();
        is_wanted && (demand == Demand::AsKnown || can_be)
    });
    Ok(cells)
}

/// Whether a cell came out as it must; if not, what was expected.
fn judge(demand: Demand, cell: &Cell, report: &Report) -> Result<(), String> {
    match (demand, &report.verdict, cell.expected()) {
        (Demand::Exhausted, Verdict::Exhausted { .. }, _) => Ok(()),
        (Demand::Exhausted, _, _) => Err("must be exhausted".to_owned()),
        (Demand::AsKnown, Verdict::Clean { .. } | Verdict::Exhausted { .. }, []) => Ok(()),
        (Demand::AsKnown, Verdict::Failed(failed), kinds) if kinds.contains(&failed.kind.as_str()) => Ok(()),
        (Demand::AsKnown, _, []) => Err("must be clean".to_owned()),
        (Demand::AsKnown, _, kinds) => Err(format!("must break: {}", kinds.join(" or "))),
    }
}

/// The table: an experiment's name above its rows, a variant's before its scenarios.
fn table(demand: Demand, rows: &[(&Cell, Report)]) -> String {
    let widest = |text: fn(&Cell) -> &'static str| rows.iter().map(|(cell, _)| text(cell).len()).max().unwrap_or(0);
    let variants = widest(|cell| cell.variant.name);
    let cases = widest(|cell| cell.case.name);
    let mut text = String::new();
    let (mut experiment, mut variant) = ("", "");
    for (cell, report) in rows {
        if cell.experiment.name != experiment {
            let _ = writeln!(text, "\n{}", cell.experiment.name);
            (experiment, variant) = (cell.experiment.name, "");
        }
        let name = if cell.variant.name == variant { "" } else { cell.variant.name };
        variant = cell.variant.name;
        let verdict = short(&report.verdict);
        let mark =
            judge(demand, cell, report).err().map(|expected| format!("  UNEXPECTED: {expected}")).unwrap_or_default();
        let run = format!("{:>11} schedules {:>7}", grouped(report.schedules), seconds(report.seconds));
        let _ = writeln!(text, "  {name:variants$}  {:cases$}  {verdict:20}{run}{mark}", cell.case.name);
    }
    text
}

fn short(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Failed(failed) => failed.kind.clone(),
        Verdict::Clean { .. } => "clean".to_owned(),
        Verdict::Exhausted { bound: Some(bound) } => format!("exhausted, bound {bound}"),
        Verdict::Exhausted { bound: None } => "exhausted".to_owned(),
        Verdict::Crashed { .. } => "CRASHED".to_owned(),
    }
}
