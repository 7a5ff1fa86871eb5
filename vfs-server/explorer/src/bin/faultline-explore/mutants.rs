//! `mutants`: the explorer is shown code that is broken on purpose.

use crate::arguments::Mutants;
use anyhow::{Context, Result, anyhow, bail, ensure};
use explorer::mutants::{Catch, HUNTS, Hunt, PREEMPTIONS, SEEDS};
use explorer::report::numbers::grouped;
use std::collections::BTreeSet;

/// Whether every fault was caught and every scenario is clean as it is.
pub fn run(options: &Mutants) -> Result<bool> {
    let wanted = |hunt: &&Hunt| options.only.as_ref().is_none_or(|only| hunt.mutant.id().contains(only.as_str()));
    let hunts: Vec<_> = HUNTS.iter().filter(wanted).collect();
    ensure!(!hunts.is_empty(), "no fault has a name with {:?} in it", options.only.as_deref().unwrap_or_default());
    if !platform::mutant::POSSIBLE {
        bail!(
            "this build cannot be made faulty; build it with `--features mutants` (cargo xtask explore mutants does)"
        );
    }
    let escaped = hunt_all(&hunts, options.schedules)?;
    let (scenarios, unsound) = run_sound(&hunts, options.sound)?;
    println!();
    println!(
        "{} of {} faults caught on {} seeds within {} schedules, with at most {PREEMPTIONS} preemptions; {}",
        hunts.len() - escaped,
        hunts.len(),
        SEEDS.len(),
        grouped(options.schedules),
        if unsound == 0 {
            format!("the sound code is clean in {scenarios} scenarios after {} schedules each", grouped(options.sound))
        } else {
            format!("{unsound} scenarios fail as they are")
        }
    );
    Ok(escaped == 0 && unsound == 0)
}

/// Prints a line a fault; how many have escaped.
fn hunt_all(hunts: &[&Hunt], schedules: u64) -> Result<usize> {
    println!("{:<34} {:<46} {:>22}  preemptions  seen as", "fault", "scenario", "schedules, by seed");
    let mut escaped = 0;
    for hunt in hunts {
        let catches: Vec<Catch> = SEEDS
            .iter()
            .map(|&seed| hunt.run(seed, schedules).map_err(|error| anyhow!(error)))
            .collect::<Result<_>>()
            .with_context(|| format!("hunting {}", hunt.mutant.id()))?;
        let good = catches.iter().all(Catch::is_good);
        escaped += usize::from(!good);
        let took: Vec<_> = catches.iter().map(in_schedules).collect();
        let preemptions = catches.iter().filter_map(|catch| catch.failure.as_ref().map(|(_, count)| *count)).max();
        let kinds: BTreeSet<_> = catches
            .iter()
            .filter_map(|catch| catch.failure.as_ref().map(|(failure, _)| failure.kind.as_str()))
            .collect();
        println!(
            "{:<34} {:<46} {:>22}  {:^11}  {}{}",
            hunt.mutant.id(),
            hunt.place(),
            took.join(" "),
            preemptions.map_or("-".to_owned(), |count| count.to_string()),
            kinds.into_iter().collect::<Vec<_>>().join(", "),
            if good { "" } else { "  <- NOT CAUGHT" }
        );
    }
    Ok(escaped)
}

fn in_schedules(catch: &Catch) -> String {
    if catch.failure.is_some() { grouped(catch.schedules) } else { format!(">{}", grouped(catch.schedules)) }
}

/// Runs every scenario without a fault; how many there are, and how many fail.
fn run_sound(hunts: &[&Hunt], schedules: u64) -> Result<(usize, usize)> {
    let mut known = BTreeSet::new();
    let mut unsound = 0;
    for hunt in hunts.iter().filter(|hunt| known.insert((hunt.place(), hunt.variant))) {
        let run = hunt.run_sound(SEEDS[0], schedules).map_err(|error| anyhow!(error))?;
        if let Some((failure, _)) = run.failure {
            println!("without a fault, {} fails after {} schedules: {failure}", hunt.place(), grouped(run.schedules));
            unsound += 1;
        }
    }
    Ok((known.len(), unsound))
}
