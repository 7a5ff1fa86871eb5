//! The replay file: the decisions of a run, and what must come of them.
//!
//! Owns: the format. Does not own: making the decisions again ([`crate::strategy::Replay`]).
//!
//! It is text, a line a decision, so that two schedules can be compared and a stored one reviewed:
//!
//! ```text
//! faultline schedule 1
//! experiment bcachefs-buffered-write
//! variant lockless
//! scenario early-exit
//! failure lost-write
//! order 5f3a09b1c2d4e6f7
//! steps 58
//! accesses 812
//! switch 1 ready 0,1,4 current 0
//! switch 4 ready 0,4
//! choice 1 of 2 fault
//! ```
//!
//! `order` names the partial order of all accesses to shared cells. A replay in which it is the same, with
//! as many steps and accesses and the same failure, is the same run bit for bit.

use crate::runtime::{ChoiceKind, Decision, Trace};
use std::fmt;
use std::str::FromStr;

/// A stored run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Name of the experiment.
    pub experiment: String,
    /// Name of the variant.
    pub variant: String,
    /// Name of the scenario.
    pub scenario: String,
    /// The kind of failure; empty: the run passes.
    pub failure: String,
    /// What it decides.
    pub decisions: Vec<Decision>,
    /// What must come of it.
    pub mark: Mark,
}

/// By what a run is recognised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// [`Trace::order`].
    pub order: u64,
    /// [`Trace::steps`].
    pub steps: u64,
    /// [`Trace::accesses`].
    pub accesses: u64,
}

impl Mark {
    /// A run's.
    pub fn of(trace: &Trace) -> Self {
        Self { order: trace.order, steps: trace.steps, accesses: trace.accesses }
    }
}

/// The first line of every file.
const HEAD: &str = "faultline schedule 1";

/// Tasks have smaller numbers.
const TASKS: u8 = 64;

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}")?;
        writeln!(f, "experiment {}\nvariant {}\nscenario {}", self.experiment, self.variant, self.scenario)?;
        writeln!(f, "failure {}", if self.failure.is_empty() { "none" } else { &self.failure })?;
        writeln!(f, "order {:016x}\nsteps {}\naccesses {}", self.mark.order, self.mark.steps, self.mark.accesses)?;
        for decision in &self.decisions {
            match *decision {
                Decision::Switch { task, current, ready } => {
                    let ready: Vec<_> =
                        (0..TASKS).filter(|task| ready >> task & 1 == 1).map(|t| t.to_string()).collect();
                    write!(f, "switch {task} ready {}", ready.join(","))?;
                    match current {
                        Some(current) => writeln!(f, " current {current}")?,
                        None => writeln!(f)?,
                    }
                }
                Decision::Choice { value, n, kind } => {
                    let kind = match kind {
                        ChoiceKind::Fault => "fault",
                        ChoiceKind::Free => "free",
                    };
                    writeln!(f, "choice {value} of {n} {kind}")?;
                }
            }
        }
        Ok(())
    }
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormatError {
    /// It does not begin as a schedule of this version does.
    NotASchedule,
    /// A line of the head is missing or is not what it should be.
    Head(&'static str),
    /// The line with this number is no decision.
    Line(usize),
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotASchedule => write!(f, "the first line is not {HEAD:?}"),
            Self::Head(name) => write!(f, "there is no line {name:?} where it should be"),
            Self::Line(number) => write!(f, "line {number} is no decision"),
        }
    }
}

impl std::error::Error for FormatError {}

