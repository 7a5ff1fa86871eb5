//! The writes and flushes of a block device, in the order in which the device saw them.
//!
//! Owns the rule what a flush covers: the writes that were *completed* before it was *submitted*, and it covers them
//! only once it is completed itself.

use super::super::history::Moment;
use std::collections::BTreeMap;

/// Bytes of a sector: what a device writes atomically.
pub const SECTOR: usize = 512;

/// A write or flush that was submitted, by its place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Submitted(usize);

#[derive(Clone, Debug)]
enum Event {
    Write { sector: u64, bytes: Vec<u8> },
    Flush,
    Completed(Submitted),
}

/// What a device was told. A crash can fall before each event and at the end.
#[derive(Clone, Debug, Default)]
pub struct DiskLog {
    events: Vec<(Moment, Event)>,
}

/// What a crash at one point has to choose from.
#[derive(Clone, Debug, Default)]
pub struct Pending<'a> {
    /// Sectors that a flush covers, with their contents.
    pub durable: BTreeMap<u64, &'a [u8]>,
    /// Sectors with writes that no flush covers: the contents they may have beside the durable one, oldest first.
    pub sectors: BTreeMap<u64, Vec<&'a [u8]>>,
    /// The same, write by write in the order of submission: first sector, and how many.
    pub writes: Vec<(u64, usize)>,
}

impl DiskLog {
    /// Forgets what happened so far: the disk is as it is now, durably.
    pub fn clear(&mut self) {
        self.events.clear();
    }

    /// A write of whole sectors was submitted. `now` is the history's moment.
    pub fn write(&mut self, now: Moment, sector: u64, bytes: Vec<u8>) -> Submitted {
        debug_assert!(bytes.len().is_multiple_of(SECTOR));
        self.push(now, Event::Write { sector, bytes })
    }

    /// A flush was submitted.
    pub fn flush(&mut self, now: Moment) -> Submitted {
        self.push(now, Event::Flush)
    }

    /// A write or flush was answered, with success. (One that failed is left open: it may have happened.)
    pub fn completed(&mut self, now: Moment, what: Submitted) {
        self.push(now, Event::Completed(what));
    }

    fn push(&mut self, now: Moment, event: Event) -> Submitted {
        self.events.push((now, event));
        Submitted(self.events.len() - 1)
    }

    /// Events so far: a crash can fall before event 0, 1, ... and after the last.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether the device was told nothing.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The last moment of the history before a crash at `at`; `end` is the history's last one.
    pub fn moment(&self, at: usize, end: Moment) -> Moment {
        self.events.get(at).map_or(end, |(moment, _)| *moment)
    }

    /// What a crash before event `at` has to choose from.
    pub fn pending(&self, at: usize) -> Pending<'_> {
        let before = &self.events[..at.min(self.events.len())];
        let covered = covered_until(before);
        let mut completions: BTreeMap<Submitted, usize> = BTreeMap::new();
        for (index, (_, event)) in before.iter().enumerate() {
            if let Event::Completed(what) = event {
                completions.insert(*what, index);
            }
        }
        let mut pending = Pending::default();
        let mut durable_writes = Vec::new();
        for (index, (_, event)) in before.iter().enumerate() {
            let Event::Write { sector, bytes } = event else { continue };
            match completions.get(&Submitted(index)) {
                Some(&completed) if completed < covered => durable_writes.push((completed, *sector, bytes)),
                _ => pending.add(*sector, bytes),
            }
        }
        // Of two writes of a sector, the one that was completed last stays.
        durable_writes.sort_by_key(|(completed, ..)| *completed);
        for (_, sector, bytes) in durable_writes {
            for (index, bytes) in bytes.chunks(SECTOR).enumerate() {
                pending.durable.insert(sector + index as u64, bytes);
            }
        }
        pending
    }
}

/// The place of the submission of the last flush that is complete.
fn covered_until(events: &[(Moment, Event)]) -> usize {
    let completed = events.iter().filter_map(|(_, event)| match event {
        Event::Completed(what) if matches!(events[what.0].1, Event::Flush) => Some(what.0),
        _ => None,
    });
    completed.max().unwrap_or(0)
}

impl<'a> Pending<'a> {
    fn add(&mut self, sector: u64, bytes: &'a [u8]) {
        self.writes.push((sector, bytes.len() / SECTOR));
        for (index, bytes) in bytes.chunks(SECTOR).enumerate() {
            self.sectors.entry(sector + index as u64).or_default().push(bytes);
        }
    }

    /// Writes what is durable to the image of the disk as it was when the log began.
    pub fn settle(&self, image: &mut [u8]) {
        for (&sector, bytes) in &self.durable {
            put_sector(image, sector, bytes);
        }
    }
}

pub(super) fn put_sector(image: &mut [u8], sector: u64, bytes: &[u8]) {
    let at = sector as usize * SECTOR;
    image[at..at + SECTOR].copy_from_slice(bytes);
}
