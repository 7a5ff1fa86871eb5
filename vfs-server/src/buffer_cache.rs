//! Metadata blocks of a disk, in private memory: Linux's buffer heads for metadata.
//!
//! Owns: reading a block once, keeping it while it is in use or dirty, writing it back. Does not
//! own: what is in it (the file system), nor file data (the page cache).
//!
//! A buffer's bytes are only reached under its lock, by [`Buffer::read`] and [`Buffer::modify`];
//! what must change together in one block changes in one `modify`. Checksums are the file system's.
//!
//! | | read | modify | write back | drop |
//! |---|---|---|---|---|
//! | **read** | buffer lock | buffer lock | buffer lock, copies | in use: kept |
//! | **modify** | | buffer lock | copies under the lock, dirty again after it | dirty: kept |
//! | **forget** | | the owner's | waits for the write under way | the owner's |

use crate::error::Result;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use pager_abi::PAGE_SIZE;
use platform::HashMap;
use platform::block::{self, Bio, BioOp, BlockDevice, Completion, IoError, SECTOR_SIZE, Segment};
use platform::frame::Frames;
use platform::lockdep::{BUFFER, BUFFER_CACHE, BUFFER_RESERVE, BUFFER_WRITE, BUFFER_WRITE_BACK, LEAF};
use platform::sync::{Mutex, Word};

/// A metadata block in memory.
pub struct Buffer {
    block: u64,
    bytes: Mutex<Option<Vec<u8>>>,
    /// 1: its bytes are to be written.
    dirty: Word,
    used: AtomicU64,
    /// What the bytes were found to be by [`BufferCache::get_checked`]; 0: nobody looked yet.
    checked_as: AtomicU64,
    /// Held while the disk writes the block.
    writing: Mutex<()>,
    to_write: Arc<ToWrite>,
}

/// Numbers of the blocks that became dirty, so that a write-back need not look at all blocks.
struct ToWrite(Mutex<Vec<u64>>);

/// The metadata blocks of one disk.
pub struct BufferCache {
    device: Arc<dyn BlockDevice>,
    block_size: usize,
    capacity: usize,
    clock: AtomicU64,
    table: Mutex<HashMap<u64, Arc<Buffer>>>,
    to_write: Arc<ToWrite>,
    /// What a write-back copies blocks into, a batch of them if the memory was there; held by the one that is under way. Metadata I/O must not
    /// wait for memory that only metadata I/O could free, so this and `reserve` are set aside.
    bounce: Mutex<Arc<Frames>>,
    /// For one block at a time, when there is no other memory.
    reserve: Mutex<Arc<Frames>>,
}

/// Blocks that are being written at a time, at most: each is locked.
const BATCH: usize = 16;

impl Buffer {
    #[inline]
    fn set_dirty(&self) {
        if self.dirty.fetch_or(1) == 0 {
            self.to_write.0.lock().push(self.block);
        }
    }

    /// Its number, in blocks of the file system.
    pub fn block(&self) -> u64 {
        self.block
    }

    /// Looks at the bytes. Buffers nest in ascending block order only.
    pub fn read<R>(&self, look: impl FnOnce(&[u8]) -> R) -> R {
        // A buffer is filled before it is handed out.
        look(self.bytes.lock_key(self.block).as_deref().unwrap_or(&[]))
    }

    /// Changes the bytes; they are written by the next sync at the latest.
    pub fn modify<R>(&self, change: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut bytes = self.bytes.lock_key(self.block);
        self.set_dirty();
        change(bytes.as_deref_mut().unwrap_or(&mut []))
    }

    /// As [`Buffer::modify`], where the change may find that it must not be made: with an error the
    /// bytes must be as they were.
    pub fn try_modify<R, E>(&self, change: impl FnOnce(&mut [u8]) -> Result<R, E>) -> Result<R, E> {
        let mut bytes = self.bytes.lock_key(self.block);
        let result = change(bytes.as_deref_mut().unwrap_or(&mut []));
        if result.is_ok() {
            self.set_dirty();
        }
        result
    }
}

