//! The interleaving as kernel developers mail it to each other: a column a task, time downwards.
//!
//! Drawn are the operations, the steps that the code tells of, injected errors, and the locks that
//! somebody waited for (who had them, who waited, who gave them back); every other lock is left
//! to the page ([`super::html`]). The numbers on the left count the steps, from one switch point to
//! the next.

use super::columns::{share, width, wrap};
use super::told::{Broken, Event, LaneId, LockId, Target, ToldRun, What};
use super::verdict::preemptions;
use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;

/// Columns of a mail that is still comfortable to read.
pub const WIDTH: usize = 100;

/// Narrower columns than this are not readable.
const LEAST: usize = 18;

/// A step with `|` between the columns takes this much beside the words.
const SEPARATOR: &str = " | ";

/// What is indented under an operation's head.
const INDENT: usize = 2;

/// What stands for all that happens once the clients have ended.
const REST: &str = "then everything is written back, dropped and read again";

/// Whether it is a worker that breaks something when all clients have ended: a panic, a deadlock.
fn breaks_while_it_rests(run: &ToldRun, rests: &Event) -> bool {
    let lane = run.broken.as_ref().and_then(|broken| broken.lane);
    lane.is_some_and(|lane| lane != rests.lane)
}

/// One entry of one column.
struct Entry {
    step: u32,
    lane: LaneId,
    depth: usize,
    words: String,
}

/// The diagram, at most `limit` columns wide, each line ended; the broken expectation below it.
pub fn render(run: &ToldRun, limit: usize) -> String {
    let entries = entries(run);
    let lanes = drawn_lanes(run, &entries);
    let mut text = title(run, limit);
    text.push('\n');
    match columns(run, &entries, &lanes, limit) {
        _ if lanes.is_empty() => text.push_str("nothing was told of this run\n"),
        Some(widths) => side_by_side(&mut text, run, &entries, &lanes, &widths),
        None => one_column(&mut text, run, &entries, &lanes, limit),
    }
    if run.events.iter().any(|event| event.what == What::Rests && !breaks_while_it_rests(run, event)) {
        let _ = writeln!(text, "{}  ({REST})", " ".repeat(step_width(run)));
    }
    if let Some(broken) = &run.broken {
        text.push('\n');
        write_broken(&mut text, broken, limit);
    }
    text
}

/// The broken expectation, a heading and a line each for what was expected and found.
pub fn write_broken(text: &mut String, broken: &Broken, limit: usize) {
    let head = format!("{}: ", broken.kind);
    for line in wrap(&format!("{head}{}", broken.summary), limit, width(&head)) {
        text.push_str(&line);
        text.push('\n');
    }
    for detail in &broken.details {
        for line in wrap(detail, limit - INDENT, INDENT) {
            let _ = writeln!(text, "  {line}");
        }
    }
}

fn title(run: &ToldRun, limit: usize) -> String {
    let title = &run.title;
    let mut line = format!("{}, {}", title.experiment, title.variant);
    if !title.scenario.is_empty() {
        let _ = write!(line, ": {}", title.scenario);
    }
    let mut lines = wrap(&line, limit, INDENT);
    lines.push(format!("{} steps, {}", run.last_step(), preemptions(run.preemptions)));
    lines.join("\n") + "\n"
}

