//! Names that were looked up: (directory, name) -> inode number.
//!
//! Owns: the table. Does not own: the truth, which is the directory on the disk.
//!
//! Entries are looked up, made and removed under the directory's inode lock (shared to look up and
//! to make, exclusive to remove), so an entry is never older than the directory, and the inode that
//! it names cannot be freed before it is got. There are no negative entries.

use crate::fs::Ino;
use alloc::boxed::Box;
use core::hash::{Hash, Hasher};
use hashbrown::Equivalent;
use platform::HashMap;
use platform::lockdep::TABLE;
use platform::sync::Mutex;

/// The names in memory.
pub struct DentryCache {
    table: Mutex<HashMap<Key, Ino>>,
    capacity: usize,
}

#[derive(PartialEq, Eq)]
struct Key {
    directory: Ino,
    name: Box<[u8]>,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Borrowed { directory: self.directory, name: &self.name }.hash(state);
    }
}

#[derive(Hash)]
struct Borrowed<'a> {
    directory: Ino,
    name: &'a [u8],
}

impl Equivalent<Key> for Borrowed<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.directory == key.directory && self.name == &*key.name
    }
}

impl DentryCache {
    /// Room for `capacity` names.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { table: Mutex::new(&TABLE, HashMap::default()), capacity }
    }

    pub(crate) fn get(&self, directory: Ino, name: &[u8]) -> Option<Ino> {
        self.table.lock().get(&Borrowed { directory, name }).copied()
    }

    pub(crate) fn insert(&self, directory: Ino, name: &[u8], ino: Ino) {
        let mut table = self.table.lock();
        if table.len() >= self.capacity {
            // Any eighth of them: the table's order is as good as random.
            let mut left = self.capacity / 8 + 1;
            table.retain(|_, _| {
                left = left.saturating_sub(1);
                left == 0
            });
        }
        table.insert(Key { directory, name: name.into() }, ino);
    }

    pub(crate) fn remove(&self, directory: Ino, name: &[u8]) {
        self.table.lock().remove(&Borrowed { directory, name });
    }

    pub(crate) fn clear(&self) {
        self.table.lock().clear();
    }
}
