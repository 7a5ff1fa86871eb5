//! The experiments on fs-mini: sound code is clean, and each fault of the page cache and of fault handling
//! that they are for is found, on three seeds, within the budget.

use explorer::experiments::{Experiment, fsync_errseq, reclaim_migrate, writeback_truncate};
use explorer::strategy::{Portfolio, Shard};
use explorer::{Budget, Explorer, Verdict, explore};

static OURS: &[&Experiment] =
    &[&writeback_truncate::EXPERIMENT, &reclaim_migrate::EXPERIMENT, &fsync_errseq::EXPERIMENT];

/// Schedules of each scenario; a build that is meant for it can have more.
fn schedules() -> u64 {
    std::env::var("SCHEDULES").map_or(1000, |text| text.parse().unwrap())
}

fn run(experiment: &str, case: &str, variant: &str, seed: u64, schedules: u64) -> (Option<String>, u64) {
    let experiment = Experiment::find(experiment).unwrap();
    let case = experiment.cases.iter().find(|each| each.name == case).unwrap();
    let scenario = (case.scenario)(variant);
    let mut explorer =
        Explorer::prepare(&*scenario).unwrap_or_else(|failure| panic!("set-up of {}: {failure}", scenario.name()));
    let start = std::time::Instant::now();
    let report = explore(&mut explorer, &mut Portfolio::new(seed, Shard::WHOLE), &Budget::schedules(schedules), |_| {});
    let rate = report.progress.schedules as f64 / start.elapsed().as_secs_f64();
    let failure = match report.verdict {
        Verdict::Failed(failure, _) => Some(failure.to_string()),
        _ => None,
    };
    eprintln!(
        "{}/{}/{variant}: {} schedules, {rate:.0}/s, snapshot {}: {failure:?}",
        experiment.name,
        case.name,
        report.progress.schedules,
        explorer.snapshot_len()
    );
    (failure, report.progress.schedules)
}

#[test]
fn sound_code_is_clean() {
    let mut failed = Vec::new();
    for experiment in OURS {
        for case in experiment.cases {
            for variant in experiment.variants.iter().filter(|variant| case.expected(variant.name).is_empty()) {
                if let (Some(failure), _) = run(experiment.name, case.name, variant.name, 1, schedules()) {
                    failed.push(format!("{}/{}/{}: {failure}", experiment.name, case.name, variant.name));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Which case finds which fault.
#[cfg(feature = "mutants")]
#[test]
fn faults_are_found() {
    use platform::Mutant::*;
    let hunts = [
        (TruncateForgetsWriteback, "writeback-truncate", "reuse"),
        (TailKeptOnCut, "writeback-truncate", "cut"),
        (WritebackWithStaleSize, "writeback-truncate", "extend"),
        (DirtyClearedLate, "writeback-truncate", "extend"),
        (NoMappingRecheck, "reclaim-migrate", "migrate-write"),
        (FaultWithoutRecheck, "reclaim-migrate", "migrate-store"),
        (MkwriteAfterUnlock, "reclaim-migrate", "both"),
        (MkwriteWithStaleSize, "writeback-truncate", "append-store"),
        (NoWrprotectBeforeCopy, "writeback-truncate", "stores"),
        (ReclaimTestsDirtyUnlocked, "reclaim-migrate", "reclaim-store"),
        (ReclaimWithoutZap, "reclaim-migrate", "reclaim-store"),
        (ReclaimForgetsWriteback, "reclaim-migrate", "reclaim-write"),
        (MigrateWithoutZap, "reclaim-migrate", "migrate-store"),
        (MigrateForgetsDirty, "reclaim-migrate", "migrate-store"),
        (FsyncSkipsWriteback, "fsync-errseq", "late"),
        (ErrorSampledLate, "fsync-errseq", "background"),
        (ErrorToldToOne, "fsync-errseq", "two-files"),
        (FailedWriteLeftClean, "fsync-errseq", "two-files"),
    ];
    let mut missed = Vec::new();
    for (mutant, experiment, case) in hunts {
        let variant = Experiment::find(experiment).unwrap().variants[0].name;
        for seed in 1..=3 {
            assert!(platform::mutant::set(Some(mutant)));
            let (failure, schedules) = run(experiment, case, variant, seed, 50_000);
            platform::mutant::set(None);
            match failure {
                Some(failure) => println!("{}: seed {seed}: schedule {schedules}: {failure}", mutant.id()),
                None => missed.push(format!("{} seed {seed} in {experiment}/{case}", mutant.id())),
            }
        }
    }
    assert!(missed.is_empty(), "not found:\n{}", missed.join("\n"));
}
