//! A region of a disk whose contents change as a whole, by a redo log: for file systems without a journal of their own.
//!
//! Owns the beginning of a disk: a superblock that says whose it is and how long, a redo log, the contents; and the
//! order of writes and flushes at a commit. Does not own: what the contents mean, and the rest of the disk. (Linux has
//! jbd2 for that; this is as small as it can be: all of the contents are in memory, and the log has room for one
//! transaction.)
//!
//! A commit
//!
//! 1. writes what the last one changed to its place, and flushes: the log is not needed any more. Data that was written
//!    elsewhere on the disk before the commit is durable now, too;
//! 2. writes the sectors that differ now into the log, with a checksum, and flushes: from here on they count.
//!
//! A crash in the first step finds the last transaction in the log, and it is written again. A crash in the second one
//! finds a log with a wrong checksum, which is none, and everything of before in its place.

use crate::error::{Error, Result};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use platform::block::{self, BlockDevice, SECTOR_SIZE};
use platform::{Mutant, mutant};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const SECTOR: usize = SECTOR_SIZE as usize;
const LOG_MAGIC: [u8; 8] = *b"redo-log";
/// The sector where the log begins.
const LOG: u64 = 1;
static CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);

/// In sector 0; it never changes.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawSuperblock {
    /// Whose disk it is.
    magic: [u8; 8],
    /// Of the contents.
    sectors: U64,
    /// CRC-32C of all before it.
    crc: U32,
}

/// At the log's beginning; `count` [`RawChange`]s follow.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawLog {
    magic: [u8; 8],
    count: U32,
    /// CRC-32C of what follows.
    crc: U32,
}

/// A sector of the contents, counted from their beginning.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawChange {
    sector: U64,
    bytes: [u8; SECTOR],
}

const _: () = assert!(size_of::<RawSuperblock>() == 20);
const _: () = assert!(size_of::<RawLog>() == 16);
const _: () = assert!(size_of::<RawChange>() == 520);

/// Sectors of the contents, counted from their beginning.
type Changes = BTreeMap<u64, [u8; SECTOR]>;

/// The region, and its contents in memory.
pub struct AtomicRegion {
    device: Arc<dyn BlockDevice>,
    /// The sector where the contents begin.
    place: u64,
    /// As they were committed last.
    contents: Vec<u8>,
    /// What the last commit changed: it may be in the log only.
    last: Changes,
}

impl AtomicRegion {
    /// Sectors of a region with so many bytes of contents.
    pub fn sectors(bytes: u64) -> u64 {
        let sectors = bytes.div_ceil(SECTOR_SIZE);
        LOG.saturating_add(log_sectors(sectors)).saturating_add(sectors)
    }

    /// Makes a region at the beginning of a disk, durable on return.
    pub fn create(device: &dyn BlockDevice, magic: [u8; 8], mut contents: Vec<u8>) -> Result<()> {
        let sectors = contents.len().div_ceil(SECTOR);
        contents.resize(sectors * SECTOR, 0);
        // Neither an old superblock nor an old log must count with the new contents.
        block::write(device, 0, &[0; 2 * SECTOR])?;
        block::flush(device)?;
        block::write(device, LOG + log_sectors(sectors as u64), &contents)?;
        block::flush(device)?;
        let mut sector = [0; SECTOR];
        let superblock = RawSuperblock::new(magic, sectors as u64);
        sector[..size_of::<RawSuperblock>()].copy_from_slice(superblock.as_bytes());
        block::write(device, 0, &sector)?;
        Ok(block::flush(device)?)
    }

    /// The region at the beginning of a disk, with what was committed last. Nothing is written.
    pub fn open(device: Arc<dyn BlockDevice>, magic: [u8; 8]) -> Result<Self> {
        let sectors = read_superblock(&*device, magic)?;
        let place = LOG + log_sectors(sectors);
        let mut log = vec![0; (place - LOG) as usize * SECTOR];
        block::read(&*device, LOG, &mut log)?;
        let mut contents = vec![0; sectors as usize * SECTOR];
        block::read(&*device, place, &mut contents)?;
        let last = changes(&log).unwrap_or_default();
        for (&sector, bytes) in &last {
            let at = contents.as_chunks_mut().0.get_mut(sector as usize);
            *at.ok_or_else(|| Error::Corrupt(format!("the log changes sector {sector} of {sectors}")))? = *bytes;
        }
        Ok(Self { device, place, contents, last })
    }

