//! The generic buffered read: folio by folio, from the cache to the client's buffer.
//!
//! Owns: the loop of `read`. Does not own: bringing contents in (`fill`).
//!
//! No inode lock: the length fits a size that the file had during the call, and each 512-byte
//! granule is one that it held. No lock is held while bytes are copied, unless a writer is met in the
//! folio ([`Folio::look`]); one that is detached meanwhile keeps its bytes until the last reference goes.

use super::fill::Reader;
use crate::error::{Error, Result};
use crate::open_file::OpenFile;
use crate::page_cache::{Folio, PAGE_SHIFT};
use crate::request::Progress;
use crate::server::Server;
use alloc::sync::Arc;
use pager_abi::PAGE_SIZE;
use platform::client::Request;
use platform::host::CopyError;
use platform::tell;

impl Server {
    /// Reads `len` bytes from `position` on into the client's buffer; `progress` says what was
    /// done before and is left where the call can go on.
    pub(crate) fn read(
        &self,
        file: &OpenFile,
        request: Request,
        position: u64,
        len: usize,
        progress: &mut Progress,
    ) -> Result<usize> {
        let inode = file.inode.arc();
        while progress.done < len {
            let at = position.checked_add(progress.done as u64).ok_or(Error::Invalid("offset"))?;
            if at >= inode.size() {
                break;
            }
            let folio = self.folio_to_read(file, at >> PAGE_SHIFT, len - progress.done)?;
            let offset = (at - folio.position()) as usize;
            let valid = uptodate_from(&folio, offset).min(len - progress.done);
            // The size is looked at again, together with the contents: what truncate zeroes must not be
            // taken for the file's.
            let (size, count, copied) = folio.look(|frames| {
                let size = inode.size();
                let count = valid.min(size.saturating_sub(at).min(usize::MAX as u64) as usize);
                tell!("copies [{at},{}) from {folio}", at + count as u64);
                (size, count, frames.copy_to_client(offset, count, request, progress.done))
            });
            match copied {
                // The end was met: bytes that a write adds now came after those that were copied.
                Ok(()) if count == 0 || at + count as u64 >= size => {
                    progress.done += count;
                    break;
                }
                Ok(()) => progress.done += count,
                Err(CopyError::NotResident { copied }) => {
                    progress.done += copied.min(count);
                    return Err(Error::Retry(progress.done));
                }
                Err(error) => return Err(error.into()),
            }
            folio.mark_referenced();
        }
        Ok(progress.done)
    }

    /// The folio of `page` with its contents.
    #[inline]
    fn folio_to_read(&self, file: &OpenFile, page: u64, len: usize) -> Result<Arc<Folio>> {
        let inode = file.inode.arc();
        if let Some(folio) = inode.mapping.find(page)
            && folio.is_uptodate(super::fill::page_bytes(&folio, page))
        {
            if folio.take_readahead() {
                self.continue_readahead(file, page);
            }
            self.counters.cache_hits.inc();
            return Ok(folio);
        }
        let wanted = (len as u64).div_ceil(PAGE_SIZE);
        let _added = inode.mapping.invalidate_lock.add();
        self.uptodate_folio(inode, page, Reader::Read(&file.readahead, wanted))
    }

    #[cold]
    fn continue_readahead(&self, file: &OpenFile, page: u64) {
        let inode = file.inode.arc();
        let end = inode.size().div_ceil(PAGE_SIZE);
        if let Some(_added) = inode.mapping.invalidate_lock.try_add()
            && let Some(window) = file.readahead.hit_mark(page, end)
        {
            let window = window.around(window.first, self.config.readahead_pages as u64);
            self.read_ahead(inode, window);
        }
    }
}

/// Bytes from `offset` on that the folio holds without a gap.
fn uptodate_from(folio: &Folio, offset: usize) -> usize {
    let block = folio.block_size();
    let first = offset / block;
    let run = (folio.uptodate_blocks() >> first).trailing_ones() as usize;
    ((first + run) * block).min(folio.len()) - offset.min((first + run) * block)
}