impl FromStr for Schedule {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let mut lines = text.lines().enumerate();
        if lines.next().is_none_or(|(_, line)| line.trim_end() != HEAD) {
            return Err(FormatError::NotASchedule);
        }
        let mut field = |name: &'static str| {
            let line = lines.next().map(|(_, line)| line).unwrap_or_default();
            let value = line.strip_prefix(name).and_then(|value| value.strip_prefix(' '));
            value.map(|value| value.trim().to_owned()).ok_or(FormatError::Head(name))
        };
        let (experiment, variant, scenario) = (field("experiment")?, field("variant")?, field("scenario")?);
        let failure = field("failure")?;
        let order = u64::from_str_radix(&field("order")?, 16).map_err(|_| FormatError::Head("order"))?;
        let steps = field("steps")?.parse().map_err(|_| FormatError::Head("steps"))?;
        let accesses = field("accesses")?.parse().map_err(|_| FormatError::Head("accesses"))?;
        let rest = lines.filter(|(_, line)| !line.trim().is_empty());
        let decisions = rest.map(|(index, line)| decision(line).ok_or(FormatError::Line(index + 1)));
        Ok(Self {
            experiment,
            variant,
            scenario,
            failure: if failure == "none" { String::new() } else { failure },
            decisions: decisions.collect::<Result<_, _>>()?,
            mark: Mark { order, steps, accesses },
        })
    }
}

fn decision(line: &str) -> Option<Decision> {
    let words: Vec<_> = line.split_whitespace().collect();
    let task = |word: &str| word.parse::<u8>().ok().filter(|task| *task < TASKS);
    let ready = |list: &str| list.split(',').try_fold(0u64, |ready, word| Some(ready | 1 << task(word)?));
    let switch = |chosen: &str, list: &str, current: Option<u8>| {
        let (chosen, ready) = (task(chosen)?, ready(list)?);
        let known = ready >> chosen & 1 == 1 && current.is_none_or(|current| ready >> current & 1 == 1);
        known.then_some(Decision::Switch { task: chosen, current, ready })
    };
    match words[..] {
        ["switch", chosen, "ready", list] => switch(chosen, list, None),
        ["switch", chosen, "ready", list, "current", current] => switch(chosen, list, Some(task(current)?)),
        ["choice", value, "of", n, kind] => {
            let (value, n): (u32, u32) = (value.parse().ok()?, n.parse().ok()?);
            let kind = match kind {
                "fault" => ChoiceKind::Fault,
                "free" => ChoiceKind::Free,
                _ => return None,
            };
            (value < n).then_some(Decision::Choice { value, n, kind })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule() -> Schedule {
        Schedule {
            experiment: "fault-pool".into(),
            variant: "shared".into(),
            scenario: "two-writes".into(),
            failure: "deadlock".into(),
            decisions: vec![
                Decision::Switch { task: 1, current: Some(0), ready: 0b10011 },
                Decision::Choice { value: 1, n: 2, kind: ChoiceKind::Fault },
                Decision::Switch { task: 63, current: None, ready: 1 << 63 },
                Decision::Choice { value: 0, n: 3, kind: ChoiceKind::Free },
            ],
            mark: Mark { order: 0x5f3a, steps: 58, accesses: 812 },
        }
    }

    #[test]
    fn a_schedule_survives_its_file() {
        let passing = Schedule { failure: String::new(), ..schedule() };
        for schedule in [schedule(), passing] {
            assert_eq!(schedule.to_string().parse(), Ok(schedule));
        }
    }

    #[test]
    fn what_is_no_schedule_is_refused_by_its_line() {
        let text = schedule().to_string();
        assert_eq!("".parse::<Schedule>(), Err(FormatError::NotASchedule));
        assert_eq!(text.replace("schedule 1", "schedule 2").parse::<Schedule>(), Err(FormatError::NotASchedule));
        assert_eq!(text.replace("order", "oder").parse::<Schedule>(), Err(FormatError::Head("order")));
        for (wrong, line) in
            [("switch 2 ready 0,1,4 current 0", 9), ("switch 1 ready 0,64", 9), ("choice 2 of 2 fault", 9)]
        {
            let text = text.replace("switch 1 ready 0,1,4 current 0", wrong);
            assert_eq!(text.parse::<Schedule>(), Err(FormatError::Line(line)), "{wrong}");
        }
    }
}
