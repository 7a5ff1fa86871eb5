//! `matrix`: every variant of every experiment, and whether each does what is expected of it.

use crate::arguments::Matrix;
use crate::explore::{Budget, cell_parts, show_failure};
use crate::jobs;
use crate::progress::Show;
use crate::selection::{Cell, select};
use anyhow::Result;
use explorer::experiments::ALL;
use explorer::report::numbers::{grouped, seconds};
use explorer::report::verdict::{Report, Verdict};
use std::fmt::Write;
use std::time::{Duration, Instant};

/// Seconds for a cell, if nothing else is said.
const TIME: Duration = Duration::from_secs(10);

/// Explores all cells; whether every one is as expected.
///
/// # Errors
/// A process cannot be started, or an experiment is not known.
pub fn run(options: &Matrix) -> Result<bool> {
    let began = Instant::now();
    let cells = cells(&options.only)?;
    let time = options.time.or(options.schedules.is_none().then_some(TIME));
    let budget = Budget { time, schedules: options.schedules, save: options.save.clone(), ..Budget::default() };
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
    let good = rows.iter().all(|(cell, report)| judge(cell, report).is_ok());
    if options.json {
        println!("{}", serde_json::to_string_pretty(&rows.iter().map(|(_, report)| report).collect::<Vec<_>>())?);
    } else {
        print!("{}", table(&rows));
        let unexpected = rows.iter().filter(|(cell, report)| judge(cell, report).is_err()).count();
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

fn cells(only: &[String]) -> Result<Vec<Cell>> {
    let names: Vec<_> = match only {
        [] => ALL.iter().map(|experiment| experiment.name).collect(),
        only => only.iter().map(String::as_str).collect(),
    };
    let mut cells = Vec::new();
    for name in names {
        cells.extend(select(name, None, None)?);
    }
    Ok(cells)
}

/// Whether a cell came out as expected; if not, what was expected.
fn judge(cell: &Cell, report: &Report) -> Result<(), String> {
    match (&report.verdict, cell.expected()) {
        (Verdict::Clean { .. } | Verdict::Exhausted { .. }, []) => Ok(()),
        (Verdict::Failed(failed), kinds) if kinds.contains(&failed.kind.as_str()) => Ok(()),
        (_, []) => Err("must be clean".to_owned()),
        (_, kinds) => Err(format!("must break: {}", kinds.join(" or "))),
    }
}

/// The table: an experiment's name above its rows, a variant's before its scenarios.
fn table(rows: &[(&Cell, Report)]) -> String {
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
        let mark = judge(cell, report).err().map(|expected| format!("  UNEXPECTED: {expected}")).unwrap_or_default();
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
