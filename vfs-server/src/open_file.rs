//! The open files, by the numbers that the kernel knows them by.
//!
//! Owns: the table, and what an open file remembers. Does not own: the position, which the kernel
//! keeps. Number 0 is the root directory, which is open as long as the server runs.

use crate::error::{Error, Result};
use crate::errseq::ErrSeen;
use crate::fs::Credentials;
use crate::inode_cache::InodeRef;
use crate::path::Place;
use crate::readahead::ReadaheadState;
use alloc::sync::Arc;
use alloc::vec::Vec;
use platform::lockdep::{LEAF, TABLE};
use platform::sync::{Mutex, RwLock};
use syscall::flag::{O_ACCMODE, O_RDONLY, O_RDWR, O_WRONLY};

/// A file that is open.
pub struct OpenFile {
    /// The inode.
    pub inode: InodeRef,
    /// Flags of the open call (Redox's `O_*`).
    pub flags: usize,
    /// Who opened it.
    pub who: Credentials,
    /// Errors of writing the file back that this open file was told.
    pub errors_seen: ErrSeen,
    /// Errors of the whole file system, likewise.
    pub fs_errors_seen: ErrSeen,
    pub(crate) readahead: ReadaheadState,
    /// The name by which it was opened, moved along by renames through this file.
    pub(crate) place: Mutex<Option<Place>>,
}

/// A symbolic link that was created without a target: the first write gives it one.
pub struct NewSymlink {
    /// Where it shall be.
    pub place: Place,
    /// Who makes it.
    pub who: Credentials,
}

/// What a number stands for.
pub enum Handle {
    /// A file, directory or symbolic link.
    File(OpenFile),
    /// A symbolic link that is not there yet.
    NewSymlink(NewSymlink),
}

impl OpenFile {
    /// An open file of `inode`.
    pub(crate) fn new(
        inode: InodeRef,
        flags: usize,
        who: Credentials,
        fs_errors_seen: ErrSeen,
        place: Option<Place>,
    ) -> Self {
        let errors_seen = inode.mapping.errors.sample();
        let readahead = ReadaheadState::new();
        Self { inode, flags, who, errors_seen, fs_errors_seen, readahead, place: Mutex::new(&LEAF, place) }
    }

    /// Whether it was opened to be read.
    pub fn readable(&self) -> bool {
        matches!(self.flags & O_ACCMODE, O_RDONLY | O_RDWR)
    }

    /// Whether it was opened to be written.
    pub fn writable(&self) -> bool {
        matches!(self.flags & O_ACCMODE, O_WRONLY | O_RDWR)
    }
}

impl Handle {
    /// The open file; a link without a target is none.
    pub fn file(&self) -> Result<&OpenFile> {
        match self {
            Self::File(file) => Ok(file),
            Self::NewSymlink(_) => Err(Error::BadDescriptor),
        }
    }
}

/// The open files.
pub struct OpenFiles {
    table: RwLock<Table>,
}

struct Table {
    slots: Vec<Option<Arc<Handle>>>,
    free: Vec<usize>,
}

impl OpenFiles {
    /// The table, in which number 0 is `root`.
    pub(crate) fn new(root: Handle) -> Self {
        let table = Table { slots: alloc::vec![Some(Arc::new(root))], free: Vec::new() };
        Self { table: RwLock::new(&TABLE, table) }
    }

    /// What `id` stands for.
    #[inline]
    pub(crate) fn get(&self, id: u64) -> Result<Arc<Handle>> {
        let table = self.table.read();
        table.slots.get(id as usize).and_then(|slot| slot.clone()).ok_or(Error::BadDescriptor)
    }

    /// Gives a number to an open file.
    pub(crate) fn insert(&self, handle: Handle) -> u64 {
        let handle = Arc::new(handle);
        let mut table = self.table.write();
        let id = match table.free.pop() {
            Some(id) => id,
            None => {
                table.slots.push(None);
                table.slots.len() - 1
            }
        };
        table.slots[id] = Some(handle);
        id as u64
    }

    /// Another meaning for a number that is in use.
    pub(crate) fn replace(&self, id: u64, handle: Handle) {
        let handle = Arc::new(handle);
        if let Some(slot @ Some(_)) = self.table.write().slots.get_mut(id as usize) {
            *slot = Some(handle);
        }
    }

    /// Takes the number back. The root stays.
    pub(crate) fn remove(&self, id: u64) -> Option<Arc<Handle>> {
        let mut table = self.table.write();
        let handle = if id == 0 { None } else { table.slots.get_mut(id as usize)?.take() };
        if handle.is_some() {
            table.free.push(id as usize);
        }
        handle
    }

    /// Closes everything but the root.
    pub(crate) fn remove_all(&self) -> Vec<Arc<Handle>> {
        let mut table = self.table.write();
        table.free.clear();
        table.slots.drain(1..).flatten().collect()
    }

    /// Numbers in use, the root's among them.
    pub(crate) fn len(&self) -> usize {
        let table = self.table.read();
        table.slots.len() - table.free.len()
    }
}
