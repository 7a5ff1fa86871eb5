//! The explorer's own test: code that is broken on purpose, each fault with the case that must catch it.
//!
//! Owns the list of hunts and how one is run. The faults are in the code under test (`platform::mutant`), possible
//! only in a build with the feature `mutants`.

use crate::experiments::{Case, Experiment};
use crate::explore::{Budget, Report, Verdict, explore};
use crate::minimise::minimise;
use crate::runtime::Explorer;
use crate::scenario::Failure;
use crate::strategy::{Portfolio, Shard};
use platform::mutant::{self, Mutant};

/// Runs within which a fault must be found.
pub const BUDGET: u64 = 50_000;
/// The seeds on which it must be found.
pub const SEEDS: [u64; 3] = [1, 2, 3];

/// A fault, and where it must be caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hunt {
    /// What is broken.
    pub mutant: Mutant,
    /// Which experiment sees it,
    pub experiment: &'static str,
    /// under which variant,
    pub variant: &'static str,
    /// in which case.
    pub case: &'static str,
}

const fn zap(mutant: Mutant, case: &'static str) -> Hunt {
    Hunt { mutant, experiment: "provide-zap", variant: "in-flight-marks", case }
}

const fn cache(mutant: Mutant, case: &'static str) -> Hunt {
    Hunt { mutant, experiment: "page-cache", variant: "folio-lock", case }
}

const fn bcachefs(mutant: Mutant, case: &'static str) -> Hunt {
    Hunt { mutant, experiment: "bcachefs-buffered-write", variant: "shared-inode-lock", case }
}

const fn inline(mutant: Mutant, case: &'static str) -> Hunt {
    Hunt { mutant, experiment: "ext4-inline-mkwrite", variant: "latched", case }
}

const fn migrate(mutant: Mutant, case: &'static str) -> Hunt {
    Hunt { mutant, experiment: "reclaim-migrate", variant: "zap-under-folio-lock", case }
}

const fn truncate(mutant: Mutant, case: &'static str) -> Hunt {
    Hunt { mutant, experiment: "writeback-truncate", variant: "waits-for-writeback", case }
}

const fn own_mapping(mutant: Mutant, variant: &'static str, case: &'static str) -> Hunt {
    Hunt { mutant, experiment: "write-from-own-mapping", variant, case }
}

const fn pool(mutant: Mutant, case: &'static str) -> Hunt {
    Hunt { mutant, experiment: "fault-pool", variant: "dedicated", case }
}

const fn power(mutant: Mutant, case: &'static str) -> Hunt {
    Hunt { mutant, experiment: "power-cut", variant: "own-order", case }
}

const fn errseq(mutant: Mutant, case: &'static str) -> Hunt {
    Hunt { mutant, experiment: "fsync-errseq", variant: "errseq", case }
}

/// Every fault with its case.
pub static HUNTS: &[Hunt] = &[
    inline(Mutant::InlineNullHandle, "room"),
    inline(Mutant::InlineDestroyedFirst, "room"),
    inline(Mutant::InlineGenerationIgnored, "full-disk"),
    zap(Mutant::NoInFlightMark, "fault-against-truncate"),
    zap(Mutant::FrameFreedBeforeAck, "tlb-against-truncate"),
    zap(Mutant::WritableAfterWrprotect, "store-against-writeback"),
    zap(Mutant::TagReusedBeforeAnswer, "interrupted-read"),
    zap(Mutant::GrantsNotCounted, "munmap-against-mmap"),
    zap(Mutant::ReclaimWithoutZap, "fault-against-reclaim"),
    zap(Mutant::FaultWithoutRecheck, "fault-against-reclaim"),
    zap(Mutant::ZapAfterDrop, "tlb-against-truncate"),
    cache(Mutant::NoWrprotectBeforeCopy, "store-against-writeback"),
    cache(Mutant::DirtyClearedLate, "store-against-writeback"),
    cache(Mutant::MkwriteAfterUnlock, "store-against-reclaim"),
    cache(Mutant::ReclaimTestsDirtyUnlocked, "store-against-reclaim"),
    cache(Mutant::NoMappingRecheck, "write-against-reclaim"),
    cache(Mutant::WritebackWithStaleSize, "extension-against-writeback"),
    cache(Mutant::AppendPlaceBeforeLock, "two-appends"),
    cache(Mutant::AnsweredTwice, "two-appends"),
    cache(Mutant::StoresPastEndKept, "store-against-extension"),
    cache(Mutant::FaultWithoutInvalidateLock, "store-against-extension"),
    cache(Mutant::FsyncOvertakesCut, "fsync-against-cut"),
    cache(Mutant::WritebackMarkedLate, "seek-against-writeback"),
    cache(Mutant::FsyncSkipsWriteback, "fsync-against-writeback"),
    truncate(Mutant::TailKeptOnCut, "cut"),
    truncate(Mutant::MkwriteWithStaleSize, "append-store"),
    truncate(Mutant::TruncateForgetsWriteback, "reuse-at-once"),
    truncate(Mutant::LateSizePublished, "late-size"),
    own_mapping(Mutant::FaultTakesInodeLock, "faulting", "same-page"),
    own_mapping(Mutant::BufferAwaitedUnderFolioLock, "retry", "same-page"),
    pool(Mutant::FaultsFromSharedPool, "two-writes"),
    migrate(Mutant::ReclaimForgetsWriteback, "reclaim-write"),
    migrate(Mutant::MigrateWithoutZap, "migrate-store"),
    migrate(Mutant::MigrateForgetsDirty, "migrate-store"),
    migrate(Mutant::MovedFolioSkipped, "migrate-cut"),
    migrate(Mutant::MovedFolioSkipped, "migrate-fsync"),
    power(Mutant::FsyncSkipsCommit, "names"),
    power(Mutant::LogOverwrittenTooSoon, "names"),
    power(Mutant::CommitNotFlushed, "rename"),
    power(Mutant::RenameInTwoSteps, "rename"),
    errseq(Mutant::ErrorSampledLate, "background"),
    errseq(Mutant::ErrorToldToOne, "two-files"),
    errseq(Mutant::FailedWriteLeftClean, "two-files"),
    bcachefs(Mutant::EarlyExitTrims, "early-exit"),
    bcachefs(Mutant::ReservationReleasedTwice, "no-space"),
    bcachefs(Mutant::SizePublishedAfterUnlock, "append-writeback"),
    bcachefs(Mutant::SectorStateClearedLate, "writeback"),
    bcachefs(Mutant::BytesCopiedUnderLocks, "missing-buffer"),
    bcachefs(Mutant::SeekForgetsWriteback, "seek"),
    bcachefs(Mutant::PassesUnderSharedLock, "restart"),
];

