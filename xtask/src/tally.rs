//! Adds up what many runs came to, and says it in one line.

use crate::Verdict;
use crate::session::{Count, Report, count};
use anyhow::Result;
use runner::ext4_image::Health;
use runner::test_run::{End, Outcome, Verdict as TestVerdict};

/// Checks by their results. Nothing is counted that has not been run.
#[derive(Default)]
pub struct Tally {
    passed: usize,
    failed: Vec<(String, String)>,
    skipped: Vec<(String, String)>,
}

impl Tally {
    /// Counts a check and shows it.
    pub fn check(&mut self, name: &str, result: Result<()>) {
        match result {
            Ok(()) => {
                println!("  pass  {name}");
                self.passed += 1;
            }
            Err(error) => {
                println!("  FAIL  {name}: {error:#}");
                self.failed.push((name.to_string(), format!("{error:#}")));
            }
        }
    }

    /// Counts a check that could not be made, and why.
    pub fn skip(&mut self, name: &str, reason: &str) {
        println!("  skip  {name}: {reason}");
        self.skipped.push((name.to_string(), reason.to_string()));
    }

    /// Counts the tests of a run whose end is not ours to judge.
    pub fn programs(&mut self, title: &str, outcome: &Outcome) {
        let Count { passed, .. } = count(outcome);
        self.passed += passed;
        for (name, verdict) in &outcome.tests {
            let name = format!("{title}: {name}");
            match verdict {
                TestVerdict::Passed { .. } => {}
                TestVerdict::Failed(reason) => self.failed.push((name, reason.clone())),
                TestVerdict::Skipped(reason) => self.skipped.push((name, reason.clone())),
            }
        }
    }

    /// Counts a boot: its tests, its end, and what became of its disk.
    pub fn report(&mut self, title: &str, report: &Report) {
        self.programs(title, &report.outcome);
        let end = match (&report.outcome.end, &report.outcome.complaints[..]) {
            (End::Shutdown(0), []) => Ok(()),
            // A failed test has been counted as itself; the guest is right to say so by its code.
            (End::Shutdown(_), []) if self.failed.iter().any(|(name, _)| name.starts_with(title)) => Ok(()),
            (end, complaints) => Err(anyhow::anyhow!("{end:?} {complaints:?}; see {}", report.log.display())),
        };
        self.check(&format!("{title}: clean shutdown"), end);
        match &report.health {
            Some(Health::Clean) => self.check(&format!("{title}: e2fsck"), Ok(())),
            Some(Health::Damaged(why)) => self.check(&format!("{title}: e2fsck"), Err(anyhow::anyhow!("{why}"))),
            None => {}
        }
        if report.compared > 0 || !report.differences.is_empty() {
            let same = runner::manifest::ensure_same("the lists on the disk", &report.differences);
            self.check(&format!("{title}: {} files as listed, by debugfs", report.compared), same);
        }
    }

    /// Counts checks that passed in a run that has shown its own.
    pub fn add_passed(&mut self, title: &str, passed: usize) {
        println!("  pass  {title}: {passed} tests");
        self.passed += passed;
    }

    /// Prints what failed and what was skipped, and the total; good only if nothing failed and something passed.
    pub fn conclude(&self) -> Verdict {
        println!();
        self.skipped.iter().for_each(|(name, reason)| println!("skipped: {name}: {reason}"));
        self.failed.iter().for_each(|(name, reason)| println!("FAILED: {name}: {reason}"));
        println!("{} passed, {} failed, {} skipped", self.passed, self.failed.len(), self.skipped.len());
        if self.failed.is_empty() && self.passed > 0 { Verdict::Good } else { Verdict::Bad }
    }
}
