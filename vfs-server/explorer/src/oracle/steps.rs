//! What each operation does and sees, as points in time: the specification's half of the checker.
//!
//! A *step* changes the file at one point between the operation's start and end; a *sight* is something that was
//! seen and must be true at one such point. `docs/semantics.md` says the same in prose.

use super::ReadRule;
use super::Rules;
use super::contents::{Contents, PAGE};
use super::history::{Call, Data, FileId, History, Moment, Operation, Outcome, Sizing};
use super::stamp::{Stamp, is_zero};

/// Bytes that a read sees at once.
pub const GRANULE: u64 = 512;

/// One change of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Bytes at a place; the file grows to hold them.
    Put { offset: u64, len: u64, data: Data },
    /// Bytes at the end.
    Append { len: u64, data: Data },
    /// Those of `len` bytes at the end that the page with the end has room for, behind those that came before.
    AppendPage { len: u64, data: Data, last: bool },
    /// Bytes at a place, as far as the file reaches.
    PutWithin { offset: u64, len: u64, data: Data },
    /// A new size; what is cut off is gone.
    Resize { size: u64 },
    /// Zeros; the file grows to hold them, or not.
    Zero { offset: u64, len: u64, size: Sizing },
    /// A size that is at least so large.
    Grow { size: u64 },
    /// A store through a mapping.
    Store { offset: u64, len: u64, data: Data },
}

/// Whether a step has to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// The client was told that it did.
    Must,
    /// The call failed, was short, or was not answered: perhaps.
    May,
}

/// A change at one point between two moments.
#[derive(Clone, Debug)]
pub struct Step {
    /// The step of the same operation that comes before.
    pub after: Option<usize>,
    pub start: Moment,
    pub end: Moment,
    pub duty: Duty,
    pub change: Change,
    /// The first step of the write that it is a page of: between these nothing else changes the file but stores.
    pub group: Option<usize>,
    /// The sights that show bytes of a step that only may happen. Where nobody sees it, it need not.
    pub seen_by: Vec<usize>,
}

/// Something that was true of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Always true: a look that is left out.
    Anything,
    /// Bytes from `offset` on, a part of the outcome.
    Bytes { offset: u64, from: usize, to: usize },
    /// A load's bytes: past the end, in the last page, it may also find what somebody stored there.
    Loaded { offset: u64 },
    /// The size, exactly.
    Size(u64),
    /// The size, at least.
    AtLeast(u64),
    /// The size, at most.
    AtMost(u64),
    /// The byte's page lies wholly past the end.
    PageGone { offset: u64 },
    /// Nothing was stored there, or it was taken away.
    Hole { offset: u64, len: u64 },
    /// No data at this byte: a hole, zeros or the end.
    NoDataAt(u64),
}

/// What was seen at one point between two moments.
#[derive(Clone, Debug)]
pub struct Sight {
    /// Who saw it; an index into [`Plan::operations`].
    pub operation: usize,
    pub start: Moment,
    pub end: Moment,
    /// True together; indices into [`Plan::looks`].
    pub looks: std::ops::Range<usize>,
}

/// All steps and sights of one file.
#[derive(Debug, Default)]
pub struct Plan<'a> {
    pub operations: Vec<&'a Operation>,
    pub steps: Vec<Step>,
    pub sights: Vec<Sight>,
    pub looks: Vec<Look>,
}

impl Look {
    /// Which bytes of the outcome it is about.
    pub fn bytes(&self) -> Option<std::ops::Range<usize>> {
        match *self {
            Self::Bytes { from, to, .. } => Some(from..to),
            _ => None,
        }
    }
}

impl<'a> Plan<'a> {
    /// The plan of one file, of the operations that `wanted` chooses.
    pub fn new(history: &'a History, file: FileId, rules: &Rules, wanted: impl Fn(usize) -> bool) -> Self {
        let mut plan = Self::default();
        for (index, operation) in history.operations().iter().enumerate() {
            if operation.file == file && wanted(index) {
                plan.operations.push(operation);
                plan.changes_of(operation, rules);
                plan.sights_of(operation, rules);
            }
        }
        plan.split_by_pages();
        plan.find_witnesses();
        plan
    }

