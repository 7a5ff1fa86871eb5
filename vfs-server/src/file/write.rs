//! The generic buffered write: the client's bytes into folios, under the inode lock.
//!
//! Owns: the loop of `write`, the extension of a file, what a short copy and a full disk mean. Does
//! not own: where the bytes go, which `write_begin` decides once and everything after it obeys, nor
//! when they reach the disk (`writeback`), nor the write path of a file system that has its own.
//!
//! | | write | read | page_mkwrite | writeback | reclaim |
//! |---|---|---|---|---|---|
//! | **overwrite** | inode lock | folio lock (fill), none (copy) | folio lock | folio lock | folio lock |
//! | **extend** | inode lock | the size is published after the bytes, under the folio lock | tail page write-protected under its lock; it re-checks the size under the lock | re-reads the size under the folio lock | folio lock |
//!
//! A write of more than [`ROUND_MAX`] is several rounds, each atomic to other writes. Bytes come by
//! COPY, which never faults: a page of the buffer that is not resident ends the round with what was
//! copied, every lock is dropped and the rest comes with the request's next round.

use super::filemap::Filemap;
use super::fill::page_bytes;
use super::iov_iter::{IovIter, Kiocb};
use crate::error::{Error, Result};
use crate::fs::{FileOperations, InlineWritten, WriteBegun, WriteTarget};
use crate::inode::Inode;
use crate::open_file::OpenFile;
use crate::page_cache::{FolioOrigin, LockedFolio, PAGE_SHIFT};
use crate::request::{Progress, buffer_error};
use crate::server::Server;
use alloc::sync::Arc;
use alloc::vec;
use core::ops::Range;
use pager_abi::PAGE_SIZE;
use platform::client::{self, Request};
use platform::host::CopyError;
use platform::lockdep::assert_none_held;

/// Most bytes of one round.
pub const ROUND_MAX: usize = 1 << 20;

/// One round of a write, under the inode lock.
struct Round {
    request: Request,
    /// Where the round's first byte is in the client's buffer.
    buffer_offset: usize,
    /// Where it goes.
    position: u64,
    len: usize,
}

/// How far a round came, and why not further.
struct Done {
    written: usize,
    error: Option<Error>,
}

impl Server {
    /// Writes `len` bytes of the client's buffer at `position` (`None`: at the end).
    pub(crate) fn write(
        &self,
        file: &OpenFile,
        request: Request,
        position: Option<u64>,
        len: usize,
        progress: &mut Progress,
    ) -> Result<usize> {
        if self.fs.read_only() {
            return Err(Error::ReadOnly);
        }
        let inode = file.inode.arc();
        if let Some(own) = inode.operations().file_operations() {
            return self.write_by_file_system(inode, own, request, position, len, progress);
        }
        let mut round_max = ROUND_MAX;
        while progress.done < len {
            self.wait_for_clean_memory();
            let lock = inode.lock.write_key(inode.ino);
            let at = match position {
                Some(position) => position.checked_add(progress.done as u64).ok_or(Error::FileTooBig)?,
                None => inode.size(),
            };
            let room = self.fs.max_file_size().saturating_sub(at).min(round_max as u64) as usize;
            if room == 0 {
                return Err(Error::FileTooBig);
            }
            let mut round =
                Round { request, buffer_offset: progress.done, position: at, len: room.min(len - progress.done) };
            let done = self.write_round(inode, &mut round);
            if round.len < room.min(len - progress.done) {
                // The disk is nearly full: page by page from here on.
                round_max = PAGE_SIZE as usize;
            }
            progress.done += done.written;
            if done.written > 0 {
                self.touch_modified(inode);
            }
            drop(lock);
            if let Some(error) = done.error {
                return Err(error);
            }
        }
        Ok(progress.done)
    }

    /// The same by the file system's own write path.
    fn write_by_file_system(
        &self,
        inode: &Arc<Inode>,
        own: &dyn FileOperations,
        request: Request,
        position: Option<u64>,
        len: usize,
        progress: &mut Progress,
    ) -> Result<usize> {
        let start = Kiocb { position: position.unwrap_or(0), append: position.is_none(), ..Kiocb::default() };
        let iocb = progress.iocb.get_or_insert(start);
        let file = Filemap::new(self, inode);
        while progress.done < len {
            self.wait_for_clean_memory();
            let room = self.fs.max_file_size().saturating_sub(if iocb.append { inode.size() } else { iocb.position });
            if room == 0 {
                return Err(Error::FileTooBig);
            }
            let count = (len - progress.done).min(room.min(usize::MAX as u64) as usize);
            let mut from = IovIter::new(request, progress.done, count);
            let written = own.write_iter(&file, iocb, &mut from);
            progress.done += written.count;
            if written.count > 0 {
                self.touch_modified(inode);
            }
            match written.error {
                Some(error) => return Err(error),
                None if written.count == 0 => return Err(Error::Corrupt("a write of nothing".into())),
                None => {}
            }
        }
        Ok(progress.done)
    }

