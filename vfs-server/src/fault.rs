//! A page fault of a client: from the message to the answer.
//!
//! Owns: the whole way of a `RequestMmap`. Does not own: reading the page (`file::fill`), nor the
//! kernel's side, which sends the fault again when a ZAP has overtaken the answer.
//!
//! There is no inode lock on this way: a `write` holds it while its own buffer is being faulted in.
//!
//! | | fault | page_mkwrite |
//! |---|---|---|
//! | **write** | folio lock | folio lock; an extension write-protects the tail page under it |
//! | **truncate** | invalidate lock, then ZAP | invalidate lock, then ZAP |
//! | **writeback** | - | folio lock: WRPROTECT comes before the copy, a later store faults again |
//! | **reclaim** | folio lock; attached is re-checked | the folio is pinned; dirty is set under the folio lock |
//!
//! The mapped flags of a folio are set under its lock *before* the answer leaves: whoever revokes
//! afterwards finds them set and asks the kernel, which then drops the answer if it is still on its
//! way.

use crate::error::{Error, Result};
use crate::file::fill::{Reader, page_bytes};
use crate::fs::MkwriteLock;
use crate::inode::Inode;
use crate::page_cache::{AddGuard, LockedFolio, PAGE_SHIFT, PinnedFolio};
use crate::server::Server;
use alloc::sync::Arc;
use core::ops::Range;
use pager_abi::PAGE_SIZE;
use pager_abi::fault::{Access, ProvideMmap, RequestMmap};
use platform::{Mutant, mutant, tell};

impl Server {
    /// Answers a fault, or says why the access fails. [`Error::NoFolio`]: start over after a wait.
    pub(crate) fn fault(&self, fault: &RequestMmap) -> Result<ProvideMmap> {
        let inode = self.mappings.inode(fault.cookie).ok_or(Error::Stale)?;
        let _lock = mutant(Mutant::FaultTakesInodeLock).then(|| inode.lock.write_key(inode.ino));
        if fault.access == Access::Write && !fault.record.private {
            self.counters.mkwrite_faults.inc();
            self.mkwrite_fault(inode.arc(), fault)
        } else {
            self.counters.read_faults.inc();
            self.read_fault(inode.arc(), fault)
        }
    }

    /// Maps pages read-only: the first store to them must be seen.
    fn read_fault(&self, inode: &Arc<Inode>, fault: &RequestMmap) -> Result<ProvideMmap> {
        let page = fault.offset >> PAGE_SHIFT;
        let _added = add_unless_faulty(inode);
        loop {
            let size = size_with(inode, fault.offset)?;
            let folio = self.uptodate_folio(inode, page, Reader::Fault(&inode.mapping.fault_readahead))?;
            let folio = folio.lock();
            if !folio.is_attached() && !mutant(Mutant::FaultWithoutRecheck) {
                continue;
            }
            let run = run_around(&folio, page, size, fault);
            tell!("maps page {page} of inode {} read-only", inode.ino);
            folio.set_mapped(false);
            folio.mark_referenced();
            return Ok(provide(fault, &folio, run, page, false));
        }
    }