    fn changes_of(&mut self, operation: &Operation, rules: &Rules) {
        let duty = if operation.succeeded() { Duty::Must } else { Duty::May };
        let unanswered = operation.outcome.is_none();
        match operation.call {
            Call::Write { offset, len, data } => self.writes(operation, Some(offset), len, data, rules),
            Call::Append { len, data } => self.writes(operation, None, len, data, rules),
            Call::Truncate { size } if unanswered || duty == Duty::Must => {
                self.step(operation, duty, Change::Resize { size })
            }
            Call::Zero { offset, len, size } if unanswered || duty == Duty::Must => {
                self.step(operation, duty, Change::Zero { offset, len, size });
            }
            Call::Allocate { offset, len, size: Sizing::Grows } if unanswered || duty == Duty::Must => {
                self.step(operation, duty, Change::Grow { size: offset + len });
            }
            Call::Store { offset, len, data } if unanswered || duty == Duty::Must => {
                self.step(operation, duty, Change::Store { offset, len, data });
            }
            _ => {}
        }
    }

    /// The rounds that were acknowledged, in order, and the granules that may have been written beyond them.
    fn writes(&mut self, operation: &Operation, place: Option<u64>, len: u64, data: Data, rules: &Rules) {
        let written = match operation.outcome {
            Some(Outcome::Count(count)) => count.min(len),
            _ => 0,
        };
        let piece = |from: u64, to: u64| {
            let data = Data { index: data.index + from, ..data };
            match place {
                Some(offset) => Change::Put { offset: offset + from, len: to - from, data },
                None => Change::Append { len: to - from, data },
            }
        };
        let mut before = None;
        let mut at = 0;
        while at < written {
            let cut = operation.cuts.iter().copied().filter(|&cut| cut > at).min().unwrap_or(u64::MAX);
            let end = written.min(at.saturating_add(rules.round_max)).min(cut);
            self.step(operation, Duty::Must, piece(at, end));
            let this = self.steps.len() - 1;
            self.steps[this].after = before;
            before = Some(this);
            at = end;
        }
        let unanswered = operation.outcome.is_none();
        let Some(offset) = place else {
            if unanswered {
                self.step(operation, Duty::May, piece(0, len));
            }
            return;
        };
        let mut at = offset + written;
        while at < offset + len {
            let end = (at + 1).next_multiple_of(GRANULE).min(offset + len);
            let data = Data { index: data.index + (at - offset), ..data };
            let change = if unanswered {
                Change::Put { offset: at, len: end - at, data }
            } else {
                Change::PutWithin { offset: at, len: end - at, data }
            };
            self.step(operation, Duty::May, change);
            at = end;
        }
    }

    fn step(&mut self, operation: &Operation, duty: Duty, change: Change) {
        self.steps.push(Step {
            after: None,
            start: operation.start,
            end: operation.end,
            duty,
            change,
            group: None,
            seen_by: Vec::new(),
        });
    }

    /// Writes that reach over pages become visible page by page, to those who look meanwhile.
    fn split_by_pages(&mut self) {
        let mut last_parts = Vec::with_capacity(self.steps.len());
        for step in std::mem::take(&mut self.steps) {
            let is_seen = self.sights.iter().any(|sight| sight.start < step.end && step.start < sight.end);
            let parts = if is_seen && step.duty == Duty::Must { step.change.pages() } else { vec![step.change] };
            let group = (parts.len() > 1).then_some(self.steps.len());
            let mut after = step.after.map(|before: usize| last_parts[before]);
            for change in parts {
                self.steps.push(Step { after, group, change, ..step.clone() });
                after = Some(self.steps.len() - 1);
            }
            last_parts.push(self.steps.len() - 1);
        }
    }

    fn sights_of(&mut self, operation: &Operation, rules: &Rules) {
        let first = self.looks.len();
        match (&operation.call, &operation.outcome) {
            (&Call::Read { offset, len }, Some(Outcome::Bytes(bytes))) => self.read(offset, len, bytes),
            (&Call::Load { offset, .. }, Some(Outcome::Bytes(_))) => self.looks.push(Look::Loaded { offset }),
            (&(Call::Load { offset, .. } | Call::Store { offset, .. }), &Some(Outcome::Failed(errno)))
                if errno == rules.past_end =>
            {
                self.looks.push(Look::PageGone { offset });
            }
            (Call::Size, &Some(Outcome::Count(size))) => self.looks.push(Look::Size(size)),
            (&Call::SeekData { from }, &Some(Outcome::Count(found))) => {
                self.holes(from, found);
                self.looks.push(Look::AtLeast(found + 1));
            }
            (&Call::SeekData { from }, &Some(Outcome::Failed(errno))) if errno == rules.no_data => {
                self.holes(from, self.horizon());
            }
            (&Call::SeekHole { .. }, &Some(Outcome::Count(found))) => self.looks.push(Look::NoDataAt(found)),
            _ => {}
        }
        let strict = rules.reads == ReadRule::Atomic || operation.client == super::history::SETTLED;
        let looks = first..self.looks.len();
        if looks.is_empty() {
            return;
        }
        if strict {
            self.sight(operation, looks);
        } else {
            for look in looks {
                self.sight(operation, look..look + 1);
            }
        }
    }

