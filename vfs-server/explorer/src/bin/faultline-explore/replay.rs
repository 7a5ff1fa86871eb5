//! `replay`: a stored run made again, step by step; drawn, as a page, or in a debugger.

use crate::arguments::Replay;
use crate::cell::{prepare, title};
use crate::debugger;
use crate::selection::Cell;
use anyhow::{Context, Result, bail};
use explorer::report::telling::{Telling, tell};
use explorer::report::{diagram, html, requests};
use explorer::schedule::Schedule;
use std::fs;
use std::path::Path;

/// Makes the run again; whether it was the stored one, bit for bit.
///
/// # Errors
/// There is no such file, it is no schedule, what it names is not known, the page cannot be written,
/// there is no debugger.
pub fn run(options: &Replay) -> Result<bool> {
    let schedule = load(&options.schedule)?;
    let cell = Cell::find(&schedule.experiment, &schedule.variant, &schedule.scenario)
        .with_context(|| format!("{} is of another version of the experiments", options.schedule.display()))?;
    let mut last = 0;
    let telling = make_again(&cell, &schedule, options, &mut |step| {
        last = step;
        debugger::explorer_step(step);
    })?;
    if options.gdb {
        let step = options.step.unwrap_or(last);
        if step == 0 || step > last {
            bail!("there is no step {step}: the run has {last}");
        }
        return Err(debugger::start(step));
    }
    if let Some(out) = &options.html {
        let page = html::render(&requests::follow(&telling.run));
        fs::write(out, page).with_context(|| format!("cannot write {}", out.display()))?;
        println!("wrote {}", out.display());
    } else {
        print!("{}", diagram::render(&requests::follow(&telling.run), usize::from(options.width)));
        println!();
    }
    match telling.compare(&schedule) {
        Ok(()) => {
            println!(
                "replayed bit for bit: {} decisions, order {:016x}",
                schedule.decisions.len(),
                schedule.mark.order
            );
            Ok(true)
        }
        Err(why) => {
            println!("NOT the stored run: {why}");
            println!("the code has changed since it was stored, or the explorer is not deterministic");
            Ok(false)
        }
    }
}

fn make_again(cell: &Cell, schedule: &Schedule, options: &Replay, at_step: &mut dyn FnMut(u32)) -> Result<Telling> {
    let scenario = (cell.case.scenario)(cell.variant.name);
    let mut explorer = prepare(&*scenario)?;
    let command = format!("{} replay {}", crate::typed(), options.schedule.display());
    Ok(tell(&mut explorer, schedule.decisions.clone(), title(cell, command), at_step))
}

fn load(path: &Path) -> Result<Schedule> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.parse().with_context(|| format!("{} is no schedule", path.display()))
}
