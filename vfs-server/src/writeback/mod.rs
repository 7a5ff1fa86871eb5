//! Dirty folios on their way to the disk.
//!
//! Owns: which inodes are dirty, the threads that write them, the buffers they are written from; in its
//! modules the operations (`batch`), their end (`completion`), the delay of writers while too much is
//! dirty (`pace`). Does not own: where blocks are, nor the journal (the file system).
//!
//! What is written is a copy: under the folio lock the folio is write-protected, its dirty blocks
//! are taken and copied to a bounce buffer (zeros past the end of the file), the writeback bit is
//! set. Clients and writers go on at once. The copy is written; then the file system is told (it
//! converts unwritten blocks and lets the size on the disk grow), and only then the writeback bit is
//! cleared. A write that failed dirties its blocks again and leaves an error for every open file.
//!
//! Writeback takes neither the inode lock nor the invalidate lock, and its completion takes no folio
//! lock: truncate and eviction wait for the writeback bit under theirs.
//!
//! | | write | page_mkwrite | truncate | writeback | completion |
//! |---|---|---|---|---|---|
//! | **writeback** | folio lock | WRPROTECT under the folio lock | size re-read under the folio lock | folio lock, waits for the bit without it | - |
//! | **completion** | atomic dirty bits | atomic dirty bits | waits for the bit | waits for the bit | one task ends one operation |

mod batch;
mod completion;
mod pace;

use crate::error::{Error, Result};
use crate::fs::{SyncMode, WritebackPlace};
use crate::inode::Inode;
use crate::page_cache::folio::{block_bits, block_runs};
use crate::page_cache::{Folio, LockedFolio, Mark};
use crate::request::now;
use crate::server::Server;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use batch::{Batch, EndWriteback};
use completion::DoneQueue;
use core::ops::{Range, RangeInclusive};
use pager_abi::PAGE_SIZE;
use platform::client;
use platform::frame::Frames;
use platform::lockdep::{INNERMOST, LEAF, TABLE};
use platform::sync::{Mutex, WaitQueue, Word};
use platform::tell;
use platform::thread::now_ns;
use platform::{Mutant, mutant};
use syscall::schemev2::Cqe;

/// In `Inode::dirty_state`: it is in the list.
const LISTED: u32 = 1 << 0;
/// Its attributes changed in memory only.
const ATTRIBUTES: u32 = 1 << 1;

/// What writeback remembers.
pub struct Writeback {
    dirty: Mutex<VecDeque<Arc<Inode>>>,
    /// Somebody wants a pass now.
    kicked: Word,
    kicks: WaitQueue,
    /// Passes that have ended, and who waits for one.
    passes: Word,
    pass_ends: WaitQueue,
    bounce: Mutex<Vec<Arc<Frames>>>,
    bounce_back: WaitQueue,
    done: Arc<DoneQueue>,
    delayed: Mutex<Vec<Cqe>>,
}

impl Writeback {
    /// Reserves `bounce_buffers` buffers of `1 << order` pages.
    pub(crate) fn new(bounce_buffers: usize, order: u8) -> Result<Self> {
        let bounce = (0..bounce_buffers)
            .map(|_| Frames::alloc(order).map(Arc::new).ok_or(Error::NoMemory))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            dirty: Mutex::new(&TABLE, VecDeque::new()),
            kicked: Word::new(&LEAF, 0),
            kicks: WaitQueue::new(),
            passes: Word::new(&LEAF, 0),
            pass_ends: WaitQueue::new(),
            bounce: Mutex::new(&INNERMOST, bounce),
            bounce_back: WaitQueue::new(),
            done: Arc::new(DoneQueue { queue: Mutex::new(&INNERMOST, VecDeque::new()), arrivals: WaitQueue::new() }),
            delayed: Mutex::new(&LEAF, Vec::new()),
        })
    }

    /// Asks for a pass.
    pub(crate) fn kick(&self) {
        if self.kicked.fetch_or(1) == 0 {
            self.kicks.wake_all();
        }
    }

    /// Wakes all threads, which then see that they shall stop.
    pub(crate) fn wake_all(&self) {
        self.kicks.wake_all();
        self.done.arrivals.wake_all();
    }

    fn take_bounce(&self) -> Arc<Frames> {
        self.bounce_back.wait_for("a bounce buffer", || self.bounce.lock().pop())
    }

    fn give_bounce(&self, bounce: Arc<Frames>) {
        self.bounce.lock().push(bounce);
        self.bounce_back.wake_all();
    }
}

