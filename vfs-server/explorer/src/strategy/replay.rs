//! The decisions of a run, made again.

use super::{Strategy, SwitchPoint};
use crate::runtime::{ChoiceKind, Decision};

/// Makes the decisions of a list, and notes the first that could not be made.
#[derive(Clone, Debug)]
pub struct Replay {
    decisions: Vec<Decision>,
    next: usize,
    started: bool,
    divergence: Option<String>,
}

impl Replay {
    /// One run with these decisions.
    pub fn new(decisions: Vec<Decision>) -> Self {
        Self { decisions, next: 0, started: false, divergence: None }
    }

    /// What the run decided differently from the list, if it did: the code or the scenario has
    /// changed since. To be asked when the run is over.
    pub fn divergence(&self) -> Option<String> {
        let left = self.decisions.len() - self.next;
        let short = || (left > 0).then(|| format!("the run ended with {left} of its decisions not made"));
        self.divergence.clone().or_else(short)
    }

    fn take(&mut self) -> Option<Decision> {
        let decision = self.decisions.get(self.next).copied();
        self.next += usize::from(decision.is_some());
        decision
    }

    fn diverge(&mut self, wanted: Option<Decision>, found: &str) {
        let number = self.next;
        self.divergence.get_or_insert_with(|| match wanted {
            Some(wanted) => format!("decision {number} was {wanted:?}, now it is about {found}"),
            None => format!("the run has more than its {number} decisions: one about {found}"),
        });
    }
}

impl Strategy for Replay {
    fn name(&self) -> String {
        "replay".into()
    }

    fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.started, true)
    }

    fn pick(&mut self, at: &SwitchPoint) -> Option<u8> {
        let wanted = self.take();
        match wanted {
            Some(Decision::Switch { task, current, ready }) if ready == at.ready && current == at.current => Some(task),
            wanted => {
                self.diverge(wanted, &format!("which of the tasks {:#b} goes on", at.ready));
                Some(at.default_task())
            }
        }
    }

    fn choose(&mut self, n: u32, site: &'static str, kind: ChoiceKind) -> u32 {
        let wanted = self.take();
        match wanted {
            Some(Decision::Choice { value, n: then, kind: was }) if then == n && was == kind => value,
            wanted => {
                self.diverge(wanted, site);
                0
            }
        }
    }
}