    fn sight(&mut self, operation: &Operation, looks: std::ops::Range<usize>) {
        let (start, end) = (operation.start, operation.end);
        self.sights.push(Sight { operation: self.operations.len() - 1, start, end, looks });
    }

    fn read(&mut self, offset: u64, len: u64, bytes: &[u8]) {
        let end = offset + bytes.len() as u64;
        if bytes.len() as u64 >= len {
            self.looks.push(Look::AtLeast(end));
        } else if bytes.is_empty() {
            self.looks.push(Look::AtMost(offset));
        } else if end.is_multiple_of(PAGE) {
            // A cut may have overtaken the read between two pages.
            self.looks.push(Look::AtLeast(end));
            self.looks.push(Look::AtMost(end));
        } else {
            self.looks.push(Look::Size(end));
        }
        let mut at = offset;
        while at < end {
            let next = (at + 1).next_multiple_of(GRANULE).min(end);
            self.looks.push(Look::Bytes { offset: at, from: (at - offset) as usize, to: (next - offset) as usize });
            at = next;
        }
    }

    /// A size that the file cannot have exceeded so far.
    fn horizon(&self) -> u64 {
        let appended: u64 = self.operations.iter().map(|operation| operation.appends()).sum();
        self.operations.iter().map(|operation| operation.reach()).max().unwrap_or(0) + appended
    }

    fn holes(&mut self, from: u64, to: u64) {
        let mut at = from;
        while at < to {
            let next = (at + 1).next_multiple_of(GRANULE).min(to);
            self.looks.push(Look::Hole { offset: at, len: next - at });
            at = next;
        }
    }

    /// For each step that only may happen: who sees its bytes.
    fn find_witnesses(&mut self) {
        for step in 0..self.steps.len() {
            if self.steps[step].duty == Duty::Must {
                continue;
            }
            let change = self.steps[step].change;
            let seen_by = (0..self.sights.len()).filter(|&sight| self.could_show(sight, &change)).collect();
            self.steps[step].seen_by = seen_by;
        }
    }

    /// Whether a sight may depend on a change having happened. Changes without data may matter to all.
    fn could_show(&self, sight: usize, change: &Change) -> bool {
        let (offset, len, stamp) = match *change {
            Change::Put { offset, len, data }
            | Change::PutWithin { offset, len, data }
            | Change::Store { offset, len, data } => (offset, len, data.stamp),
            Change::Append { data, .. } | Change::AppendPage { data, .. } => (0, u64::MAX, data.stamp),
            _ => return true,
        };
        let may_grow = matches!(change, Change::Put { .. } | Change::Append { .. });
        self.sights[sight].looks.clone().any(|look| match self.looks[look] {
            Look::Bytes { .. } | Look::Loaded { .. } => {
                let (at, bytes) = self.bytes_of(sight, look);
                let first = offset.max(at).min(at + bytes.len() as u64);
                let past = offset.saturating_add(len).min(at + bytes.len() as u64).max(first);
                let shared = &bytes[(first - at) as usize..(past - at) as usize];
                shared.iter().any(|&byte| Stamp::of_byte(byte) == Some(stamp))
            }
            Look::Size(_) | Look::AtLeast(_) => may_grow,
            _ => false,
        })
    }

    /// The place and the bytes of a look at bytes.
    fn bytes_of(&self, sight: usize, look: usize) -> (u64, &'a [u8]) {
        let operation = self.operations[self.sights[sight].operation];
        let Some(Outcome::Bytes(bytes)) = &operation.outcome else { return (0, &[]) };
        match self.looks[look] {
            Look::Bytes { offset, from, to } => (offset, &bytes[from..to]),
            Look::Loaded { offset } => (offset, bytes),
            _ => (0, &[]),
        }
    }

