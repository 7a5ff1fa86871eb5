//! One run, told: what each task did in file-system words, which locks it held, what became of the
//! folios, and what broke.
//!
//! Pure data: a verbose replay makes it ([`super::recorder`]), the diagram and the page read it.

/// A task, as a column of the diagram: its place in [`ToldRun::lanes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(pub usize);

/// A lock: its place in [`ToldRun::locks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockId(pub usize);

/// A folio: its place in [`ToldRun::folios`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FolioId(pub usize);

/// One run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToldRun {
    /// What was run.
    pub title: Title,
    /// The tasks, in the order of their columns.
    pub lanes: Vec<Lane>,
    /// Every lock that was held or waited for, in the order of its first mention.
    pub locks: Vec<Lock>,
    /// The names of the folios whose states are told.
    pub folios: Vec<String>,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// How often a task was switched away from that could have gone on.
    pub preemptions: usize,
    /// The broken expectation, if one is.
    pub broken: Option<Broken>,
}

/// Which run it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Title {
    /// Name of the experiment.
    pub experiment: String,
    /// Name of the protocol variant.
    pub variant: String,
    /// Name of the scenario, and what happens in it.
    pub scenario: String,
    /// The command that shows this run again; empty if it is not stored.
    pub replay: String,
}

/// A task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// "client 1", "writeback".
    pub name: String,
    /// What it is for, where the name does not say it: "answers page faults".
    pub role: String,
}

/// A lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// "inode lock of /a".
    pub name: String,
    /// The name of its class: "inode lock".
    pub class: String,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The piece of execution between two switch points that it belongs to, from 1 on.
    pub step: u32,
    /// Who did it.
    pub lane: LaneId,
    /// What it was.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The task gets the processor.
    Runs(Switch),
    /// An operation begins: "write(/a, [6,10))".
    Begins(String),
    /// The innermost operation ends, with its result: "4".
    Ends(String),
    /// A step in file-system words: "trims the page cache to 6".
    Tells(String),
    /// A lock is acquired.
    Acquires(LockId),
    /// A lock is released.
    Releases(LockId),
    /// A worker begins to serve a request of that task, or ends it.
    Serves(Option<LaneId>),
    /// The task cannot go on.
    Waits {
        /// What for.
        target: Target,
        /// Who holds it, where that is known.
        holder: Option<LaneId>,
    },
    /// A choice was not the ordinary one: an injected error, a missing page, a crash.
    Chooses {
        /// Where ("allocate a block").
        site: String,
        /// Which of the alternatives; 0 would be the ordinary one.
        value: u32,
        /// How many alternatives there were.
        of: u32,
    },
    /// The clients have ended, and everything is written back, dropped and read again, undisturbed.
    Rests,
    /// A folio's state changed; `None`: it is not in the cache.
    Folio(FolioId, Option<FolioState>),
}

/// Why a task got the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// It ran before.
    Stays,
    /// The one that ran before waits, has ended, or has not been there.
    Takes,
    /// The one that ran before could have gone on.
    Preempts,
}

/// What a task waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A lock.
    Lock(LockId),
    /// An event: "writeback of inode 12".
    Event(String),
}

/// A folio in the page cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FolioState {
    /// Its bytes are the file's.
    pub uptodate: bool,
    /// It is to be written.
    pub dirty: bool,
    /// It is being written.
    pub writeback: bool,
    /// How clients reach it.
    pub mapped: Mapped,
}

/// How clients reach a folio.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mapped {
    /// No client maps it.
    #[default]
    Not,
    /// For reading.
    ReadOnly,
    /// For stores too.
    Writable,
}

/// An expectation that the run broke.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Broken {
    /// A short name that stays the same while a run is minimised: "lost-write", "deadlock".
    pub kind: String,
    /// One sentence.
    pub summary: String,
    /// What was expected, what was found, who waits for whom: a line each.
    pub details: Vec<String>,
    /// Who broke it, if it was one task.
    pub lane: Option<LaneId>,
}

impl ToldRun {
    /// The number of the last step.
    pub fn last_step(&self) -> u32 {
        self.events.last().map_or(0, |event| event.step)
    }
}

impl FolioState {
    /// The state in a few words: "uptodate, dirty, mapped rw".
    pub fn words(&self) -> String {
        let mapped = match self.mapped {
            Mapped::Not => None,
            Mapped::ReadOnly => Some("mapped ro"),
            Mapped::Writable => Some("mapped rw"),
        };
        let set = |set: bool, word| if set { Some(word) } else { None };
        let words = [
            Some(if self.uptodate { "uptodate" } else { "not uptodate" }),
            set(self.dirty, "dirty"),
            set(self.writeback, "writeback"),
            mapped,
        ];
        words.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}
