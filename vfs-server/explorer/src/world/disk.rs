//! A disk in memory, for one run.
//!
//! The image that it begins with lies outside the arena and is never written; what is written lies
//! beside it, inside, so that the next run begins with the image as set-up left it. Each write and
//! flush is noted in the order of completion: from that the states are made in which a crash may
//! leave the disk ([`Disk::since_set_up`]).
//!
//! Operations end before `submit` returns, unless the disk is [`Pace::Late`]: then they end on the
//! disk's own task, one after the other, whenever that runs.

use crate::runtime;
use platform::block::{Bio, BioOp, BlockDevice, IoError, SECTOR_SIZE};
use platform::host;
use platform::sync::WaitQueue;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

const SECTOR: usize = SECTOR_SIZE as usize;

/// When operations end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// Before `submit` returns.
    #[default]
    AtOnce,
    /// When the disk's task gets to them.
    Late,
}

/// What may go wrong; each operation of the kind becomes a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// A read fails.
    ReadError,
    /// A write fails and changes nothing.
    WriteError,
    /// The machine stops before a write or a flush has begun.
    Crash,
}

/// Something that happened to the disk, by completion.
#[derive(Clone, Debug)]
pub enum DiskEvent {
    /// Sectors were written; they may be lost until a flush.
    Write {
        /// The first.
        sector: u64,
        /// All of their bytes.
        bytes: Vec<u8>,
    },
    /// Everything that was written before is durable.
    Flush,
}

/// The disk.
pub struct Disk {
    image: &'static [u8],
    pace: Pace,
    faults: Vec<DiskFault>,
    state: Mutex<State>,
    arrivals: WaitQueue,
}

type Sectors = BTreeMap<u64, Box<[u8; SECTOR]>>;

/// Puts sectors over a part of an image that begins with sector 0.
fn overlay(content: &mut [u8], sectors: &Sectors) {
    for (sector, bytes) in sectors {
        content[*sector as usize * SECTOR..][..SECTOR].copy_from_slice(&bytes[..]);
    }
}

#[derive(Default)]
struct State {
    /// What set-up wrote.
    base: Sectors,
    /// What was written since.
    written: Sectors,
    /// What was completed since [`Disk::set_up_ended`].
    events: Vec<DiskEvent>,
    is_noted: bool,
    /// Operations of a late disk.
    pending: VecDeque<Bio>,
}

impl Disk {
    /// A disk that begins as `image`, whole sectors that lie outside the arena.
    pub fn new(image: &'static [u8], pace: Pace, faults: &[DiskFault]) -> Arc<Self> {
        assert!(image.len().is_multiple_of(SECTOR), "an image of {} bytes", image.len());
        Arc::new(Self {
            image,
            pace,
            faults: faults.to_vec(),
            state: Mutex::new(State::default()),
            arrivals: WaitQueue::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// From now on events are noted: what was written before is durable.
    pub(super) fn set_up_ended(&self) {
        let mut state = self.state();
        state.base = std::mem::take(&mut state.written);
        state.is_noted = true;
    }

    /// What was completed since set-up, oldest first.
    pub fn since_set_up(&self) -> Vec<DiskEvent> {
        self.state().events.clone()
    }

    /// The content at the end of set-up.
    pub fn at_set_up(&self) -> Vec<u8> {
        let state = self.state();
        let mut content = self.image.to_vec();
        overlay(&mut content, &state.base);
        content
    }

    /// All bytes as they are now.
    pub fn content(&self) -> Vec<u8> {
        let state = self.state();
        let mut content = self.image.to_vec();
        overlay(&mut content, &state.base);
        overlay(&mut content, &state.written);
        content
    }

    fn may(&self, fault: DiskFault, site: &'static str) -> bool {
        self.faults.contains(&fault) && host::choose(2, site) == 1
    }

    /// The body of a late disk's task.
    pub(super) fn serve(&self) {
        loop {
            let bio = self.arrivals.wait_for("an operation of the disk", || self.state().pending.pop_front());
            self.perform(bio);
        }
    }

    fn perform(&self, bio: Bio) {
        let outcome = bio.check(self.sectors()).and_then(|()| match bio.op {
            BioOp::Read if self.may(DiskFault::ReadError, "disk read") => Err(IoError::Device),
            BioOp::Write if self.may(DiskFault::WriteError, "disk write") => Err(IoError::Device),
            _ => {
                self.transfer(&bio);
                Ok(())
            }
        });
        (bio.end_io)(outcome);
    }

    fn transfer(&self, bio: &Bio) {
        let mut at = bio.sector;
        for segment in &bio.segments {
            let mut bytes = vec![0; segment.len];
            match bio.op {
                BioOp::Read => {
                    self.read(at, &mut bytes);
                    segment.frames.copy_in(segment.offset, &bytes);
                }
                BioOp::Write => {
                    segment.frames.copy_out(segment.offset, &mut bytes);
                    self.write(at, bytes);
                }
                BioOp::Flush => {}
            }
            at += segment.len as u64 / SECTOR_SIZE;
        }
        if bio.op == BioOp::Flush {
            let mut state = self.state();
            if state.is_noted {
                state.events.push(DiskEvent::Flush);
            }
        }
    }

    fn read(&self, first: u64, to: &mut [u8]) {
        let start = first as usize * SECTOR;
        to.copy_from_slice(&self.image[start..start + to.len()]);
        let state = self.state();
        let sectors = first..first + (to.len() / SECTOR) as u64;
        let base = state.base.range(sectors.clone());
        for (sector, bytes) in base.chain(state.written.range(sectors)) {
            let at = (sector - first) as usize * SECTOR;
            to[at..at + SECTOR].copy_from_slice(&bytes[..]);
        }
    }

    fn write(&self, first: u64, bytes: Vec<u8>) {
        let mut state = self.state();
        for (sector, piece) in (first..).zip(bytes.chunks_exact(SECTOR)) {
            state.written.entry(sector).or_insert_with(|| Box::new([0; SECTOR])).copy_from_slice(piece);
        }
        if state.is_noted {
            state.events.push(DiskEvent::Write { sector: first, bytes });
        }
    }
}

impl BlockDevice for Disk {
    fn name(&self) -> &str {
        "disk"
    }

    fn sectors(&self) -> u64 {
        self.image.len() as u64 / SECTOR_SIZE
    }

    fn read_only(&self) -> bool {
        false
    }

    fn submit(&self, bio: Bio) {
        if bio.op != BioOp::Read && self.may(DiskFault::Crash, "crash before a disk write") {
            runtime::stop("crash");
        }
        match self.pace {
            Pace::Late if self.state().is_noted => {
                self.state().pending.push_back(bio);
                self.arrivals.wake_all();
            }
            _ => self.perform(bio),
        }
    }
}
