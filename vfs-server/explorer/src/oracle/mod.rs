//! What may be expected of a file, and whether a run kept it.
//!
//! Pure functions on the record of a run: no task, no runtime, no clock. `docs/semantics.md` is the specification
//! in prose; a rule that is not written there is not checked here, and the other way round.
//!
//! | module | what |
//! |---|---|
//! | [`stamp`] | bytes that say which operation stored them, and at which index |
//! | [`history`] | the record: operations with start, end, answer |
//! | `contents` | a file: its size and whose bytes are where |
//! | `steps` | the specification: what each operation does and sees, as points in time |
//! | `search` | is there an order of the points that explains all of it? |
//! | [`crash`] | what a disk may hold after a crash, and what must be found on it |
//! | [`violation`] | if not: the broken expectation in words |

mod contents;
pub mod crash;
pub mod history;
mod search;
pub mod stamp;
mod steps;
pub mod violation;

pub use history::{Call, Data, FileId, History, Moment, Operation, OperationId, Outcome, Sizing};
pub use stamp::{POISON, Stamp};
pub use violation::{Kind, Violation};

use contents::Contents;
use search::Found;
use steps::Plan;

/// How a read may take its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadRule {
    /// Each granule at a point of its own within the call.
    #[default]
    PerGranule,
    /// All bytes and the length at one point.
    Atomic,
}

/// The parameters of the specification.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How reads take their bytes.
    pub reads: ReadRule,
    /// Most bytes of one round of a write.
    pub round_max: u64,
    /// The errno of an access to a page past the end.
    pub past_end: i32,
    /// The errno of SEEK_DATA where no data follows.
    pub no_data: i32,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            reads: ReadRule::PerGranule,
            round_max: 1 << 20,
            past_end: syscall::error::EFAULT,
            no_data: syscall::error::ENXIO,
        }
    }
}

/// Checks every file of a history. The first violation found is the answer.
pub fn check(history: &History, rules: &Rules) -> Result<(), Violation> {
    for file in history.files() {
        let plan = Plan::new(history, file, rules, |_| true);
        match search::search(&plan, &mut Contents::default()) {
            Found::Order => {}
            Found::Nothing => return Err(violation::explain(history, file, rules)),
            Found::Undecided => return Err(Violation::undecided(file)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