    /// Makes a page dirty and maps it writable: Linux's `page_mkwrite`.
    fn mkwrite_fault(&self, inode: &Arc<Inode>, fault: &RequestMmap) -> Result<ProvideMmap> {
        if self.fs.read_only() {
            return Err(Error::ReadOnly);
        }
        let page = fault.offset >> PAGE_SHIFT;
        let _inode_lock = match inode.operations().mkwrite_lock() {
            MkwriteLock::None => None,
            MkwriteLock::Inode => {
                // The page stays while the lock is waited for, as Linux's does.
                let pinned = {
                    let _added = add_unless_faulty(inode);
                    self.pinned_folio(inode, page)?
                };
                Some((pinned, inode.lock.write_key(inode.ino)))
            }
        };
        let _added = add_unless_faulty(inode);
        loop {
            let reserved = page_len(inode, fault.offset)?;
            let pinned = self.pinned_folio(inode, page)?;
            // May start a transaction and fail for lack of space: before any folio is locked.
            inode.operations().page_mkwrite(inode, fault.offset, reserved)?;
            let folio = pinned.lock();
            drop(pinned);
            if !folio.is_attached() && !mutant(Mutant::FaultWithoutRecheck) {
                continue;
            }
            if page_len(inode, fault.offset)? > reserved && !mutant(Mutant::MkwriteWithStaleSize) {
                // The file grew within this page: its new blocks are not allocated yet.
                continue;
            }
            let start = page_bytes(&folio, page).start;
            let bytes = start..start + reserved as usize;
            inode.operations().folio_mkwrite(inode, &folio, bytes.clone())?;
            let blocks = folio.blocks_touched(bytes);
            tell!("dirties page {page} of inode {} and maps it writable", inode.ino);
            let folio = if mutant(Mutant::MkwriteAfterUnlock) { unlock_and_lock(folio) } else { folio };
            self.dirty_folio(inode, &folio, blocks);
            folio.set_mapped(true);
            folio.mark_referenced();
            let answer = provide(fault, &folio, page..page + 1, page, true);
            drop(folio);
            self.touch_modified(inode);
            return Ok(answer);
        }
    }
}

impl Server {
    /// The uptodate folio of a page that is to be stored to. While the file system makes room for the store,
    /// reclaim leaves it alone: nobody has to read meanwhile what is just being moved about.
    fn pinned_folio(&self, inode: &Arc<Inode>, page: u64) -> Result<PinnedFolio> {
        loop {
            let folio = self.uptodate_folio(inode, page, Reader::Fault(&inode.mapping.fault_readahead))?;
            match folio.pin() {
                Some(pinned) => return Ok(pinned),
                // Whoever detaches it holds its lock until it can be found no more.
                None => folio.wait_unlocked(),
            }
        }
    }
}

fn add_unless_faulty(inode: &Inode) -> Option<AddGuard<'_>> {
    (!mutant(Mutant::FaultWithoutInvalidateLock)).then(|| inode.mapping.invalidate_lock.add())
}

fn unlock_and_lock(folio: LockedFolio) -> LockedFolio {
    let shared = folio.folio().clone();
    drop(folio);
    shared.lock()
}

/// The size of the file, which must hold the byte at `offset`.
fn size_with(inode: &Inode, offset: u64) -> Result<u64> {
    let size = inode.size();
    if offset < size { Ok(size) } else { Err(Error::PastEnd) }
}

/// Bytes of the file in the page at `offset`, at least one.
fn page_len(inode: &Inode, offset: u64) -> Result<u64> {
    Ok((size_with(inode, offset)? - offset).min(PAGE_SIZE))
}

/// The pages around the faulting one that one answer can map: of this folio, in the window that the
/// kernel gave, with contents, within the file.
fn run_around(folio: &LockedFolio, page: u64, size: u64, fault: &RequestMmap) -> Range<u64> {
    let wanted = u64::from(fault.pages_wanted);
    let uptodate = folio.uptodate_blocks();
    let has_contents = |page: u64| {
        let blocks = folio.blocks_of_page(page);
        uptodate & blocks == blocks
    };
    let last = (size - 1) >> PAGE_SHIFT;
    let mut end = page + 1;
    let end_max = folio.end_index().min(last + 1).min(page + 1 + u64::from(fault.record.after)).min(page + wanted);
    while end < end_max && has_contents(end) {
        end += 1;
    }
    let mut start = page;
    let start_min =
        folio.index().max(page.saturating_sub(u64::from(fault.record.before))).max(end.saturating_sub(wanted));
    while start > start_min && has_contents(start - 1) {
        start -= 1;
    }
    start..end
}

fn provide(fault: &RequestMmap, folio: &LockedFolio, run: Range<u64>, page: u64, writable: bool) -> ProvideMmap {
    let offset = page_bytes(folio, run.start).start;
    ProvideMmap {
        tag: fault.tag,
        address: (folio.frames().address() + offset) as u64,
        before: (page - run.start) as u16,
        count: (run.end - run.start) as u16,
        writable,
    }
}
