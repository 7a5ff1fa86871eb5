//! Work shared among processes: each explores one part and leaves its report in a file.
//!
//! A part that breaks an expectation ends the other parts of the same scenario: one failure is
//! enough. A process that ends without a report, or not at all, is a verdict of its own.

use crate::progress::{Progress, Show};
use anyhow::{Context, Result};
use explorer::report::verdict::{Report, Verdict};
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// One scenario of one variant, or a part of it.
pub struct Part {
    /// Which scenario it belongs to: a number of the caller's.
    pub cell: usize,
    /// What it is if its process does not say.
    pub blank: Report,
    /// What its process is told, `--out` not included.
    pub arguments: Vec<OsString>,
    /// It must have ended by then.
    pub patience: Duration,
}

/// A process at work.
struct Running {
    part: usize,
    child: Child,
    out: PathBuf,
    began: Instant,
    progress: Progress,
}

/// How often processes are looked at that say nothing.
const GLANCE: Duration = Duration::from_millis(50);

/// Runs the parts, at most `jobs` at a time; `done` hears of each cell when all of its parts have
/// ended.
///
/// # Errors
/// A process cannot be started.
pub fn run(parts: &[Part], jobs: usize, show: &mut Show, done: &mut dyn FnMut(usize, Report)) -> Result<()> {
    let (sender, said) = channel();
    let began = Instant::now();
    let mut ended: Vec<Option<Report>> = parts.iter().map(|_| None).collect();
    let mut running: Vec<Running> = Vec::new();
    let mut past = Progress::default();
    let mut next = 0;
    let result = loop {
        while running.len() < jobs.max(1) && next < parts.len() {
            // A part that is no longer wanted has been given a report.
            if ended[next].is_none() {
                match start(next, &parts[next], &sender) {
                    Ok(process) => running.push(process),
                    Err(error) => {
                        running.iter_mut().for_each(|process| end(&mut process.child));
                        return Err(error);
                    }
                }
            }
            next += 1;
        }
        if running.is_empty() {
            break Ok(());
        }
        listen(&said, &mut running);
        let sum = Progress::sum(std::iter::once(&past).chain(running.iter().map(|process| &process.progress)));
        show.update(&sum, began.elapsed());
        let mut at = 0;
        while at < running.len() {
            let Some(report) = report_of(&mut running[at], parts) else {
                at += 1;
                continue;
            };
            let process = running.swap_remove(at);
            past.schedules += report.schedules;
            past.distinct += report.distinct;
            let cell = parts[process.part].cell;
            let enough = !report.verdict.is_good();
            ended[process.part] = Some(report);
            if enough {
                dismiss(cell, parts, &mut running, &mut ended);
                at = 0;
            }
            let of_cell = || (0..parts.len()).filter(|part| parts[*part].cell == cell);
            if of_cell().all(|part| ended[part].is_some()) {
                let reports = of_cell().filter_map(|part| ended[part].clone()).collect();
                done(cell, Report::merge(reports).expect("a cell has a part"));
            }
        }
    };
    result
}

fn start(part: usize, work: &Part, sender: &Sender<(usize, Progress)>) -> Result<Running> {
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let out = std::env::temp_dir().join(format!("faultline-explore-{}-{part}.json", std::process::id()));
    let mut command = Command::new(&program);
    command.args(&work.arguments).arg("--out").arg(&out).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
    let stdout = child.stdout.take().context("a process without output")?;
    let sender = sender.clone();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // Whoever listened may have heard enough.
            let _ = line.parse().map(|progress| sender.send((part, progress)));
        }
    });
    Ok(Running { part, child, out, began: Instant::now(), progress: Progress::default() })
}

/// Takes what the processes have said, waiting a little.
fn listen(said: &Receiver<(usize, Progress)>, running: &mut [Running]) {
    let mut wait = GLANCE;
    loop {
        match said.recv_timeout(wait) {
            Ok((part, progress)) => {
                if let Some(process) = running.iter_mut().find(|process| process.part == part) {
                    process.progress = progress;
                }
                wait = Duration::ZERO;
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// The report of a process that has ended, or must.
fn report_of(process: &mut Running, parts: &[Part]) -> Option<Report> {
    let part = &parts[process.part];
    let how = match process.child.try_wait() {
        Ok(None) if process.began.elapsed() < part.patience => return None,
        Ok(None) => {
            end(&mut process.child);
            format!("it did not end in {} s", part.patience.as_secs())
        }
        Ok(Some(status)) => format!("it ended with {status}"),
        Err(error) => format!("it is lost: {error}"),
    };
    let report = fs::read(&process.out).ok().and_then(|json| serde_json::from_slice(&json).ok());
    let _ = fs::remove_file(&process.out);
    let seconds = process.began.elapsed().as_secs_f64();
    let (schedules, distinct) = (process.progress.schedules, process.progress.distinct);
    let crashed = || Report { verdict: Verdict::Crashed { how }, seconds, schedules, distinct, ..part.blank.clone() };
    Some(report.unwrap_or_else(crashed))
}

/// Ends the other parts of a cell: what they have done so far counts as a sample.
fn dismiss(cell: usize, parts: &[Part], running: &mut Vec<Running>, ended: &mut [Option<Report>]) {
    running.retain_mut(|process| {
        if parts[process.part].cell != cell {
            return true;
        }
        end(&mut process.child);
        let _ = fs::remove_file(&process.out);
        let (schedules, distinct) = (process.progress.schedules, process.progress.distinct);
        ended[process.part] = Some(Report { schedules, distinct, ..parts[process.part].blank.clone() });
        false
    });
    for (part, work) in parts.iter().enumerate().filter(|(_, work)| work.cell == cell) {
        ended[part].get_or_insert_with(|| work.blank.clone());
    }
}

fn end(child: &mut Child) {
    // It may have ended by itself just now.
    let _ = child.kill();
    let _ = child.wait();
}