/// The events that are drawn, in words.
fn entries(run: &ToldRun) -> Vec<Entry> {
    let contended = contended(run);
    let mut depths = vec![0; run.lanes.len()];
    let mut entries: Vec<Entry> = Vec::new();
    for (place, event) in run.events.iter().enumerate() {
        if event.what == What::Rests && !breaks_while_it_rests(run, event) {
            break;
        }
        let depth = &mut depths[event.lane.0];
        let words = match &event.what {
            What::Begins(words) | What::Tells(words) => words.clone(),
            What::Ends(words) => {
                *depth = usize::saturating_sub(*depth, 1);
                if words.is_empty() {
                    continue;
                }
                format!("= {words}")
            }
            What::Acquires(lock) if contended.contains(&place) => format!("takes {}", name(run, *lock)),
            What::Releases(lock) if contended.contains(&place) => format!("releases {}", name(run, *lock)),
            // A worker between two requests waits for the next one: nothing to draw.
            What::Waits { target: Target::Event(_), .. } if *depth == 0 => continue,
            What::Waits { target, holder } => waits(run, target, *holder),
            What::Chooses { site, value, of: 2 } if *value == 1 => format!("! {site} (injected)"),
            What::Chooses { site, value, of } => format!("! {site} (injected: {value} of 0..{of})"),
            What::Runs(_) | What::Serves(_) | What::Rests | What::Acquires(_) | What::Releases(_) | What::Folio(..) => {
                continue;
            }
        };
        entries.push(Entry { step: event.step, lane: event.lane, depth: *depth, words });
        if matches!(event.what, What::Begins(_)) {
            *depth += 1;
        }
    }
    if let Some(Broken { kind, lane: Some(lane), .. }) = &run.broken {
        entries.push(Entry { step: run.last_step(), lane: *lane, depth: depths[lane.0], words: format!("*** {kind}") });
    }
    entries
}

fn waits(run: &ToldRun, target: &Target, holder: Option<LaneId>) -> String {
    let target = match target {
        Target::Lock(lock) => name(run, *lock),
        Target::Event(words) => words,
    };
    match holder {
        Some(holder) => format!("waits for {target} ({})", run.lanes[holder.0].name),
        None => format!("waits for {target}"),
    }
}

fn name(run: &ToldRun, lock: LockId) -> &str {
    &run.locks[lock.0].name
}

/// Which acquisitions and releases are drawn, by their places in the run: those of a lock while
/// somebody waits for it.
fn contended(run: &ToldRun) -> BTreeSet<usize> {
    let mut drawn = BTreeSet::new();
    // By lock: where its holders took it; whether somebody has waited for it since it was free.
    let mut taken: HashMap<LockId, Vec<(LaneId, usize)>> = HashMap::new();
    let mut wanted: HashMap<LockId, Vec<LaneId>> = HashMap::new();
    for (place, event) in run.events.iter().enumerate() {
        match &event.what {
            What::Acquires(lock) => {
                let waited = wanted.get_mut(lock).is_some_and(|lanes| {
                    let before = lanes.len();
                    lanes.retain(|lane| *lane != event.lane);
                    lanes.len() < before
                });
                if waited {
                    drawn.insert(place);
                }
                taken.entry(*lock).or_default().push((event.lane, place));
            }
            What::Releases(lock) => {
                if let Some(holders) = taken.get_mut(lock) {
                    holders.retain(|(lane, _)| *lane != event.lane);
                }
                if wanted.get(lock).is_some_and(|lanes| !lanes.is_empty()) {
                    drawn.insert(place);
                }
            }
            What::Waits { target: Target::Lock(lock), .. } => {
                drawn.extend(taken.get(lock).into_iter().flatten().map(|(_, place)| *place));
                wanted.entry(*lock).or_default().push(event.lane);
            }
            _ => {}
        }
    }
    drawn
}

/// Tasks of which something is told, in their order.
fn drawn_lanes(run: &ToldRun, entries: &[Entry]) -> Vec<LaneId> {
    (0..run.lanes.len()).map(LaneId).filter(|lane| entries.iter().any(|entry| entry.lane == *lane)).collect()
}

/// The width of the numbers' column.
fn step_width(run: &ToldRun) -> usize {
    width(&run.last_step().to_string()).max(3)
}

/// The widths of the columns, if they fit beside each other.
fn columns(run: &ToldRun, entries: &[Entry], lanes: &[LaneId], limit: usize) -> Option<Vec<usize>> {
    let natural: Vec<_> = lanes
        .iter()
        .map(|lane| {
            let words = entries.iter().filter(|entry| entry.lane == *lane);
            let widest = words.map(|entry| entry.depth * INDENT + width(&entry.words)).max().unwrap_or(0);
            widest.max(width(&run.lanes[lane.0].name))
        })
        .collect();
    let beside = step_width(run) + 2 + SEPARATOR.len() * lanes.len().saturating_sub(1);
    share(limit.checked_sub(beside)?, &natural, LEAST)
}

