//! A virtio block device as a [`BlockDevice`]: many operations in flight, ended by an interrupt.
//!
//! Owns: the request queue, the headers and status bytes of operations in flight. Does not own:
//! how the device is found and mapped, DMA memory and the interrupt line, which are its host's
//! (the [`Hal`] and the thread that calls [`VirtioBlk::interrupt`]).
//!
//! Layout of a request: Virtual I/O Device (VIRTIO) 1.2, 5.2.6.
//!
//! | | submit | interrupt |
//! |---|---|---|
//! | **submit** | queue lock; waits for free descriptors without it | queue lock |
//! | **interrupt** | | queue lock; `end_io` is called without it |
#![no_std]

extern crate alloc;

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bitflags::bitflags;
use core::ops::Range;
use platform::block::{Bio, BioOp, BlockDevice, IoError, SECTOR_SIZE};
use platform::frame::Frames;
use platform::lockdep::INNERMOST;
use platform::sync::{Mutex, WaitQueue};
use virtio_drivers::queue::VirtQueue;
pub use virtio_drivers::transport;
use virtio_drivers::transport::Transport;
pub use virtio_drivers::{BufferDirection, Hal, PhysAddr};

/// Descriptors of the request queue, a power of two.
const QUEUE_SIZE: usize = 128;

/// The only queue that we use.
const QUEUE: u16 = 0;

/// Most segments of one operation: a header and a status descriptor go with them.
pub const SEGMENTS_MAX: usize = QUEUE_SIZE - 2;

/// Bytes of a header slot: 16 of header, one of status.
const SLOT_SIZE: usize = 32;
const HEADER_SIZE: usize = 16;
const STATUS_OFFSET: usize = HEADER_SIZE;
const SLOTS: usize = QUEUE_SIZE / 2;

const _: () = assert!(SLOTS * SLOT_SIZE <= 4096);

const STATUS_OK: u8 = 0;
const STATUS_NONE_YET: u8 = 0xff;

bitflags! {
    /// Feature bits of VIRTIO 1.2, 5.2.3 and 6.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Features: u64 {
        const READ_ONLY = 1 << 5;
        const FLUSH = 1 << 9;
        const VERSION_1 = 1 << 32;
    }
}

/// Why a device cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitError {
    /// No memory for headers.
    NoMemory,
    /// The device does not do what the driver needs.
    Device(virtio_drivers::Error),
}

/// A disk behind a virtio transport.
pub struct VirtioBlk<H: Hal, T: Transport> {
    name: String,
    sectors: u64,
    features: Features,
    state: Mutex<State<H, T>>,
    /// Woken when descriptors became free.
    room: WaitQueue,
}

struct State<H: Hal, T: Transport> {
    transport: T,
    queue: VirtQueue<H, QUEUE_SIZE>,
    /// Headers and status bytes, one slot an operation.
    headers: Arc<Frames>,
    free_slots: Vec<usize>,
    /// By token, the number of an operation's first descriptor.
    in_flight: [Option<InFlight>; QUEUE_SIZE],
}

struct InFlight {
    bio: Bio,
    slot: usize,
}

// SAFETY: the transport is MMIO that only this driver touches, under the lock.
unsafe impl<H: Hal, T: Transport> Send for State<H, T> {}

impl<H: Hal, T: Transport> VirtioBlk<H, T> {
    /// Takes the device into use.
    pub fn new(name: String, mut transport: T) -> Result<Self, InitError> {
        let features = transport.begin_init(Features::all());
        let sectors = transport
            .read_consistent(|| {
                let low: u32 = transport.read_config_space(0)?;
                let high: u32 = transport.read_config_space(4)?;
                Ok(u64::from(low) | u64::from(high) << 32)
            })
            .map_err(InitError::Device)?;
        let queue = VirtQueue::new(&mut transport, QUEUE, false, false).map_err(InitError::Device)?;
        transport.finish_init();
        let headers = Arc::new(Frames::alloc_zeroed(0).ok_or(InitError::NoMemory)?);
        let state = State {
            transport,
            queue,
            headers,
            free_slots: (0..SLOTS).rev().collect(),
            in_flight: [const { None }; QUEUE_SIZE],
        };
        Ok(Self { name, sectors, features, state: Mutex::new(&INNERMOST, state), room: WaitQueue::new() })
    }

    /// The device's interrupt came: ends what the device has finished. To be called without locks.
    pub fn interrupt(&self) {
        let mut ended = VecDeque::new();
        {
            let mut state = self.state.lock();
            state.transport.ack_interrupt();
            while let Some(operation) = state.pop_used() {
                ended.push_back(operation);
            }
        }
        if !ended.is_empty() {
            self.room.wake_all();
        }
        for (bio, outcome) in ended {
            (bio.end_io)(outcome);
        }
    }

    fn refuse(&self, bio: &Bio) -> Option<Result<(), IoError>> {
        match bio.op {
            BioOp::Flush if !self.features.contains(Features::FLUSH) => Some(Ok(())),
            BioOp::Flush => None,
            BioOp::Write if self.read_only() => Some(Err(IoError::ReadOnly)),
            _ if bio.is_empty() || bio.segments.len() > SEGMENTS_MAX => Some(Err(IoError::OutOfRange)),
            _ => bio.check(self.sectors).err().map(Err),
        }
    }
}

impl<H: Hal, T: Transport> BlockDevice for VirtioBlk<H, T> {
    fn name(&self) -> &str {
        &self.name
    }

    fn sectors(&self) -> u64 {
        self.sectors
    }

    fn read_only(&self) -> bool {
        self.features.contains(Features::READ_ONLY)
    }