    fn write_round(&self, inode: &Arc<Inode>, round: &mut Round) -> Done {
        loop {
            let begun = match begin(inode, round) {
                Ok(begun) => begun,
                Err(error) => return Done { written: 0, error: Some(error) },
            };
            match begun.target {
                WriteTarget::Blocks => return self.write_blocks(inode, round),
                WriteTarget::Inline => match self.write_inline(inode, round, begun) {
                    Ok(InlineWritten::Stored) => return Done { written: round.len, error: None },
                    Ok(InlineWritten::Restart) => self.counters.layout_restarts.inc(),
                    Err(error) => return Done { written: 0, error: Some(error) },
                },
            }
        }
    }

    /// Bytes of a file that lives in its inode: to the inode first, then to the folio, which stays
    /// clean.
    fn write_inline(&self, inode: &Arc<Inode>, round: &Round, begun: WriteBegun) -> Result<InlineWritten> {
        if round.len > PAGE_SIZE as usize {
            return Err(Error::Corrupt("an inline file of more than a page".into()));
        }
        let mut bytes = vec![0; round.len];
        round
            .request
            .copy_in(round.buffer_offset, &mut bytes)
            .map_err(|error| buffer_error(error, round.buffer_offset))?;
        let end = round.position + round.len as u64;
        let folio = loop {
            let folio = self.folio_to_write(inode, 0, round.len)?;
            match self.make_uptodate(inode, folio, u64::MAX)? {
                Some(folio) => break folio,
                None => continue,
            }
        };
        let new_size = inode.size().max(end);
        let outcome = inode.operations().write_end_inline(inode, round.position, &bytes, new_size, begun)?;
        if outcome == InlineWritten::Stored {
            folio.frames().copy_in(round.position as usize, &bytes);
            if end > inode.size() {
                inode.set_size(end);
            }
        }
        Ok(outcome)
    }

    fn write_blocks(&self, inode: &Arc<Inode>, round: &Round) -> Done {
        let mut written = 0;
        let mut tail = match self.lock_tail_before(inode, round.position..round.position + round.len as u64) {
            Ok(tail) => tail,
            Err(error) => return Done { written, error: Some(error) },
        };
        while written < round.len {
            let at = round.position + written as u64;
            let piece = Round {
                request: round.request,
                buffer_offset: round.buffer_offset + written,
                position: at,
                len: round.len - written,
            };
            match self.write_piece(inode, &piece) {
                Ok((count, retry)) => {
                    written += count;
                    if count > 0 {
                        // The size is published: a fault on the old tail page sees it.
                        tail = None;
                    }
                    if retry {
                        let error = Some(Error::Retry(round.buffer_offset + written));
                        return Done { written, error };
                    }
                }
                Err(error) => return Done { written, error: Some(error) },
            }
        }
        drop(tail);
        Done { written, error: None }
    }

    /// Writes the part of a round that lies in one folio; bytes written, and whether the buffer's
    /// next page was missing.
    fn write_piece(&self, inode: &Arc<Inode>, piece: &Round) -> Result<(usize, bool)> {
        let (folio, offset, count) = loop {
            let folio = self.folio_to_write(inode, piece.position >> PAGE_SHIFT, piece.len)?;
            let offset = (piece.position - folio.position()) as usize;
            let count = piece.len.min(folio.len() - offset);
            let bytes = offset..offset + count;
            // Blocks of which only a part is overwritten must have their contents first.
            let partial = folio.blocks_touched(bytes.clone()) & !folio.blocks_within(bytes);
            if let Some(folio) = self.make_uptodate(inode, folio, partial)? {
                break (folio, offset, count);
            }
        };
        if piece.position + count as u64 > inode.size() {
            protect_tail(inode, &folio);
        }
        let (mut copied, retry) =
            match folio.frames().copy_from_client(offset, count, piece.request, piece.buffer_offset) {
                Ok(()) => (count, false),
                Err(CopyError::NotResident { copied }) => (copied.min(count), true),
                Err(error) => return Err(error.into()),
            };
        // A block that is not uptodate and was not filled entirely holds nothing yet.
        let touched = folio.blocks_touched(offset..offset + copied);
        let whole = folio.blocks_within(offset..offset + copied);
        if touched & !whole & !folio.uptodate_blocks() != 0 {
            copied = ((offset + copied) & !(folio.block_size() - 1)).saturating_sub(offset);
        }
        if copied == 0 {
            return Ok((0, retry));
        }
        folio.set_uptodate(folio.blocks_within(offset..offset + copied));
        self.dirty_folio(inode, &folio, folio.blocks_touched(offset..offset + copied));
        folio.mark_referenced();
        let end = piece.position + copied as u64;
        if end > inode.size() {
            inode.set_size(end);
        }
        Ok((copied, retry))
    }

