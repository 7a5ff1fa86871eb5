//! `cargo xtask soak`: the tests again and again, until one fails.
//!
//! For what happens once in twenty boots. The first failure's disk, log and archive stay where they
//! are, and the command ends there.

use crate::Verdict;
use crate::boot;
use crate::compile::{self, Clients, Profile};
use crate::prerequisites::{self, Readiness};
use crate::progress::Chatter;
use crate::session::{self, Session};
use crate::workspace::Workspace;
use anyhow::{Result, ensure};
use clap::Args;
use runner::ext4_image::Geometry;
use std::time::Instant;

/// Options of `soak`.
#[derive(Args)]
pub struct Options {
    /// Consecutive boots, each with a fresh disk.
    #[arg(long, default_value_t = 30, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Run only this program (repeatable).
    #[arg(long = "test", value_name = "NAME")]
    tests: Vec<String>,
    /// CPUs of the machine.
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    smp: u32,
    /// Build without debug assertions, as measured.
    #[arg(long)]
    release: bool,
    /// List what is missing on this machine and exit with status 2, instead of installing it.
    #[arg(long)]
    no_install: bool,
}

/// Boots until the runs are over or one fails.
///
/// # Errors
/// Something on the host went wrong.
pub fn run(options: &Options) -> Result<Verdict> {
    if prerequisites::ensure(&prerequisites::BOOT, boot::install(options.no_install))? == Readiness::Missing {
        return Ok(Verdict::Missing);
    }
    let workspace = Workspace::load()?;
    let guest = compile::guest(&workspace, Profile::of(options.release), Clients::All)?;
    let programs = boot::choose(&guest, &options.tests)?;
    ensure!(!programs.is_empty(), "there is no test program to run");
    let start = Instant::now();
    for run in 1..=options.runs {
        let title = format!("run {run}/{}", options.runs);
        let mut session = Session::new(&title, workspace.run_folder("soak")?, programs.clone());
        session.cpus = options.smp;
        let disk = session::fresh_disk(&session.folder, Geometry::default())?;
        let report = session.run(&guest, &disk, Chatter::Nothing)?;
        if !report.is_success() {
            println!("Run {run} of {} failed after {:.0} s:", options.runs, start.elapsed().as_secs_f64());
            session::summarise(&report);
            println!("  kept       {}", session.folder.display());
            return Ok(Verdict::Bad);
        }
        let count = session::count(&report.outcome);
        println!("{title}: {} passed, {} skipped, disk clean", count.passed, count.skipped);
    }
    println!("{} consecutive boots passed in {:.0} s.", options.runs, start.elapsed().as_secs_f64());
    Ok(Verdict::Good)
}
