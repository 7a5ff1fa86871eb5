//! Names that were typed, and the experiments, variants and scenarios that they mean.

use crate::suggest::unknown;
use anyhow::{Result, anyhow};
use explorer::experiments::{ALL, Case, Experiment, Variant};

/// One scenario of one variant: a cell of the matrix.
#[derive(Clone, Copy)]
pub struct Cell {
    pub experiment: &'static Experiment,
    pub variant: &'static Variant,
    pub case: &'static Case,
}

impl Cell {
    /// The cell of these names.
    ///
    /// # Errors
    /// There is no such experiment, variant or scenario.
    pub fn find(experiment: &str, variant: &str, case: &str) -> Result<Self> {
        let cells = select(experiment, Some(variant), Some(case))?;
        cells.first().copied().ok_or_else(|| anyhow!("experiment {experiment:?} has no scenario"))
    }

    /// The kinds of failure that are known to happen; empty: it must be clean.
    pub fn expected(&self) -> &'static [&'static str] {
        self.case.expected(self.variant.name)
    }
}

/// The cells of an experiment, only those of `variant` and `case` where they are given.
///
/// # Errors
/// A name is not known; the error has the nearest one that is.
pub fn select(experiment: &str, variant: Option<&str>, case: Option<&str>) -> Result<Vec<Cell>> {
    let experiment = Experiment::find(experiment)
        .ok_or_else(|| anyhow!(unknown("experiment", experiment, ALL.iter().map(|each| each.name))))?;
    let variants = choose("variant", experiment.name, experiment.variants, |each| each.name, variant)?;
    let cases = choose("scenario", experiment.name, experiment.cases, |each| each.name, case)?;
    let cells = variants.iter().flat_map(|variant| cases.iter().map(move |case| Cell { experiment, variant, case }));
    Ok(cells.collect())
}

fn choose<T>(
    what: &str,
    experiment: &str,
    all: &'static [T],
    name: fn(&T) -> &'static str,
    wanted: Option<&str>,
) -> Result<Vec<&'static T>> {
    let Some(wanted) = wanted else { return Ok(all.iter().collect()) };
    match all.iter().find(|each| name(each) == wanted) {
        Some(found) => Ok(vec![found]),
        None => Err(anyhow!("{experiment}: {}", unknown(what, wanted, all.iter().map(name)))),
    }
}
