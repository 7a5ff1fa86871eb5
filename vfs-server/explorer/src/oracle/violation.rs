//! The broken expectation in words.
//!
//! Owns the way from "no order explains this" to a sentence that a person can check by hand: the fewest
//! observations that no order explains together, what each of them saw, and which acknowledged operation it speaks
//! against.

use super::Rules;
use super::contents::Contents;
use super::history::{Call, FileId, History, Operation, Outcome, SETTLED};
use super::search::{Found, in_order_of_answers, search};
use super::stamp::{POISON, Stamp};
use super::steps::{Look, Plan};
use std::fmt;
use std::ops::Range;

/// What kind of expectation was broken; stable names, for comparing failures with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Acknowledged bytes are missing.
    LostWrite,
    /// Bytes that were overwritten or cut off are back.
    StaleBytes,
    /// Two atomic changes are mixed.
    Torn,
    /// Bytes of nobody: old contents of the disk, or another file's.
    ForeignBytes,
    /// A size that no order gives.
    WrongSize,
    /// Data was reported as a hole.
    DataAsHole,
    /// An access to a page of the file failed, or one past it did not.
    WrongAccess,
    /// A directory tree that no prefix of the operations gives.
    WrongTree,
    /// Observations that are each possible, but not together.
    NoOrder,
    /// The search gave up.
    Undecided,
}

impl Kind {
    /// A short name that stays the same.
    pub fn name(self) -> &'static str {
        match self {
            Self::LostWrite => "lost-write",
            Self::StaleBytes => "stale-bytes",
            Self::Torn => "torn-write",
            Self::ForeignBytes => "foreign-bytes",
            Self::WrongSize => "wrong-size",
            Self::DataAsHole => "hole-over-data",
            Self::WrongAccess => "wrong-access",
            Self::WrongTree => "wrong-tree",
            Self::NoOrder => "no-order",
            Self::Undecided => "undecided",
        }
    }
}

/// A history that the specification does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What kind.
    pub kind: Kind,
    /// Of which file.
    pub file: FileId,
    /// What the specification promises.
    pub expected: String,
    /// What was seen instead.
    pub seen: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, and {}", self.expected, self.seen)
    }
}

impl Violation {
    pub(super) fn undecided(file: FileId) -> Self {
        Self {
            kind: Kind::Undecided,
            file,
            expected: "the history is too wide to be decided".into(),
            seen: "the search gave up: use fewer operations that overlap".into(),
        }
    }
}

/// Says why a history of `file` that no order explains is wrong.
pub(super) fn explain(history: &History, file: FileId, rules: &Rules) -> Violation {
    let culprits = fewest_observers(history, file, rules);
    let seen: Vec<_> = culprits.iter().map(|&observer| sight_in_words(history, file, rules, observer)).collect();
    let mut violation = match <[Seen; 1]>::try_from(seen) {
        Ok([seen]) => Violation { kind: seen.kind, file, expected: seen.expected, seen: seen.seen },
        Err(seen) => {
            let expected = "what one client has seen stays true for those who look later".into();
            let seen: Vec<_> = seen.into_iter().map(|seen| seen.seen).collect();
            Violation { kind: Kind::NoOrder, file, expected, seen: seen.join(", while ") }
        }
    };
    violation.seen.push_str(": no order of the operations explains that");
    violation
}

fn observes(operation: &Operation) -> bool {
    match operation.call {
        Call::Read { .. } | Call::Load { .. } | Call::Size | Call::SeekData { .. } | Call::SeekHole { .. } => true,
        Call::Store { .. } => matches!(operation.outcome, Some(Outcome::Failed(_))),
        _ => false,
    }
}

/// The observing operations that no order explains together, none of which can be left out.
fn fewest_observers(history: &History, file: FileId, rules: &Rules) -> Vec<usize> {
    let operations = history.operations();
    let mut kept: Vec<_> =
        (0..operations.len()).filter(|&index| operations[index].file == file && observes(&operations[index])).collect();
    let is_wrong = |kept: &[usize]| {
        let plan = Plan::new(history, file, rules, |index| !observes(&operations[index]) || kept.contains(&index));
        search(&plan, &mut Contents::default()) == Found::Nothing
    };
    // One that is wrong alone says most; the last look, best of all.
    if let Some(&alone) = kept.iter().rev().find(|&&observer| is_wrong(&[observer])) {
        return vec![alone];
    }
    for index in (0..kept.len()).rev() {
        let mut fewer = kept.clone();
        fewer.remove(index);
        if is_wrong(&fewer) {
            kept = fewer;
        }
    }
    kept
}