impl BufferCache {
    /// An empty cache of `device` that keeps at most `capacity` clean blocks of `block_size` bytes (4096
    /// at most).
    pub fn new(device: Arc<dyn BlockDevice>, block_size: u32, capacity: usize) -> Result<Self> {
        let batch = (BATCH * block_size as usize).div_ceil(PAGE_SIZE as usize).next_power_of_two();
        let order = batch.trailing_zeros() as u8;
        let bounce = (0..=order).rev().find_map(Frames::alloc).ok_or(IoError::NoMemory)?;
        let reserve = Frames::alloc(0).ok_or(IoError::NoMemory)?;
        Ok(Self {
            device,
            block_size: block_size as usize,
            capacity,
            clock: AtomicU64::new(0),
            table: Mutex::new(&BUFFER_CACHE, HashMap::default()),
            to_write: Arc::new(ToWrite(Mutex::new(&LEAF, Vec::new()))),
            bounce: Mutex::new(&BUFFER_WRITE_BACK, Arc::new(bounce)),
            reserve: Mutex::new(&BUFFER_RESERVE, Arc::new(reserve)),
        })
    }

    /// The disk.
    pub fn device(&self) -> &Arc<dyn BlockDevice> {
        &self.device
    }

    /// Bytes of a block.
    pub fn block_size(&self) -> usize {
        self.block_size
    }

    /// The block with its contents on the disk, or as last modified.
    pub fn get(&self, block: u64) -> Result<Arc<Buffer>> {
        let buffer = self.entry(block);
        let mut bytes = buffer.bytes.lock_key(block);
        if bytes.is_none() {
            let mut fresh = vec![0; self.block_size];
            self.read_block(block, &mut fresh)?;
            *bytes = Some(fresh);
        }
        drop(bytes);
        Ok(buffer)
    }

    /// As [`BufferCache::get`]; `check` looks at the bytes unless they passed the check of the same
    /// `kind` before. Kinds (not 0) are the file system's: what a block is and whose.
    pub fn get_checked<E: From<crate::Error>>(
        &self,
        block: u64,
        kind: u64,
        check: impl FnOnce(&[u8]) -> Result<(), E>,
    ) -> Result<Arc<Buffer>, E> {
        let buffer = self.get(block)?;
        if buffer.checked_as.load(Ordering::Acquire) != kind {
            buffer.read(|bytes| check(bytes).inspect(|()| buffer.checked_as.store(kind, Ordering::Release)))?;
        }
        Ok(buffer)
    }

    /// The block as zeros, without reading it, dirty: for a block that was just allocated.
    pub fn get_zeroed(&self, block: u64) -> Arc<Buffer> {
        let buffer = self.entry(block);
        *buffer.bytes.lock_key(block) = Some(vec![0; self.block_size]);
        buffer.checked_as.store(0, Ordering::Release);
        buffer.set_dirty();
        buffer
    }

    /// The block is going to be freed: whatever is in memory of it is never written after this
    /// returns, so that it cannot land on what the block is used for next.
    pub fn forget(&self, block: u64) {
        let forgotten = self.table.lock().remove(&block);
        if let Some(buffer) = forgotten {
            let _written = buffer.writing.lock_key(block);
            buffer.dirty.store(0);
        }
    }

    /// Writes every dirty block and waits for it. Durable only after a flush of the device.
    ///
    /// Consecutive blocks go in one write, several writes at a time. Who comes while another writes
    /// waits for it: what the other took from the list is on the disk too when this returns.
    pub fn write_back(&self) -> Result<()> {
        let bounce = self.bounce.lock();
        let mut blocks = core::mem::take(&mut *self.to_write.0.lock());
        blocks.sort_unstable();
        blocks.dedup();
        let dirty: Vec<Arc<Buffer>> = {
            let table = self.table.lock();
            blocks.iter().filter_map(|block| table.get(block).cloned()).collect()
        };
        let mut outcome = Ok(());
        for batch in dirty.chunks(BATCH.min(bounce.len() / self.block_size)) {
            if let Err(error) = self.write_batch(batch, &bounce) {
                outcome = Err(error);
            }
        }
        outcome
    }

