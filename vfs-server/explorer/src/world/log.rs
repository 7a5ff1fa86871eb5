//! The record of what clients did, as the oracle reads it, with the names of the files.

use crate::oracle::crash::{NameCall, NameHistory, Tree};
use crate::oracle::{Call, Data, FileId, History, OperationId, Outcome, Stamp};
use platform::host::{self, Access};
use platform::lockdep::LEAF;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

/// What clients did and were told.
pub struct Log {
    inner: Mutex<Inner>,
}

struct Inner {
    history: History,
    files: Vec<String>,
    /// What was done to names, once they are followed.
    names: Option<NameHistory>,
    /// Which file has which inode number, as far as names are followed.
    inodes: BTreeMap<u64, FileId>,
    /// Where files were moved or linked to.
    targets: BTreeSet<String>,
}

impl Log {
    pub(super) fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                history: History::new(),
                files: Vec::new(),
                names: None,
                inodes: BTreeMap::new(),
                targets: BTreeSet::new(),
            }),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// That one operation ended before another began is part of what is checked, so a start and an
    /// end are no independent steps.
    fn touch(&self, access: Access) {
        host::touch(&LEAF, (&raw const self.inner) as usize, access);
    }

    /// The number of the file with this path.
    pub fn file(&self, path: &str) -> FileId {
        let files = &mut self.inner().files;
        let number = files.iter().position(|known| known == path).unwrap_or_else(|| {
            files.push(path.to_string());
            files.len() - 1
        });
        FileId(number as u8)
    }

    /// The paths of all files, in the order of their numbers; a file that is moved keeps its place.
    pub fn paths(&self) -> Vec<String> {
        self.inner().files.clone()
    }

    /// Every path that a file may be found at when all has come to rest.
    pub(super) fn all_paths(&self) -> BTreeSet<String> {
        let inner = self.inner();
        inner.files.iter().chain(&inner.targets).cloned().collect()
    }

    // --- names -------------------------------------------------------------------------------------

    /// From now on it is recorded what is done to names. `found` is what has a name now, by path and inode number.
    pub(super) fn follow_names(&self, found: &[(String, u64)]) {
        let mut inner = self.inner();
        let mut tree = Tree::new();
        for (path, ino) in found {
            // What no client of the scenario has opened keeps a number of its own, from the end.
            let known = inner.files.iter().position(|known| known == path);
            let file = FileId(known.map_or_else(|| u8::MAX - inner.inodes.len() as u8, |number| number as u8));
            let file = *inner.inodes.entry(*ino).or_insert(file);
            tree.insert(path.clone(), file);
        }
        inner.names = Some(NameHistory::new(tree));
    }

    /// Whether names are followed.
    pub fn follows_names(&self) -> bool {
        self.inner().names.is_some()
    }

    /// A new file's inode number.
    pub(super) fn note_inode(&self, file: FileId, ino: u64) {
        self.inner().inodes.insert(ino, file);
    }

    /// Which file has that inode number.
    pub(super) fn file_of_inode(&self, ino: u64) -> Option<FileId> {
        self.inner().inodes.get(&ino).copied()
    }

    /// Whether the history has it: some client of the scenario has opened it.
    pub(super) fn knows(&self, file: FileId) -> bool {
        usize::from(file.0) < self.inner().files.len()
    }

    /// A change of names, or a sync of them, begins; its number, if they are followed.
    pub(super) fn begin_name(&self, call: NameCall) -> Option<usize> {
        if !self.follows_names() {
            return None;
        }
        self.touch(Access::Read);
        let mut inner = self.inner();
        if let NameCall::Rename { to: path, .. } | NameCall::Link { path, .. } = &call {
            inner.targets.insert(path.clone());
        }
        let now = inner.history.tick();
        inner.names.as_mut().map(|names| names.begin(now, call))
    }

    /// It was answered.
    pub(super) fn end_name(&self, operation: Option<usize>, succeeded: bool) {
        let Some(operation) = operation else { return };
        self.touch(Access::Write);
        let mut inner = self.inner();
        let now = inner.history.tick();
        if let Some(names) = &mut inner.names {
            names.end(now, operation, succeeded);
        }
    }

    /// Looks at what was done to names, if they are followed.
    pub(super) fn look_names<R>(&self, look: impl FnOnce(&NameHistory) -> R) -> Option<R> {
        self.inner().names.as_ref().map(look)
    }

    // --- contents ----------------------------------------------------------------------------------

    /// The bytes that a new operation stores.
    pub fn data(&self) -> Stamp {
        let stamp = self.inner().history.stamp();
        stamp.unwrap_or_else(|| panic!("a history has at most {} operations with data", Stamp::MAX))
    }

    pub(super) fn begin(&self, client: u8, file: FileId, call: Call) -> OperationId {
        self.touch(Access::Read);
        self.inner().history.begin(client, file, call)
    }

    pub(super) fn end(&self, id: OperationId, outcome: Outcome) {
        self.touch(Access::Write);
        self.inner().history.end(id, outcome);
    }

    pub(super) fn settle(&self, file: FileId, bytes: Vec<u8>) {
        self.inner().history.settle(file, bytes);
    }

    /// What stands on the disk at the end of set-up counts as synced.
    pub(super) fn note_synced(&self, file: FileId) {
        self.inner().history.record(0, file, Call::Sync, Outcome::Done);
    }

    /// Looks at the history.
    pub fn look<R>(&self, look: impl FnOnce(&History) -> R) -> R {
        look(&self.inner().history)
    }

    /// Whose bytes those of an operation are that was done before: for a write from a mapping.
    pub fn data_of(&self, id: OperationId, index: u64) -> Option<Data> {
        let data = self.inner().history.operation(id).call.data()?;
        Some(Data { stamp: data.stamp, index: data.index + index })
    }
}
