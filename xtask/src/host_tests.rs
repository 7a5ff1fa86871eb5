//! The tests that run on this machine: `cargo test` of the workspace's default members, and the locks
//! under loom.

use crate::tally::Tally;
use crate::workspace::{Workspace, cargo};
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// Runs them with their output on the terminal, and counts them.
///
/// # Errors
/// cargo cannot be started.
pub fn run(workspace: &Workspace, tally: &mut Tally) -> Result<()> {
    println!("Tests on this machine (cargo test)");
    let mut command = cargo();
    command.current_dir(&workspace.root).args(["test", "--no-fail-fast"]);
    count("host", command, tally)
}

/// What the locks are built with for loom: fast, with the lock-order checker, in a folder of its own.
const LOOM_BUILD: [&str; 12] = [
    "--release",
    "--config",
    "profile.release.lto='off'",
    "--config",
    "profile.release.panic='unwind'",
    "--config",
    "profile.release.debug-assertions=true",
    "--config",
    "profile.release.codegen-units=8",
    "--target-dir",
    "target/loom",
    "--test=loom",
];

/// Lets loom check the locks: every interleaving with up to three preemptions.
///
/// # Errors
/// cargo cannot be started.
pub fn run_loom(workspace: &Workspace, tally: &mut Tally) -> Result<()> {
    println!("The locks under loom");
    let mut command = cargo();
    command.current_dir(&workspace.root).env("RUSTFLAGS", "--cfg loom").args(["test", "--package=platform"]);
    // One at a time: loom's threads have the numbers 0 to 3 in every test.
    command.args(LOOM_BUILD).args(["--", "--test-threads=1"]);
    count("loom", command, tally)
}

/// Runs a `cargo test` and counts what it says.
///
/// # Errors
/// cargo cannot be started.
pub fn count(title: &str, mut command: Command, tally: &mut Tally) -> Result<()> {
    // libtest's summaries are counted, so that the total says what ran.
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start cargo test")?;
    let stdout = child.stdout.take().context("cargo test has no output")?;
    let (mut passed, mut ignored) = (0, 0);
    for line in BufReader::new(stdout).lines() {
        let line = line.context("reading cargo test's output")?;
        match Line::parse(&line) {
            Line::Summary { passed: p, ignored: i } => {
                passed += p;
                ignored += i;
            }
            Line::Failed(name) => tally.check(&format!("{title}: {name}"), Err(anyhow::anyhow!("failed; see above"))),
            // A hundred lines "ok" hide the one that is not.
            Line::Noise => {}
            Line::Other => println!("{line}"),
        }
    }
    let status = child.wait()?;
    tally.add_passed(title, passed);
    if ignored > 0 {
        tally.skip(title, &format!("{ignored} tests are marked as ignored"));
    }
    let ended = if status.success() { Ok(()) } else { Err(anyhow::anyhow!("it ended with {status}")) };
    tally.check(&format!("{title}: cargo test succeeds"), ended);
    Ok(())
}

/// A line of libtest's output.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    /// `test result: ok. 3 passed; 0 failed; 1 ignored; ..`
    Summary { passed: usize, ignored: usize },
    /// `test NAME ... FAILED`
    Failed(&'a str),
    /// Nothing to show.
    Noise,
    /// Output of a failed test, or of something that is not libtest.
    Other,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Self {
        if let Some(counts) = line.strip_prefix("test result: ") {
            let number = |what: &str| {
                let words: Vec<_> = counts.split([' ', ';', '.']).filter(|word| !word.is_empty()).collect();
                let at = words.iter().position(|word| *word == what).filter(|at| *at > 0);
                at.and_then(|at| words[at - 1].parse().ok()).unwrap_or(0)
            };
            return Self::Summary { passed: number("passed"), ignored: number("ignored") };
        }
        match line.strip_prefix("test ").and_then(|line| line.rsplit_once(" ... ")) {
            Some((name, "FAILED")) => Self::Failed(name),
            Some(_) => Self::Noise,
            None if line.is_empty() || line.starts_with("running ") => Self::Noise,
            None => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtests_lines_are_understood() {
        let summary = "test result: FAILED. 12 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 1s";
        assert_eq!(Line::parse(summary), Line::Summary { passed: 12, ignored: 2 });
        assert_eq!(Line::parse("test a::b ... FAILED"), Line::Failed("a::b"));
        assert_eq!(Line::parse("test a::b ... ok"), Line::Noise);
        assert_eq!(Line::parse("running 3 tests"), Line::Noise);
        assert_eq!(Line::parse("thread 'x' panicked"), Line::Other);
    }
}
