//! Extents of files in memory, data on the device: for a scratch volume, which is empty at each mount.
//!
//! Owns: each file's runs of sectors, the free runs, the count of reservations. A file keeps its place
//! when it is overwritten, as with bcachefs's `nocow`.

use crate::error::{Corrupt, Error, Result};
use crate::extents::{Extent, ExtentState, Extents, Place, Space};
use alloc::collections::BTreeMap;
use core::ops::Range;
use platform::host;
use platform::lockdep::EXTENT_TREE;
use platform::sync::Mutex;
use vfs_server::fs::Ino;

/// All extents of a volume.
pub struct SimpleExtents {
    total: u64,
    maps: Mutex<Maps>,
}

struct Maps {
    /// File sector -> run, for each file.
    files: BTreeMap<Ino, BTreeMap<u64, Run>>,
    free: FreeSpace,
    /// Free sectors that are promised.
    reserved: u64,
}

/// Sectors of a file that lie together on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    sectors: u64,
    device_sector: u64,
    state: RunState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RunState {
    InFlight,
    Written,
}

impl SimpleExtents {
    /// `total` free sectors.
    pub fn new(total: u64) -> Self {
        let maps = Maps { files: BTreeMap::new(), free: FreeSpace::new(total), reserved: 0 };
        Self { total, maps: Mutex::new(&EXTENT_TREE, maps) }
    }
}

impl Extents for SimpleExtents {
    fn lookup(&self, ino: Ino, first: u64, max: u64) -> Extent {
        let maps = self.maps.lock();
        let (start, run) = match maps.files.get(&ino).and_then(|file| covering(file, first)) {
            Some(found) => found,
            None => {
                let hole = maps.files.get(&ino).map_or(max, |file| hole_len(file, first, max));
                return Extent { state: ExtentState::Hole, sectors: hole };
            }
        };
        let into = first - start;
        let device_sector = run.device_sector + into;
        let state = match run.state {
            RunState::InFlight => ExtentState::InFlight { device_sector },
            RunState::Written => ExtentState::Written { device_sector },
        };
        Extent { state, sectors: max.min(run.sectors - into) }
    }

    fn sectors(&self, ino: Ino) -> u64 {
        let maps = self.maps.lock();
        maps.files.get(&ino).map_or(0, |file| file.values().map(|run| run.sectors).sum())
    }

    fn reserve(&self, sectors: u64) -> Result<()> {
        if sectors == 0 {
            return Ok(());
        }
        let mut maps = self.maps.lock();
        if maps.free.sectors - maps.reserved < sectors || host::choose(2, "disk reservation") != 0 {
            return Err(Error::NoSpace);
        }
        maps.reserved += sectors;
        Ok(())
    }

    fn release(&self, sectors: u64) {
        let mut maps = self.maps.lock();
        // Otherwise one that was given back twice is found by `check`, or by whoever runs out of space.
        debug_assert!(maps.reserved >= sectors, "more reservations are given back than there are");
        maps.reserved = maps.reserved.saturating_sub(sectors);
    }

    fn place(&self, ino: Ino, sectors: Range<u64>) -> Result<Place> {
        let wanted = sectors.end - sectors.start;
        let mut maps = self.maps.lock();
        let maps = &mut *maps;
        let file = maps.files.entry(ino).or_default();
        if let Some((start, run)) = covering(file, sectors.start) {
            let into = sectors.start - start;
            let sectors = wanted.min(run.sectors - into);
            return Ok(Place { device_sector: run.device_sector + into, sectors, reservations: 0 });
        }
        let wanted = hole_len(file, sectors.start, wanted);
        let (device_sector, count) = maps.free.take(wanted).ok_or(Error::Corrupt(Corrupt::NotReserved))?;
        maps.reserved = maps.reserved.checked_sub(count).ok_or(Error::Corrupt(Corrupt::NotReserved))?;
        insert(file, sectors.start, Run { sectors: count, device_sector, state: RunState::InFlight });
        Ok(Place { device_sector, sectors: count, reservations: count })
    }

    fn written(&self, ino: Ino, sectors: Range<u64>) {
        let mut maps = self.maps.lock();
        let Some(file) = maps.files.get_mut(&ino) else { return };
        split(file, sectors.start);
        split(file, sectors.end);
        let starts: alloc::vec::Vec<u64> = file.range(sectors).map(|(&start, _)| start).collect();
        for start in starts {
            if let Some(run) = file.remove(&start) {
                insert(file, start, Run { state: RunState::Written, ..run });
            }
        }
    }

