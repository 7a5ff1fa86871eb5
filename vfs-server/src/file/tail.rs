//! The page with the end of a file that is about to grow.
//!
//! Owns: that no store of a client past the old end becomes part of the file. Does not own: the size,
//! which its writer publishes while it holds what these functions lock.

use super::fill::page_bytes;
use crate::error::Result;
use crate::inode::Inode;
use crate::page_cache::{LockedFolio, PAGE_SHIFT};
use crate::server::Server;
use alloc::sync::Arc;
use core::ops::Range;
use pager_abi::PAGE_SIZE;
use platform::{Mutant, client, mutant, tell};

impl Server {
    /// If a write leaves the old tail page behind and clients map the file: that page, locked
    /// until the new size is published, so that no store to it is mistaken for one within the file.
    pub(crate) fn lock_tail_before(&self, inode: &Arc<Inode>, bytes: Range<u64>) -> Result<Option<LockedFolio>> {
        let size = inode.size();
        let tail_page = size >> PAGE_SHIFT;
        let first_page = bytes.start >> PAGE_SHIFT;
        if bytes.end <= size || size % PAGE_SIZE == 0 || first_page <= tail_page {
            return Ok(None);
        }
        let Some(folio) = self.tail_folio(inode, tail_page)? else { return Ok(None) };
        if (folio.index()..folio.end_index()).contains(&first_page) {
            // The folio that is written first is the tail's: it is protected when it is written.
            return Ok(None);
        }
        protect_tail(inode, &folio);
        Ok(Some(folio))
    }

    /// The folio of the page with the end of the file, locked. When clients map the file it is read
    /// in: a fault must not bring it behind the writer's back.
    pub(crate) fn tail_folio(&self, inode: &Arc<Inode>, page: u64) -> Result<Option<LockedFolio>> {
        loop {
            if let Some(folio) = inode.mapping.find_locked(page) {
                return Ok(Some(folio));
            }
            if inode.mapping.grants.load() == 0 {
                return Ok(None);
            }
            let folio = self.folio_to_write(inode, page, PAGE_SIZE as usize)?;
            let bytes = page_bytes(&folio, page);
            let blocks = folio.blocks_touched(bytes);
            if let Some(folio) = self.make_uptodate(inode, folio, blocks)? {
                return Ok(Some(folio));
            }
        }
    }
}

/// The file is about to grow past the end that lies in this locked folio: no client may store past
/// the old end any more, and what they have stored there is zero from now on.
pub(crate) fn protect_tail(inode: &Inode, folio: &LockedFolio) {
    let size = inode.size();
    let holds_tail = size % PAGE_SIZE != 0 && (folio.index()..folio.end_index()).contains(&(size >> PAGE_SHIFT));
    if !holds_tail || !folio.may_have_stores_past_end() || mutant(Mutant::StoresPastEndKept) {
        return;
    }
    if folio.is_mapped_writable() {
        tell!("write-protects {folio} in all clients");
        client::wrprotect(inode.mapping.cookie, folio.position(), folio.len() as u64);
        folio.clear_mapped_writable();
    }
    let start = (size - folio.position()) as usize;
    tell!("zeroes {folio} behind the old end {size}");
    folio.change(|frames| frames.zero(start..start.next_multiple_of(PAGE_SIZE as usize)));
    folio.clear_stores_past_end();
}
