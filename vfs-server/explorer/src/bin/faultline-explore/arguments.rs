//! What can be typed.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Runs the file server's own code under every interleaving that a strategy can think of.
///
/// Without arguments it lists the experiments. Status 0: nothing broke (`matrix`: all is as expected;
/// `replay`: the run is the stored one); 1: it is not so; 2: what was typed cannot be done.
#[derive(Parser)]
#[command(name = "faultline-explore", version, args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub explore: Explore,
}

#[derive(Subcommand)]
pub enum Command {
    /// List the experiments with their variants and scenarios.
    List(List),
    /// Run a stored schedule again, step by step, and draw it.
    Replay(Replay),
    /// Explore every variant of every experiment and compare with what is expected of it.
    Matrix(Matrix),
    /// Break the code on purpose, one rule at a time: every fault must be caught, and the sound code be clean.
    Mutants(Mutants),
}

/// Explore an experiment.
#[derive(Args, Clone)]
pub struct Explore {
    /// Which experiment.
    #[arg(value_name = "NAME")]
    pub experiment: Option<String>,
    /// Only this protocol variant; without it all of them, one after the other.
    #[arg(long, value_name = "V")]
    pub variant: Option<String>,
    /// Only this scenario of the experiment.
    #[arg(long, value_name = "S")]
    pub scenario: Option<String>,
    /// How interleavings are chosen.
    #[arg(long, value_enum, default_value_t = Strategy::Auto)]
    pub strategy: Strategy,
    /// The seeds of the random strategies: A..B without B, or N for 0..N.
    #[arg(long, value_name = "A..B|N")]
    pub seeds: Option<Seeds>,
    /// End after this many seconds.
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub time: Option<Duration>,
    /// End after this many schedules, in each process of --jobs.
    #[arg(long, value_name = "N", value_parser = count)]
    pub schedules: Option<u64>,
    /// Most preemptions of the exhaustive strategies.
    #[arg(long, value_name = "B")]
    pub bound: Option<u32>,
    /// Share the work among this many processes.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub jobs: u32,
    /// Do only part I of N (from 1 on) of the work.
    #[arg(long, value_name = "I/N", requires = "out", conflicts_with = "jobs")]
    pub shard: Option<Shard>,
    /// Write the verdict there, as JSON, for whoever puts the parts together.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Print the verdict as JSON.
    #[arg(long)]
    pub json: bool,
    /// Where the schedules of failures are stored.
    #[arg(long, value_name = "DIR", env = "FAULTLINE_SCHEDULES", default_value = ".")]
    pub save: PathBuf,
}

#[derive(Args)]
pub struct List {
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Replay {
    /// A schedule that a failure left behind.
    #[arg(value_name = "FILE")]
    pub schedule: PathBuf,
    /// Run it in gdb, stopped at the last step before the failure.
    #[arg(long, conflicts_with = "html")]
    pub gdb: bool,
    /// Write a page to step through, with locks and folio states.
    #[arg(long, value_name = "OUT")]
    pub html: Option<PathBuf>,
    /// Stop in gdb at this step instead.
    #[arg(long, value_name = "STEP", requires = "gdb")]
    pub step: Option<u32>,
    /// Columns that the diagram may take.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(40..=400))]
    pub width: u16,
}

#[derive(Args)]
pub struct Matrix {
    /// Seconds for each scenario of each variant.
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub time: Option<Duration>,
    /// Schedules for each scenario of each variant.
    #[arg(long, value_name = "N", value_parser = count)]
    pub schedules: Option<u64>,
    /// Share the work among this many processes.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub jobs: u32,
    /// Only these experiments.
    #[arg(long = "only", value_name = "NAME")]
    pub only: Vec<String>,
    /// Only these protocol variants.
    #[arg(long = "variant", value_name = "V")]
    pub variants: Vec<String>,
    /// Run small scenarios that must be clean, and run all of their schedules with at most two preemptions:
    /// what is not exhausted within its budget is not as expected.
    #[arg(long)]
    pub exhaust: bool,
    /// Only the table, without the diagrams of the failures.
    #[arg(long)]
    pub brief: bool,
    /// Where the schedules of failures are stored.
    #[arg(long, value_name = "DIR", env = "FAULTLINE_SCHEDULES", default_value = ".")]
    pub save: PathBuf,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Mutants {
    /// Only the faults whose names hold this.
    #[arg(value_name = "NAME")]
    pub only: Option<String>,
    /// Schedules within which a fault must be caught, on each of three seeds.
    #[arg(long, value_name = "N", value_parser = count, default_value_t = explorer::mutants::BUDGET)]
    pub schedules: u64,
    /// Schedules for which the sound code must be clean in each scenario.
    #[arg(long, value_name = "N", value_parser = count, default_value_t = explorer::mutants::BUDGET)]
    pub sound: u64,
}

/// How interleavings are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Strategy {
    /// All of them in turn, a growing share each; small scenarios are exhausted.
    Auto,
    /// Every switch at random.
    Random,
    /// Priorities with a few random changes (PCT), depth 3 and 5.
    Pct,
    /// All schedules with at most so many preemptions.
    Pb,
    /// All schedules, but one of each group that only swaps independent steps (sleep sets).
    Sleep,
}

/// Seeds: from the first up to, without, the second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seeds(pub Range<u64>);

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| count(text).map_err(|error| format!("{text:?}: {error}"));
        let range = match text.split_once("..") {
            Some((from, to)) => number(from)?..number(to)?,
            None => 0..number(text)?,
        };
        if range.is_empty() { Err("that range has no seed in it".into()) } else { Ok(Self(range)) }
    }
}

/// Part `index` (from 0 on) of `of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    pub index: u32,
    pub of: u32,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        match parts {
            Some((index, of)) if (1..=of).contains(&index) => Ok(Self { index: index - 1, of }),
            _ => Err("a part is written I/N with 1 <= I <= N".into()),
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.trim_end_matches('s').parse::<f64>().map_err(|_| "seconds, as 10 or 0.5".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err("a positive number of seconds".into()),
    }
}

/// A number that may be grouped: 1_000_000 or 1,000,000.
fn count(text: &str) -> Result<u64, String> {
    text.replace(['_', ','], "").parse().map_err(|_| "a whole number, as 50000 or 50_000".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn seeds_are_a_range_or_a_number() {
        assert_eq!("3".parse(), Ok(Seeds(0..3)));
        assert_eq!("3..1_000".parse(), Ok(Seeds(3..1000)));
        assert!("3..3".parse::<Seeds>().is_err());
        assert!("x".parse::<Seeds>().is_err());
    }

    #[test]
    fn parts_count_from_one() {
        assert_eq!("1/2".parse(), Ok(Shard { index: 0, of: 2 }));
        for wrong in ["0/2", "3/2", "2", "/", "1/0"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_positive() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["0", "-1", "nan", "inf", "1h"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_experiment_needs_no_command() {
        let typed =
            Arguments::parse_from(["faultline-explore", "ext4-inline-mkwrite", "--seeds", "1..4", "--jobs", "2"]);
        assert_eq!(typed.explore.experiment.as_deref(), Some("ext4-inline-mkwrite"));
        assert!(typed.command.is_none());
    }
}