struct Seen {
    kind: Kind,
    expected: String,
    seen: String,
}

/// One observer that no order explains: what it speaks against.
struct Witness<'a> {
    history: &'a History,
    file: FileId,
    operation: &'a Operation,
    /// The looks that cannot be true together; none of them can be left out.
    looks: Vec<Look>,
    /// The file in an order that explains all the rest of what the observer saw.
    model: Contents,
    /// "at the end", or to which call.
    when: String,
}

/// What one observing operation saw, and what it speaks against.
fn sight_in_words(history: &History, file: FileId, rules: &Rules, observer: usize) -> Seen {
    let operation = &history.operations()[observer];
    let operations = history.operations();
    let mut plan = Plan::new(history, file, rules, |index| {
        index == observer || !observes(&operations[index]) && operations[index].start < operation.end
    });
    let looks = fewest_looks(&mut plan);
    let mut model = Contents::default();
    if search(&plan, &mut model) != Found::Order {
        model = in_order_of_answers(&plan);
    }
    let when = if operation.client == SETTLED {
        "at the end".to_string()
    } else {
        format!("to {}'s {}", operation.actor(), operation.call)
    };
    Witness { history, file, operation, looks, model, when }.in_words()
}

/// The looks of a plan that no order explains together; they are taken out of the plan.
fn fewest_looks(plan: &mut Plan) -> Vec<Look> {
    let mut fewest = Vec::new();
    // The size comes before the bytes: if it is wrong, they are no wonder.
    for index in (0..plan.looks.len()).rev() {
        let look = std::mem::replace(&mut plan.looks[index], Look::Anything);
        if search(plan, &mut Contents::default()) == Found::Order {
            plan.looks[index] = look;
            fewest.push(index);
        }
    }
    fewest.into_iter().rev().map(|index| std::mem::replace(&mut plan.looks[index], Look::Anything)).collect()
}

