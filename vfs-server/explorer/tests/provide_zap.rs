//! `provide-zap` on the real pager-core is clean; that it can fail is the mutants' business.

use explorer::experiments::provide_zap::EXPERIMENT;
use explorer::strategy::Random;
use explorer::{Budget, Explorer, Verdict, explore};

#[test]
fn every_case_is_clean() {
    for case in EXPERIMENT.cases {
        let scenario = (case.scenario)("in-flight-marks");
        let mut explorer = Explorer::prepare(&*scenario).unwrap_or_else(|failure| panic!("set-up: {failure}"));
        let report = explore(&mut explorer, &mut Random::new(1), &Budget::schedules(2000), |_| {});
        if let Verdict::Failed(failure, _) = report.verdict {
            panic!("{}: {failure}", case.name);
        }
    }
}
