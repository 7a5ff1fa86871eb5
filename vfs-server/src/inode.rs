//! The inode: attributes, size and the locks of a file.
//!
//! Owns: what every file system's inodes have in common. Does not own: the folios (its
//! [`AddressSpace`]), the table of inodes in use (`inode_cache`), nor the file system's own part,
//! which is behind [`InodeOperations`].

use crate::fs::{Attributes, FileKind, Ino, InodeOperations, NewInode};
use crate::inode_cache::Orphans;
use crate::page_cache::{AddressSpace, InvalidateLockKind, PAGE_SHIFT};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::any::Any;
use pager_abi::Cookie;
use platform::lockdep::{DIRECTORY, INODE, LEAF, TABLE};
use platform::sync::{Long, Mutex, RwLock, Word};
use platform::{Mutant, mutant, name_object, tell};

/// A file of a mounted file system, while somebody uses it.
pub struct Inode {
    /// Its number.
    pub ino: Ino,
    /// Distinguishes two files that had the same number.
    pub generation: u32,
    /// Its kind; never changes.
    pub kind: FileKind,
    /// The inode lock (`i_rwsem`).
    pub lock: RwLock<()>,
    /// Its folios.
    pub mapping: AddressSpace,
    /// References of `inode_cache::InodeRef`; at none the inode may be evicted.
    pub(crate) users: Word,
    /// What `writeback` has to do for it: the `INODE_*` bits.
    pub(crate) dirty_state: Word,
    /// Where it is noted when its last user leaves.
    pub(crate) orphans: Option<Arc<Orphans>>,
    attributes: Mutex<Attributes>,
    size: Long,
    operations: Box<dyn InodeOperations>,
}

impl Inode {
    /// An inode as the file system gave it, outside of any inode cache.
    pub fn new(new: NewInode) -> Self {
        Self::with_mapping(new, AddressSpace::new(Cookie(0), PAGE_SHIFT as u8, InvalidateLockKind::default()))
    }

    /// An inode as the file system gave it.
    pub(crate) fn with_mapping(new: NewInode, mapping: AddressSpace) -> Self {
        let class = if new.kind == FileKind::Directory { &DIRECTORY } else { &INODE };
        Self {
            ino: new.ino,
            generation: new.generation,
            kind: new.kind,
            lock: RwLock::new(class, ()),
            mapping,
            users: Word::new(&TABLE, 0),
            dirty_state: Word::new(&TABLE, 0),
            orphans: None,
            attributes: Mutex::new(&LEAF, new.attributes),
            size: Long::new(class, new.size),
            operations: new.operations,
        }
    }

    /// Names its locks for the explorer, now that it lies where it will stay.
    pub(crate) fn name_locks(&self) {
        name_object!(self.lock.object(), "inode lock of inode {}", self.ino);
        name_object!(self.mapping.invalidate_lock.object(), "invalidate lock of inode {}", self.ino);
    }

    /// The file system's part.
    pub fn operations(&self) -> &dyn InodeOperations {
        &*self.operations
    }

    /// The file system's own type of this inode's part, if it is `T`.
    pub fn private<T: 'static>(&self) -> Option<&T> {
        let operations: &dyn Any = &*self.operations;
        operations.downcast_ref()
    }

    /// Bytes of the file as clients see it (`i_size`). Who extends it holds the inode lock and the
    /// folio lock of the last folio; a look without them may be stale at once.
    pub fn size(&self) -> u64 {
        self.size.load()
    }

    /// How much of `size`, which a write to the disk knew when its bytes were taken, its end may publish there: the
    /// file may have been cut since.
    pub fn size_to_publish(&self, size: u64) -> u64 {
        if mutant(Mutant::LateSizePublished) { size } else { size.min(self.size()) }
    }

    /// Sets the size; see [`Inode::size`] for who may.
    pub fn set_size(&self, size: u64) {
        tell!("sets i_size of inode {} to {size}", self.ino);
        self.size.store(size);
    }

    /// A copy of the attributes.
    pub fn attributes(&self) -> Attributes {
        *self.attributes.lock()
    }

    /// Changes the attributes in memory; the file system's `write_inode` brings them to the disk.
    pub fn update_attributes<R>(&self, change: impl FnOnce(&mut Attributes) -> R) -> R {
        change(&mut self.attributes.lock())
    }
}
