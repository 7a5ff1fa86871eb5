//! Whether some order of the steps explains every sight.
//!
//! A step or sight may come next if nothing that is left had to be over before it began. Sights that may come and
//! are true come at once: they change nothing, so that waiting gains nothing. Then one step is tried after the
//! other, those first that were answered first: a run without a race is explained on this first way, without a
//! search. States that were reached before are not searched again.

use super::contents::{Applied, Contents};
use super::history::{Moment, NEVER};
use super::steps::{Change, Duty, Plan};
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};

/// What the search came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// An order that explains everything.
    Order,
    /// There is none.
    Nothing,
    /// Neither within the budget.
    Undecided,
}

/// States that are looked at before the search gives up.
const BUDGET: usize = 200_000;

/// Looks for an order. `settled` is handed the contents at its end.
pub fn search(plan: &Plan, settled: &mut Contents) -> Found {
    Search::new(plan).run(settled)
}

/// The contents that the file may have when all of the plan is over: one for each order that explains it, as far as
/// they differ. Steps that only may happen are tried both ways.
pub fn outcomes(plan: &Plan) -> Vec<Contents> {
    let mut search = Search::new(plan);
    search.outcomes = Some(Vec::new());
    search.explore(&mut Contents::default());
    search.outcomes.unwrap_or_default()
}

/// The contents when the steps come in the order of their ends, whatever anybody saw.
pub fn in_order_of_answers(plan: &Plan) -> Contents {
    let mut contents = Contents::default();
    for step in by_end(plan) {
        if plan.steps[step].duty == Duty::Must {
            contents.apply(&plan.steps[step].change);
        }
    }
    contents
}

fn by_end(plan: &Plan) -> Vec<usize> {
    let mut steps: Vec<_> = (0..plan.steps.len()).collect();
    steps.sort_by_key(|&step| plan.steps[step].end);
    steps
}

struct Search<'a> {
    plan: &'a Plan<'a>,
    by_end: Vec<usize>,
    step_done: Vec<bool>,
    sight_done: Vec<bool>,
    /// Sights in the order in which they came, so that they can be taken back.
    seen: Vec<usize>,
    reached: HashSet<u64, BuildHasherDefault<AlreadyHashed>>,
    /// If all orders are wanted: what they come to.
    outcomes: Option<Vec<Contents>>,
}

impl<'a> Search<'a> {
    fn new(plan: &'a Plan<'a>) -> Self {
        Self {
            plan,
            by_end: by_end(plan),
            step_done: vec![false; plan.steps.len()],
            sight_done: vec![false; plan.sights.len()],
            seen: Vec::with_capacity(plan.sights.len()),
            reached: HashSet::default(),
            outcomes: None,
        }
    }

    fn run(&mut self, settled: &mut Contents) -> Found {
        let mut contents = Contents::default();
        let found = self.explore(&mut contents);
        *settled = contents;
        found
    }

    fn explore(&mut self, contents: &mut Contents) -> Found {
        let first_sight = self.seen.len();
        let latest = self.see(contents);
        let mut found = Found::Nothing;
        if self.is_explained() {
            match &mut self.outcomes {
                None => return Found::Order,
                Some(outcomes) if !outcomes.contains(contents) => outcomes.push(contents.clone()),
                Some(_) => {}
            }
        }
        if self.reached.len() >= BUDGET {
            found = Found::Undecided;
        } else if self.reached.insert(self.key(contents)) {
            found = self.try_steps(contents, latest);
        }
        if found != Found::Order {
            for sight in self.seen.drain(first_sight..) {
                self.sight_done[sight] = false;
            }
        }
        found
    }

    fn try_steps(&mut self, contents: &mut Contents, latest: Moment) -> Found {
        let mut undecided = false;
        let half_done = self.half_done();
        for at in 0..self.by_end.len() {
            let index = self.by_end[at];
            let step = &self.plan.steps[index];
            let ready = !self.step_done[index]
                && step.start <= latest
                && (half_done.is_none() || step.group == half_done || matches!(step.change, Change::Store { .. }))
                && step.after.is_none_or(|before| self.step_done[before]);
            if !ready || !self.matters(index) {
                continue;
            }
            let before = contents.clone();
            self.step_done[index] = true;
            if contents.apply(&step.change) == Applied::Yes {
                match self.explore(contents) {
                    Found::Order => return Found::Order,
                    Found::Undecided => undecided = true,
                    Found::Nothing => {}
                }
            }
            *contents = before;
            if step.duty == Duty::May && step.end == latest {
                // It holds the rest back: it may also never have happened.
                match self.explore(contents) {
                    Found::Order => return Found::Order,
                    Found::Undecided => undecided = true,
                    Found::Nothing => {}
                }
            }
            self.step_done[index] = false;
        }
        if undecided { Found::Undecided } else { Found::Nothing }
    }

    /// The write of which some pages are there and some are not.
    fn half_done(&self) -> Option<usize> {
        let steps = self.plan.steps.iter().zip(&self.step_done);
        let mut begun = None;
        for (step, done) in steps.filter(|(step, _)| step.group.is_some()) {
            match done {
                true => begun = step.group,
                false if begun == step.group => return begun,
                false => {}
            }
        }
        None
    }

    /// Takes in all sights that may come and are true. The moment after which nothing may begin yet.
    fn see(&mut self, contents: &Contents) -> Moment {
        loop {
            let latest = self.latest();
            let before = self.seen.len();
            for index in 0..self.plan.sights.len() {
                if !self.sight_done[index]
                    && self.plan.sights[index].start <= latest
                    && self.plan.is_true(index, contents)
                {
                    self.sight_done[index] = true;
                    self.seen.push(index);
                }
            }
            if self.seen.len() == before {
                return latest;
            }
        }
    }

    /// The earliest end of what is left: what starts later has to wait.
    fn latest(&self) -> Moment {
        let steps = (0..self.plan.steps.len())
            .filter(|&step| !self.step_done[step] && self.matters(step))
            .map(|step| self.plan.steps[step].end);
        let sights =
            self.plan.sights.iter().zip(&self.sight_done).filter(|(_, done)| !**done).map(|(sight, _)| sight.end);
        steps.chain(sights).min().unwrap_or(NEVER)
    }

    /// Whether a step has to come, or somebody who has not looked yet may see it.
    fn matters(&self, step: usize) -> bool {
        let step = &self.plan.steps[step];
        step.duty == Duty::Must || self.outcomes.is_some() || step.seen_by.iter().any(|&sight| !self.sight_done[sight])
    }

    fn is_explained(&self) -> bool {
        self.seen.len() == self.plan.sights.len()
            && self.step_done.iter().zip(&self.plan.steps).all(|(done, step)| *done || step.duty == Duty::May)
    }

    fn key(&self, contents: &Contents) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.step_done, &self.sight_done, contents).hash(&mut hasher);
        hasher.finish()
    }
}

/// The keys are hashes themselves.
#[derive(Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0 << 8 | u64::from(byte);
        }
    }
    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}
