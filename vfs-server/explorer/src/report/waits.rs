//! Who waits for whom at the end of a run that cannot go on, in the names of the run.

use super::told::{LaneId, LockId, Target, ToldRun, What};

/// One task as it stands at the end.
#[derive(Default)]
struct Standing<'a> {
    holds: Vec<LockId>,
    waits: Option<(&'a Target, Option<LaneId>)>,
    operations: usize,
}

/// A line for each task that waits in the middle of something: for what, who has it, and what it
/// holds itself; then the cycle, if they form one.
pub fn lines(run: &ToldRun) -> Vec<String> {
    let standing = standing(run);
    let name = |lane: LaneId| run.lanes[lane.0].name.as_str();
    let lock = |lock: LockId| run.locks[lock.0].name.as_str();
    let mut lines = Vec::new();
    let mut next = vec![None; run.lanes.len()];
    for (lane, task) in standing.iter().enumerate() {
        let Some((target, holder)) = task.waits else { continue };
        // The one that waits may know only that it waits; who holds the lock then is in the run.
        let holder = holder.or_else(|| match target {
            Target::Lock(lock) => standing.iter().position(|task| task.holds.contains(lock)).map(LaneId),
            Target::Event(_) => None,
        });
        next[lane] = holder;
        if task.operations == 0 && task.holds.is_empty() && holder.is_none() {
            continue;
        }
        let target = match target {
            Target::Lock(id) => lock(*id),
            Target::Event(words) => words,
        };
        let mut line = format!("{} waits for {target}", name(LaneId(lane)));
        if let Some(holder) = holder {
            line += &format!(" ({})", name(holder));
        }
        if !task.holds.is_empty() {
            let held: Vec<_> = task.holds.iter().map(|held| lock(*held)).collect();
            line += &format!("; holds {}", held.join(", "));
        }
        lines.push(line);
    }
    if let Some(cycle) = cycle(&next) {
        let names: Vec<_> = cycle.iter().map(|lane| name(*lane)).collect();
        lines.push(format!("cycle: {} -> {}", names.join(" -> "), names[0]));
    }
    lines
}

fn standing(run: &ToldRun) -> Vec<Standing<'_>> {
    let mut tasks: Vec<Standing<'_>> = run.lanes.iter().map(|_| Standing::default()).collect();
    for event in &run.events {
        let task = &mut tasks[event.lane.0];
        match &event.what {
            What::Acquires(lock) => task.holds.push(*lock),
            What::Releases(lock) => task.holds.retain(|held| held != lock),
            What::Begins(_) => task.operations += 1,
            What::Ends(_) => task.operations = task.operations.saturating_sub(1),
            What::Waits { target, holder } => {
                task.waits = Some((target, *holder));
                continue;
            }
            What::Folio(..) | What::Serves(_) | What::Rests => continue,
            What::Runs(_) | What::Tells(_) | What::Chooses { .. } => {}
        }
        task.waits = None;
    }
    tasks
}

/// A cycle among tasks that each wait for the next.
fn cycle(next: &[Option<LaneId>]) -> Option<Vec<LaneId>> {
    for start in 0..next.len() {
        let mut cycle = vec![LaneId(start)];
        while let Some(lane) = next[cycle[cycle.len() - 1].0] {
            if lane.0 == start {
                return Some(cycle);
            }
            if cycle.contains(&lane) {
                break;
            }
            cycle.push(lane);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn who_waits_is_told_in_the_names_of_the_run() {
        let expected = [
            "client 1 waits for the answer to request 1 (worker 1)",
            "worker 1 waits for the page at 0x7000 of client 1 (fault worker); holds inode lock of /a",
            "fault worker waits for inode lock of /a (worker 1)",
            "cycle: worker 1 -> fault worker -> worker 1",
        ];
        assert_eq!(lines(&samples::deadlock()), expected);
    }

    #[test]
    fn a_run_that_ended_has_nobody_who_waits() {
        assert!(lines(&samples::lost_write()).is_empty());
    }
}
