//! What clients asked for, when, and what they were told.
//!
//! Owns the record of one run. A client notes the start of an operation before it makes the system call (or the
//! load or store) and the end after it; the moments are counted, not timed. Does not own what the operations mean
//! (`steps`), nor whether the answers can be true (`search`).

use super::stamp::Stamp;
use std::fmt;

/// A point of a run; two events never share one.
pub type Moment = u32;

/// The moment that no run reaches: the end of an operation that was never answered.
pub const NEVER: Moment = Moment::MAX;

/// A file of the history. Files are independent of each other: each is checked alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u8);

/// An operation of the history, by its place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub usize);

/// The bytes that an operation stores: those of `stamp` from `index` on.
///
/// They are its own as a rule; a write from a mapping carries those that an earlier operation stored there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data {
    /// Whose bytes.
    pub stamp: Stamp,
    /// Where in that operation's data they begin.
    pub index: u64,
}

impl Data {
    /// The whole data of a stamp.
    pub fn of(stamp: Stamp) -> Self {
        Self { stamp, index: 0 }
    }
}

/// What a client asked for. Offsets and lengths are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "offset, len, size and from are bytes, data is what is stored")]
pub enum Call {
    /// write(2) at a place.
    Write { offset: u64, len: u64, data: Data },
    /// write(2) at the end.
    Append { len: u64, data: Data },
    /// ftruncate(2), either way.
    Truncate { size: u64 },
    /// fallocate(2) without a mode; `keep_size` says what becomes of the size.
    Allocate { offset: u64, len: u64, size: Sizing },
    /// fallocate(2) that leaves zeros: a hole or zeroed blocks.
    Zero { offset: u64, len: u64, size: Sizing },
    /// A store of at most 8 aligned bytes through a shared mapping.
    Store { offset: u64, len: u64, data: Data },
    /// read(2).
    Read { offset: u64, len: u64 },
    /// A load of at most 8 aligned bytes through a mapping.
    Load { offset: u64, len: u64 },
    /// The size, by fstat(2).
    Size,
    /// lseek(2) to data at or after `from`.
    SeekData { from: u64 },
    /// lseek(2) to a hole at or after `from`.
    SeekHole { from: u64 },
    /// fsync(2), fdatasync(2), or msync(2) of everything.
    Sync,
}

/// Whether an operation may make the file longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizing {
    /// FALLOC_FL_KEEP_SIZE.
    Kept,
    /// The size becomes at least the end of the range.
    Grows,
}

/// What the client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Success without a value.
    Done,
    /// So many bytes were written, or the size, or the offset that was sought.
    Count(u64),
    /// The bytes that were read.
    Bytes(Vec<u8>),
    /// An errno; for a load or store, of the failed access.
    Failed(i32),
}

/// One operation of one client.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Who, for the words only.
    pub client: u8,
    /// On which file.
    pub file: FileId,
    /// What.
    pub call: Call,
    /// When it began.
    pub start: Moment,
    /// When it was answered; [`NEVER`] if it was not.
    pub end: Moment,
    /// The answer.
    pub outcome: Option<Outcome>,
    /// Byte counts into its data at which the server let go of it and began anew, for want of memory. What lies
    /// between two of them is a round of its own.
    pub cuts: Vec<u64>,
}

/// The operations of one run.
#[derive(Clone, Debug, Default)]
pub struct History {
    operations: Vec<Operation>,
    clock: Moment,
    stamps: u8,
}

impl History {
    /// One in which nothing has happened.
    pub fn new() -> Self {
        Self::default()
    }

    /// A stamp for the data of a new operation. `None`: the history has too many.
    pub fn stamp(&mut self) -> Option<Stamp> {
        let stamp = Stamp::new(self.stamps + 1)?;
        self.stamps += 1;
        Some(stamp)
    }

    /// A moment for an event that is recorded elsewhere.
    pub fn tick(&mut self) -> Moment {
        self.clock += 1;
        self.clock
    }

