//! Block devices: asynchronous reads, writes and flushes of runs of frames.
//!
//! A driver implements [`BlockDevice`]; who wants to wait uses [`read`], [`write`] and [`flush`].
//! A flush covers the writes that were *completed* before it was *submitted* (virtio-blk has no FUA).

use crate::frame::Frames;
use crate::lockdep::INNERMOST;
use crate::sync::{Mutex, WaitQueue};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use pager_abi::PAGE_SIZE;

/// Bytes of a sector, the unit of every address on a block device.
pub const SECTOR_SIZE: u64 = 512;

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoError {
    /// The device said so.
    Device,
    /// Past the last sector, or not whole sectors.
    OutOfRange,
    /// The device cannot be written.
    ReadOnly,
    /// No memory for a bounce buffer or a request.
    NoMemory,
    /// The device was shut down.
    Gone,
}

impl fmt::Display for IoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device => "the device failed",
            Self::OutOfRange => "beyond the device",
            Self::ReadOnly => "the device is read-only",
            Self::NoMemory => "no memory for the I/O",
            Self::Gone => "the device is gone",
        })
    }
}

/// What a [`Bio`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BioOp {
    /// Device to memory.
    Read,
    /// Memory to device.
    Write,
    /// Makes completed writes durable; no segments.
    Flush,
}

/// A piece of memory of a [`Bio`]; whole sectors.
#[derive(Clone, Debug)]
pub struct Segment {
    /// The memory; shared, so that it lives until the operation ends.
    pub frames: Arc<Frames>,
    /// Byte offset in it, a multiple of [`SECTOR_SIZE`].
    pub offset: usize,
    /// Bytes, a multiple of [`SECTOR_SIZE`].
    pub len: usize,
}

/// Called once when the operation has ended, on a thread of the driver: it must not wait.
pub type EndIo = Box<dyn FnOnce(Result<(), IoError>) + Send>;

/// One operation on contiguous sectors, Linux's `struct bio`.
pub struct Bio {
    /// What to do.
    pub op: BioOp,
    /// First sector.
    pub sector: u64,
    /// The memory, in the order of the sectors.
    pub segments: Vec<Segment>,
    /// Told the outcome.
    pub end_io: EndIo,
}

impl fmt::Debug for Bio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bio({:?} sector {} segments {})", self.op, self.sector, self.segments.len())
    }
}

impl Bio {
    /// Bytes of all segments.
    pub fn len(&self) -> usize {
        self.segments.iter().map(|segment| segment.len).sum()
    }

    /// Whether there is nothing to transfer.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the operation lies on a device of `sectors` sectors.
    pub fn check(&self, sectors: u64) -> Result<(), IoError> {
        let whole = self.segments.iter().all(|segment| {
            segment.offset as u64 % SECTOR_SIZE == 0
                && segment.len as u64 % SECTOR_SIZE == 0
                && segment.offset + segment.len <= segment.frames.len()
        });
        let end = self.sector.checked_add(self.len() as u64 / SECTOR_SIZE);
        if whole && end.is_some_and(|end| end <= sectors) { Ok(()) } else { Err(IoError::OutOfRange) }
    }
}

/// A disk.
pub trait BlockDevice: Send + Sync {
    /// How it is called in messages.
    fn name(&self) -> &str;
    /// Sectors of [`SECTOR_SIZE`] bytes.
    fn sectors(&self) -> u64;
    /// Whether writes are refused.
    fn read_only(&self) -> bool;
    /// Starts an operation. It may wait for room in the device's queue, but not for the operation.
    fn submit(&self, bio: Bio);
}

/// Largest piece that [`read`] and [`write`] bounce at once: `4096 << 4` bytes.
const BOUNCE_ORDER: u8 = 4;

/// An operation that somebody waits for.
pub struct Completion {
    outcome: Mutex<Option<Result<(), IoError>>>,
    queue: WaitQueue,
}

impl Completion {
    /// One that has not happened.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { outcome: Mutex::new(&INNERMOST, None), queue: WaitQueue::new() })
    }

    /// It happened.
    pub fn complete(&self, outcome: Result<(), IoError>) {
        *self.outcome.lock() = Some(outcome);
        self.queue.wake_all();
    }

    /// An [`EndIo`] that completes this.
    pub fn end_io(self: &Arc<Self>) -> EndIo {
        let this = self.clone();
        Box::new(move |outcome| this.complete(outcome))
    }

    /// Waits until it happened.
    pub fn wait(&self, what: &'static str) -> Result<(), IoError> {
        self.queue.wait_for(what, || *self.outcome.lock())
    }
}

/// Reads whole sectors from `sector` on into private memory, and waits for it.
pub fn read(device: &dyn BlockDevice, sector: u64, to: &mut [u8]) -> Result<(), IoError> {
    let chunk = (PAGE_SIZE as usize) << BOUNCE_ORDER;
    for (index, to) in to.chunks_mut(chunk).enumerate() {
        let sector = sector + (index * chunk) as u64 / SECTOR_SIZE;
        let frames = bounce(to.len())?;
        submit_and_wait(device, BioOp::Read, sector, &frames, to.len(), "disk read")?;
        frames.copy_out(0, to);
    }
    Ok(())
}

/// Writes private memory to whole sectors from `sector` on, and waits for it.
pub fn write(device: &dyn BlockDevice, sector: u64, from: &[u8]) -> Result<(), IoError> {
    let chunk = (PAGE_SIZE as usize) << BOUNCE_ORDER;
    for (index, from) in from.chunks(chunk).enumerate() {
        let sector = sector + (index * chunk) as u64 / SECTOR_SIZE;
        let frames = bounce(from.len())?;
        frames.copy_in(0, from);
        submit_and_wait(device, BioOp::Write, sector, &frames, from.len(), "disk write")?;
    }
    Ok(())
}

/// Makes every write that has completed durable, and waits for it.
pub fn flush(device: &dyn BlockDevice) -> Result<(), IoError> {
    let done = Completion::new();
    device.submit(Bio { op: BioOp::Flush, sector: 0, segments: Vec::new(), end_io: done.end_io() });
    done.wait("disk flush")
}

fn bounce(len: usize) -> Result<Arc<Frames>, IoError> {
    let pages = len.div_ceil(PAGE_SIZE as usize).next_power_of_two();
    let order = pages.trailing_zeros() as u8;
    let frames = Frames::alloc(order).ok_or(IoError::NoMemory);
    frames.map(Arc::new).inspect_err(|error| log::error!("a bounce buffer of order {order}: {error}"))
}

fn submit_and_wait(
    device: &dyn BlockDevice,
    op: BioOp,
    sector: u64,
    frames: &Arc<Frames>,
    len: usize,
    what: &'static str,
) -> Result<(), IoError> {
    let done = Completion::new();
    let segment = Segment { frames: frames.clone(), offset: 0, len };
    device.submit(Bio { op, sector, segments: alloc::vec![segment], end_io: done.end_io() });
    done.wait(what)
        .inspect_err(|error| log::error!("{}: {what} of {len} bytes at sector {sector}: {error}", device.name()))
}
