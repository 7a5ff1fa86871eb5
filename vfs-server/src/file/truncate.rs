//! Changes of a file's size, and folios that go with its contents.
//!
//! Owns: the order in which a cut takes effect. Does not own: the blocks, which the file system frees.
//!
//! The order of a cut: inode lock, invalidate lock (no folio is added, no fault answered), the tail
//! zeroed and the size published under the tail's folio lock, ZAP, folios dropped after their
//! writeback has ended (blocks must not be freed under a write that is on its way), then the blocks.
//!
//! | | read | write | fault | writeback |
//! |---|---|---|---|---|
//! | **truncate** | re-reads the size after it has the folio | inode lock | invalidate lock, ZAP | folio lock, waits for the writeback bit |

use super::fill::Reader;
use super::tail::protect_tail;
use crate::error::{Error, Result};
use crate::fs::MappingState;
use crate::inode::Inode;
use crate::inode_cache::InodeRef;
use crate::page_cache::{Mark, PAGE_SHIFT};
use crate::readahead::ReadaheadState;
use crate::request::now;
use crate::server::Server;
use alloc::sync::Arc;
use pager_abi::PAGE_SIZE;
use platform::client::{self, ZapWhat};
use platform::{Mutant, mutant, tell};

/// Whether clients may map folios that are being dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mapped {
    /// ZAP has returned for all of them.
    NoMore,
    /// Each is zapped under its lock.
    Perhaps,
}

/// Whether the new size can be seen already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Published {
    Yes,
    No,
}

impl Server {
    /// Cuts or extends a file to `size` bytes.
    pub(crate) fn truncate(&self, inode: &InodeRef, size: u64) -> Result<()> {
        if self.fs.read_only() {
            return Err(Error::ReadOnly);
        }
        if size > self.fs.max_file_size() {
            return Err(Error::FileTooBig);
        }
        let inode = inode.arc();
        let _lock = inode.lock.write_key(inode.ino);
        if size > inode.size() { self.extend(inode, size) } else { self.cut(inode, size) }
    }

    fn extend(&self, inode: &Arc<Inode>, size: u64) -> Result<()> {
        let _invalidate = inode.mapping.invalidate_lock.block();
        let old = inode.size();
        // No fault is answered meanwhile (the invalidate lock), so nothing is stored past the old
        // end between here and the new size.
        if old % PAGE_SIZE != 0
            && let Some(tail) = inode.mapping.find_locked(old >> PAGE_SHIFT)
        {
            protect_tail(inode, &tail);
        }
        inode.operations().truncate(inode, size, now())?;
        inode.set_size(size);
        Ok(())
    }

    fn cut(&self, inode: &Arc<Inode>, size: u64) -> Result<()> {
        let _invalidate = inode.mapping.invalidate_lock.block();
        if self.cut_tail(inode, size)? == Published::No {
            inode.set_size(size);
        }
        if mutant(Mutant::ZapAfterDrop) {
            self.drop_folios(inode, size.div_ceil(PAGE_SIZE), Mapped::NoMore);
        }
        if inode.mapping.grants.load() > 0 {
            let first_gone = size.next_multiple_of(PAGE_SIZE);
            tell!("takes the pages of inode {} from {first_gone} on out of all clients", inode.ino);
            client::zap(inode.mapping.cookie, first_gone, 0, ZapWhat::SharedAndPrivate);
        }
        self.drop_folios(inode, size.div_ceil(PAGE_SIZE), Mapped::NoMore);
        inode.operations().truncate(inode, size, now())
    }

