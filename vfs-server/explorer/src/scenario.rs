//! What is explored: set-up once, tasks that run against each other, and what must hold afterwards.

use platform::lockdep::LockClass;
use std::fmt;

/// Something to explore.
pub trait Scenario {
    /// As reports and schedule files call it.
    fn name(&self) -> String;

    /// What may switch, and how far a run may go.
    fn settings(&self) -> Settings;

    /// Makes the state that every run starts from. Runs once, inside the arena, on no task: it must
    /// not have to wait. Threads that it starts by `platform::thread::spawn` begin anew in each run.
    fn set_up(&self) -> Box<dyn Program>;
}

/// A scenario that was set up. Its methods run inside the arena; what they change is undone before
/// the next run.
pub trait Program {
    /// Starts the clients of a run, by [`crate::runtime::client`].
    fn start(&self);

    /// Brings everything to rest when all clients have ended: a task of its own, which no decision
    /// disturbs (nothing is preempted, no fault is injected).
    fn settle(&self) {}

    /// Says whether the run kept its promises. On no task: it must not have to wait.
    fn check(&self, end: &End) -> Result<(), Failure>;

    /// Lets the server's threads end, after a run that was checked. Our runs forget their threads; a scheduler that
    /// waits for all of them ([`crate::runtime::foreign`]) needs it.
    fn shut_down(&self) {}
}

/// How a run that is to be checked came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All clients ended, and [`Program::settle`] did.
    Quiet,
    /// Somebody called [`crate::runtime::stop`]: a crash. Tasks stand where they stood.
    Stopped(&'static str),
}

/// What may switch, and how far a run may go.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Accesses to objects of these classes are switch points; everything else runs atomically
    /// between them.
    pub switching: Vec<&'static LockClass>,
    /// Switch points that one operation may pass; more fail the scenario, because it would be too
    /// long to explore.
    pub points_per_operation: u32,
    /// Accesses of a run; more fail it as a livelock.
    pub accesses: u64,
    /// Pages of frames that the host hands out.
    pub frames: usize,
    /// Where errors are injected.
    pub faults: FaultSites,
}

/// Where errors are injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultSites {
    /// Wherever `platform::host::choose` is asked.
    All,
    /// At these sites only; elsewhere nothing happens, which is no decision.
    Only(&'static [&'static str]),
}

impl FaultSites {
    /// Whether an error may be injected there.
    pub fn contains(self, site: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(sites) => sites.contains(&site),
        }
    }
}

impl Settings {
    /// The usual bounds, with switch points at these classes.
    pub fn switching(classes: &[&'static LockClass]) -> Self {
        Self {
            switching: classes.to_vec(),
            points_per_operation: 200,
            accesses: 200_000,
            frames: 1 << 14,
            faults: FaultSites::All,
        }
    }
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// A short stable name: `lost-write`, [`Failure::DEADLOCK`]. A minimised schedule fails the same
    /// way if it fails with the same kind.
    pub kind: String,
    /// What went wrong, in a sentence.
    pub words: String,
    /// What should have been, where that can be said apart.
    pub expected: Option<String>,
    /// What was instead.
    pub seen: Option<String>,
    /// The task that failed, by its number in the run.
    pub task: Option<usize>,
}

impl Failure {
    /// Nobody can go on, and a client has not ended.
    pub const DEADLOCK: &str = "deadlock";
    /// Tasks go on for ever.
    pub const LIVELOCK: &str = "livelock";
    /// The code under test found its own state contradicted (`platform::bug`).
    pub const BUG: &str = "bug";
    /// A panic of the code under test.
    pub const PANIC: &str = "panic";
    /// The lock-order checker objected.
    pub const LOCK_ORDER: &str = "lock-order";
    /// An operation passed more switch points than the scenario allows.
    pub const BUDGET: &str = "switch-budget";

    /// A failure of this kind.
    pub fn new(kind: impl Into<String>, words: impl Into<String>) -> Self {
        Self { kind: kind.into(), words: words.into(), expected: None, seen: None, task: None }
    }

    /// With what came before it.
    pub fn after(mut self, what: &str) -> Self {
        self.words = format!("{}, after {what}", self.words);
        self
    }

    /// With the broken expectation.
    pub fn expected(mut self, expected: impl Into<String>, seen: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self.seen = Some(seen.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.words)?;
        if let (Some(expected), Some(seen)) = (&self.expected, &self.seen) {
            write!(f, " (expected {expected}, saw {seen})")?;
        }
        Ok(())
    }
}

/// What became of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It kept its promises.
    Passed,
    /// The strategy gave it up: another run stands for it.
    Pruned,
    /// It did not.
    Failed(Failure),
}
