//! The experiments: which file-system operations race, under which protocol variants, and what is
//! known to break.
//!
//! Owns: the table that the commands read. One file an experiment; each names itself in [`ALL`].
//! How to write one: `docs/experiments.md`.

pub mod any_two;
pub mod bcachefs_buffered_write;
pub mod ext4_inline_mkwrite;
pub mod fault_pool;
pub mod fsync_errseq;
pub mod page_cache;
pub mod power_cut;
pub mod provide_zap;
pub mod reclaim_migrate;
pub mod truncate_fault;
pub mod write_from_own_mapping;
pub mod writeback_truncate;

use crate::scenario::Scenario;

/// Every experiment, in the order in which it is listed.
pub static ALL: &[&Experiment] = &[
    &bcachefs_buffered_write::EXPERIMENT,
    &ext4_inline_mkwrite::EXPERIMENT,
    &page_cache::EXPERIMENT,
    &provide_zap::EXPERIMENT,
    &truncate_fault::EXPERIMENT,
    &writeback_truncate::EXPERIMENT,
    &reclaim_migrate::EXPERIMENT,
    &fsync_errseq::EXPERIMENT,
    &power_cut::EXPERIMENT,
    &write_from_own_mapping::EXPERIMENT,
    &fault_pool::EXPERIMENT,
    &any_two::EXPERIMENT,
];

/// A question about the server's code, and the code it is asked of.
pub struct Experiment {
    /// As it is typed.
    pub name: &'static str,
    /// The question, in a sentence.
    pub summary: &'static str,
    /// The locking protocols that are compared.
    pub variants: &'static [Variant],
    /// What is run under each of them.
    pub cases: &'static [Case],
}

/// A locking protocol.
pub struct Variant {
    /// As it is typed: the value of the mount option that chooses it.
    pub name: &'static str,
    /// Where it comes from and what it does, in a sentence.
    pub summary: &'static str,
}

/// A scenario of an experiment.
pub struct Case {
    /// As it is typed.
    pub name: &'static str,
    /// Who does what against whom, in a sentence.
    pub summary: &'static str,
    /// The scenario under the variant of that name.
    pub scenario: fn(variant: &str) -> Box<dyn Scenario>,
    /// The variants that are known to break here, each with the kinds of failure of which one must
    /// be found. A variant that is not listed must be clean.
    pub breaks: &'static [(&'static str, &'static [&'static str])],
    /// How far it can be explored.
    pub size: Size,
}

/// How far a scenario can be explored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// All schedules with two preemptions can be run.
    Small,
    /// It can only be sampled.
    Mix,
}

impl Experiment {
    /// The experiment of that name.
    pub fn find(name: &str) -> Option<&'static Self> {
        ALL.iter().copied().find(|experiment| experiment.name == name)
    }
}

impl Case {
    /// The kinds of failure that `variant` is known to break with; empty: it must be clean.
    pub fn expected(&self, variant: &str) -> &'static [&'static str] {
        self.breaks.iter().find(|(name, _)| *name == variant).map_or(&[], |(_, kinds)| kinds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_can_be_typed() {
        let typed = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        };
        let mut names = BTreeSet::new();
        for experiment in ALL {
            assert!(typed(experiment.name) && names.insert(experiment.name), "{}", experiment.name);
            let variants: BTreeSet<_> = experiment.variants.iter().map(|variant| variant.name).collect();
            let cases: BTreeSet<_> = experiment.cases.iter().map(|case| case.name).collect();
            assert_eq!(variants.len(), experiment.variants.len(), "{}", experiment.name);
            assert_eq!(cases.len(), experiment.cases.len(), "{}", experiment.name);
            assert!(variants.iter().chain(&cases).all(|name| typed(name)), "{}", experiment.name);
        }
    }

    #[test]
    fn what_breaks_is_a_variant_with_a_kind_of_failure() {
        for experiment in ALL {
            for (case, (variant, kinds)) in
                experiment.cases.iter().flat_map(|case| case.breaks.iter().map(move |b| (case, b)))
            {
                assert!(experiment.variants.iter().any(|each| each.name == *variant), "{}: {variant}", case.name);
                assert!(!kinds.is_empty(), "{}: {variant}", case.name);
            }
        }
    }
}
