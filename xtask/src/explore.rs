//! `cargo xtask explore`: builds the explorer and passes everything on to it.

use crate::Verdict;
use crate::host_tests;
use crate::prerequisites::BARE;
use crate::tally::Tally;
use crate::workspace::{Workspace, cargo};
use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The explorer's program.
const PROGRAM: &str = "faultline-explore";

/// What is passed on; the explorer has its own `--help`.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub struct Options {
    /// What the explorer is told: nothing (it lists the experiments), NAME, replay FILE, matrix, mutants.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

/// The server's code as it is, or with switches that break it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// As every host runs it.
    Plain,
    /// With the seeded defects of `mutants` compiled in, none of them on.
    Mutants,
}

/// Builds it and runs it.
///
/// # Errors
/// It does not build, or cannot be started.
pub fn run(options: &Options) -> Result<Verdict> {
    let workspace = Workspace::load()?;
    let build = match options.arguments.first() {
        Some(first) if first == "mutants" => Build::Mutants,
        _ => Build::Plain,
    };
    let program = compile(&workspace, build)?;
    let status = command(&workspace, &program)?.args(&options.arguments).status();
    match status.with_context(|| format!("cannot start {}", program.display()))?.code() {
        Some(0) => Ok(Verdict::Good),
        Some(2) => Ok(Verdict::Missing),
        _ => Ok(Verdict::Bad),
    }
}

/// Schedules of each scenario of each variant when everything is tested: enough for every known defect.
const QUICK: [&str; 4] = ["--schedules", "40000", "--jobs", "2"];

/// The hunt for the seeded defects; the code without them is explored for so many schedules a scenario.
const HUNTS: [&str; 3] = ["mutants", "--sound", "10000"];

/// The protocols that must hold in every schedule of their small scenarios with at most two preemptions.
const EXHAUSTED: [&str; 8] =
    ["--exhaust", "--variant", "shared-inode-lock", "--variant", "latched", "--brief", "--jobs", "2"];

/// The explorer's own tests that do not explore for long.
const TESTS: [&str; 12] = [
    "--lib",
    "--bins",
    "--test",
    "runtime",
    "--test",
    "strategies",
    "--test",
    "told",
    "--test",
    "worked_example",
    "--test",
    "shuttle",
];

/// Its own tests, every stored schedule made again, every experiment with a small budget, and the hunt
/// for every seeded defect: an explorer that finds nothing proves nothing.
///
/// # Errors
/// The explorer does not build, or cannot be started.
pub fn check(workspace: &Workspace, tally: &mut Tally) -> Result<()> {
    println!("Explorer");
    let mut tests = cargo();
    tests.current_dir(&workspace.root).args(["test", "--package", "explorer", "--no-fail-fast"]).args(TESTS);
    host_tests::count("explorer", tests, tally)?;
    let program = compile(workspace, Build::Plain)?;
    let folder = workspace.root.join("vfs-server/explorer/schedules");
    let mut stored = 0;
    for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "schedule") {
            continue;
        }
        let output = command(workspace, &program)?.arg("replay").arg(&path).output()?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let said = String::from_utf8_lossy(&output.stdout);
        let why = said.lines().find(|line| line.starts_with("NOT ")).unwrap_or("it cannot be made again");
        let same = if output.status.success() { Ok(()) } else { Err(anyhow!("{why}")) };
        tally.check(&format!("explorer: replay of {name}"), same);
        stored += 1;
    }
    let some = if stored > 0 { Ok(()) } else { Err(anyhow!("none in {}", folder.display())) };
    tally.check("explorer: there are stored schedules", some);
    let status = command(workspace, &program)?.args(["matrix", "--brief"]).args(QUICK).status()?;
    let expected = if status.success() { Ok(()) } else { Err(anyhow!("not all is as expected; see the table above")) };
    tally.check("explorer: matrix", expected);
    let status = command(workspace, &program)?.arg("matrix").args(EXHAUSTED).status()?;
    let exhausted = if status.success() { Ok(()) } else { Err(anyhow!("not all is exhausted; see the table above")) };
    tally.check("explorer: the fixed protocols, exhausted", exhausted);
    let faulty = compile(workspace, Build::Mutants)?;
    let status = command(workspace, &faulty)?.args(HUNTS).status()?;
    let caught = if status.success() { Ok(()) } else { Err(anyhow!("not every fault is caught; see the table above")) };
    tally.check("explorer: mutants", caught);
    tally.check("explorer: what serves files cannot be made faulty", refuse_faults(workspace));
    Ok(())
}

/// What is built to serve files, each with the words in which it refuses to be built with the seeded defects.
const SERVING: [(&str, &str); 2] = [
    ("daemon", "a server that serves files cannot be made faulty on purpose"),
    ("kernel", "a kernel cannot be made faulty on purpose"),
];

/// Tries to build it with the defects all the same.
fn refuse_faults(workspace: &Workspace) -> Result<()> {
    for (package, words) in SERVING {
        let mut command = cargo();
        command.current_dir(&workspace.root).args(["check", "--quiet", "--target", BARE]);
        let packages = ["--package", package, "--package", "mutants", "--features", "mutants/possible"];
        let output = command.args(packages).output().context("cannot start cargo check")?;
        ensure!(!output.status.success(), "{package} can be built with the seeded defects");
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(said.contains(words), "{package} does not build with them, but for another reason:\n{said}");
    }
    Ok(())
}

/// Builds the explorer; where it is.
///
/// # Errors
/// It does not build.
pub fn compile(workspace: &Workspace, build: Build) -> Result<PathBuf> {
    let mut command = cargo();
    command.current_dir(&workspace.root).args(["build", "--quiet", "--profile", "explore"]);
    command.args(["--package", "explorer", "--bin", PROGRAM]);
    if build == Build::Mutants {
        command.args(["--features", "mutants"]);
    }
    let status = command.status().context("cannot start cargo build")?;
    ensure!(status.success(), "the explorer does not build");
    Ok(workspace.target.join("explore").join(PROGRAM))
}

/// The explorer, told where to store schedules and how it was called.
///
/// # Errors
/// The folder for the schedules cannot be made.
pub fn command(workspace: &Workspace, program: &PathBuf) -> Result<Command> {
    let mut command = Command::new(program);
    command.env("FAULTLINE_SCHEDULES", workspace.run_folder("explore")?);
    command.env("FAULTLINE_TYPED", "cargo xtask explore");
    Ok(command)
}