impl Server {
    /// Bytes of dirty data above which writers are delayed.
    pub(crate) fn dirty_limit(&self) -> usize {
        self.config.dirty_limit_pages * PAGE_SIZE as usize
    }

    /// The inode has something to be written: it is listed until that was looked at.
    pub(crate) fn note_dirty(&self, inode: &Arc<Inode>) {
        if inode.dirty_state.fetch_or(LISTED) & LISTED == 0 {
            self.writeback.dirty.lock().push_back(inode.clone());
        }
        if self.page_cache.dirty_bytes() > self.dirty_limit() / 2 {
            self.writeback.kick();
        }
    }

    /// The contents of a file changed: its times follow.
    pub(crate) fn touch_modified(&self, inode: &Arc<Inode>) {
        let now = now();
        inode.update_attributes(|attributes| {
            attributes.mtime = now;
            attributes.ctime = now;
        });
        if inode.dirty_state.fetch_or(ATTRIBUTES) & LISTED == 0 {
            self.note_dirty(inode);
        }
    }

    /// The body of a writeback thread.
    pub(crate) fn writeback_thread(&self) {
        loop {
            let deadline = now_ns().saturating_add(self.config.writeback_interval_ns);
            self.writeback.kicks.wait_for_until("something to write back", deadline, || {
                (self.is_stopping() || self.writeback.kicked.load() != 0).then_some(())
            });
            if self.is_stopping() {
                return;
            }
            self.writeback.kicked.store(0);
            self.write_back_pass();
        }
    }

    /// Starts to write all that is dirty: one turn of a writeback thread.
    pub fn write_back_pass(&self) {
        let count = self.writeback.dirty.lock().len();
        for _ in 0..count {
            let Some(inode) = self.writeback.dirty.lock().pop_front() else { break };
            inode.dirty_state.fetch_and(!LISTED);
            // One that is being evicted takes its dirty folios along.
            let Some(inode) = self.inodes.grab(&inode) else { continue };
            self.write_pages(inode.arc(), 0..=u64::MAX);
            self.write_inode_if_dirty(inode.arc());
        }
        if count > 0
            && let Err(error) = self.fs.sync(SyncMode::Start)
        {
            log::error!("writeback: {error}");
            self.errors.set(&error);
        }
        self.writeback.passes.fetch_add(1);
        self.writeback.pass_ends.wake_all();
        self.page_cache.kick_reclaim();
        self.release_writers(self.page_cache.dirty_bytes() > 0);
        self.reap_inodes();
    }

    /// Brings attributes that changed in memory to the file system.
    pub(crate) fn write_inode_if_dirty(&self, inode: &Arc<Inode>) {
        if inode.dirty_state.fetch_and(!ATTRIBUTES) & ATTRIBUTES == 0 {
            return;
        }
        if let Err(error) = inode.operations().write_inode(inode) {
            log::error!("inode {}: {error}", inode.ino);
            self.record_error(inode, &error);
        }
    }

    fn record_error(&self, inode: &Inode, error: &Error) {
        self.counters.write_errors.inc();
        inode.mapping.errors.set(error);
        self.errors.set(error);
    }

    /// Starts to write the dirty folios of a range of pages.
    pub(crate) fn write_pages(&self, inode: &Arc<Inode>, pages: RangeInclusive<u64>) {
        let mut batch = Batch { server: self, inode, write: None };
        let mut page = *pages.start();
        while let Some(folio) = inode.mapping.next(page, Mark::Dirty) {
            if folio.index() > *pages.end() {
                break;
            }
            // Nobody waits with copies in hand that nobody has begun to write: whoever holds the
            // lock may wait for the end of their writeback, or for a bounce buffer.
            let stale_size = mutant(Mutant::WritebackWithStaleSize).then(|| inode.size());
            let locked = folio.try_lock().unwrap_or_else(|| {
                batch.submit();
                folio.lock()
            });
            if !locked.is_attached() && !mutant(Mutant::MovedFolioSkipped) {
                // It was moved or cut off: what has its place now is as dirty.
                continue;
            }
            if locked.is_attached() && locked.is_under_writeback() {
                drop(locked);
                batch.submit();
                folio.wait_writeback();
                continue;
            }
            page = folio.end_index();
            if locked.is_attached() && locked.dirty_blocks() != 0 {
                self.write_folio(inode, locked, &mut batch, stale_size);
            }
        }
        batch.submit();
    }

