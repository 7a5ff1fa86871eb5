//! The page cache of one file, for a file system with a write path of its own (Linux: `mm/filemap.c`).
//!
//! Owns: what such a path may do with folios, in safe Rust: lock a run of them, read one while its
//! lock is held, dirty, trim. Does not own: the protocol that makes a write of it.
//!
//! Folios of one file are locked in ascending order. Nothing here waits for memory: where no folio is
//! to be had a batch ends early, and its owner decides.

use crate::error::Result;
use crate::inode::Inode;
use crate::page_cache::{FolioBatch, FolioOrigin, LockedFolio, PAGE_SHIFT};
use crate::server::Server;
use alloc::sync::Arc;
use core::ops::Range;

/// One file's page cache.
pub struct Filemap<'a> {
    server: &'a Server,
    inode: &'a Arc<Inode>,
}

impl<'a> Filemap<'a> {
    pub(crate) fn new(server: &'a Server, inode: &'a Arc<Inode>) -> Self {
        Self { server, inode }
    }

    /// The file.
    pub fn inode(&self) -> &'a Arc<Inode> {
        self.inode
    }

    /// Locks the folios of a range of bytes, ascending, and adds those that are missing: at most
    /// `most`, and fewer if there is no memory for more.
    pub fn lock_folios(&self, bytes: Range<u64>, most: usize) -> FolioBatch {
        let mut batch = FolioBatch::default();
        let mut at = bytes.start;
        while at < bytes.end && batch.len() < most {
            let len = (bytes.end - at).min(usize::MAX as u64) as usize;
            let Ok((folio, origin)) = self.server.find_or_add_folio(self.inode, at >> PAGE_SHIFT, len) else { break };
            at = folio.position() + folio.len() as u64;
            batch.push(folio, origin);
        }
        batch
    }

    /// Reads what is missing of a locked folio, which stays locked.
    pub fn read_folio(&self, folio: &LockedFolio) -> Result<()> {
        self.server.fill_locked(self.inode, folio)
    }

    /// Blocks of a locked folio that hold new bytes are dirty from now on.
    pub fn dirty(&self, folio: &LockedFolio, blocks: u64) {
        self.server.dirty_folio(self.inode, folio, blocks);
    }

    /// For a write at `position` past the page with the end of the file: that page's folio, locked
    /// until the new size is published, so that no client's store to it is taken for one within the
    /// file. Lock it before the folios of the write.
    pub fn lock_tail_before(&self, position: u64, end: u64) -> Result<Option<LockedFolio>> {
        self.server.lock_tail_before(self.inode, position..end)
    }

    /// The file is about to grow, and its end may lie in this locked folio.
    pub fn protect_tail(&self, folio: &LockedFolio) {
        super::tail::protect_tail(self.inode, folio);
    }

    /// Takes a locked folio that was just added, and not used, out again.
    pub fn remove(&self, folio: LockedFolio, origin: FolioOrigin) {
        if origin == FolioOrigin::Added && folio.dirty_blocks() == 0 && !folio.is_mapped() {
            self.inode.operations().invalidate_folio(self.inode, &folio, u64::MAX);
            self.inode.mapping.detach(&self.server.page_cache, &folio);
        }
    }

    /// To wait for folios with, in one operation.
    pub fn patience(&self) -> Patience<'a> {
        Patience { server: self.server, deadline: None }
    }

    /// Drops what lies past `size`: the caller answers for it that nobody else's data is there.
    pub fn truncate_pagecache(&self, size: u64) {
        self.server.truncate_pagecache(self.inode, size);
    }
}

/// How long an operation that keeps its inode lock waits for folios, all its waits together.
pub struct Patience<'a> {
    server: &'a Server,
    deadline: Option<u64>,
}

impl Patience<'_> {
    /// Waits until there may be a folio, with no folio locked; false: it has taken too long.
    pub fn wait(&mut self) -> bool {
        let deadline = self.server.memory_deadline();
        let deadline = *self.deadline.get_or_insert(deadline);
        self.server.wait_for_folio(deadline)
    }
}
