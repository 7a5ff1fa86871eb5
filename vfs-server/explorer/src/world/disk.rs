//! A disk in memory, for one run.
//!
//! The image that it begins with lies outside the arena and is never written; what is written lies
//! beside it, inside, so that the next run begins with the image as set-up left it. Each write and
//! flush is logged as it is submitted and completed: from that the disks are made that a crash may
//! leave ([`super::crash`]).
//!
//! Operations end before `submit` returns, unless the disk is [`Pace::Late`] or worse: then they end on
//! the disk's own task, one after the other, whenever that runs.

use super::log::Log;
use crate::oracle::Moment;
use crate::oracle::crash::DiskLog;
use crate::oracle::crash::disk_log::Submitted;
use crate::runtime;
use platform::block::{Bio, BioOp, BlockDevice, IoError, SECTOR_SIZE};
use platform::host;
use platform::sync::WaitQueue;
use platform::tell;
use platform::thread::now_ns;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Deref;
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
    /// As `Late`, in an order that is a choice of the run.
    AnyOrder,
    /// As `Late`, but one of the writes, which is a choice of the run, ends when nobody else can go on.
    HoldsBack,
}

/// What may go wrong; each operation of the kind becomes a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// A read fails.
    ReadError,
    /// A write fails and changes nothing.
    WriteError,
    /// As `WriteError`, of writes from this sector on: where the data is.
    WriteErrorFrom(u64),
}

/// The disk.
pub struct Disk {
    image: Image,
    /// The clock of the run.
    clock: Option<Arc<Log>>,
    pace: Pace,
    faults: Vec<DiskFault>,
    state: Mutex<State>,
    arrivals: WaitQueue,
    holds: WaitQueue,
    ends: WaitQueue,
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
    /// What was submitted and completed since [`Disk::set_up_ended`].
    log: DiskLog,
    is_logged: bool,
    /// Operations of a late disk, with their places in the log.
    pending: VecDeque<Operation>,
    /// The write that is held back, and whether there was one already.
    held: Option<Operation>,
    has_held: bool,
}

/// With its place in the log.
type Operation = (Bio, Option<Submitted>);

/// What a disk begins with.
enum Image {
    /// Lies outside the arena.
    Shared(&'static [u8]),
    Owned(Vec<u8>),
}

impl Deref for Image {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

impl Disk {
    /// A disk that begins as `image`, whole sectors that lie outside the arena; `clock` has the moments of the run.
    pub fn new(image: &'static [u8], pace: Pace, faults: &[DiskFault], clock: &Arc<Log>) -> Arc<Self> {
        Self::with(Image::Shared(image), pace, faults, Some(clock.clone()))
    }

    /// A disk with these bytes that does at once, and without fault, what it is asked.
    pub fn of_bytes(bytes: Vec<u8>) -> Arc<Self> {
        Self::with(Image::Owned(bytes), Pace::AtOnce, &[], None)
    }