    /// As they were committed last; zeros fill the last sector.
    pub fn contents(&self) -> &[u8] {
        &self.contents
    }

    /// Makes all durable that was written to the disk before, and then the new contents: all of them or nothing.
    /// After an error they may or may not come to count, before the next commit does.
    pub fn commit(&mut self, mut contents: Vec<u8>) -> Result<()> {
        contents.resize(self.contents.len(), 0);
        for (&sector, bytes) in &self.last {
            block::write(&*self.device, self.place + sector, bytes)?;
        }
        if !mutant(Mutant::LogOverwrittenTooSoon) {
            block::flush(&*self.device)?;
        }
        self.last.clear();
        let both = contents.as_chunks().0.iter().zip(self.contents.as_chunks().0);
        let changed = (0..).zip(both).filter(|(_, (new, old))| new != old);
        let changes: Changes = changed.map(|(sector, (new, _))| (sector, *new)).collect();
        if !changes.is_empty() {
            block::write(&*self.device, LOG, &log(&changes))?;
            if !mutant(Mutant::CommitNotFlushed) {
                block::flush(&*self.device)?;
            }
            self.last = changes;
            self.contents = contents;
        }
        Ok(())
    }
}

impl RawSuperblock {
    fn new(magic: [u8; 8], sectors: u64) -> Self {
        let new = Self { magic, sectors: U64::new(sectors), crc: U32::ZERO };
        Self { crc: U32::new(CRC.checksum(&new.as_bytes()[..size_of::<Self>() - size_of::<U32>()])), ..new }
    }
}

/// How many sectors of contents a disk has.
fn read_superblock(device: &dyn BlockDevice, magic: [u8; 8]) -> Result<u64> {
    let mut sector = [0; SECTOR];
    block::read(device, 0, &mut sector)?;
    let sectors = RawSuperblock::ref_from_prefix(&sector).map_or(0, |(found, _)| found.sectors.get());
    let is_one = sector.starts_with(RawSuperblock::new(magic, sectors).as_bytes());
    let fits = AtomicRegion::sectors(sectors.saturating_mul(SECTOR_SIZE)) <= device.sectors();
    match is_one && fits {
        true => Ok(sectors),
        false => Err(Error::Corrupt("no superblock of this format with a right checksum that fits the disk".into())),
    }
}

/// Sectors of a log with room for so many sectors.
fn log_sectors(sectors: u64) -> u64 {
    sectors
        .saturating_mul(size_of::<RawChange>() as u64)
        .saturating_add(size_of::<RawLog>() as u64)
        .div_ceil(SECTOR_SIZE)
}

/// A log's bytes, whole sectors.
fn log(changes: &Changes) -> Vec<u8> {
    let mut all = vec![0; size_of::<RawLog>()];
    for (&sector, &bytes) in changes {
        all.extend_from_slice(RawChange { sector: U64::new(sector), bytes }.as_bytes());
    }
    let (header, changed) = all.split_at_mut(size_of::<RawLog>());
    let [count, crc] = [changes.len() as u32, CRC.checksum(changed)].map(U32::new);
    header.copy_from_slice(RawLog { magic: LOG_MAGIC, count, crc }.as_bytes());
    all.resize(all.len().next_multiple_of(SECTOR), 0);
    all
}

/// What a log's bytes say; `None`: a commit was not finished, or there never was one.
fn changes(log: &[u8]) -> Option<Changes> {
    let (header, rest) = RawLog::ref_from_prefix(log).ok()?;
    let (changes, _) = <[RawChange]>::ref_from_prefix_with_elems(rest, header.count.get() as usize).ok()?;
    let whole = header.magic == LOG_MAGIC && CRC.checksum(changes.as_bytes()) == header.crc.get();
    whole.then(|| changes.iter().map(|change| (change.sector.get(), change.bytes)).collect())
}
