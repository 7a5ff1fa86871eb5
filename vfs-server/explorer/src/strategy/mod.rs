//! How the next run differs from the ones before.
//!
//! | module | strategy |
//! |---|---|
//! | [`random`] | every decision anew |
//! | [`pct`] | random priorities that change a few times |
//! | [`exhaustive`] | every run within a bound on preemptions, or one of each partial order |
//! | [`portfolio`] | several of these in turn: the default |
//! | [`replay`] | the decisions of a run, made again |
//! | [`default_policy`] | no decision: what runs goes on |

pub mod default_policy;
pub mod exhaustive;
pub mod pct;
pub mod portfolio;
pub mod random;
pub mod replay;
mod rng;

use crate::runtime::{ChoiceKind, Footprint, Trace};
use crate::scenario::Outcome;
pub use default_policy::DefaultPolicy;
pub use exhaustive::{Exhaustive, Reduction, Shard};
pub use pct::Pct;
pub use portfolio::Portfolio;
pub use random::Random;
pub use replay::Replay;
pub use rng::Rng;

/// A moment at which several tasks could go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwitchPoint {
    /// Those that could, a bit each.
    pub ready: u64,
    /// The one that runs, if it could go on: picking another is a preemption.
    pub current: Option<u8>,
    /// The one that ran last (a number beyond all tasks at the start).
    pub last: u8,
    /// Names the partial order of all that has happened: runs that have come here with the same one
    /// are in the same state. 0 unless [`Strategy::wants_past`].
    pub past: u64,
}

impl SwitchPoint {
    /// Who goes on if nothing speaks against it: the one that runs, else the next one around.
    pub fn default_task(&self) -> u8 {
        self.default_task_of(self.ready)
    }

    /// The same, of these tasks only.
    pub fn default_task_of(&self, tasks: u64) -> u8 {
        if let Some(current) = self.current.filter(|&current| tasks >> current & 1 == 1) {
            return current;
        }
        let after = if self.last < 63 { tasks & !0 << (self.last + 1) } else { 0 };
        if after != 0 { after.trailing_zeros() as u8 } else { tasks.trailing_zeros() as u8 }
    }

    /// How many could go on.
    pub fn count(&self) -> u32 {
        self.ready.count_ones()
    }

    /// The `n`th of those that could go on, from the lowest number.
    pub fn nth(&self, n: u32) -> u8 {
        let mut left = self.ready;
        for _ in 0..n {
            left &= left - 1;
        }
        left.trailing_zeros() as u8
    }
}

/// Makes the decisions of one run after another.
pub trait Strategy {
    /// As it is named on a command line.
    fn name(&self) -> String;
    /// Prepares the next run; `false`: there is none that would be new.
    fn begin(&mut self) -> bool;
    /// Who goes on, of at least two (of at least one, if [`Strategy::wants_steps`]); `None`: this
    /// run need not be finished.
    fn pick(&mut self, at: &SwitchPoint) -> Option<u8>;
    /// What a choice among `0..n` answers.
    fn choose(&mut self, n: u32, site: &'static str, kind: ChoiceKind) -> u32;
    /// Whether [`Strategy::step`] is to be called and every switch point asked for.
    fn wants_steps(&self) -> bool {
        false
    }
    /// Whether [`SwitchPoint::past`] is to be known.
    fn wants_past(&self) -> bool {
        false
    }
    /// A task did a step.
    fn step(&mut self, _task: u8, _footprint: &Footprint) {}
    /// The run is over.
    fn end(&mut self, _trace: &Trace, _outcome: &Outcome) {}
    /// In words: how much of what it can explore it has ("preemption bound 2").
    fn progress(&self) -> String {
        String::new()
    }
}