    fn truncate(&self, ino: Ino, first: u64) {
        let mut maps = self.maps.lock();
        let maps = &mut *maps;
        let Some(file) = maps.files.get_mut(&ino) else { return };
        split(file, first);
        for run in file.split_off(&first).into_values() {
            maps.free.give(run.device_sector, run.sectors);
        }
        if file.is_empty() {
            maps.files.remove(&ino);
        }
    }

    fn space(&self) -> Space {
        let maps = self.maps.lock();
        Space { total: self.total, free: maps.free.sectors.saturating_sub(maps.reserved) }
    }

    fn check(&self) -> Result<()> {
        let maps = self.maps.lock();
        let used = maps.files.values().flat_map(|file| file.values()).map(|run| (run.device_sector, run.sectors));
        let free = maps.free.runs.iter().map(|(&start, &sectors)| (start, sectors));
        let mut all: alloc::vec::Vec<(u64, u64)> = used.chain(free).collect();
        all.sort_unstable();
        let mut end = 0;
        for (start, sectors) in all {
            if start < end {
                return Err(Error::Corrupt(Corrupt::UsedTwice));
            }
            if start > end {
                return Err(Error::Corrupt(Corrupt::Lost));
            }
            end = start + sectors;
        }
        if end != self.total {
            return Err(Error::Corrupt(Corrupt::Lost));
        }
        if maps.reserved != 0 {
            return Err(Error::Corrupt(Corrupt::ReservationLeft));
        }
        Ok(())
    }
}

/// The run with `sector`, and where it starts.
fn covering(file: &BTreeMap<u64, Run>, sector: u64) -> Option<(u64, Run)> {
    let (&start, &run) = file.range(..=sector).next_back()?;
    (sector - start < run.sectors).then_some((start, run))
}

/// Sectors from `first` on, which has no run, that have none either; at most `max`.
fn hole_len(file: &BTreeMap<u64, Run>, first: u64, max: u64) -> u64 {
    file.range(first..).next().map_or(max, |(&next, _)| max.min(next - first))
}

/// Makes `sector` the start of a run, if it lies in one.
fn split(file: &mut BTreeMap<u64, Run>, sector: u64) {
    let Some((start, run)) = covering(file, sector).filter(|(start, _)| *start < sector) else { return };
    let head = sector - start;
    file.insert(start, Run { sectors: head, ..run });
    let device_sector = run.device_sector + head;
    file.insert(sector, Run { sectors: run.sectors - head, device_sector, ..run });
}

/// Adds a run where there is none, as part of its neighbours where they go on.
fn insert(file: &mut BTreeMap<u64, Run>, mut start: u64, mut run: Run) {
    if let Some((&before_start, &before)) = file.range(..start).next_back()
        && before_start + before.sectors == start
        && before.device_sector + before.sectors == run.device_sector
        && before.state == run.state
    {
        start = before_start;
        run = Run { sectors: before.sectors + run.sectors, ..before };
    }
    let end = start + run.sectors;
    if let Some(&after) = file.get(&end)
        && run.device_sector + run.sectors == after.device_sector
        && after.state == run.state
    {
        file.remove(&end);
        run.sectors += after.sectors;
    }
    file.insert(start, run);
}

/// Runs of the device that no file has: first sector -> sectors; neighbours are one run.
struct FreeSpace {
    runs: BTreeMap<u64, u64>,
    sectors: u64,
}

impl FreeSpace {
    fn new(total: u64) -> Self {
        let runs = if total == 0 { BTreeMap::new() } else { BTreeMap::from([(0, total)]) };
        Self { runs, sectors: total }
    }

    /// Takes up to `wanted` sectors that lie together: from the first run that has them all, or the
    /// whole first run if none has.
    fn take(&mut self, wanted: u64) -> Option<(u64, u64)> {
        let enough = self.runs.iter().find(|(_, sectors)| **sectors >= wanted);
        let (&start, &sectors) = enough.or_else(|| self.runs.iter().next())?;
        let taken = wanted.min(sectors);
        self.runs.remove(&start);
        if taken < sectors {
            self.runs.insert(start + taken, sectors - taken);
        }
        self.sectors -= taken;
        Some((start, taken))
    }

    fn give(&mut self, mut start: u64, mut sectors: u64) {
        self.sectors += sectors;
        if let Some((&before, &len)) = self.runs.range(..start).next_back()
            && before + len == start
        {
            self.runs.remove(&before);
            (start, sectors) = (before, len + sectors);
        }
        if let Some(after) = self.runs.remove(&(start + sectors)) {
            sectors += after;
        }
        self.runs.insert(start, sectors);
    }
}

#[cfg(test)]
mod tests;
