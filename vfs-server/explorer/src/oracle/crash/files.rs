//! The contents of a file after recovery against what was synced: rules 27 to 30 of `docs/semantics.md`.
//!
//! What took effect before the last successful fsync began is one of the contents that some order of those operations
//! gives. Each byte of the recovered file is the one of these contents, or one that an operation stored (or took away)
//! which was not synced.

use super::super::contents::Contents;
use super::super::history::{Call, FileId, History, Moment, Operation, Outcome};
use super::super::search;
use super::super::stamp::{POISON, Stamp};
use super::super::steps::Plan;
use super::super::{Kind, Rules, Violation};
use std::collections::BTreeSet;

/// Checks the recovered contents of a file after a crash at `crash`.
pub fn check(history: &History, file: FileId, crash: Moment, recovered: &[u8], rules: &Rules) -> Result<(), Violation> {
    let before = history.until(crash);
    let synced_at = last_sync(&before, file);
    let is_synced = |operation: &Operation| operation.end < synced_at;
    let changes = |operation: &&Operation| operation.file == file && !is_synced(operation) && operation.call.changes();
    let later: Vec<_> = before.operations().iter().filter(changes).collect();
    let check = |plan: &Plan<'_>| {
        let mut first_wrong = None;
        for synced in search::outcomes(plan) {
            let recovery = Recovery { history: &before, file, synced, later: &later, recovered };
            match recovery.check() {
                Ok(()) => return Ok(()),
                Err(violation) => _ = first_wrong.get_or_insert(violation),
            }
        }
        Err(first_wrong.unwrap_or_else(|| Violation::undecided(file)))
    };
    check(&Plan::new(&before, file, rules, |index| is_synced(&before.operations()[index]))).or_else(|_| {
        // What was under way when the sync began may have been seen, or overwritten, before it, and need
        // not be on the disk for that: the same with all changes as they may be, and without what was seen.
        let until_sync = before.until(synced_at);
        check(&Plan::new(&until_sync, file, rules, |index| until_sync.operations()[index].call.changes()))
    })
}

/// When the last fsync began that was answered with success.
fn last_sync(history: &History, file: FileId) -> Moment {
    let syncs = history
        .operations()
        .iter()
        .filter(|operation| operation.file == file && operation.call == Call::Sync && operation.succeeded());
    syncs.map(|operation| operation.start).max().unwrap_or(0)
}

struct Recovery<'a> {
    history: &'a History,
    file: FileId,
    /// What was synced, in one of the possible orders.
    synced: Contents,
    /// Changes that were not synced.
    later: &'a [&'a Operation],
    recovered: &'a [u8],
}