    /// Writes the dirty ones of `batch`, which are in ascending order, and waits for them. `bounce` has
    /// room for all of them.
    fn write_batch(&self, batch: &[Arc<Buffer>], bounce: &Arc<Frames>) -> Result<()> {
        let _writing: Vec<_> = batch.iter().map(|buffer| buffer.writing.lock_key(buffer.block)).collect();
        let dirty: Vec<&Arc<Buffer>> = batch.iter().filter(|buffer| buffer.dirty.fetch_and(0) != 0).collect();
        let mut offset = 0;
        let mut started = Vec::new();
        // Everything is submitted before anything is waited for.
        for run in dirty.chunk_by(|left, right| left.block + 1 == right.block) {
            started.push((run, self.start_write(run, bounce, offset)));
            offset += run.len() * self.block_size;
        }
        let mut outcome = Ok(());
        for (run, write) in started {
            if let Err(error) = write.wait("metadata write") {
                run.iter().for_each(|buffer| buffer.set_dirty());
                outcome = Err(error.into());
            }
        }
        outcome
    }

    /// Starts a write of consecutive blocks, from a copy of them in `bounce`.
    fn start_write(&self, run: &[&Arc<Buffer>], bounce: &Arc<Frames>, offset: usize) -> Arc<Completion> {
        for (index, buffer) in run.iter().enumerate() {
            buffer.read(|bytes| bounce.copy_in(offset + index * self.block_size, bytes));
        }
        let done = Completion::new();
        let segment = Segment { frames: bounce.clone(), offset, len: run.len() * self.block_size };
        self.device.submit(Bio {
            op: BioOp::Write,
            sector: self.sector(run[0].block),
            segments: vec![segment],
            end_io: done.end_io(),
        });
        done
    }

    /// Reads a block into private memory.
    fn read_block(&self, block: u64, to: &mut [u8]) -> Result<(), IoError> {
        match block::read(&*self.device, self.sector(block), to) {
            Err(IoError::NoMemory) => self.with_reserve(BioOp::Read, block, to),
            outcome => outcome,
        }
    }

    /// Writes `bytes` to `block` past the cache, and waits for it: for data that becomes a file's.
    pub fn write_through(&self, block: u64, bytes: &mut [u8]) -> Result<(), IoError> {
        match block::write(&*self.device, self.sector(block), bytes) {
            Err(IoError::NoMemory) => self.with_reserve(BioOp::Write, block, bytes),
            outcome => outcome,
        }
    }

    /// One block's I/O in memory that was set aside for it.
    fn with_reserve(&self, op: BioOp, block: u64, bytes: &mut [u8]) -> Result<(), IoError> {
        let frames = self.reserve.lock();
        if op == BioOp::Write {
            frames.copy_in(0, bytes);
        }
        let done = Completion::new();
        let segment = Segment { frames: frames.clone(), offset: 0, len: bytes.len() };
        self.device.submit(Bio { op, sector: self.sector(block), segments: vec![segment], end_io: done.end_io() });
        done.wait("metadata I/O")?;
        if op == BioOp::Read {
            frames.copy_out(0, bytes);
        }
        Ok(())
    }

    fn sector(&self, block: u64) -> u64 {
        block.saturating_mul(self.block_size as u64 / SECTOR_SIZE)
    }

    fn entry(&self, block: u64) -> Arc<Buffer> {
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        let mut table = self.table.lock();
        if table.len() > self.capacity && !table.contains_key(&block) {
            evict_clean(&mut table, self.capacity / 4);
        }
        let buffer = table.entry(block).or_insert_with(|| {
            Arc::new(Buffer {
                block,
                bytes: Mutex::new(&BUFFER, None),
                dirty: Word::new(&LEAF, 0),
                used: AtomicU64::new(now),
                checked_as: AtomicU64::new(0),
                writing: Mutex::new(&BUFFER_WRITE, ()),
                to_write: self.to_write.clone(),
            })
        });
        buffer.used.store(now, Ordering::Relaxed);
        buffer.clone()
    }
}

/// Drops about `count` of the clean blocks that nobody holds, the longest unused first.
fn evict_clean(table: &mut HashMap<u64, Arc<Buffer>>, count: usize) {
    let mut idle: Vec<(u64, u64)> = table
        .values()
        .filter(|buffer| Arc::strong_count(buffer) == 1 && buffer.dirty.load() == 0)
        .map(|buffer| (buffer.used.load(Ordering::Relaxed), buffer.block))
        .collect();
    idle.sort_unstable();
    for (_, block) in idle.into_iter().take(count.max(1)) {
        table.remove(&block);
    }
}
