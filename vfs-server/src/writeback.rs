//! Dirty folios on their way to the disk.
//!
//! Owns: which inodes are dirty, the threads that write them, the buffers they are written from, the
//! completion, the delay of writers while too much is dirty. Does not own: where blocks are, nor the
//! journal (the file system).
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

use crate::error::{Error, Result};
use crate::fs::{SyncMode, WritebackPlace};
use crate::inode::Inode;
use crate::page_cache::folio::{block_bits, block_runs};
use crate::page_cache::{Folio, LockedFolio, Mark};
use crate::request::now;
use crate::server::Server;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::{Range, RangeInclusive};
use pager_abi::PAGE_SIZE;
use pager_abi::socket::{NO_WAIT, REPLIES_MAX};
use platform::block::{Bio, BioOp, IoError, SECTOR_SIZE, Segment};
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

/// Operations that have ended and wait for a completion thread.
struct DoneQueue {
    queue: Mutex<VecDeque<Done>>,
    arrivals: WaitQueue,
}

struct Done {
    write: Write,
    outcome: Result<(), IoError>,
}

/// One operation: contiguous blocks of a file to contiguous blocks of the device.
struct Write {
    inode: Arc<Inode>,
    first: u64,
    count: u64,
    device_block: u64,
    /// The size that the file had when the bytes were taken.
    size: u64,
    bounce: Arc<Frames>,
    parts: Vec<Part>,
}

/// The blocks of one folio in an operation.
struct Part {
    end: Arc<EndWriteback>,
    blocks: u64,
}

/// Ends the writeback of a folio when the last operation with a part of it is gone.
struct EndWriteback {
    inode: Arc<Inode>,
    folio: Arc<Folio>,
}

impl Drop for EndWriteback {
    fn drop(&mut self) {
        self.inode.mapping.end_writeback(&self.folio);
    }
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

    /// The body of a completion thread.
    pub fn completion_thread(&self) {
        let done = &self.writeback.done;
        loop {
            let next = done.arrivals.wait_for("I/O to complete", || match self.next_done() {
                Some(done) => Some(Some(done)),
                None => self.completions_may_stop().then_some(None),
            });
            match next {
                Some(done) => self.complete(done),
                None => return,
            }
        }
    }

    /// Completes what has ended so far, for a host without a completion thread; operations.
    pub fn complete_pending(&self) -> usize {
        let mut count = 0;
        while let Some(done) = self.next_done() {
            self.complete(done);
            count += 1;
        }
        count
    }

    fn next_done(&self) -> Option<Done> {
        self.writeback.done.queue.lock().pop_front()
    }

    fn complete(&self, done: Done) {
        let Done { write, outcome } = done;
        let inode = &write.inode;
        let end = (write.first + write.count) << inode.mapping.block_shift();
        let start = write.first << inode.mapping.block_shift();
        tell!(
            "[{start},{end}) of inode {} {}",
            inode.ino,
            if outcome.is_ok() { "is on the disk" } else { "could not be written" }
        );
        let outcome = outcome
            .map_err(Error::from)
            .and_then(|()| inode.operations().blocks_written(inode, write.first, write.count, write.size.min(end)));
        match outcome {
            Ok(()) => self.counters.blocks_written.add(write.count),
            Err(error) => {
                log::error!("inode {}: writing back {} blocks: {error}", inode.ino, write.count);
                for part in write.parts.iter().filter(|_| !mutant(Mutant::FailedWriteLeftClean)) {
                    self.redirty(inode, &part.end.folio, part.blocks);
                }
                self.record_error(inode, &error);
            }
        }
        self.writeback.give_bounce(write.bounce);
        drop(write.parts);
        self.page_cache.kick_reclaim();
        self.release_writers(self.page_cache.dirty_bytes() > self.dirty_limit());
    }