    /// Whether a sight is true of these contents.
    pub fn is_true(&self, sight: usize, contents: &Contents) -> bool {
        self.sights[sight].looks.clone().all(|look| match self.looks[look] {
            Look::Bytes { offset, from, to } => {
                let Some(Outcome::Bytes(bytes)) = &self.operations[self.sights[sight].operation].outcome else {
                    return false;
                };
                let bytes = &bytes[from..to];
                contents.hold(offset, bytes) || self.was_cut_meanwhile(sight, contents, offset, bytes)
            }
            Look::Loaded { .. } => self.loaded(sight, look, contents),
            Look::Anything => true,
            Look::Size(size) => contents.size == size,
            Look::AtLeast(size) => contents.size >= size,
            Look::AtMost(size) => contents.size <= size,
            Look::PageGone { offset } => offset >= contents.size.next_multiple_of(PAGE),
            Look::Hole { offset, len } => self.no_data(sight, contents, offset, len),
            Look::NoDataAt(offset) => self.no_data(sight, contents, offset, 1),
        })
    }

    /// Whether these are bytes of the contents with zeros from the new end on, of a cut that overlaps the read: the
    /// read had looked at the size before, and copied while the tail was zero already.
    fn was_cut_meanwhile(&self, sight: usize, contents: &Contents, offset: u64, bytes: &[u8]) -> bool {
        let Sight { start, end, .. } = self.sights[sight];
        self.steps.iter().any(|step| match step.change {
            Change::Resize { size } if step.start < end && start < step.end => {
                let kept = size.saturating_sub(offset).min(bytes.len() as u64) as usize;
                is_zero(&bytes[kept..]) && contents.hold(offset, &bytes[..kept])
            }
            _ => false,
        })
    }

    /// Whether no data is there but that of writes which have not ended when the sight begins.
    fn no_data(&self, sight: usize, contents: &Contents, offset: u64, len: u64) -> bool {
        let is_new = |stamp: Stamp| {
            self.steps.iter().any(|step| step.change.stamp() == Some(stamp) && self.sights[sight].start < step.end)
        };
        contents.stamps(offset, len).all(is_new)
    }

    /// A load sees the file; in its last page, past the end, zero or what was stored there.
    fn loaded(&self, sight: usize, look: usize, contents: &Contents) -> bool {
        let (offset, bytes) = self.bytes_of(sight, look);
        if offset >= contents.size.next_multiple_of(PAGE) {
            return false;
        }
        let within = (contents.size.saturating_sub(offset)).min(bytes.len() as u64) as usize;
        contents.hold(offset, &bytes[..within]) && self.could_linger(sight, offset + within as u64, &bytes[within..])
    }

    fn could_linger(&self, sight: usize, offset: u64, bytes: &[u8]) -> bool {
        is_zero(bytes)
            || self.steps.iter().any(|step| match step.change {
                Change::Store { offset: at, len, data } if step.start < self.sights[sight].end => {
                    at <= offset
                        && offset + bytes.len() as u64 <= at + len
                        && data.stamp.matches(data.index + (offset - at), bytes)
                }
                _ => false,
            })
    }
}

impl Change {
    fn stamp(&self) -> Option<Stamp> {
        match self {
            Self::Put { data, .. }
            | Self::Append { data, .. }
            | Self::AppendPage { data, .. }
            | Self::PutWithin { data, .. }
            | Self::Store { data, .. } => Some(data.stamp),
            Self::Resize { .. } | Self::Zero { .. } | Self::Grow { .. } => None,
        }
    }

    /// What of it lies in each page, in the order in which it comes: first what the file has already, then
    /// what makes it longer.
    fn pages(self) -> Vec<Self> {
        match self {
            Self::Put { offset, len, data } => {
                let mut pages = Vec::new();
                let mut at = offset;
                while at < offset + len {
                    let end = (at + 1).next_multiple_of(PAGE).min(offset + len);
                    let (offset, len, data) = (at, end - at, Data { index: data.index + (at - offset), ..data });
                    pages.push(Self::PutWithin { offset, len, data });
                    pages.push(Self::Put { offset, len, data });
                    at = end;
                }
                pages
            }
            Self::Append { len, data } if len > 1 => {
                // One more than whole pages: where it begins is not known.
                let pages = 1 + (len - 1).div_ceil(PAGE);
                (1..=pages).map(|page| Self::AppendPage { len, data, last: page == pages }).collect()
            }
            whole => vec![whole],
        }
    }
}

impl Operation {
    /// The last byte that it can concern, plus one.
    fn reach(&self) -> u64 {
        match self.call {
            Call::Write { offset, len, .. }
            | Call::Allocate { offset, len, .. }
            | Call::Zero { offset, len, .. }
            | Call::Store { offset, len, .. } => offset.saturating_add(len),
            Call::Truncate { size } => size,
            _ => 0,
        }
    }

    fn appends(&self) -> u64 {
        if let Call::Append { len, .. } = self.call { len } else { 0 }
    }
}
