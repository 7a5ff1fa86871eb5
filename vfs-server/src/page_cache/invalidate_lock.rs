//! The lock between those who add folios to a file and those who take its contents away.
//!
//! Linux's `invalidate_lock` (readers or one writer), or bcachefs's pagecache lock (two states, each
//! shared with itself): the file system chooses. Readers, faults and writers hold the *add* side,
//! truncate and its like the *block* side.

use platform::lockdep::{INVALIDATE, PAGECACHE_ADD};
use platform::sync::{ReadGuard, RwLock, TwoStateGuard, TwoStateLock, TwoStateSide, WriteGuard};

/// Which lock a file system's files have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InvalidateLockKind {
    /// Linux's: many add, one blocks.
    #[default]
    ReadWrite,
    /// bcachefs's: many add or many block. Who blocks alone holds the inode lock for that.
    TwoState,
}

/// The lock of one file.
pub enum InvalidateLock {
    /// See [`InvalidateLockKind::ReadWrite`].
    ReadWrite(RwLock<()>),
    /// See [`InvalidateLockKind::TwoState`].
    TwoState(TwoStateLock),
}

/// Folios may be added while it lives.
pub enum AddGuard<'a> {
    /// Of a [`InvalidateLock::ReadWrite`].
    ReadWrite(ReadGuard<'a, ()>),
    /// Of a [`InvalidateLock::TwoState`].
    TwoState(TwoStateGuard<'a>),
}

/// No folio is added while it lives.
pub enum BlockGuard<'a> {
    /// Of a [`InvalidateLock::ReadWrite`].
    ReadWrite(WriteGuard<'a, ()>),
    /// Of a [`InvalidateLock::TwoState`].
    TwoState(TwoStateGuard<'a>),
}

impl InvalidateLock {
    /// A free lock.
    pub fn new(kind: InvalidateLockKind) -> Self {
        match kind {
            InvalidateLockKind::ReadWrite => Self::ReadWrite(RwLock::new(&INVALIDATE, ())),
            InvalidateLockKind::TwoState => Self::TwoState(TwoStateLock::new(&PAGECACHE_ADD)),
        }
    }

    /// Its address, by which the explorer knows it.
    pub fn object(&self) -> usize {
        match self {
            Self::ReadWrite(lock) => lock.object(),
            Self::TwoState(lock) => lock.object(),
        }
    }

    /// Waits until nobody blocks.
    #[inline]
    pub fn add(&self) -> AddGuard<'_> {
        match self {
            Self::ReadWrite(lock) => AddGuard::ReadWrite(lock.read()),
            Self::TwoState(lock) => AddGuard::TwoState(lock.lock(TwoStateSide::Add, 0)),
        }
    }

    /// The add side, if nobody blocks or waits to.
    pub fn try_add(&self) -> Option<AddGuard<'_>> {
        match self {
            Self::ReadWrite(lock) => lock.try_read().map(AddGuard::ReadWrite),
            Self::TwoState(lock) => lock.try_lock(TwoStateSide::Add).map(AddGuard::TwoState),
        }
    }

    /// Waits until nobody adds.
    pub fn block(&self) -> BlockGuard<'_> {
        match self {
            Self::ReadWrite(lock) => BlockGuard::ReadWrite(lock.write()),
            Self::TwoState(lock) => BlockGuard::TwoState(lock.lock(TwoStateSide::Block, 0)),
        }
    }
}
