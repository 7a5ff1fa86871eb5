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
//! COPY, which never faults, and which is all or nothing within a page: a round within one page is
//! copied into its folio under the locks, and nothing has happened if the client's page was missing.
//! A longer round is staged in server memory first, without a lock. Only where there is no memory for
//! that is a round cut to one page.
//!
//! A staged round that finds no free folio waits for one with the inode lock held, for others must not
//! see half of it: nobody who frees a folio takes an inode lock.

use super::filemap::Filemap;
use super::iov_iter::{IovIter, Kiocb};
use super::round::{Round, Source, left_in_page};
use super::staging::Staged;
use super::tail::protect_tail;
use crate::config::CopyProtocol;
use crate::error::{Error, Result};
use crate::fs::{BytesFrom, FileOperations, InlineWritten, WriteBegun, WriteTarget};
use crate::inode::Inode;
use crate::open_file::OpenFile;
use crate::page_cache::{FolioOrigin, LockedFolio, PAGE_SHIFT};
use crate::request::{Progress, buffer_error};
use crate::server::Server;
use alloc::sync::Arc;
use pager_abi::PAGE_SIZE;
use platform::client::Request;
use platform::lockdep::assert_none_held;
use platform::tell;
use platform::thread::now_ns;
use platform::{Mutant, mutant};

/// Most bytes of one round.
pub const ROUND_MAX: usize = 1 << 20;

