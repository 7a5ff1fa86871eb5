//! What an exploration came to, and how far that goes.
//!
//! Owns: the verdict on one scenario of one variant, in words and as JSON, and putting the verdicts
//! of several processes together. Does not own: reaching it ([`crate::strategy`]).

use super::numbers::{grouped, seconds};
use crate::world::crash::Looked;
use serde::{Deserialize, Serialize};
use std::ops::Add;
use std::path::PathBuf;

/// The verdict on one scenario of one variant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Name of the experiment.
    pub experiment: String,
    /// Name of the protocol variant.
    pub variant: String,
    /// Name of the scenario.
    pub scenario: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Schedules that were run, those of the minimiser not counted.
    pub schedules: u64,
    /// Different ones among them, as far as they were counted.
    pub distinct: u64,
    /// Disks that were looked at after crashes.
    pub crashes: Looked,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// Object classes whose accesses may switch; everything else ran atomically.
    pub switching: Vec<String>,
}

/// How an exploration ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// An expectation broke.
    Failed(Failed),
    /// Nothing broke in a sample.
    Clean {
        /// The strategies that took it.
        strategies: String,
    },
    /// Nothing broke, and nothing is left to run.
    Exhausted {
        /// Most preemptions of a schedule; `None`: all of them, up to reordering independent steps.
        bound: Option<u32>,
    },
    /// The process that explored ended without a verdict.
    Crashed {
        /// How.
        how: String,
    },
}

/// A broken expectation, minimised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failed {
    /// Its short name: "lost-write".
    pub kind: String,
    /// One sentence.
    pub summary: String,
    /// The strategy that found it.
    pub strategy: String,
    /// How many schedules that took.
    pub after_schedules: u64,
    /// Seconds until it was found.
    pub after_seconds: f64,
    /// Decisions of the run that was found, and of the minimised one.
    pub decisions: (usize, usize),
    /// Preemptions of both.
    pub preemptions: (usize, usize),
    /// Where the minimised schedule is stored.
    pub schedule: Option<PathBuf>,
    /// The minimised run, drawn.
    pub diagram: String,
}

impl Report {
    /// Schedules a second.
    pub fn rate(&self) -> f64 {
        self.schedules as f64 / self.seconds.max(1e-9)
    }

    /// "experiment, variant, scenario".
    pub fn title(&self) -> String {
        format!("{}, {}, {}", self.experiment, self.variant, self.scenario)
    }

    /// The verdict in one line.
    pub fn line(&self) -> String {
        let run = format!(
            "{} schedules in {}, {}/s",
            grouped(self.schedules),
            seconds(self.seconds),
            grouped(self.rate() as u64)
        );
        match &self.verdict {
            Verdict::Failed(failed) => format!(
                "FAILED: {} after {} schedules ({}), {}",
                failed.kind,
                grouped(failed.after_schedules),
                failed.strategy,
                seconds(failed.after_seconds),
            ),
            Verdict::Clean { strategies } => format!("clean after a sample of {run} ({strategies})"),
            Verdict::Exhausted { bound: Some(bound) } => {
                format!("exhausted within {}: {run}", preemptions(*bound as usize))
            }
            Verdict::Exhausted { bound: None } => format!("exhausted: {run}, one for each order of dependent steps"),
            Verdict::Crashed { how } => format!("CRASHED: {how}"),
        }
    }

    /// What the verdict does not say.
    pub fn limits(&self) -> String {
        let holds = match &self.verdict {
            Verdict::Clean { .. } => "A sample proves nothing about the schedules that were not run.",
            Verdict::Exhausted { bound: Some(_) } => "It holds for this scenario and this bound.",
            Verdict::Exhausted { bound: None } => "It holds for this scenario.",
            Verdict::Failed(_) | Verdict::Crashed { .. } => return String::new(),
        };
        let Looked { disks, in_recovery } = self.crashes;
        let crashes = match disks {
            0 => String::new(),
            _ => format!(
                " Of the disks that crashes may leave {} were looked at, {} of them after another crash within recovery.",
                grouped(disks),
                grouped(in_recovery)
            ),
        };
        format!(
            "{holds}{crashes} Memory is sequentially consistent; tasks switch at accesses to: {}; the rest runs atomically.",
            if self.switching.is_empty() { "nothing".to_owned() } else { self.switching.join(", ") }
        )
    }

