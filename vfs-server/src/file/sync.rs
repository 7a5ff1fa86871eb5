//! fsync and its relatives: everything that was written before is on the disk on return.
//!
//! Owns: the order (data, then a cut that makes data void meanwhile, then the metadata) and which open file is told of an error.
//! Does not own: the writing (`writeback`), the journal (the file system).

use crate::error::Result;
use crate::fs::{FileKind, SyncMode};
use crate::inode::Inode;
use crate::open_file::OpenFile;
use crate::page_cache::PAGE_SHIFT;
use crate::server::Server;
use alloc::sync::Arc;
use core::ops::RangeInclusive;
use pager_abi::PAGE_SIZE;
use platform::{Mutant, mutant};

/// What must be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Data and all metadata.
    Everything,
    /// Data and the metadata to reach it.
    Data,
}

impl Server {
    /// fsync and fdatasync.
    pub(crate) fn fsync(&self, file: &OpenFile, what: What) -> Result<()> {
        self.sync_range(file, 0..=u64::MAX, what)
    }

    /// msync: the pages of `len` bytes from `first` on; 0: to the end.
    pub(crate) fn msync(&self, file: &OpenFile, first: u64, len: u64) -> Result<()> {
        let last = match len {
            0 => u64::MAX,
            len => first.saturating_add(len - 1) >> PAGE_SHIFT,
        };
        self.sync_range(file, first / PAGE_SIZE..=last, What::Data)
    }

    fn sync_range(&self, file: &OpenFile, pages: RangeInclusive<u64>, what: What) -> Result<()> {
        let inode = &file.inode;
        if !self.fs.read_only() {
            if mutant(Mutant::ErrorSampledLate) {
                file.errors_seen.sample_again(&inode.mapping.errors);
            }
            if inode.kind == FileKind::Regular {
                self.write_and_wait(inode.arc(), pages);
                self.wait_for_cut(inode);
            }
            if !mutant(Mutant::FsyncSkipsCommit) {
                inode.operations().fsync(inode, what == What::Data)?;
            }
        }
        inode.mapping.errors.check_and_advance(&file.errors_seen)
    }

    /// Writes dirty folios back and waits for them, and for those that were on their way; errors
    /// are recorded in the mapping.
    pub(crate) fn write_and_wait(&self, inode: &Arc<Inode>, pages: RangeInclusive<u64>) {
        self.write_pages(inode, pages.clone());
        if !mutant(Mutant::FsyncSkipsWriteback) {
            self.wait_for_pages(inode, pages);
        }
    }

    /// A cut that has published its size has made dirty folios void which no writeback brought to the
    /// disk: they are gone for good only when the file system knows of the cut, too.
    fn wait_for_cut(&self, inode: &Inode) {
        if !mutant(Mutant::FsyncOvertakesCut) {
            drop(inode.lock.read_key(inode.ino));
        }
    }

    /// syncfs: all files, all metadata.
    pub(crate) fn syncfs(&self, file: &OpenFile) -> Result<()> {
        if !self.fs.read_only() {
            self.write_all_inodes();
            self.fs.sync(SyncMode::Wait)?;
        }
        self.errors.check_and_advance(&file.fs_errors_seen)
    }

    /// Writes back all data and all inodes, and waits for the data.
    pub(crate) fn write_all_inodes(&self) {
        let inodes = self.inodes.all();
        for inode in &inodes {
            self.write_pages(inode.arc(), 0..=u64::MAX);
        }
        for inode in &inodes {
            self.wait_for_pages(inode.arc(), 0..=u64::MAX);
            self.wait_for_cut(inode);
            self.write_inode_if_dirty(inode.arc());
        }
    }
}
