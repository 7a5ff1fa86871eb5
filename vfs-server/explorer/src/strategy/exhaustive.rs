//! Every run within bounds, depth first.
//!
//! *Preemption-bounded* (Musuvathi, Qadeer, PLDI 2007): most faults need one or two moments at which a
//! task is stopped that could have gone on; runs with at most that many are few enough to try all.
//! Runs with few deviations (preemptions and injected faults together) come before those with more, so
//! the first failure has the fewest that any has.
//!
//! Of runs that come to the same state (the same partial order of accesses so far, and the same task
//! running) with as much left to spend, one goes on: the others would see nothing new (happens-before
//! caching, in the same paper).
//!
//! *Sleep sets* (Godefroid 1996) leave out runs that differ only in the order of independent steps.
//! They are sound only without a bound on preemptions (the one run that is kept may be the one that
//! exceeds it), so it is the one or the other.

use super::{Strategy, SwitchPoint};
use crate::runtime::{ChoiceKind, Footprint, Itself, Trace, mix};
use crate::scenario::Outcome;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;

/// What limits the runs, or leaves some out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// Runs with at most this many preemptions.
    Preemptions(u32),
    /// One run of each partial order.
    SleepSets,
    /// Every run. For cross-checks on tiny cases.
    None,
}

/// A part of the runs: of `of` parts, the one with this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 0.
    pub number: u32,
    /// All of them together are everything.
    pub of: u32,
}

impl Shard {
    /// Everything.
    pub const WHOLE: Self = Self { number: 0, of: 1 };
}

/// Tries every run within its bounds once.
#[derive(Clone, Debug)]
pub struct Exhaustive {
    reduction: Reduction,
    /// Injected faults of a run, at most.
    faults: u32,
    shard: Shard,
    /// The bound on deviations, preemptions and faults together, that is being exhausted.
    deviations: u32,
    /// The decisions of the run, from the first; what is left to try at each.
    nodes: Vec<Node>,
    /// How many of them the run has made.
    depth: usize,
    started: bool,
    exhausted: bool,
    /// For the next node: tasks whose next step was tried elsewhere and is independent of all since.
    asleep: Vec<Asleep>,
    /// Spare, to keep its memory.
    spare: Vec<Asleep>,
    /// Within the bound on deviations: states from which all was tried, or is about to be.
    seen: HashMap<u64, Spent, BuildHasherDefault<Itself>>,
    /// Whether that bound, and no other, has left something out.
    cut: bool,
}

/// What runs had spent when they came to a state: a bit for each number of preemptions and faults.
#[derive(Clone, Copy, Debug, Default)]
struct Spent(u64);

impl Spent {
    /// Numbers below this one have bits.
    const EACH: u32 = 8;

    /// Whether a run had spent no more than this; notes this one. What has no bit is never known.
    fn was_less(&mut self, preemptions: u32, faults: u32) -> bool {
        if preemptions >= Self::EACH || faults >= Self::EACH {
            return false;
        }
        let upto_faults = (2u64 << faults) - 1;
        let no_more = (0..=preemptions).fold(0, |bits, row| bits | upto_faults << (row * Self::EACH));
        let known = self.0 & no_more != 0;
        self.0 |= 1 << (preemptions * Self::EACH + faults);
        known
    }
}

#[derive(Clone, Debug)]
struct Asleep {
    task: u8,
    /// Of its next step.
    footprint: Footprint,
}

#[derive(Clone, Debug)]
enum Node {
    Switch {
        at: SwitchPoint,
        tried: u64,
        task: u8,
        /// In the run, before this decision.
        preemptions: u32,
        /// Faults before this decision.
        faults: u32,
        asleep: Vec<Asleep>,
        /// First steps that were tried from here.
        stepped: Vec<Asleep>,
    },
    Choice {
        value: u32,
        n: u32,
        kind: ChoiceKind,
        preemptions: u32,
        faults: u32,
    },
}

impl Node {
    /// Preemptions and faults of the run, this decision included.
    fn spent(&self) -> (u32, u32) {
        match *self {
            Self::Switch { at, task, preemptions, faults, .. } => {
                (preemptions + u32::from(at.current.is_some_and(|current| current != task)), faults)
            }
            Self::Choice { value, kind, preemptions, faults, .. } => {
                (preemptions, faults + u32::from(kind == ChoiceKind::Fault && value != 0))
            }
        }
    }
}