    /// Blocks of a folio under writeback were not written: they wait for the next pass.
    fn redirty(&self, inode: &Arc<Inode>, folio: &Folio, blocks: u64) {
        inode.operations().writeback_failed(inode, folio, blocks);
        inode.mapping.redirty(&self.page_cache, folio, blocks);
        self.note_dirty(inode);
    }

    /// The answer of one who dirtied memory: at once, or when less is dirty.
    pub(crate) fn pace_writer(&self, answer: Cqe) -> Option<Cqe> {
        if self.page_cache.dirty_bytes() <= self.dirty_limit() || self.is_stopping() {
            return Some(answer);
        }
        self.counters.throttled.inc();
        self.writeback.delayed.lock().push(answer);
        self.writeback.kick();
        // Writeback may have ended in between.
        self.release_writers(self.page_cache.dirty_bytes() > self.dirty_limit());
        None
    }

    /// Lets the delayed answers go, unless there is still `too_much` dirty.
    fn release_writers(&self, too_much: bool) {
        if too_much && !self.is_stopping() {
            return;
        }
        let answers = core::mem::take(&mut *self.writeback.delayed.lock());
        for batch in answers.chunks(REPLIES_MAX) {
            let received = client::receive(NO_WAIT, batch);
            debug_assert!(received.is_none(), "a message of no queue");
        }
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

    /// Lets all delayed answers go: nothing will be written any more.
    pub(crate) fn release_all_writers(&self) {
        self.release_writers(false);
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

/// Collects copies of dirty blocks into operations.
struct Batch<'a> {
    server: &'a Server,
    inode: &'a Arc<Inode>,
    write: Option<Write>,
}

impl Batch<'_> {
    /// Adds copies of blocks of a folio; `valid` bytes of it lie within the file.
    fn add(
        &mut self,
        folio: &LockedFolio,
        end: &Arc<EndWriteback>,
        blocks: Range<u32>,
        device_block: u64,
        size: u64,
        valid: usize,
    ) {
        let block_size = folio.block_size();
        let room = ((PAGE_SIZE as usize) << self.server.config.folio_order_max) / block_size;
        let mut at = blocks.start;
        while at < blocks.end {
            let first = folio.first_block() + u64::from(at);
            let device_block = device_block + u64::from(at - blocks.start);
            let fits = self.write.as_ref().is_some_and(|write| {
                write.first + write.count == first
                    && write.device_block + write.count == device_block
                    && (write.count as usize) < room
            });
            if !fits {
                self.submit();
            }
            let write = self.write.get_or_insert_with(|| Write {
                inode: self.inode.clone(),
                first,
                count: 0,
                device_block,
                size,
                bounce: self.server.writeback.take_bounce(),
                parts: Vec::new(),
            });
            let taken = (room - write.count as usize).min((blocks.end - at) as usize);
            let to = write.count as usize * block_size;
            let from = at as usize * block_size;
            let len = taken * block_size;
            write.bounce.copy_from(to, folio.frames(), from, len);
            if valid < from + len {
                let zero = valid.max(from) - from;
                write.bounce.zero(to + zero..to + len);
            }
            write.count += taken as u64;
            write.size = write.size.max(size);
            let run = at..at + taken as u32;
            write.parts.push(Part { end: end.clone(), blocks: block_bits(run.clone()) });
            at = run.end;
        }
    }

    /// Starts the operation that was collected.
    fn submit(&mut self) {
        let Some(write) = self.write.take() else { return };
        let block_size = 1u64 << self.inode.mapping.block_shift();
        let segment = Segment { frames: write.bounce.clone(), offset: 0, len: (write.count * block_size) as usize };
        let sector = write.device_block * (block_size / SECTOR_SIZE);
        let done = self.server.writeback.done.clone();
        let end_io = Box::new(move |outcome| {
            done.queue.lock().push_back(Done { write, outcome });
            done.arrivals.wake_all();
        });
        self.server.device.submit(Bio { op: BioOp::Write, sector, segments: vec![segment], end_io });
    }
}