    /// Waits until what is under writeback now in a range of pages is written.
    pub(crate) fn wait_for_pages(&self, inode: &Inode, pages: RangeInclusive<u64>) {
        let mut page = *pages.start();
        while let Some(folio) = inode.mapping.next(page, Mark::Writeback) {
            if folio.index() > *pages.end() {
                break;
            }
            page = folio.end_index();
            folio.wait_writeback();
        }
    }

    /// Takes the dirty blocks of a locked folio and puts copies of them into the batch.
    fn write_folio(&self, inode: &Arc<Inode>, folio: LockedFolio, batch: &mut Batch<'_>, stale_size: Option<u64>) {
        // The size is stable as far as this folio is concerned: extensions that touch it and cuts
        // publish it under the folio lock.
        let size = stale_size.unwrap_or_else(|| inode.size());
        tell!("writes back {folio} of a file of {size} bytes");
        let valid = size.saturating_sub(folio.position()).min(folio.len() as u64) as usize;
        let void = folio.dirty_blocks() & !folio.blocks_touched(0..valid);
        if void != 0 {
            inode.mapping.cancel_dirty(&self.page_cache, &folio, void);
            inode.operations().invalidate_folio(inode, &folio, void);
        }
        if folio.dirty_blocks() == 0 {
            return;
        }
        if folio.is_mapped_writable() && !mutant(Mutant::NoWrprotectBeforeCopy) {
            tell!("write-protects {folio} in all clients");
            client::wrprotect(inode.mapping.cookie, folio.position(), folio.len() as u64);
            folio.clear_mapped_writable();
        }
        let blocks = inode.mapping.begin_writeback(&self.page_cache, &folio);
        let end = Arc::new(EndWriteback { inode: inode.clone(), folio: folio.folio().clone() });
        for run in block_runs(blocks) {
            let mut at = run.start;
            while at < run.end {
                let placed = place(inode, &folio, at..run.end);
                match placed {
                    Ok((blocks, device_block)) => {
                        at = blocks.end;
                        if let Some(device_block) = device_block {
                            batch.add(&folio, &end, blocks, device_block, size, valid);
                        }
                    }
                    Err(error) => {
                        log::error!("inode {}: no place for dirty blocks: {error}", inode.ino);
                        self.record_error(inode, &error);
                        // What failed for a reason that may pass is tried again later.
                        if !matches!(error, Error::Corrupt(_)) {
                            self.redirty(inode, &folio, block_bits(at..run.end));
                        }
                        break;
                    }
                }
            }
        }
        if mutant(Mutant::DirtyClearedLate) {
            let shared = folio.folio().clone();
            drop(folio);
            inode.mapping.cancel_dirty(&self.page_cache, &shared.lock(), blocks);
        }
    }

    /// Blocks of a folio under writeback were not written: they wait for the next pass.
    fn redirty(&self, inode: &Arc<Inode>, folio: &Folio, blocks: u64) {
        inode.operations().writeback_failed(inode, folio, blocks);
        inode.mapping.redirty(&self.page_cache, folio, blocks);
        self.note_dirty(inode);
    }

    /// Waits, without a lock, for writeback to go over everything once.
    pub(crate) fn wait_for_writeback_pass(&self) {
        let before = self.writeback.passes.load();
        self.writeback.kick();
        let deadline = now_ns().saturating_add(self.config.memory_deadline_ns);
        self.writeback.pass_ends.wait_for_until("a writeback pass", deadline, || {
            (self.writeback.passes.load() != before || self.is_stopping()).then_some(())
        });
    }
}

/// How much of a run of blocks of a folio goes to one place, and where that is (`None`: nowhere).
fn place(inode: &Inode, folio: &LockedFolio, blocks: Range<u32>) -> Result<(Range<u32>, Option<u64>)> {
    let (device_block, count) = match inode.operations().writeback_begin(inode, folio, blocks.clone())? {
        WritebackPlace::Device { device_block, count } => (Some(device_block), count),
        WritebackPlace::Nothing { count } => (None, count),
    };
    if count == 0 {
        return Err(Error::Corrupt("a place for no blocks".into()));
    }
    let end = (u64::from(blocks.start) + count).min(u64::from(blocks.end)) as u32;
    Ok((blocks.start..end, device_block))
}
