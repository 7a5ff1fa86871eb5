//! A run made again to be told.

use super::listener::Listener;
use super::told::{Title, ToldRun};
use crate::runtime::{Decision, Explorer, Trace};
use crate::scenario::Outcome;
use crate::schedule::{Mark, Schedule};
use crate::strategy::{Replay, Strategy};

/// A run that was made again.
pub struct Telling {
    /// Its story.
    pub run: ToldRun,
    /// How it ended.
    pub outcome: Outcome,
    /// What it decided.
    pub trace: Trace,
    /// Where it left the decisions that were to be made again, if it did.
    pub divergence: Option<String>,
}

/// Makes these decisions again; `at_step` is called in each step by the task that does it.
pub fn tell(explorer: &mut Explorer, decisions: Vec<Decision>, title: Title, at_step: &mut dyn FnMut(u32)) -> Telling {
    let mut strategy = Replay::new(decisions);
    let mut listener = Listener::new(title, at_step);
    strategy.begin();
    let (outcome, trace) = explorer.run_once(&mut strategy, Some(&mut listener));
    strategy.end(&trace, &outcome);
    Telling { run: listener.finish(), outcome, trace, divergence: strategy.divergence() }
}

impl Telling {
    /// Whether it was the stored run, bit for bit.
    ///
    /// # Errors
    /// In words, the first thing that is not as it was.
    pub fn compare(&self, stored: &Schedule) -> Result<(), String> {
        if let Some(divergence) = &self.divergence {
            return Err(divergence.clone());
        }
        let failure = match &self.outcome {
            Outcome::Failed(failure) => failure.kind.as_str(),
            Outcome::Passed | Outcome::Pruned => "",
        };
        let name = |kind: &str| if kind.is_empty() { "nothing breaks".to_owned() } else { format!("{kind:?}") };
        if failure != stored.failure {
            return Err(format!("the stored run ends with {}, this one with {}", name(&stored.failure), name(failure)));
        }
        let mark = Mark::of(&self.trace);
        if mark != stored.mark {
            return Err(format!("the same decisions led to other accesses: {mark:?}, stored {:?}", stored.mark));
        }
        Ok(())
    }
}