    fn submit(&self, bio: Bio) {
        if let Some(outcome) = self.refuse(&bio) {
            (bio.end_io)(outcome);
            return;
        }
        let mut waiting = Some(bio);
        let failed = self.room.wait_for("room in the disk's queue", || {
            let bio = waiting.take()?;
            match self.state.lock().start(bio) {
                Started::InFlight => Some(None),
                Started::Failed(bio) => Some(Some(bio)),
                Started::NoRoom(bio) => {
                    waiting = Some(bio);
                    None
                }
            }
        });
        if let Some(bio) = failed {
            (bio.end_io)(Err(IoError::Device));
        }
    }
}

enum Started {
    InFlight,
    NoRoom(Bio),
    Failed(Bio),
}

impl<H: Hal, T: Transport> State<H, T> {
    fn start(&mut self, bio: Bio) -> Started {
        if self.queue.available_desc() < bio.segments.len() + 2 {
            return Started::NoRoom(bio);
        }
        let Some(slot) = self.free_slots.pop() else { return Started::NoRoom(bio) };
        self.headers.copy_in(slot * SLOT_SIZE, &header(&bio));
        self.headers.copy_in(slot * SLOT_SIZE + STATUS_OFFSET, &[STATUS_NONE_YET]);
        let mut buffers = Buffers::new(&self.headers, slot, &bio);
        // SAFETY: headers and segments live in `in_flight` until `pop_used` takes them.
        let added = unsafe { self.queue.add(&buffers.inputs, &mut buffers.outputs) };
        drop(buffers);
        match added {
            Ok(token) => {
                self.in_flight[usize::from(token)] = Some(InFlight { bio, slot });
                if self.queue.should_notify() {
                    self.transport.notify(QUEUE);
                }
                Started::InFlight
            }
            Err(error) => {
                log::error!("virtio-blk: {error} at sector {}", bio.sector);
                self.free_slots.push(slot);
                Started::Failed(bio)
            }
        }
    }

    fn pop_used(&mut self) -> Option<(Bio, Result<(), IoError>)> {
        let token = self.queue.peek_used()?;
        // A device that names a chain that is not in flight is broken: nothing more is taken from it.
        let InFlight { bio, slot } = self.in_flight.get_mut(usize::from(token))?.take()?;
        let mut buffers = Buffers::new(&self.headers, slot, &bio);
        // SAFETY: the same buffers as `start` added under this token.
        let popped = unsafe { self.queue.pop_used(token, &buffers.inputs, &mut buffers.outputs) };
        let mut status = [STATUS_NONE_YET];
        self.headers.copy_out(slot * SLOT_SIZE + STATUS_OFFSET, &mut status);
        self.free_slots.push(slot);
        if popped.is_ok() && status == [STATUS_OK] {
            return Some((bio, Ok(())));
        }
        log::error!("virtio-blk: {bio:?} of {} bytes failed: {popped:?}, status {}", bio.len(), status[0]);
        Some((bio, Err(IoError::Device)))
    }
}

/// `struct virtio_blk_req`: type, reserved, sector; little-endian.
fn header(bio: &Bio) -> [u8; HEADER_SIZE] {
    let kind: u32 = match bio.op {
        BioOp::Read => 0,
        BioOp::Write => 1,
        BioOp::Flush => 4,
    };
    let mut header = [0; HEADER_SIZE];
    header[..4].copy_from_slice(&kind.to_le_bytes());
    header[8..].copy_from_slice(&bio.sector.to_le_bytes());
    header
}

/// What the device reads and what it writes in one operation, as the queue wants it.
struct Buffers<'a> {
    inputs: Vec<&'a [u8]>,
    outputs: Vec<&'a mut [u8]>,
}

impl<'a> Buffers<'a> {
    fn new(headers: &'a Frames, slot: usize, bio: &'a Bio) -> Self {
        let base = slot * SLOT_SIZE;
        let mut inputs = Vec::with_capacity(bio.segments.len() + 1);
        let mut outputs = Vec::with_capacity(bio.segments.len() + 1);
        inputs.push(device_reads(headers, base..base + HEADER_SIZE));
        for segment in &bio.segments {
            let range = segment.offset..segment.offset + segment.len;
            match bio.op {
                BioOp::Read => outputs.push(device_writes(&segment.frames, range)),
                BioOp::Write | BioOp::Flush => inputs.push(device_reads(&segment.frames, range)),
            }
        }
        outputs.push(device_writes(headers, base + STATUS_OFFSET..base + STATUS_OFFSET + 1));
        Self { inputs, outputs }
    }
}

/// Memory that the device reads. The queue takes address and length of the slice, never its bytes.
fn device_reads(frames: &Frames, range: Range<usize>) -> &[u8] {
    debug_assert!(range.end <= frames.len());
    // SAFETY: the range was checked by `Bio::check` (or is a header slot), and nobody reads through
    // the slice: clients may change the bytes meanwhile.
    unsafe { core::slice::from_raw_parts((frames.address() + range.start) as *const u8, range.len()) }
}

/// Memory that the device writes; as above.
#[allow(clippy::mut_from_ref)]
fn device_writes(frames: &Frames, range: Range<usize>) -> &mut [u8] {
    debug_assert!(range.end <= frames.len());
    // SAFETY: as in `device_reads`; the slice is never read or written through.
    unsafe { core::slice::from_raw_parts_mut((frames.address() + range.start) as *mut u8, range.len()) }
}

/// VIRTIO 1.2, 5.2.4: sectors of the request header are of 512 bytes, whatever `blk_size` says.
const _: () = assert!(SECTOR_SIZE == 512);