    /// Puts the reports of the parts of one exploration together.
    ///
    /// `None`: there is none.
    pub fn merge(parts: Vec<Self>) -> Option<Self> {
        let schedules = parts.iter().map(|part| part.schedules).sum();
        let distinct = parts.iter().map(|part| part.distinct).sum();
        let crashes = parts.iter().map(|part| part.crashes).fold(Looked::default(), Looked::add);
        let seconds = parts.iter().map(|part| part.seconds).fold(0.0, f64::max);
        let worst = parts.into_iter().min_by_key(|part| part.verdict.rank())?;
        Some(Self { schedules, distinct, crashes, seconds, ..worst })
    }
}

impl Verdict {
    /// The worst is the least: of two failures the one with fewer preemptions, of two that found
    /// nothing the one that says less.
    fn rank(&self) -> (u8, usize) {
        match self {
            Self::Failed(failed) => (0, failed.preemptions.1),
            Self::Crashed { .. } => (1, 0),
            Self::Clean { .. } => (2, 0),
            Self::Exhausted { bound: Some(bound) } => (3, *bound as usize),
            Self::Exhausted { bound: None } => (4, 0),
        }
    }

    /// Whether nothing broke.
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Clean { .. } | Self::Exhausted { .. })
    }
}

impl Failed {
    /// The minimised run, what was found and how it was made smaller.
    pub fn story(&self) -> String {
        let (decisions, switches) = (self.decisions, self.preemptions);
        if decisions.0 == decisions.1 {
            return format!(
                "{}\n{} decisions with {}\n",
                self.diagram.trim_end(),
                decisions.0,
                preemptions(switches.0)
            );
        }
        format!(
            "{}\nminimised from {} decisions with {} to {} with {}\n",
            self.diagram.trim_end(),
            decisions.0,
            preemptions(switches.0),
            decisions.1,
            preemptions(switches.1)
        )
    }
}

/// "no preemption", "1 preemption", "2 preemptions".
pub fn preemptions(count: usize) -> String {
    match count {
        0 => "no preemption".to_owned(),
        1 => "1 preemption".to_owned(),
        many => format!("{many} preemptions"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(verdict: Verdict) -> Report {
        Report {
            experiment: "fault-pool".into(),
            variant: "shared".into(),
            scenario: "two-writes".into(),
            verdict,
            schedules: 10_000,
            distinct: 900,
            crashes: Looked { disks: 20, in_recovery: 5 },
            seconds: 0.5,
            switching: vec!["inode lock".into()],
        }
    }

    fn failed(preemptions: usize) -> Verdict {
        Verdict::Failed(Failed {
            kind: "deadlock".into(),
            summary: String::new(),
            strategy: "random".into(),
            after_schedules: 3,
            after_seconds: 0.1,
            decisions: (40, 9),
            preemptions: (3, preemptions),
            schedule: None,
            diagram: String::new(),
        })
    }

    #[test]
    fn a_failure_in_one_part_is_the_verdict_and_the_simplest_one_is_kept() {
        let parts = vec![report(Verdict::Exhausted { bound: Some(2) }), report(failed(2)), report(failed(1))];
        let merged = Report::merge(parts).unwrap();
        assert_eq!(merged.schedules, 30_000);
        assert_eq!(merged.crashes, Looked { disks: 60, in_recovery: 15 });
        assert_eq!(merged.verdict, failed(1));
    }

    #[test]
    fn parts_are_exhausted_only_together() {
        let clean = Verdict::Clean { strategies: "random".into() };
        let parts = vec![report(Verdict::Exhausted { bound: Some(2) }), report(clean.clone())];
        assert_eq!(Report::merge(parts).unwrap().verdict, clean);
        assert_eq!(Report::merge(Vec::new()), None);
    }

    #[test]
    fn a_report_survives_json() {
        for verdict in [failed(1), Verdict::Exhausted { bound: None }, Verdict::Crashed { how: "signal 6".into() }] {
            let report = report(verdict);
            let json = serde_json::to_string(&report).unwrap();
            assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
        }
    }

    #[test]
    fn a_clean_verdict_states_its_limits() {
        let report = report(Verdict::Clean { strategies: "random".into() });
        assert_eq!(report.line(), "clean after a sample of 10,000 schedules in 0.5 s, 20,000/s (random)");
        assert!(report.limits().contains("inode lock"));
        assert!(report.limits().contains("sequentially consistent"));
        assert!(report.limits().contains("20 were looked at, 5 of them"));
    }
}