    fn with(image: Image, pace: Pace, faults: &[DiskFault], clock: Option<Arc<Log>>) -> Arc<Self> {
        assert!(image.len().is_multiple_of(SECTOR), "an image of {} bytes", image.len());
        Arc::new(Self {
            image,
            clock,
            pace,
            faults: faults.to_vec(),
            state: Mutex::new(State::default()),
            arrivals: WaitQueue::new(),
            holds: WaitQueue::new(),
            ends: WaitQueue::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The same, and what is done to it is logged.
    pub(super) fn of_bytes_logged(bytes: Vec<u8>) -> Arc<Self> {
        let disk = Self::of_bytes(bytes);
        disk.set_up_ended();
        disk
    }

    /// From now on operations are logged: what was written before is durable.
    pub(super) fn set_up_ended(&self) {
        let mut state = self.state();
        state.base = std::mem::take(&mut state.written);
        state.is_logged = true;
    }

    /// What was submitted and completed since set-up.
    pub fn log(&self) -> DiskLog {
        self.state().log.clone()
    }

    fn now(&self) -> Moment {
        self.clock.as_ref().map_or(0, |clock| clock.look(|history| history.now()))
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

    fn is_held_back(&self, bio: &Bio) -> bool {
        let may_be = self.pace == Pace::HoldsBack && bio.op == BioOp::Write && !self.state().has_held;
        let is = may_be && runtime::pick(2, "whether the disk holds the write back") == 1;
        self.state().has_held |= is;
        is
    }

    fn may(&self, fault: DiskFault, site: &'static str) -> bool {
        self.faults.contains(&fault) && host::choose(2, site) == 1
    }

    fn may_fail_write(&self, sector: u64) -> bool {
        let fails = |fault: &DiskFault| match fault {
            DiskFault::WriteError => true,
            DiskFault::WriteErrorFrom(first) => sector >= *first,
            _ => false,
        };
        self.faults.iter().any(fails) && host::choose(2, "disk write") == 1
    }

    /// The body of a late disk's task.
    pub(super) fn serve(&self) {
        loop {
            let waiting = self.arrivals.wait_for("an operation of the disk", || match self.state().pending.len() {
                0 => None,
                count => Some(count as u32),
            });
            let next = match self.pace {
                Pace::AnyOrder if waiting > 1 => runtime::pick(waiting, "which operation of the disk ends next"),
                _ => 0,
            };
            let operation = self.state().pending.remove(next as usize);
            operation.into_iter().for_each(|(bio, submitted)| self.perform(bio, submitted));
            self.ends.wake_all();
        }
    }

    /// The body of the task that ends the write which is held back.
    pub(super) fn serve_held(&self) {
        self.holds.wait_until("a write to hold back", || self.state().held.is_some());
        // Time passes when nobody can go on.
        self.holds.wait_for_until::<()>("the others", now_ns() + 1, || None);
        let held = self.state().held.take();
        held.into_iter().for_each(|(bio, submitted)| self.perform(bio, submitted));
        self.ends.wake_all();
    }

    /// Waits until all that was submitted has ended.
    pub(super) fn drain(&self) {
        self.ends.wait_until("the disk", || {
            let state = self.state();
            state.pending.is_empty() && state.held.is_none()
        });
    }

    fn perform(&self, bio: Bio, submitted: Option<Submitted>) {
        let outcome = bio.check(self.sectors()).and_then(|()| match bio.op {
            BioOp::Read if self.may(DiskFault::ReadError, "disk read") => Err(IoError::Device),
            BioOp::Write if self.may_fail_write(bio.sector) => Err(IoError::Device),
            _ => {
                self.transfer(&bio);
                Ok(())
            }
        });
        if let (Some(submitted), Ok(())) = (submitted, outcome) {
            let now = self.now();
            self.state().log.completed(now, submitted);
        }
        (bio.end_io)(outcome);
    }

    fn transfer(&self, bio: &Bio) {
        match bio.op {
            BioOp::Read => {
                let mut at = bio.sector;
                for segment in &bio.segments {
                    let mut bytes = vec![0; segment.len];
                    self.read(at, &mut bytes);
                    segment.frames.copy_in(segment.offset, &bytes);
                    at += segment.len as u64 / SECTOR_SIZE;
                }
            }
            BioOp::Write => self.write(bio.sector, &gather(bio)),
            BioOp::Flush => {}
        }
    }

    /// Notes an operation that has an effect on what a crash leaves.
    fn note(&self, bio: &Bio) -> Option<Submitted> {
        let now = self.now();
        let mut state = self.state();
        if !state.is_logged {
            return None;
        }
        match bio.op {
            BioOp::Read => None,
            BioOp::Write => {
                let bytes = gather(bio);
                Some(state.log.write(now, bio.sector, bytes))
            }
            BioOp::Flush => Some(state.log.flush(now)),
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

    fn write(&self, first: u64, bytes: &[u8]) {
        let mut state = self.state();
        for (sector, piece) in (first..).zip(bytes.chunks_exact(SECTOR)) {
            state.written.entry(sector).or_insert_with(|| Box::new([0; SECTOR])).copy_from_slice(piece);
        }
    }
}

/// The bytes of a write.
fn gather(bio: &Bio) -> Vec<u8> {
    let mut bytes = vec![0; bio.len()];
    let mut rest = &mut bytes[..];
    for segment in &bio.segments {
        let (piece, after) = rest.split_at_mut(segment.len);
        segment.frames.copy_out(segment.offset, piece);
        rest = after;
    }
    bytes
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
        let submitted = self.note(&bio);
        if self.pace == Pace::AtOnce || !self.state().is_logged {
            return self.perform(bio, submitted);
        }
        if self.is_held_back(&bio) {
            tell!("the disk holds back the write to sector {}", bio.sector);
            self.state().held = Some((bio, submitted));
            self.holds.wake_all();
        } else {
            self.state().pending.push_back((bio, submitted));
            self.arrivals.wake_all();
        }
    }
}
