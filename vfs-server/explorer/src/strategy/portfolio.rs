//! Several strategies in turn: random and PCT each find faults that the other misses, and the
//! exhaustive one finds those that need few preemptions first.

use super::{Exhaustive, Pct, Random, Reduction, Shard, Strategy, SwitchPoint};
use crate::runtime::{ChoiceKind, Footprint, Trace};
use crate::scenario::Outcome;

/// One run of each strategy in turn.
pub struct Portfolio {
    strategies: Vec<Box<dyn Strategy>>,
    /// Whose run this is.
    turn: usize,
}

impl Portfolio {
    /// Random, PCT of depth 3 and 5, and at most 3 preemptions with at most 2 faults.
    pub fn new(seed: u64, shard: Shard) -> Self {
        let seed = seed.wrapping_mul(u64::from(shard.of)).wrapping_add(u64::from(shard.number));
        Self::of(vec![
            Box::new(Exhaustive::new(Reduction::Preemptions(3), 2).shard(shard)),
            Box::new(Random::new(seed)),
            Box::new(Pct::new(seed ^ 3 << 32, 3)),
            Box::new(Pct::new(seed ^ 5 << 32, 5)),
        ])
    }

    /// These strategies; at least one.
    pub fn of(strategies: Vec<Box<dyn Strategy>>) -> Self {
        assert!(!strategies.is_empty());
        Self { turn: strategies.len() - 1, strategies }
    }

    fn now(&mut self) -> &mut dyn Strategy {
        &mut *self.strategies[self.turn]
    }
}

impl Strategy for Portfolio {
    fn name(&self) -> String {
        "auto".into()
    }

    fn begin(&mut self) -> bool {
        for _ in 0..self.strategies.len() {
            self.turn = (self.turn + 1) % self.strategies.len();
            if self.now().begin() {
                return true;
            }
        }
        false
    }

    fn pick(&mut self, at: &SwitchPoint) -> Option<u8> {
        self.now().pick(at)
    }

    fn choose(&mut self, n: u32, site: &'static str, kind: ChoiceKind) -> u32 {
        self.now().choose(n, site, kind)
    }

    fn wants_steps(&self) -> bool {
        self.strategies[self.turn].wants_steps()
    }

    fn wants_past(&self) -> bool {
        self.strategies[self.turn].wants_past()
    }

    fn step(&mut self, task: u8, footprint: &Footprint) {
        self.now().step(task, footprint);
    }

    fn end(&mut self, trace: &Trace, outcome: &Outcome) {
        self.now().end(trace, outcome);
    }

    fn progress(&self) -> String {
        let parts = self.strategies.iter().map(|strategy| match strategy.progress() {
            progress if progress.is_empty() => strategy.name(),
            progress => format!("{} ({progress})", strategy.name()),
        });
        parts.collect::<Vec<_>>().join(", ")
    }
}