impl Witness<'_> {
    fn in_words(&self) -> Seen {
        let is_size = |look: &Look| matches!(look, Look::Size(_) | Look::AtLeast(_) | Look::AtMost(_));
        let is_access = |look: &Look| matches!(look, Look::PageGone { .. });
        let call = &self.operation.call;
        match (call, &self.operation.outcome) {
            _ if self.looks.iter().any(is_access) => Seen {
                kind: Kind::WrongAccess,
                expected: format!("the file was {} bytes long", self.model.size),
                seen: format!("{}'s {call} failed as if past its end", self.operation.actor()),
            },
            (Call::Read { .. } | Call::Load { .. }, Some(Outcome::Bytes(bytes))) if !self.looks.iter().any(is_size) => {
                self.bytes_in_words(bytes)
            }
            (&Call::Read { offset, .. }, Some(Outcome::Bytes(bytes))) => {
                self.size_in_words(offset + bytes.len() as u64)
            }
            (Call::Size, &Some(Outcome::Count(size))) => self.size_in_words(size),
            (&Call::SeekHole { .. }, &Some(Outcome::Count(found))) => Seen {
                kind: Kind::DataAsHole,
                expected: format!("data at {found} was acknowledged"),
                seen: format!("{call} finds a hole there"),
            },
            (_, outcome) => {
                let found = if let &Some(Outcome::Count(found)) = outcome { found } else { self.model.size };
                Seen {
                    kind: Kind::DataAsHole,
                    expected: format!("data before {found} was acknowledged"),
                    seen: format!("{call} finds none there"),
                }
            }
        }
    }

    fn size_in_words(&self, size: u64) -> Seen {
        Seen {
            kind: Kind::WrongSize,
            expected: format!("the operations make the file {} bytes long", self.model.size),
            seen: format!("it is {size} bytes long {}", self.when),
        }
    }

    /// Names the first bytes that differ from the model, and whose they are.
    fn bytes_in_words(&self, bytes: &[u8]) -> Seen {
        let (Call::Read { offset, .. } | Call::Load { offset, .. }) = self.operation.call else { unreachable!() };
        let granules: Vec<_> = self.looks.iter().filter_map(|look| look.bytes()).collect();
        if let [first, .., last] = granules.as_slice()
            && let (Some(one), Some(other)) = (self.whose(bytes[first.start]), self.whose(bytes[last.start]))
        {
            let in_file =
                |range: &Range<usize>| format!("{}..{}", offset + range.start as u64, offset + range.end as u64);
            return Seen {
                kind: Kind::Torn,
                expected: format!("the {one} and the {other} are atomic"),
                seen: format!(
                    "bytes {} are those of the first and {} those of the second {}",
                    in_file(first),
                    in_file(last),
                    self.when
                ),
            };
        }
        let whole = self.model.bytes();
        let expected_at = |at: usize| whole.get(offset as usize + at).copied().unwrap_or(0);
        let start = granules.first().map_or(0, |range| range.start);
        let first = (start..bytes.len()).find(|&at| bytes[at] != expected_at(at)).unwrap_or(start);
        let same = |at: &usize| {
            same_owner(bytes[*at], bytes[first])
                && same_owner(expected_at(*at), expected_at(first))
                && bytes[*at] != expected_at(*at)
        };
        let past = (first + 1..bytes.len()).find(|at| !same(at)).unwrap_or(bytes.len());
        let range = format!("{}..{}", offset + first as u64, offset + past as u64);
        let (wanted, held) = (expected_at(first), bytes[first]);
        let expected = match Stamp::of_byte(wanted).and_then(|stamp| self.owner_in_words(stamp)) {
            Some(owner) => format!("the {owner} was acknowledged"),
            None => self.remover_in_words(offset + first as u64),
        };
        let (kind, what) = self.held_in_words(held, wanted);
        Seen { kind, expected, seen: format!("its bytes {range} are {what} {}", self.when) }
    }

    fn held_in_words(&self, held: u8, wanted: u8) -> (Kind, String) {
        match (held, self.owner(held)) {
            (0, _) => (Kind::LostWrite, "zero".into()),
            (POISON, _) => (Kind::ForeignBytes, "old contents of the disk".into()),
            (_, None) => (Kind::ForeignBytes, "nobody's".into()),
            (_, Some(owner)) if owner.file != self.file => (Kind::ForeignBytes, "another file's".into()),
            (_, Some(owner)) if same_owner(held, wanted) => {
                (Kind::ForeignBytes, format!("from another place of {}'s {}", owner.actor(), owner.call))
            }
            (_, Some(owner)) => (Kind::StaleBytes, format!("those of {}'s {}", owner.actor(), owner.call)),
        }
    }

    /// The operation whose byte this is.
    fn owner(&self, byte: u8) -> Option<&Operation> {
        Some(self.history.operation(self.history.owner(Stamp::of_byte(byte)?)?))
    }

    fn whose(&self, byte: u8) -> Option<String> {
        self.owner_in_words(Stamp::of_byte(byte)?)
    }

    /// "append [6,10) of client 1": with the place that the model gives an append.
    fn owner_in_words(&self, stamp: Stamp) -> Option<String> {
        let owner = self.history.operation(self.history.owner(stamp)?);
        let words = match owner.call {
            Call::Append { len, .. } => match self.model.find(stamp) {
                Some(start) => format!("append [{start},{})", start + len),
                None => owner.call.to_string(),
            },
            _ => owner.call.to_string(),
        };
        Some(format!("{words} of {}", owner.actor()))
    }

    /// Why zero was expected at `offset`.
    fn remover_in_words(&self, offset: u64) -> String {
        let removes = |operation: &&Operation| {
            operation.file == self.file
                && operation.end < self.operation.end
                && match operation.call {
                    Call::Truncate { size } => size <= offset,
                    Call::Zero { offset: at, len, .. } => (at..at + len).contains(&offset),
                    _ => false,
                }
        };
        match self.history.operations().iter().rev().find(removes) {
            Some(remover) => format!("the {} of {} took away what was at {offset}", remover.call, remover.actor()),
            None => format!("nothing was written at {offset}"),
        }
    }
}

fn same_owner(one: u8, other: u8) -> bool {
    one >> 3 == other >> 3
}