    /// An operation begins now.
    pub fn begin(&mut self, client: u8, file: FileId, call: Call) -> OperationId {
        self.clock += 1;
        let operation =
            Operation { client, file, call, start: self.clock, end: NEVER, outcome: None, cuts: Vec::new() };
        self.operations.push(operation);
        OperationId(self.operations.len() - 1)
    }

    /// The server let go of a write or append after `done` bytes; it goes on as another round.
    pub fn cut(&mut self, id: OperationId, done: u64) {
        self.operations[id.0].cuts.push(done);
    }

    /// The operation is answered now.
    pub fn end(&mut self, id: OperationId, outcome: Outcome) {
        self.clock += 1;
        let operation = &mut self.operations[id.0];
        operation.end = self.clock;
        operation.outcome = Some(outcome);
    }

    /// A whole operation with nothing beside it: a file's first contents, or its last look.
    pub fn record(&mut self, client: u8, file: FileId, call: Call, outcome: Outcome) -> OperationId {
        let id = self.begin(client, file, call);
        self.end(id, outcome);
        id
    }

    /// What a file held when everything had come to rest.
    pub fn settle(&mut self, file: FileId, bytes: Vec<u8>) -> OperationId {
        let call = Call::Read { offset: 0, len: bytes.len() as u64 + 1 };
        self.record(SETTLED, file, call, Outcome::Bytes(bytes))
    }

    /// The moment of the last event.
    pub fn now(&self) -> Moment {
        self.clock
    }

    /// All operations, in the order of their starts.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    pub(super) fn operations_mut(&mut self) -> &mut [Operation] {
        &mut self.operations
    }

    pub(super) fn retain(&mut self, keep: impl FnMut(&Operation) -> bool) {
        self.operations.retain(keep);
    }

    /// One operation.
    pub fn operation(&self, id: OperationId) -> &Operation {
        &self.operations[id.0]
    }

    /// The files that occur.
    pub fn files(&self) -> Vec<FileId> {
        let mut files: Vec<_> = self.operations.iter().map(|operation| operation.file).collect();
        files.sort_unstable();
        files.dedup();
        files
    }

    /// The operation that stored bytes of this stamp as its own.
    pub fn owner(&self, stamp: Stamp) -> Option<OperationId> {
        let owns = |operation: &Operation| operation.call.data() == Some(Data::of(stamp));
        self.operations.iter().position(owns).map(OperationId)
    }
}

/// The client of [`History::settle`].
pub const SETTLED: u8 = u8::MAX;

impl Call {
    /// What it stores, if it stores anything.
    pub fn data(&self) -> Option<Data> {
        match *self {
            Self::Write { data, .. } | Self::Append { data, .. } | Self::Store { data, .. } => Some(data),
            _ => None,
        }
    }
}

impl Operation {
    /// Whether it was answered, and not by an error.
    pub fn succeeded(&self) -> bool {
        matches!(self.outcome, Some(Outcome::Done | Outcome::Count(_) | Outcome::Bytes(_)))
    }

    /// Who did it, in words.
    pub fn actor(&self) -> String {
        if self.client == SETTLED { "the end".into() } else { format!("client {}", self.client) }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = |f: &mut fmt::Formatter<'_>, name: &str, offset: u64, len: u64| {
            write!(f, "{name} [{offset},{})", offset.saturating_add(len))
        };
        match *self {
            Self::Write { offset, len, .. } => range(f, "write", offset, len),
            Self::Append { len, .. } => write!(f, "append of {len} bytes"),
            Self::Truncate { size } => write!(f, "truncate to {size}"),
            Self::Allocate { offset, len, .. } => range(f, "fallocate", offset, len),
            Self::Zero { offset, len, .. } => range(f, "zeroing of", offset, len),
            Self::Store { offset, len, .. } => range(f, "store", offset, len),
            Self::Read { offset, len } => range(f, "read", offset, len),
            Self::Load { offset, len } => range(f, "load", offset, len),
            Self::Size => f.write_str("stat"),
            Self::SeekData { from } => write!(f, "SEEK_DATA from {from}"),
            Self::SeekHole { from } => write!(f, "SEEK_HOLE from {from}"),
            Self::Sync => f.write_str("fsync"),
        }
    }
}