fn side_by_side(text: &mut String, run: &ToldRun, entries: &[Entry], lanes: &[LaneId], widths: &[usize]) {
    let numbers = step_width(run);
    let row = |number: &str, cells: &dyn Fn(usize) -> String| {
        let cells: Vec<_> = (0..lanes.len()).map(|column| format!("{:1$}", cells(column), widths[column])).collect();
        let line = format!("{number:>numbers$}  {}", cells.join(SEPARATOR));
        line.trim_end().to_owned() + "\n"
    };
    text.push_str(&row("", &|column| run.lanes[lanes[column].0].name.clone()));
    let rules: Vec<_> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let _ = writeln!(text, "{}  {}", " ".repeat(numbers), rules.join("-+-"));
    let mut last = 0;
    for entry in entries {
        let mine = lanes.iter().position(|lane| *lane == entry.lane).expect("every entry's lane is drawn");
        let number = if entry.step == last { String::new() } else { entry.step.to_string() };
        last = entry.step;
        for (index, line) in cell(entry, widths[mine]).iter().enumerate() {
            let number = if index == 0 { number.as_str() } else { "" };
            text.push_str(&row(number, &|column| if column == mine { line.clone() } else { String::new() }));
        }
    }
}

/// Too many tasks for columns: the task's name stands before each step.
fn one_column(text: &mut String, run: &ToldRun, entries: &[Entry], lanes: &[LaneId], limit: usize) {
    let numbers = step_width(run);
    let names = lanes.iter().map(|lane| width(&run.lanes[lane.0].name)).max().unwrap_or(0);
    let room = limit.saturating_sub(numbers + 2 + names + SEPARATOR.len()).max(LEAST);
    let (mut last_step, mut last_lane) = (0, None);
    for entry in entries {
        let mut number = if entry.step == last_step { String::new() } else { entry.step.to_string() };
        let mut lane = if Some(entry.lane) == last_lane { "" } else { run.lanes[entry.lane.0].name.as_str() };
        (last_step, last_lane) = (entry.step, Some(entry.lane));
        for line in cell(entry, room) {
            let _ = writeln!(text, "{number:>numbers$}  {lane:names$}{SEPARATOR}{line}");
            (number, lane) = (String::new(), "");
        }
    }
}

fn cell(entry: &Entry, room: usize) -> Vec<String> {
    let indent = " ".repeat((entry.depth * INDENT).min(room / 2));
    let room = room - indent.len();
    wrap(&entry.words, room, INDENT).iter().map(|line| format!("{indent}{line}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    /// Compares with a stored diagram; `BLESS=1` stores it.
    fn golden(name: &str, drawn: &str) {
        let path = format!("{}/src/report/golden/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, drawn).unwrap();
        }
        let stored = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(stored == drawn, "{path} differs from:\n{drawn}");
    }

    #[test]
    fn an_early_exit_that_trims_a_competitors_folio() {
        golden("lost-write", &render(&samples::lost_write(), WIDTH));
    }

    #[test]
    fn a_deadlock_through_three_tasks() {
        golden("deadlock", &render(&samples::deadlock(), WIDTH));
    }

    #[test]
    fn a_narrow_diagram_wraps_within_its_columns() {
        golden("narrow", &render(&samples::lost_write(), 60));
    }

    #[test]
    fn too_many_tasks_are_drawn_one_below_the_other() {
        golden("one-column", &render(&samples::lost_write(), 40));
    }

    #[test]
    fn no_line_is_wider_than_the_limit() {
        for limit in [40, 60, 80, 100] {
            for run in [samples::lost_write(), samples::deadlock()] {
                let drawn = render(&run, limit);
                let widest = drawn.lines().max_by_key(|line| width(line)).unwrap();
                assert!(width(widest) <= limit, "{limit}: {widest}");
            }
        }
    }

    #[test]
    fn a_run_without_a_word_says_so() {
        assert!(render(&ToldRun::default(), WIDTH).contains("nothing was told"));
    }
}
