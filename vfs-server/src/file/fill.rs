//! Brings a file's contents into folios: page_in.
//!
//! Owns: finding or making the folio of a page, reading its missing blocks from where the file
//! system says they are. Does not own: how far to read ahead (`readahead`).
//!
//! Folios are added with the invalidate lock held (shared), so that truncate, which holds it
//! exclusively, never finds one behind its back. The read holds the folio lock; its completion
//! releases it.

use crate::error::{Error, Result};
use crate::fs::MappingState;
use crate::inode::Inode;
use crate::page_cache::folio::{block_bits, block_runs};
use crate::page_cache::{Folio, LockedFolio, PAGE_SHIFT};
use crate::readahead::{ReadaheadState, Window, order_at};
use crate::server::Server;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};
use pager_abi::PAGE_SIZE;
use platform::block::{Bio, BioOp, IoError, SECTOR_SIZE, Segment};
use platform::lockdep::LEAF;
use platform::sync::{WaitQueue, Word};

/// Who needs a page: they read ahead differently.
#[derive(Clone, Copy)]
pub(crate) enum Reader<'a> {
    /// A `read` through an open file, for this many pages.
    Read(&'a ReadaheadState, u64),
    /// A page fault.
    Fault(&'a ReadaheadState),
}

impl Server {
    /// The folio of `page`, of which the blocks under `page` hold the file's contents. The caller
    /// holds the invalidate lock; the folio is not locked and may be detached at any moment.
    pub(crate) fn uptodate_folio(&self, inode: &Arc<Inode>, page: u64, reader: Reader<'_>) -> Result<Arc<Folio>> {
        let mut missed = false;
        loop {
            let Some(folio) = inode.mapping.find(page) else {
                missed = true;
                self.read_window(inode, page, reader)?;
                continue;
            };
            if folio.has_page(page) {
                if missed { &self.counters.cache_misses } else { &self.counters.cache_hits }.inc();
                return Ok(folio);
            }
            missed = true;
            let locked = folio.lock();
            if !locked.is_attached() || locked.has_page(page) {
                continue;
            }
            self.start_fill(inode, locked)?;
            folio.wait_unlocked();
            if folio.read_failed() && !folio.has_page(page) {
                return Err(Error::Io(IoError::Device));
            }
        }
    }

    /// Adds and starts to read the folios of the window around a missing page.
    fn read_window(&self, inode: &Arc<Inode>, page: u64, reader: Reader<'_>) -> Result<()> {
        let end = inode.size().div_ceil(PAGE_SIZE);
        let window = match reader {
            Reader::Read(state, wanted) => state.miss(page, wanted, end),
            Reader::Fault(state) => state.fault_miss(page, end),
        };
        let window = window.around(page, self.config.readahead_pages as u64);
        // The page that somebody waits for comes first.
        let needed = self.add_and_fill(inode, page, window)?;
        let after = needed.map_or(page + 1, |folio| folio.end_index());
        self.read_ahead(
            inode,
            Window { first: after, count: (window.first + window.count).saturating_sub(after), ..window },
        );
        Ok(())
    }

    /// Starts to read what of a window is missing, as far as there is memory for it.
    pub(crate) fn read_ahead(&self, inode: &Arc<Inode>, window: Window) {
        let end = window.first + window.count;
        let mut page = window.first;
        let mut mark_at = Some(window.first + window.count / 2);
        while page < end {
            if self.page_cache.is_short() {
                return;
            }
            match inode.mapping.find(page) {
                Some(folio) => page = folio.end_index(),
                None => match self.add_and_fill(inode, page, Window { first: page, count: end - page, ..window }) {
                    Ok(Some(folio)) => {
                        page = folio.end_index();
                        if mark_at.is_some_and(|at| page > at) {
                            folio.mark_readahead();
                            mark_at = None;
                        }
                    }
                    Ok(None) => {}
                    Err(_) => return,
                },
            }
        }
    }

    /// Adds the folio of `page`, as large as the window and the memory allow, and starts to read
    /// it. `None`: somebody else was faster.
    fn add_and_fill(&self, inode: &Arc<Inode>, page: u64, window: Window) -> Result<Option<Arc<Folio>>> {
        let end = window.first + window.count;
        let largest = window.order.min(self.page_cache.max_order(&inode.mapping));
        for order in (0..=largest).rev() {
            let head = page & !((1 << order) - 1);
            if head < window.first || order_at(head, order, end) != order {
                continue;
            }
            let Some(frames) = self.page_cache.try_alloc(order) else { continue };
            match inode.mapping.add(&self.page_cache, inode, head, frames) {
                Some(locked) => {
                    let folio = locked.folio().clone();
                    self.counters.pages_read.add(folio.pages());
                    self.start_fill(inode, locked)?;
                    return Ok(Some(folio));
                }
                None if order == 0 => return Ok(None),
                None => {}
            }
        }
        Err(Error::NoFolio)
    }

    /// Starts to bring the missing blocks of a locked folio in; the lock is released when they are
    /// there or the read has failed.
    pub(crate) fn start_fill(&self, inode: &Inode, locked: LockedFolio) -> Result<()> {
        let bios = self.find_missing(inode, &locked)?;
        if bios.is_empty() {
            return Ok(());
        }
        let missing = block_bits(0..locked.blocks()) & !locked.uptodate_blocks();
        let zero_from = valid_bytes(inode, &locked);
        locked.clear_read_failed();
        let read = Arc::new(FolioRead {
            blocks: missing,
            zero_from,
            outstanding: Word::new(&LEAF, bios.len() as u32),
            failed: AtomicBool::new(false),
            folio: locked.hand_over(),
        });
        for (sector, segment) in bios {
            let read = read.clone();
            let end_io = Box::new(move |outcome: Result<(), IoError>| read.end_one(outcome));
            self.device.submit(Bio { op: BioOp::Read, sector, segments: vec![segment], end_io });
        }
        Ok(())
    }

    /// Brings the missing blocks of a locked folio in and waits for them; the folio stays locked.
    pub(crate) fn fill_locked(&self, inode: &Inode, folio: &LockedFolio) -> Result<()> {
        let bios = self.find_missing(inode, folio)?;
        let missing = block_bits(0..folio.blocks()) & !folio.uptodate_blocks();
        let wait = Arc::new(BioWait::new(bios.len() as u32));
        for (sector, segment) in bios {
            let wait = wait.clone();
            let end_io = Box::new(move |outcome: Result<(), IoError>| wait.end_one(outcome));
            self.device.submit(Bio { op: BioOp::Read, sector, segments: vec![segment], end_io });
        }
        wait.wait()?;
        zero_past_end(folio, missing, valid_bytes(inode, folio));
        folio.set_uptodate(missing);
        Ok(())
    }

    /// Zeroes the missing blocks that have no data; gives the runs that have.
    fn find_missing(&self, inode: &Inode, folio: &LockedFolio) -> Result<Vec<(u64, Segment)>> {
        let size = inode.size();
        let mut runs = Vec::new();
        for run in block_runs(block_bits(0..folio.blocks()) & !folio.uptodate_blocks()) {
            let mut at = run.start;
            while at < run.end {
                let block = folio.first_block() + u64::from(at);
                if block * folio.block_size() as u64 >= size {
                    zero_blocks(folio, at..run.end);
                    break;
                }
                let mapping = inode.operations().map_blocks(inode, block, u64::from(run.end - at))?;
                if mapping.count == 0 {
                    return Err(Error::Corrupt("a mapping of no blocks".into()));
                }
                let blocks = at..(u64::from(at) + mapping.count).min(u64::from(run.end)) as u32;
                at = blocks.end;
                match mapping.state {
                    MappingState::Hole | MappingState::Unwritten { .. } => zero_blocks(folio, blocks),
                    MappingState::Written { device_block } => runs.push(self.segment(folio, blocks, device_block)),
                    MappingState::Inline => match inode.operations().read_inline(inode) {
                        Ok(bytes) => {
                            fill_inline(folio, &bytes);
                            return Ok(Vec::new());
                        }
                        // Converted meanwhile: ask again where the block is.
                        Err(Error::Stale) => at = blocks.start,
                        Err(error) => return Err(error),
                    },
                }
            }
        }
        Ok(runs)
    }

    fn segment(&self, folio: &Folio, blocks: Range<u32>, device_block: u64) -> (u64, Segment) {
        let size = folio.block_size();
        let segment =
            Segment { frames: folio.frames().clone(), offset: blocks.start as usize * size, len: blocks.len() * size };
        (device_block * (size as u64 / SECTOR_SIZE), segment)
    }
}

/// The bytes of the folio that lie in `page`.
pub(crate) fn page_bytes(folio: &Folio, page: u64) -> Range<usize> {
    let start = ((page - folio.index()) << PAGE_SHIFT) as usize;
    start..start + PAGE_SIZE as usize
}

fn zero_blocks(folio: &LockedFolio, blocks: Range<u32>) {
    let size = folio.block_size();
    folio.frames().zero(blocks.start as usize * size..blocks.end as usize * size);
    folio.set_uptodate(block_bits(blocks));
}

/// Puts an inline file's bytes into its first folio; a later one lies past its end.
fn fill_inline(folio: &LockedFolio, bytes: &[u8]) {
    let len = if folio.index() == 0 { bytes.len().min(folio.len()) } else { 0 };
    folio.frames().copy_in(0, &bytes[..len]);
    folio.frames().zero(len..folio.len());
    folio.set_uptodate(block_bits(0..folio.blocks()));
}

/// A read of one folio in one or more operations.
struct FolioRead {
    folio: Arc<Folio>,
    blocks: u64,
    /// The end of the file: a client that maps the last page must not see what the disk has there.
    zero_from: usize,
    outstanding: Word,
    failed: AtomicBool,
}

impl FolioRead {
    fn end_one(&self, outcome: Result<(), IoError>) {
        if outcome.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        if self.outstanding.fetch_sub(1) != 1 {
            return;
        }
        if self.failed.load(Ordering::Relaxed) {
            self.folio.end_read(None);
            return;
        }
        zero_past_end(&self.folio, self.blocks, self.zero_from);
        self.folio.end_read(Some(self.blocks));
    }
}

/// Bytes of a folio that lie within the file.
fn valid_bytes(inode: &Inode, folio: &Folio) -> usize {
    inode.size().saturating_sub(folio.position()).min(folio.len() as u64) as usize
}

/// Zeroes what was read of `blocks` from byte `from` of the folio on.
fn zero_past_end(folio: &Folio, blocks: u64, from: usize) {
    for run in block_runs(blocks) {
        let size = folio.block_size();
        let bytes = run.start as usize * size..run.end as usize * size;
        if from < bytes.end {
            folio.frames().zero(from.max(bytes.start)..bytes.end);
        }
    }
}

/// Operations that one task waits for.
struct BioWait {
    outstanding: Word,
    failed: AtomicBool,
    ends: WaitQueue,
}

impl BioWait {
    fn new(operations: u32) -> Self {
        Self { outstanding: Word::new(&LEAF, operations), failed: AtomicBool::new(false), ends: WaitQueue::new() }
    }

    fn end_one(&self, outcome: Result<(), IoError>) {
        if outcome.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        if self.outstanding.fetch_sub(1) == 1 {
            self.ends.wake_all();
        }
    }

    fn wait(&self) -> Result<()> {
        self.ends.wait_until("a folio's read", || self.outstanding.load() == 0);
        if self.failed.load(Ordering::Relaxed) { Err(Error::Io(IoError::Device)) } else { Ok(()) }
    }
}
