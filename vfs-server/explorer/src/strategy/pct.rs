//! Probabilistic concurrency testing (Burckhardt, Kothari, Musuvathi, Nagarakatte, ASPLOS 2010).
//!
//! Tasks have random priorities and the highest that can go on does; at `depth - 1` random moments the
//! one that runs drops below all others. A fault that needs `depth` ordered steps among `n` tasks and
//! `k` decisions is hit with a likelihood of at least `1 / (n * k^(depth - 1))` in each run, however long the
//! delay is that it needs: what uniform decisions hardly ever give.

use super::random::Faults;
use super::{Rng, Strategy, SwitchPoint};
use crate::runtime::{ChoiceKind, Trace};
use crate::scenario::Outcome;

/// Random priorities that change a few times a run.
#[derive(Clone, Debug)]
pub struct Pct {
    rng: Rng,
    depth: usize,
    faults: Faults,
    priorities: [u64; 64],
    /// The decisions of this run at which a priority drops.
    drops: Vec<u64>,
    decision: u64,
    /// Decisions that a run has, as far as is known: the most so far.
    length: u64,
}

impl Pct {
    /// The runs of this seed; `depth` is at least 1.
    pub fn new(seed: u64, depth: usize) -> Self {
        Self {
            rng: Rng::new(seed),
            depth: depth.max(1),
            faults: Faults::default(),
            priorities: [0; 64],
            drops: Vec::new(),
            decision: 0,
            length: 4,
        }
    }

    fn highest(&self, ready: u64) -> u8 {
        let tasks = (0..64u8).filter(|&task| ready >> task & 1 == 1);
        tasks.max_by_key(|&task| self.priorities[usize::from(task)]).unwrap_or(0)
    }
}

impl Strategy for Pct {
    fn name(&self) -> String {
        format!("pct{}", self.depth)
    }

    fn begin(&mut self) -> bool {
        self.faults.begin(&mut self.rng);
        for priority in &mut self.priorities {
            *priority = self.depth as u64 + (self.rng.draw() >> 1);
        }
        self.drops.clear();
        for _ in 1..self.depth {
            let at = self.rng.below(self.length);
            self.drops.push(at);
        }
        self.decision = 0;
        true
    }

    fn pick(&mut self, at: &SwitchPoint) -> Option<u8> {
        if let Some(drop) = self.drops.iter().position(|&drop| drop == self.decision) {
            // Drops are drawn in any order, so that the task of an earlier one can come back or not.
            let task = self.highest(at.ready);
            self.priorities[usize::from(task)] = drop as u64;
        }
        self.decision += 1;
        Some(self.highest(at.ready))
    }

    fn choose(&mut self, n: u32, _site: &'static str, kind: ChoiceKind) -> u32 {
        self.faults.choose(&mut self.rng, n, kind)
    }

    fn end(&mut self, trace: &Trace, _outcome: &Outcome) {
        self.length = self.length.max(self.decision);
        self.faults.end(trace);
    }
}
