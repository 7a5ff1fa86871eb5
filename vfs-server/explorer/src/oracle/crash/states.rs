//! The disks that a crash may leave: for each pending sector, one of its contents.
//!
//! All of them while there are few; else those that find most bugs and a sample of the rest. The verdict counts
//! which of the two it was.

use super::disk_log::{Pending, put_sector};
use std::collections::HashSet;

/// Pending contents up to which every combination is tried.
pub const EXHAUSTIVE_MAX: usize = 10;
/// Random combinations beyond that.
pub const SAMPLES: usize = 64;

/// How many of the possible disks were tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Crash points of which every disk was tried.
    pub exhausted: usize,
    /// Crash points of which some were.
    pub sampled: usize,
    /// Disks in all.
    pub states: usize,
}

impl Coverage {
    /// Adds one crash point.
    pub fn add(&mut self, states: &CrashStates) {
        *(if states.exhaustive { &mut self.exhausted } else { &mut self.sampled }) += 1;
        self.states += states.len();
    }
}

/// One disk: for each pending sector the number of its contents, 0 being the durable one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CrashState(Vec<u8>);

/// The disks of one crash point.
#[derive(Debug)]
pub struct CrashStates<'a> {
    pending: Pending<'a>,
    states: Vec<CrashState>,
    exhaustive: bool,
}

impl<'a> CrashStates<'a> {
    /// All disks, or a choice of them that only depends on `seed`.
    pub fn new(pending: Pending<'a>, seed: u64) -> Self {
        let versions: Vec<u8> = pending.sectors.values().map(|contents| contents.len().min(254) as u8).collect();
        let in_all: usize = versions.iter().map(|&count| usize::from(count)).sum();
        let exhaustive = in_all <= EXHAUSTIVE_MAX;
        let states = if exhaustive { all(&versions) } else { chosen(&pending, &versions, seed) };
        Self { pending, states, exhaustive }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// Never: there is always the disk on which nothing pending has arrived.
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// Whether these are all that are possible.
    pub fn is_exhaustive(&self) -> bool {
        self.exhaustive
    }

    /// The disks.
    pub fn iter(&self) -> impl Iterator<Item = &CrashState> {
        self.states.iter()
    }

    /// Writes a disk to an image; `original` is the disk as it was when the log began.
    pub fn write(&self, state: &CrashState, original: &[u8], image: &mut Vec<u8>) {
        image.clear();
        image.extend_from_slice(original);
        self.pending.settle(image);
        for ((&sector, contents), &choice) in self.pending.sectors.iter().zip(&state.0) {
            if let Some(version) = usize::from(choice).checked_sub(1) {
                put_sector(image, sector, contents[version]);
            }
        }
    }

    /// Which pending sectors have arrived, in words.
    pub fn in_words(&self, state: &CrashState) -> String {
        let arrived: Vec<_> = self
            .pending
            .sectors
            .keys()
            .zip(&state.0)
            .filter(|(_, choice)| **choice > 0)
            .map(|(sector, choice)| {
                if self.pending.sectors[sector].len() > 1 {
                    format!("{sector} (write {choice})")
                } else {
                    sector.to_string()
                }
            })
            .collect();
        match (self.pending.sectors.len(), arrived.len()) {
            (0, _) => "nothing was pending".into(),
            (pending, 0) => format!("none of {pending} pending sectors has arrived"),
            (pending, count) if pending == count => format!("all {pending} pending sectors have arrived"),
            (pending, count) => format!("{count} of {pending} pending sectors have arrived: {}", arrived.join(", ")),
        }
    }
}

fn all(versions: &[u8]) -> Vec<CrashState> {
    let mut states = Vec::new();
    let mut choice = vec![0; versions.len()];
    loop {
        states.push(CrashState(choice.clone()));
        let Some(digit) = (0..versions.len()).find(|&digit| choice[digit] < versions[digit]) else { return states };
        choice[digit] += 1;
        choice[..digit].fill(0);
    }
}

/// None, all, each dropped, each kept, each prefix of the writes, and a sample.
fn chosen(pending: &Pending, versions: &[u8], seed: u64) -> Vec<CrashState> {
    let none = vec![0; versions.len()];
    let mut states = vec![none.clone(), versions.to_vec()];
    for sector in 0..versions.len() {
        let mut dropped = versions.to_vec();
        dropped[sector] = 0;
        states.push(dropped);
        for version in 1..=versions[sector] {
            let mut kept = none.clone();
            kept[sector] = version;
            states.push(kept);
        }
    }
    let mut prefix = none;
    for &(first, count) in &pending.writes {
        for (index, sector) in pending.sectors.keys().enumerate() {
            if (first..first + count as u64).contains(sector) {
                prefix[index] += 1;
            }
        }
        states.push(prefix.clone());
    }
    let mut random = seed;
    for _ in 0..SAMPLES {
        states.push(versions.iter().map(|&count| (next(&mut random) % (u64::from(count) + 1)) as u8).collect());
    }
    let mut known = HashSet::new();
    states.into_iter().map(CrashState).filter(|state| known.insert(state.clone())).collect()
}

/// SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}
