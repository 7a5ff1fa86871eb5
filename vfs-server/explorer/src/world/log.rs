//! The record of what clients did, as the oracle reads it, with the names of the files.

use crate::oracle::{Call, Data, FileId, History, OperationId, Outcome, Stamp};
use platform::host::{self, Access};
use platform::lockdep::LEAF;
use std::sync::{Mutex, MutexGuard};

/// What clients did and were told.
pub struct Log {
    inner: Mutex<Inner>,
}

struct Inner {
    history: History,
    files: Vec<String>,
}

impl Log {
    pub(super) fn new() -> Self {
        Self { inner: Mutex::new(Inner { history: History::new(), files: Vec::new() }) }
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

    /// The paths of all files, in the order of their numbers.
    pub fn paths(&self) -> Vec<String> {
        self.inner().files.clone()
    }

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