/// Whether a round's bytes are in the server's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Staging {
    /// They are copied under the lock.
    NotNeeded,
    /// They are.
    Done,
    /// There is none for them.
    NoMemory,
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
        while progress.done < len {
            self.wait_for_clean_memory();
            let wanted = (len - progress.done).min(ROUND_MAX);
            // Where an append goes is known under the lock only: if this was wrong, once more.
            let at = position_of(position, progress, inode)?;
            let staging = self.stage(request, at, wanted, progress)?;
            let lock = inode.lock.write_key(inode.ino);
            let at = if mutant(Mutant::AppendPlaceBeforeLock) { at } else { position_of(position, progress, inode)? };
            let (source, len) = match &progress.staged {
                Some(staged) => (Source::Staged(staged), staged.end() - progress.done),
                None if staging == Staging::NoMemory => (Source::Client(request), wanted.min(left_in_page(at))),
                None if wanted > left_in_page(at) => continue,
                None => (Source::Client(request), wanted),
            };
            let room = self.fs.max_file_size().saturating_sub(at);
            if room == 0 {
                return Err(Error::FileTooBig);
            }
            let len = len.min(usize::try_from(room).unwrap_or(usize::MAX));
            if let (Source::Client(request), CopyProtocol::Faulting) = (source, self.config.copy) {
                tell!("faults its buffer in, with the inode lock of inode {}", inode.ino);
                request.fault_in(progress.done, len).unwrap_or(Ok(()))?;
            }
            let done = self.write_round(inode, &Round { source, buffer_offset: progress.done, position: at, len });
            progress.done += done.written;
            if progress.staged.as_ref().is_some_and(|staged| !staged.holds(progress.done)) {
                progress.staged = None;
            }
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
            let count = (len - progress.done).min(usize::try_from(room).unwrap_or(usize::MAX));
            let written = match own.bytes() {
                BytesFrom::Client => {
                    own.write_iter(&file, iocb, &mut IovIter::of_client(request, progress.done, count))
                }
                BytesFrom::ServerMemory => {
                    if progress.staged.as_ref().is_none_or(|staged| !staged.covers(progress.done)) {
                        progress.staged = Staged::new(progress.done, count.min(ROUND_MAX));
                    }
                    let staged = progress.staged.as_mut().ok_or(Error::NoFolio)?;
                    staged.fill(request)?;
                    own.write_iter(&file, iocb, &mut IovIter::of_staged(staged, progress.done))
                }
            };
            progress.done += written.count;
            if progress.staged.as_ref().is_some_and(|staged| !staged.holds(progress.done)) {
                progress.staged = None;
            }
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

    /// Sees to it that the bytes of the next round, if it is more than a part of one page, are in the
    /// server's memory. Holds no lock; [`Error::Retry`] while a page of the buffer is missing.
    fn stage(&self, request: Request, at: u64, wanted: usize, progress: &mut Progress) -> Result<Staging> {
        if progress.staged.is_none() && wanted <= left_in_page(at) {
            return Ok(Staging::NotNeeded);
        }
        if progress.staged.is_none() {
            progress.staged = Staged::new(progress.done, wanted);
        }
        match &mut progress.staged {
            Some(staged) => staged.fill(request).map(|()| Staging::Done),
            None => Ok(Staging::NoMemory),
        }
    }

    /// Writes a round: in one go, or page by page where the disk is nearly full, but under one lock.
    fn write_round(&self, inode: &Arc<Inode>, round: &Round<'_>) -> Done {
        let mut written = 0;
        let mut piece_max = usize::MAX;
        let mut deadline = None;
        while written < round.len {
            let mut piece = round.rest(written);
            piece.len = piece.len.min(piece_max);
            let wanted = piece.len;
            let done = self.write_as_decided(inode, &mut piece);
            if piece.len < wanted {
                piece_max = PAGE_SIZE as usize;
            }
            written += done.written;
            match (done.error, round.source) {
                (None, _) => {}
                (Some(Error::NoFolio), Source::Staged(_)) => {
                    let deadline = *deadline.get_or_insert_with(|| self.memory_deadline());
                    if !self.wait_for_folio(deadline) {
                        return Done { written, error: Some(Error::NoMemory) };
                    }
                }
                (error, _) => return Done { written, error },
            }
        }
        Done { written, error: None }
    }

    /// When an operation that finds no folio gives up, if it begins to wait now.
    pub(crate) fn memory_deadline(&self) -> u64 {
        now_ns().saturating_add(self.config.memory_deadline_ns)
    }

    /// Waits until there may be a free folio; false: there was none until the deadline.
    pub(crate) fn wait_for_folio(&self, deadline: u64) -> bool {
        self.counters.memory_waits.inc();
        self.page_cache.wait_for_room(deadline) || now_ns() < deadline
    }

    /// Writes where `write_begin` decides that the bytes go; shortens `round` if the disk has no room
    /// for more.
    fn write_as_decided(&self, inode: &Arc<Inode>, round: &mut Round<'_>) -> Done {
        loop {
            let begun = match round.begin(inode) {
                Ok(begun) => begun,
                Err(error) => return Done { written: 0, error: Some(error) },
            };
            match begun.target {
                WriteTarget::Blocks => return self.write_blocks(inode, round, begun),
                WriteTarget::Inline => match self.write_inline(inode, round, begun) {
                    Ok(InlineWritten::Stored) => return Done { written: round.len, error: None },
                    Ok(InlineWritten::Restart) => self.counters.layout_restarts.inc(),
                    Err(error) => return Done { written: 0, error: Some(error) },
                },
            }
        }
    }

    /// Bytes for a file that lives in its inode.
    fn write_inline(&self, inode: &Arc<Inode>, round: &Round<'_>, begun: WriteBegun) -> Result<InlineWritten> {
        if round.len > PAGE_SIZE as usize {
            return Err(Error::Corrupt("an inline file of more than a page".into()));
        }
        let bytes = round.bytes(round.len)?;
        let folio = loop {
            let folio = self.folio_to_write(inode, 0, round.len)?;
            match self.make_uptodate(inode, folio, u64::MAX)? {
                Some(folio) => break folio,
                None => continue,
            }
        };
        match inode.operations().write_settle(inode, round.position, round.len as u64, begun)? {
            WriteTarget::Inline => store_inline(inode, &folio, round.position, &bytes, begun),
            WriteTarget::Blocks => {
                self.store_dirty(inode, &folio, round.position, &bytes);
                Ok(InlineWritten::Stored)
            }
        }
    }

    /// Stores bytes in a locked folio that has its contents, and dirties it.
    fn store_dirty(&self, inode: &Arc<Inode>, folio: &LockedFolio, position: u64, bytes: &[u8]) {
        let end = position + bytes.len() as u64;
        if end > inode.size() {
            protect_tail(inode, folio);
        }
        let offset = (position - folio.position()) as usize;
        folio.change(|frames| frames.copy_in(offset, bytes));
        self.dirty_folio(inode, folio, folio.blocks_touched(offset..offset + bytes.len()));
        folio.mark_referenced();
        if end > inode.size() {
            inode.set_size(end);
        }
    }

    fn write_blocks(&self, inode: &Arc<Inode>, round: &Round<'_>, begun: WriteBegun) -> Done {
        let mut written = 0;
        let mut tail = match self.lock_tail_before(inode, round.position..round.position + round.len as u64) {
            Ok(tail) => tail,
            Err(error) => return Done { written, error: Some(error) },
        };
        while written < round.len {
            match self.write_piece(inode, &round.rest(written), begun) {
                Ok(count) => {
                    written += count;
                    // The size is published: a fault on the old tail page sees it.
                    tail = None;
                }
                Err(error) => return Done { written, error: Some(error) },
            }
        }
        drop(tail);
        Done { written, error: None }
    }

    /// Writes the part of a round that lies in one folio, all of it or nothing; bytes written.
    fn write_piece(&self, inode: &Arc<Inode>, piece: &Round<'_>, begun: WriteBegun) -> Result<usize> {
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
        if inode.operations().write_settle(inode, piece.position, count as u64, begun)? == WriteTarget::Inline {
            return Ok(match store_inline(inode, &folio, piece.position, &piece.bytes(count)?, begun)? {
                InlineWritten::Stored => count,
                InlineWritten::Restart => 0,
            });
        }
        let end = piece.position + count as u64;
        if end > inode.size() {
            protect_tail(inode, &folio);
        }
        if let (Source::Client(request), true) = (piece.source, mutant(Mutant::BufferAwaitedUnderFolioLock)) {
            request.fault_in(piece.buffer_offset, count).unwrap_or(Ok(()))?;
        }
        tell!("copies [{},{end}) to {folio}", piece.position);
        let copied = folio.change(|frames| match piece.source {
            Source::Staged(staged) => {
                staged.copy_to(piece.buffer_offset, frames, offset, count);
                Ok(())
            }
            Source::Client(request) => frames
                .copy_from_client(offset, count, request, piece.buffer_offset)
                .map_err(|error| buffer_error(error, piece.buffer_offset)),
        });
        if let Err(error) = copied {
            // What `write_settle` gave blocks to may have lived elsewhere until now: it is written as it is.
            let there = folio.blocks_touched(offset..offset + count) & folio.uptodate_blocks();
            self.dirty_folio(inode, &folio, there);
            return Err(error);
        }
        folio.set_uptodate(folio.blocks_within(offset..offset + count));
        self.dirty_folio(inode, &folio, folio.blocks_touched(offset..offset + count));
        folio.mark_referenced();
        if end > inode.size() {
            inode.set_size(end);
        }
        Ok(count)
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
            for order in (0..=wanted.min(self.page_cache.max_order(&inode.mapping))).rev() {
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

/// Where the next byte of a write goes.
fn position_of(position: Option<u64>, progress: &Progress, inode: &Inode) -> Result<u64> {
    match position {
        Some(position) => position.checked_add(progress.done as u64).ok_or(Error::FileTooBig),
        None => Ok(inode.size()),
    }
}

/// Stores bytes of a file that lives in its inode: to the inode first, then to the locked folio, which
/// stays clean.
fn store_inline(
    inode: &Inode,
    folio: &LockedFolio,
    position: u64,
    bytes: &[u8],
    begun: WriteBegun,
) -> Result<InlineWritten> {
    let end = position + bytes.len() as u64;
    let new_size = inode.size().max(end);
    let outcome = inode.operations().write_end_inline(inode, position, bytes, new_size, begun)?;
    if outcome == InlineWritten::Stored {
        folio.change(|frames| frames.copy_in(position as usize, bytes));
        if end > inode.size() {
            inode.set_size(end);
        }
    }
    Ok(outcome)
}