impl Exhaustive {
    /// Every run with at most `faults` injected faults, as `reduction` says.
    pub fn new(reduction: Reduction, faults: u32) -> Self {
        Self {
            reduction,
            faults,
            shard: Shard::WHOLE,
            deviations: 0,
            nodes: Vec::new(),
            depth: 0,
            started: false,
            exhausted: false,
            asleep: Vec::new(),
            spare: Vec::new(),
            seen: HashMap::default(),
            cut: false,
        }
    }

    /// Only a part of them. Runs without preemptions and faults are in every part.
    pub fn shard(mut self, shard: Shard) -> Self {
        assert!(shard.number < shard.of, "{shard:?}");
        self.shard = shard;
        self
    }

    /// Whether a run with these preemptions and faults may have one more fault.
    fn may_fail(&self, preemptions: u32, faults: u32) -> bool {
        let deviates = match self.reduction {
            Reduction::Preemptions(_) => preemptions + faults < self.deviations,
            Reduction::SleepSets | Reduction::None => true,
        };
        deviates && faults < self.faults
    }

    /// Whether a run whose first deviation is at decision `depth` belongs to this part.
    fn is_ours(&self, depth: usize, alternative: u32) -> bool {
        (depth as u32).wrapping_mul(31).wrapping_add(alternative) % self.shard.of == self.shard.number
    }

    /// Tasks that may still be tried at a node.
    fn alternatives(&self, depth: usize, node: &Node) -> u64 {
        let Node::Switch { at, tried, preemptions, faults, asleep, .. } = node else { return 0 };
        let mut left = at.ready & !tried;
        for sleeper in asleep {
            left &= !(1 << sleeper.task);
        }
        let Some(current) = at.current else { return left };
        let stay = left & 1 << current;
        let Reduction::Preemptions(most) = self.reduction else { return left };
        if *preemptions >= most || preemptions + faults >= self.deviations {
            return stay;
        }
        if *preemptions == 0 && *faults == 0 && self.shard.of > 1 {
            let ours = (0..64).filter(|&task| left >> task & 1 == 1 && self.is_ours(depth, task));
            return stay | ours.fold(0, |ours, task| ours | 1 << task);
        }
        left
    }

    /// Makes the next decision of the last node that has one left; `false`: none has.
    fn advance(&mut self) -> bool {
        while let Some(mut node) = self.nodes.pop() {
            let depth = self.nodes.len();
            let left = self.alternatives(depth, &node);
            match &mut node {
                Node::Switch { at, tried, task, .. } if left != 0 => {
                    *task = at.default_task_of(left);
                    *tried |= 1 << *task;
                    self.nodes.push(node);
                    return true;
                }
                Node::Switch { .. } => {}
                Node::Choice { value, n, kind, preemptions, faults } => {
                    let first = *preemptions == 0 && *faults == 0 && self.shard.of > 1;
                    while *value + 1 < *n && (*kind == ChoiceKind::Free || self.may_fail(*preemptions, *faults)) {
                        *value += 1;
                        if *kind == ChoiceKind::Fault && first && !self.is_ours(depth, *value) {
                            continue;
                        }
                        self.nodes.push(node);
                        return true;
                    }
                }
            }
        }
        false
    }

    /// Whether all that can follow is tried elsewhere.
    fn is_known(&mut self, at: &SwitchPoint, preemptions: u32, faults: u32) -> bool {
        let shared_out = preemptions == 0 && faults == 0 && self.shard.of > 1;
        if shared_out || !self.wants_past() {
            return false;
        }
        let state = mix(mix(at.past, at.ready), at.current.map_or(0, |task| u64::from(task) + 1));
        self.seen.entry(state).or_default().was_less(preemptions, faults)
    }

    fn spent(&self) -> (u32, u32) {
        self.nodes[..self.depth].last().map_or((0, 0), Node::spent)
    }
}

impl Strategy for Exhaustive {
    fn name(&self) -> String {
        match self.reduction {
            Reduction::Preemptions(bound) => format!("pb{bound}"),
            Reduction::SleepSets => "sleep".into(),
            Reduction::None => "all".into(),
        }
    }

