//! The same failure with as little as possible in the way.
//!
//! Owns: making a failing run shorter. First the run is seen as *segments* (a task, and for how many
//! decisions it goes on): a segment is left out, put off until its task runs again, or drawn out
//! until its task must wait, and faults are taken back, as long as the run still fails in the same
//! way. Then, if it still takes more than one preemption, all runs with fewer are tried, as far as a
//! budget goes. What comes out is a run that was made, not a list that was edited.

use crate::runtime::{ChoiceKind, Decision, Explorer, Trace};
use crate::scenario::{Failure, Outcome};
use crate::strategy::{Exhaustive, Reduction, Replay, Strategy, SwitchPoint};

/// Runs that the edits may take.
const EDITS_MAX: u64 = 3_000;
/// Runs that the search for fewer preemptions may take.
const SEARCH_MAX: u64 = 20_000;

/// A failing run that has little left to leave out.
#[derive(Clone, Debug)]
pub struct Minimised {
    /// How it fails: with the kind that it had before.
    pub failure: Failure,
    /// What it decides.
    pub trace: Trace,
    /// Runs that it took to find it.
    pub runs: u64,
}

/// The least run found that fails as `trace` did, with the kind of `failure`. It was run twice, alike.
/// A failure that does not come back when its decisions are made again is returned as it is.
pub fn minimise(explorer: &mut Explorer, failure: &Failure, trace: &Trace) -> Minimised {
    let best = Minimised { failure: failure.clone(), trace: trace.clone(), runs: 0 };
    let mut search = Search { explorer, best };
    if !search.attempt(&mut Replay::new(trace.decisions.clone()), Accept::Any) {
        return search.best;
    }
    search.edit();
    search.search_below();
    let last = search.best.trace.decisions.clone();
    search.attempt(&mut Replay::new(last), Accept::Any);
    search.best
}

/// Which failing runs take the place of the best.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Accept {
    Any,
    Smaller,
}

struct Search<'a> {
    explorer: &'a mut Explorer,
    best: Minimised,
}

impl Search<'_> {
    /// One run; whether it became the best.
    fn attempt(&mut self, strategy: &mut dyn Strategy, accept: Accept) -> bool {
        if !strategy.begin() {
            return false;
        }
        let (outcome, trace) = self.explorer.run_once(strategy, None);
        strategy.end(&trace, &outcome);
        self.best.runs += 1;
        let Outcome::Failed(failure) = outcome else { return false };
        let better = accept == Accept::Any || cost(&trace) < cost(&self.best.trace);
        if failure.kind != self.best.failure.kind || !better {
            return false;
        }
        self.best.failure = failure;
        self.best.trace = trace;
        true
    }

    /// Edits the segments until no edit helps.
    fn edit(&mut self) {
        'improved: while self.best.runs < EDITS_MAX {
            let plan = Plan::of(&self.best.trace);
            // Halves first: most of a long failing run has nothing to do with its failure.
            let mut chunk = (plan.segments.len() / 2).max(1);
            loop {
                for start in (0..plan.segments.len()).step_by(chunk) {
                    let chunk = start..(start + chunk).min(plan.segments.len());
                    let edits = [plan.without(chunk.clone()), plan.put_off(chunk.start), plan.drawn_out(chunk.start)];
                    for edit in edits {
                        if self.attempt(&mut edit.strategy(), Accept::Smaller) {
                            continue 'improved;
                        }
                    }
                    if self.best.runs >= EDITS_MAX {
                        return;
                    }
                }
                if chunk == 1 {
                    break;
                }
                chunk /= 2;
            }
            let taken_back = (0..plan.choices.len()).filter(|&choice| plan.choices[choice] != 0);
            for choice in taken_back.collect::<Vec<_>>() {
                if self.attempt(&mut plan.with_choice(choice, 0).strategy(), Accept::Smaller) {
                    continue 'improved;
                }
            }
            return;
        }
    }

    /// Tries all runs with fewer preemptions and no more faults, while the budget lasts.
    fn search_below(&mut self) {
        let preemptions = self.best.trace.preemptions() as u32;
        if preemptions < 2 {
            return;
        }
        let faults = self.best.trace.faults() as u32;
        let mut below = Exhaustive::new(Reduction::Preemptions(preemptions - 1), faults);
        let end = self.best.runs + SEARCH_MAX;
        while self.best.runs < end {
            let before = self.best.runs;
            // The bound rises, so the first that fails has the fewest.
            if self.attempt(&mut below, Accept::Smaller) {
                return self.edit();
            }
            if self.best.runs == before {
                return;
            }
        }
    }
}