impl Recovery<'_> {
    fn check(&self) -> Result<(), Violation> {
        let places = self.append_places();
        self.check_size(&places)?;
        let synced = self.synced.bytes();
        let wrong = |at: usize| {
            let held = self.recovered[at];
            let kept = synced.get(at).copied().unwrap_or(0);
            held != kept && !self.later.iter().any(|operation| could_leave(operation, at as u64, held, &places))
        };
        match (0..self.recovered.len()).find(|&at| wrong(at)) {
            None => Ok(()),
            Some(first) => {
                let held = self.recovered[first];
                let same = |at: &usize| self.recovered[*at] >> 3 == held >> 3 && wrong(*at);
                let past = (first + 1..self.recovered.len()).find(|at| !same(at)).unwrap_or(self.recovered.len());
                Err(self.wrong_bytes(first, past, synced.get(first).copied().unwrap_or(0)))
            }
        }
    }

    /// Sizes at which an append that was not synced may have found the end.
    fn append_places(&self) -> BTreeSet<u64> {
        let mut places = BTreeSet::from([self.synced.size]);
        for operation in self.later {
            places.extend(operation.call.new_size());
        }
        for operation in self.later {
            if let Call::Append { len, .. } = operation.call {
                let ends: Vec<_> = places.iter().map(|place| place + len).collect();
                places.extend(ends);
            }
        }
        places
    }

    fn check_size(&self, places: &BTreeSet<u64>) -> Result<(), Violation> {
        let size = self.recovered.len() as u64;
        let cuts = self.later.iter().filter_map(|operation| match operation.call {
            Call::Truncate { size } => Some(size),
            _ => None,
        });
        let least = cuts.min().unwrap_or(u64::MAX).min(self.synced.size);
        let most = places.last().copied().unwrap_or(0);
        if (least..=most).contains(&size) {
            return Ok(());
        }
        Err(Violation {
            kind: Kind::WrongSize,
            file: self.file,
            expected: format!(
                "the synced size is {}, and later operations make it {least} to {most}",
                self.synced.size
            ),
            seen: format!("the file is {size} bytes long after the crash"),
        })
    }

    fn wrong_bytes(&self, from: usize, to: usize, kept: u8) -> Violation {
        let owner = |byte: u8| Stamp::of_byte(byte).and_then(|stamp| self.history.owner(stamp));
        let named = |operation: &Operation| format!("{} of {}", operation.call, operation.actor());
        let expected = match owner(kept) {
            Some(id) => format!("the {} was synced", named(self.history.operation(id))),
            None => format!("nothing that was synced is at {from}"),
        };
        let held = self.recovered[from];
        let (kind, what) = match (held, owner(held).map(|id| self.history.operation(id))) {
            (0, _) => (Kind::LostWrite, "zero".into()),
            (POISON, _) => (Kind::ForeignBytes, "old contents of the disk".into()),
            (_, None) => (Kind::ForeignBytes, "nobody's".into()),
            (_, Some(owner)) if owner.file != self.file => (Kind::ForeignBytes, "another file's".into()),
            (_, Some(owner)) => (Kind::StaleBytes, format!("those of the {}", named(owner))),
        };
        let seen = format!("bytes {from}..{to} are {what} after the crash");
        Violation { kind, file: self.file, expected, seen }
    }
}

/// Whether an operation that was not synced may have left this byte here.
fn could_leave(operation: &Operation, at: u64, byte: u8, places: &BTreeSet<u64>) -> bool {
    match operation.call {
        Call::Write { offset, len, data } | Call::Store { offset, len, data } => {
            (offset..offset.saturating_add(len)).contains(&at)
                && data.stamp.matches(data.index + (at - offset), &[byte])
        }
        Call::Append { len, data } => {
            places.range(..=at).any(|&place| at - place < len && data.stamp.matches(data.index + (at - place), &[byte]))
        }
        Call::Truncate { size } => byte == 0 && at >= size,
        Call::Zero { offset, len, .. } => byte == 0 && (offset..offset.saturating_add(len)).contains(&at),
        _ => false,
    }
}

impl Call {
    fn changes(&self) -> bool {
        self.data().is_some() || matches!(self, Self::Truncate { .. } | Self::Allocate { .. } | Self::Zero { .. })
    }

    /// The size that it would give a file that is shorter.
    fn new_size(&self) -> Option<u64> {
        use super::super::history::Sizing::Grows;
        match *self {
            Self::Write { offset, len, .. } => Some(offset + len),
            Self::Truncate { size } => Some(size),
            Self::Allocate { offset, len, size: Grows } | Self::Zero { offset, len, size: Grows } => Some(offset + len),
            _ => None,
        }
    }
}

impl History {
    /// The history as a crash at `crash` cuts it off: what was not answered by then never was.
    fn until(&self, crash: Moment) -> Self {
        let mut cut = self.clone();
        cut.retain(|operation| operation.start <= crash);
        for operation in cut.operations_mut() {
            if operation.end > crash {
                operation.end = super::super::history::NEVER;
                operation.outcome = None::<Outcome>;
            }
        }
        cut
    }
}