    fn begin(&mut self) -> bool {
        self.depth = 0;
        self.asleep.clear();
        if self.exhausted {
            return false;
        }
        if !std::mem::replace(&mut self.started, true) || self.advance() {
            return true;
        }
        match self.reduction {
            Reduction::Preemptions(most) if self.cut && self.deviations < most + self.faults => {
                self.deviations += 1;
                self.seen.clear();
                self.cut = false;
                true
            }
            _ => {
                self.exhausted = true;
                false
            }
        }
    }

    fn pick(&mut self, at: &SwitchPoint) -> Option<u8> {
        if let Some(node) = self.nodes.get(self.depth) {
            let Node::Switch { at: then, task, .. } = node else { panic!("a run is not the same twice: {node:?}") };
            assert!(then == at, "a run is not the same twice: {then:?}, {at:?}");
            self.depth += 1;
            return Some(*task);
        }
        let (preemptions, faults) = self.spent();
        if self.is_known(at, preemptions, faults) {
            return None;
        }
        if let Reduction::Preemptions(most) = self.reduction {
            let others = at.current.is_some_and(|current| at.ready & !(1 << current) != 0);
            self.cut |= others && preemptions < most && preemptions + faults >= self.deviations;
        }
        let mut node = Node::Switch {
            at: *at,
            tried: 0,
            task: 0,
            preemptions,
            faults,
            asleep: std::mem::take(&mut self.asleep),
            stepped: Vec::new(),
        };
        let left = self.alternatives(self.depth, &node);
        if left == 0 {
            return None;
        }
        let picked = at.default_task_of(left);
        if let Node::Switch { tried, task, .. } = &mut node {
            *task = picked;
            *tried = 1 << picked;
        }
        self.nodes.push(node);
        self.depth += 1;
        Some(picked)
    }

    fn choose(&mut self, n: u32, site: &'static str, kind: ChoiceKind) -> u32 {
        if let Some(node) = self.nodes.get(self.depth) {
            let Node::Choice { value, .. } = node else { panic!("a run is not the same twice: {site}, {node:?}") };
            self.depth += 1;
            return *value;
        }
        let (preemptions, faults) = self.spent();
        if let (Reduction::Preemptions(_), ChoiceKind::Fault) = (self.reduction, kind) {
            self.cut |= faults < self.faults && preemptions + faults >= self.deviations;
        }
        self.nodes.push(Node::Choice { value: 0, n, kind, preemptions, faults });
        self.depth += 1;
        0
    }

    fn wants_steps(&self) -> bool {
        self.reduction == Reduction::SleepSets
    }

    fn wants_past(&self) -> bool {
        matches!(self.reduction, Reduction::Preemptions(_))
    }

    fn step(&mut self, stepped_task: u8, footprint: &Footprint) {
        let Some(last) = (0..self.depth).rev().find(|&depth| matches!(self.nodes[depth], Node::Switch { .. })) else {
            return;
        };
        // A step that made a choice can be another one the next time: it must not be put to sleep.
        let same_each_time = last + 1 == self.depth;
        let Node::Switch { asleep, stepped, task, .. } = &mut self.nodes[last] else { return };
        debug_assert_eq!(*task, stepped_task);
        self.spare.clear();
        let others = asleep.iter().chain(stepped.iter()).filter(|sleeper| sleeper.task != stepped_task);
        self.spare.extend(others.filter(|sleeper| !sleeper.footprint.depends_on(footprint)).cloned());
        std::mem::swap(&mut self.asleep, &mut self.spare);
        if same_each_time && stepped.iter().all(|sleeper| sleeper.task != stepped_task) {
            stepped.push(Asleep { task: stepped_task, footprint: footprint.clone() });
        }
    }

    fn end(&mut self, _trace: &Trace, _outcome: &Outcome) {
        // What lies deeper belongs to the run before this one.
        self.nodes.truncate(self.depth);
    }

    fn progress(&self) -> String {
        match self.reduction {
            Reduction::Preemptions(most) => {
                format!("at most {} deviations, preemption bound {}", self.deviations, self.deviations.min(most))
            }
            Reduction::SleepSets => "one run of each partial order".into(),
            Reduction::None => "every run".into(),
        }
    }
}