    /// Zeroes the folio that the new end lies in behind it; on the disk too, where the last block has
    /// data. The end may be a page's and still lie within a folio. The size is published in the same
    /// change of the folio, so that no read takes the zeros for the file's.
    fn cut_tail(&self, inode: &Arc<Inode>, size: u64) -> Result<Published> {
        let page = size >> PAGE_SHIFT;
        let mut has_data = last_block_has_data(inode, size)?;
        loop {
            let folio = if has_data {
                let once = ReadaheadState::new();
                self.uptodate_folio(inode, page, Reader::Read(&once, 1))?.lock()
            } else {
                match inode.mapping.find_locked(page) {
                    Some(folio) => folio,
                    None => return Ok(Published::No),
                }
            };
            if !folio.is_attached() {
                continue;
            }
            if folio.position() >= size {
                return Ok(Published::No);
            }
            wait_writeback(&folio);
            let cut = (size - folio.position()) as usize;
            if !has_data && last_block_has_data(inode, size)? {
                // It has reached the disk meanwhile, with the bytes that are cut off.
                has_data = true;
                if !folio.is_uptodate(cut - 1..cut) {
                    continue;
                }
            }
            tell!("zeroes {folio} behind {size}");
            folio.change(|frames| {
                if !mutant(Mutant::TailKeptOnCut) {
                    frames.zero(cut..folio.len());
                }
                inode.set_size(size);
            });
            let kept = folio.blocks_touched(0..cut);
            inode.mapping.cancel_dirty(&self.page_cache, &folio, !kept);
            inode.operations().invalidate_folio(inode, &folio, !kept);
            if has_data {
                let last = folio.blocks_touched(cut - 1..cut);
                self.dirty_folio(inode, &folio, last);
            }
            return Ok(Published::Yes);
        }
    }

    /// Zeroes and drops what lies past `size` in the cache, and nothing else (Linux's
    /// `truncate_pagecache`): what the disk has stays, and so does the size.
    pub(crate) fn truncate_pagecache(&self, inode: &Inode, size: u64) {
        tell!("trims the page cache of inode {} to {size}", inode.ino);
        if let Some(tail) = inode.mapping.find_locked(size >> PAGE_SHIFT)
            && tail.position() < size
        {
            tail.wait_writeback();
            let cut = (size - tail.position()) as usize;
            tell!("zeroes {tail} behind {size}");
            tail.change(|frames| frames.zero(cut..tail.len()));
            let void = !tail.blocks_touched(0..cut);
            inode.mapping.cancel_dirty(&self.page_cache, &tail, void);
            inode.operations().invalidate_folio(inode, &tail, void);
        }
        self.drop_folios(inode, size.div_ceil(PAGE_SIZE), Mapped::Perhaps);
    }

    /// Drops the folios from `page` on: their contents are void. The tail of one that begins before was
    /// zeroed by the caller.
    fn drop_folios(&self, inode: &Inode, page: u64, mapped: Mapped) {
        let mut at = page;
        while let Some(folio) = inode.mapping.next(at, Mark::Present) {
            if folio.index() < page {
                at = folio.end_index();
                continue;
            }
            let folio = folio.lock();
            if !folio.is_attached() && !mutant(Mutant::MovedFolioSkipped) {
                // Another one may have taken its place.
                continue;
            }
            at = folio.end_index();
            if folio.is_attached() {
                wait_writeback(&folio);
                if mapped == Mapped::Perhaps && folio.is_mapped() {
                    tell!("takes {folio} out of all clients");
                    client::zap(inode.mapping.cookie, folio.position(), folio.len() as u64, ZapWhat::Shared);
                }
                folio.clear_mapped();
                inode.operations().invalidate_folio(inode, &folio, u64::MAX);
                inode.mapping.detach(&self.page_cache, &folio);
            }
        }
    }

    /// Drops all folios of an inode that nobody uses any more.
    pub(crate) fn drop_all_folios(&self, inode: &Inode) {
        self.drop_folios(inode, 0, Mapped::NoMore);
    }
}

fn wait_writeback(folio: &crate::page_cache::LockedFolio) {
    if !mutant(Mutant::TruncateForgetsWriteback) {
        folio.wait_writeback();
    }
}

/// Whether a cut to `size` leaves a part of a block that has data on the disk.
fn last_block_has_data(inode: &Inode, size: u64) -> Result<bool> {
    let block_size = 1u64 << inode.mapping.block_shift();
    if size >= inode.size() || size % block_size == 0 {
        return Ok(false);
    }
    let mapping = inode.operations().map_blocks(inode, size / block_size, 1)?;
    Ok(matches!(mapping.state, MappingState::Written { .. }))
}