/// Most preemptions that the least schedule of a fault may need.
pub const PREEMPTIONS: usize = 2;

/// What became of a hunt.
#[derive(Clone, Debug)]
pub struct Catch {
    /// The seed.
    pub seed: u64,
    /// Runs it took.
    pub schedules: u64,
    /// The failure, and the preemptions of the least schedule found for it; `None`: the fault has escaped.
    pub failure: Option<(Failure, usize)>,
}

impl Catch {
    /// Whether the fault was found, and is simple to look at.
    pub fn is_good(&self) -> bool {
        self.failure.as_ref().is_some_and(|(_, preemptions)| *preemptions <= PREEMPTIONS)
    }
}

impl Hunt {
    /// Where it takes place, as it is written: `experiment/case`.
    pub fn place(&self) -> String {
        format!("{}/{}", self.experiment, self.case)
    }

    fn case(&self) -> Result<&'static Case, String> {
        let experiment =
            Experiment::find(self.experiment).ok_or_else(|| format!("no experiment {}", self.experiment))?;
        let case = experiment.cases.iter().find(|case| case.name == self.case);
        case.ok_or_else(|| format!("{} has no case {}", self.experiment, self.case))
    }

    /// Runs the case with the fault in force.
    pub fn run(&self, seed: u64, schedules: u64) -> Result<Catch, String> {
        self.explore(Some(self.mutant), seed, schedules)
    }

    /// Runs the case as it is: it must be clean.
    pub fn run_sound(&self, seed: u64, schedules: u64) -> Result<Catch, String> {
        self.explore(None, seed, schedules)
    }

    fn explore(&self, mutant: Option<Mutant>, seed: u64, schedules: u64) -> Result<Catch, String> {
        let case = self.case()?;
        if !mutant::set(mutant) {
            return Err("this build cannot be made faulty: it lacks the feature `mutants`".into());
        }
        let found = catch(case, self.variant, seed, schedules);
        mutant::set(None);
        found
    }
}

fn catch(case: &Case, variant: &str, seed: u64, schedules: u64) -> Result<Catch, String> {
    let scenario = (case.scenario)(variant);
    let mut explorer = match Explorer::prepare(&*scenario) {
        Ok(explorer) => explorer,
        Err(failure) => return Err(format!("{} cannot be set up: {failure}", case.name)),
    };
    let mut strategy = Portfolio::new(seed, Shard::WHOLE);
    let Report { verdict, progress } = explore(&mut explorer, &mut strategy, &Budget::schedules(schedules), |_| {});
    let failure = match verdict {
        Verdict::Failed(failure, trace) => {
            let least = minimise(&mut explorer, &failure, &trace);
            Some((least.failure, least.trace.preemptions()))
        }
        Verdict::Clean | Verdict::Exhausted => None,
    };
    Ok(Catch { seed, schedules: progress.schedules, failure })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_hunted_in_a_scenario_that_is_there_and_clean() {
        for mutant in Mutant::ALL {
            assert!(HUNTS.iter().any(|hunt| hunt.mutant == *mutant), "nobody hunts {}", mutant.id());
        }
        for hunt in HUNTS {
            let case = hunt.case().unwrap_or_else(|error| panic!("{error}"));
            assert!(case.expected(hunt.variant).is_empty(), "{} is not clean without a fault", hunt.place());
        }
    }

    #[test]
    fn only_a_build_for_it_can_be_made_faulty() {
        assert_eq!(mutant::set(Some(Mutant::ALL[0])), mutant::POSSIBLE);
        assert_eq!(mutant::mutant(Mutant::ALL[0]), mutant::POSSIBLE);
        mutant::set(None);
    }
}
