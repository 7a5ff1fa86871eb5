//! The directory tree after recovery: rule 31 of `docs/semantics.md`.
//!
//! The tree must be what a prefix of some order of the namespace operations gives, an order consistent with real time,
//! and the prefix must hold every operation that was synced.

use super::super::history::{FileId, Moment, NEVER};
use super::super::{Kind, Violation};
use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// Names and what they lead to; directories are files of their own number.
pub type Tree = BTreeMap<String, FileId>;

/// A change of the tree, or a sync of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "paths are absolute; file is what the name leads to")]
pub enum NameCall {
    /// A new file or directory.
    Create { path: String, file: FileId },
    /// A name goes.
    Remove { path: String },
    /// A name moves; what was at `to` loses it.
    Rename { from: String, to: String },
    /// Another name.
    Link { file: FileId, path: String },
    /// Everything that was done to the tree before it began is durable when it has succeeded.
    SyncAll,
    /// The same for what was done to the names of one file.
    Sync(FileId),
}

#[derive(Clone, Debug)]
struct NameOperation {
    call: NameCall,
    start: Moment,
    end: Moment,
    succeeded: bool,
}

/// The namespace operations of a run; its moments are the history's.
#[derive(Clone, Debug, Default)]
pub struct NameHistory {
    initial: Tree,
    operations: Vec<NameOperation>,
}

impl NameHistory {
    /// A run that begins with this tree.
    pub fn new(initial: Tree) -> Self {
        Self { initial, operations: Vec::new() }
    }

    /// An operation began; its number.
    pub fn begin(&mut self, now: Moment, call: NameCall) -> usize {
        self.operations.push(NameOperation { call, start: now, end: NEVER, succeeded: false });
        self.operations.len() - 1
    }

    /// It was answered.
    pub fn end(&mut self, now: Moment, operation: usize, succeeded: bool) {
        self.operations[operation].end = now;
        self.operations[operation].succeeded = succeeded;
    }
}

/// Checks the recovered tree after a crash at `crash`.
pub fn check(history: &NameHistory, crash: Moment, recovered: &Tree) -> Result<(), Violation> {
    let happened = |operation: &&NameOperation| {
        operation.start <= crash && (operation.succeeded || operation.end > crash) && operation.call.changes()
    };
    let changes: Vec<_> = history.operations.iter().filter(happened).collect();
    let syncs = || history.operations.iter().filter(|sync| sync.succeeded && sync.end <= crash);
    let synced: Vec<bool> = changes
        .iter()
        .map(|change| syncs().any(|sync| change.end < sync.start && sync.covers(change, history)))
        .collect();
    let mut search = Prefixes { changes: &changes, synced: &synced, crash, recovered, reached: HashSet::new() };
    if search.explains(0, &history.initial) {
        return Ok(());
    }
    let must: Vec<_> =
        changes.iter().zip(&synced).filter(|(_, synced)| **synced).map(|(change, _)| change.call.to_string()).collect();
    let expected = if must.is_empty() {
        "the tree is that after the first few of the operations".into()
    } else {
        format!(
            "the tree is that after the first few of the operations, with those that were synced: {}",
            must.join(", ")
        )
    };
    let names: Vec<_> = recovered.iter().map(|(path, file)| format!("{path} (file {})", file.0)).collect();
    let seen = format!("it is {{{}}} after the crash", names.join(", "));
    Err(Violation { kind: Kind::WrongTree, file: FileId(0), expected, seen })
}

struct Prefixes<'a> {
    changes: &'a [&'a NameOperation],
    synced: &'a [bool],
    crash: Moment,
    recovered: &'a Tree,
    reached: HashSet<(u64, Tree)>,
}

impl Prefixes<'_> {
    /// Whether going on from `tree`, after the operations in `done`, gives the recovered tree at some point.
    fn explains(&mut self, done: u64, tree: &Tree) -> bool {
        let holds_synced = self.synced.iter().enumerate().all(|(index, synced)| !synced || done >> index & 1 == 1);
        if holds_synced && tree == self.recovered {
            return true;
        }
        if !self.reached.insert((done, tree.clone())) {
            return false;
        }
        (0..self.changes.len()).any(|index| {
            let next = self.changes[index];
            let waits = (0..self.changes.len()).any(|other| {
                let other_change = self.changes[other];
                other != index
                    && done >> other & 1 == 0
                    && other_change.end <= self.crash
                    && other_change.end < next.start
            });
            if done >> index & 1 == 1 || waits {
                return false;
            }
            let mut after = tree.clone();
            next.call.apply(&mut after);
            self.explains(done | 1 << index, &after)
        })
    }
}

impl NameOperation {
    /// Whether this sync covers a change that was complete when it began.
    fn covers(&self, change: &Self, history: &NameHistory) -> bool {
        match &self.call {
            NameCall::SyncAll => true,
            NameCall::Sync(file) => history.file_of(change) == Some(*file),
            _ => false,
        }
    }
}

impl NameHistory {
    /// Which file an operation that has succeeded was about.
    fn file_of(&self, operation: &NameOperation) -> Option<FileId> {
        let path = match &operation.call {
            NameCall::Create { file, .. } | NameCall::Link { file, .. } => return Some(*file),
            NameCall::Rename { from: path, .. } | NameCall::Remove { path } => path,
            NameCall::SyncAll | NameCall::Sync(_) => return None,
        };
        let mut tree = self.initial.clone();
        for earlier in self.operations.iter().filter(|earlier| earlier.succeeded && earlier.end < operation.start) {
            earlier.call.apply(&mut tree);
        }
        tree.get(path).copied()
    }
}

impl NameCall {
    fn changes(&self) -> bool {
        !matches!(self, Self::SyncAll | Self::Sync(_))
    }

    fn apply(&self, tree: &mut Tree) {
        match self {
            Self::Create { path, file } | Self::Link { path, file } => _ = tree.insert(path.clone(), *file),
            Self::Remove { path } => _ = tree.remove(path),
            Self::Rename { from, to } => rename(tree, from, to),
            Self::SyncAll | Self::Sync(_) => {}
        }
    }
}

/// Moves a name, and all names below it if it is a directory's.
fn rename(tree: &mut Tree, from: &str, to: &str) {
    let below = format!("{from}/");
    let moved: Vec<_> = tree.keys().filter(|path| *path == from || path.starts_with(&below)).cloned().collect();
    if moved.is_empty() || from == to {
        return;
    }
    tree.remove(to);
    for path in moved {
        if let Some(file) = tree.remove(&path) {
            tree.insert(format!("{to}{}", &path[from.len()..]), file);
        }
    }
}

impl fmt::Display for NameCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { path, .. } => write!(f, "create {path}"),
            Self::Remove { path } => write!(f, "remove {path}"),
            Self::Rename { from, to } => write!(f, "rename {from} to {to}"),
            Self::Link { file, path } => write!(f, "link file {} as {path}", file.0),
            Self::SyncAll => f.write_str("sync"),
            Self::Sync(file) => write!(f, "fsync of file {}", file.0),
        }
    }
}