/// What is to become small, the most important first.
fn cost(trace: &Trace) -> (usize, usize, usize, u64, usize) {
    let mut switches = 0;
    let mut last = None;
    for decision in &trace.decisions {
        if let Decision::Switch { task, .. } = decision {
            switches += usize::from(last.is_some_and(|last| last != *task));
            last = Some(*task);
        }
    }
    (trace.preemptions(), trace.faults(), switches, trace.steps, trace.decisions.len())
}

/// A run as segments and choices.
#[derive(Clone, Debug)]
struct Plan {
    segments: Vec<Segment>,
    choices: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    task: u8,
    /// Decisions in a row that the task wins; `u32::MAX`: until it must wait.
    decisions: u32,
}

impl Plan {
    fn of(trace: &Trace) -> Self {
        let mut plan = Self { segments: Vec::new(), choices: Vec::new() };
        for decision in &trace.decisions {
            match *decision {
                Decision::Switch { task, .. } => match plan.segments.last_mut() {
                    Some(last) if last.task == task => last.decisions += 1,
                    _ => plan.segments.push(Segment { task, decisions: 1 }),
                },
                Decision::Choice { value, .. } => plan.choices.push(value),
            }
        }
        plan
    }

    fn without(&self, chunk: std::ops::Range<usize>) -> Self {
        let mut edited = self.clone();
        edited.segments.drain(chunk);
        edited
    }

    /// The segment is done when its task runs the next time.
    fn put_off(&self, at: usize) -> Self {
        let mut edited = self.clone();
        let segment = edited.segments.remove(at);
        match edited.segments[at..].iter_mut().find(|later| later.task == segment.task) {
            Some(later) => later.decisions = later.decisions.saturating_add(segment.decisions),
            None => edited.segments.push(Segment { decisions: u32::MAX, ..segment }),
        }
        edited
    }

    fn drawn_out(&self, at: usize) -> Self {
        let mut edited = self.clone();
        edited.segments[at].decisions = u32::MAX;
        edited
    }

    fn with_choice(&self, at: usize, value: u32) -> Self {
        let mut edited = self.clone();
        edited.choices[at] = value;
        edited
    }

    fn strategy(self) -> Planned {
        Planned { plan: self, segment: 0, won: 0, choice: 0 }
    }
}

/// Follows a plan as far as it goes, and the default beyond it.
struct Planned {
    plan: Plan,
    segment: usize,
    /// Decisions that the segment's task has won.
    won: u32,
    choice: usize,
}

impl Strategy for Planned {
    fn name(&self) -> String {
        "planned".into()
    }

    fn begin(&mut self) -> bool {
        true
    }

    fn pick(&mut self, at: &SwitchPoint) -> Option<u8> {
        while let Some(segment) = self.plan.segments.get(self.segment) {
            if self.won < segment.decisions && at.ready >> segment.task & 1 == 1 {
                self.won += 1;
                return Some(segment.task);
            }
            self.segment += 1;
            self.won = 0;
        }
        Some(at.default_task())
    }

    fn choose(&mut self, n: u32, _site: &'static str, _kind: ChoiceKind) -> u32 {
        let value = self.plan.choices.get(self.choice).copied().unwrap_or(0);
        self.choice += 1;
        value.min(n - 1)
    }
}
