//! Every decision anew, and a few faults.

use super::{Rng, Strategy, SwitchPoint};
use crate::runtime::{ChoiceKind, Trace};
use crate::scenario::Outcome;

/// Uniform decisions. Each task that could go on is as likely as any other, so that short delays are
/// common and long ones rare.
#[derive(Clone, Debug)]
pub struct Random {
    rng: Rng,
    faults: Faults,
}

impl Random {
    /// The runs of this seed.
    pub fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed), faults: Faults::default() }
    }
}

impl Strategy for Random {
    fn name(&self) -> String {
        "random".into()
    }

    fn begin(&mut self) -> bool {
        self.faults.begin(&mut self.rng);
        true
    }

    fn pick(&mut self, at: &SwitchPoint) -> Option<u8> {
        let n = self.rng.below(u64::from(at.count()));
        Some(at.nth(n as u32))
    }

    fn choose(&mut self, n: u32, _site: &'static str, kind: ChoiceKind) -> u32 {
        self.faults.choose(&mut self.rng, n, kind)
    }

    fn end(&mut self, trace: &Trace, _outcome: &Outcome) {
        self.faults.end(trace);
    }
}

/// Where a sampled run has its faults: none, one or two, at any of the places where one is possible
/// with the same likelihood. (A coin at each place would leave the later ones untried.)
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Places that runs so far had, the most.
    places: u64,
    /// The place that is next in this run.
    place: u64,
    at: [Option<u64>; 2],
}

impl Faults {
    /// Decides for the next run.
    pub fn begin(&mut self, rng: &mut Rng) {
        self.place = 0;
        self.at = [None; 2];
        let count = rng.below(3) as usize;
        for at in &mut self.at[..count] {
            *at = Some(rng.below(self.places.max(1)));
        }
    }

    /// What happens at the next place.
    pub fn choose(&mut self, rng: &mut Rng, n: u32, kind: ChoiceKind) -> u32 {
        if kind == ChoiceKind::Free {
            return rng.below(u64::from(n)) as u32;
        }
        let place = self.place;
        self.place += 1;
        if self.at.contains(&Some(place)) { 1 + rng.below(u64::from(n) - 1) as u32 } else { 0 }
    }

    /// Learns how many places there are.
    pub fn end(&mut self, _trace: &Trace) {
        self.places = self.places.max(self.place);
    }
}