    /// The folio of `page`, locked and attached; a new one if there is none.
    pub(crate) fn folio_to_write(&self, inode: &Arc<Inode>, page: u64, len: usize) -> Result<LockedFolio> {
        self.find_or_add_folio(inode, page, len).map(|(folio, _)| folio)
    }

    /// The same, and whether it was there before; a new one is as large as `len` bytes allow.
    pub(crate) fn find_or_add_folio(
        &self,
        inode: &Arc<Inode>,
        page: u64,
        len: usize,
    ) -> Result<(LockedFolio, FolioOrigin)> {
        loop {
            if let Some(found) = inode.mapping.find_locked(page) {
                return Ok((found, FolioOrigin::Found));
            }
            let pages = (len as u64 >> PAGE_SHIFT).max(1);
            let wanted = (u64::BITS - 1 - pages.leading_zeros()).min(page.trailing_zeros()) as u8;
            for order in (0..=wanted.min(inode.mapping.max_order())).rev() {
                let Some(frames) = self.page_cache.try_alloc(order) else { continue };
                if let Some(added) = inode.mapping.add(&self.page_cache, inode, page, frames) {
                    return Ok((added, FolioOrigin::Added));
                }
            }
            if inode.mapping.find(page).is_none() {
                return Err(Error::NoFolio);
            }
        }
    }

    /// Makes sure that `blocks` of a locked folio hold their contents. `None`: they were read, and
    /// the folio must be looked up anew.
    pub(crate) fn make_uptodate(&self, inode: &Inode, folio: LockedFolio, blocks: u64) -> Result<Option<LockedFolio>> {
        let blocks = blocks & crate::page_cache::folio::block_bits(0..folio.blocks());
        if folio.uptodate_blocks() & blocks == blocks {
            return Ok(Some(folio));
        }
        let shared = folio.folio().clone();
        self.start_fill(inode, folio)?;
        shared.wait_unlocked();
        if shared.read_failed() {
            return Err(Error::Io(platform::block::IoError::Device));
        }
        Ok(None)
    }

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

    /// Dirties blocks of a locked folio, and sees to it that they are written some time.
    pub(crate) fn dirty_folio(&self, inode: &Arc<Inode>, folio: &LockedFolio, blocks: u64) {
        inode.operations().dirty_folio(inode, folio, blocks);
        if inode.mapping.set_dirty(&self.page_cache, folio, blocks) {
            self.note_dirty(inode);
        }
    }

    /// Between rounds, when far too much is dirty: waits, with no lock held.
    fn wait_for_clean_memory(&self) {
        if self.page_cache.dirty_bytes() > 2 * self.dirty_limit() {
            assert_none_held("wait for writeback");
            self.wait_for_writeback_pass();
        }
    }
}

/// Asks the file system where the round goes; a round that does not fit the disk becomes one page.
fn begin(inode: &Inode, round: &mut Round) -> Result<WriteBegun> {
    match inode.operations().write_begin(inode, round.position, round.len as u64) {
        Err(Error::NoSpace) => {
            let in_page = (PAGE_SIZE - round.position % PAGE_SIZE) as usize;
            if round.len <= in_page {
                return Err(Error::NoSpace);
            }
            round.len = in_page;
            inode.operations().write_begin(inode, round.position, round.len as u64)
        }
        begun => begun,
    }
}

/// The file is about to grow past the end that lies in this locked folio: no client may store past
/// the old end any more, and what they have stored there is zero from now on.
pub(crate) fn protect_tail(inode: &Inode, folio: &LockedFolio) {
    let size = inode.size();
    let holds_tail = size % PAGE_SIZE != 0 && (folio.index()..folio.end_index()).contains(&(size >> PAGE_SHIFT));
    if !holds_tail || !folio.may_have_stores_past_end() {
        return;
    }
    if folio.is_mapped_writable() {
        client::wrprotect(inode.mapping.cookie, folio.position(), folio.len() as u64);
        folio.clear_mapped_writable();
    }
    let start = (size - folio.position()) as usize;
    folio.frames().zero(start..start.next_multiple_of(PAGE_SIZE as usize));
    folio.clear_stores_past_end();
}
