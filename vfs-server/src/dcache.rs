//! Names that were looked up: (directory, name) to inode number.
//!
//! An entry is made under the directory's inode lock, shared, and removed under the same lock,
//! exclusive, by whoever removes or replaces the name; so what is found under the lock is true.
//! There are no negative entries.

use crate::fs::Ino;
use alloc::boxed::Box;
use core::hash::{BuildHasher, Hash, Hasher};
use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};
use platform::lockdep::LEAF;
use platform::sync::Mutex;

/// Names kept at most; then those that were not used since the last time are dropped.
const CAPACITY: usize = 16 * 1024;

struct Name {
    directory: Ino,
    name: Box<[u8]>,
    ino: Ino,
    used: bool,
}

/// The names of one mounted file system.
pub struct DentryCache {
    hasher: DefaultHashBuilder,
    names: Mutex<HashTable<Name>>,
}

impl DentryCache {
    /// Without any name.
    pub fn new() -> Self {
        Self { hasher: DefaultHashBuilder::default(), names: Mutex::new(&LEAF, HashTable::new()) }
    }

    fn hash(&self, directory: Ino, name: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        directory.hash(&mut hasher);
        name.hash(&mut hasher);
        hasher.finish()
    }

    /// The inode that the name stood for when it was last looked up.
    pub fn lookup(&self, directory: Ino, name: &[u8]) -> Option<Ino> {
        let hash = self.hash(directory, name);
        let mut names = self.names.lock();
        let found = names.find_mut(hash, |entry| entry.directory == directory && *entry.name == *name)?;
        found.used = true;
        Some(found.ino)
    }

    /// Remembers a name; replaces what it stood for.
    pub fn insert(&self, directory: Ino, name: &[u8], ino: Ino) {
        let hash = self.hash(directory, name);
        let mut names = self.names.lock();
        if names.len() >= CAPACITY {
            names.retain(|entry| core::mem::take(&mut entry.used));
            if names.len() >= CAPACITY {
                names.clear();
            }
        }
        let same = |entry: &Name| entry.directory == directory && *entry.name == *name;
        match names.entry(hash, same, |entry| self.hash(entry.directory, &entry.name)) {
            Entry::Occupied(mut entry) => entry.get_mut().ino = ino,
            Entry::Vacant(entry) => {
                entry.insert(Name { directory, name: name.into(), ino, used: false });
            }
        }
    }

    /// The name is gone.
    pub fn remove(&self, directory: Ino, name: &[u8]) {
        let hash = self.hash(directory, name);
        let mut names = self.names.lock();
        if let Ok(entry) = names.find_entry(hash, |entry| entry.directory == directory && *entry.name == *name) {
            entry.remove();
        }
    }
}

impl Default for DentryCache {
    fn default() -> Self {
        Self::new()
    }
}
