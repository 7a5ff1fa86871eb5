//! `cargo xtask soak`: the tests again and again, until one fails.
//!
//! For what happens once in twenty boots. The first failure's disk, log and archive stay where they
//! are, and the command ends there.

use crate::Verdict;
use crate::boot;
use crate::compile::{self, Clients, Profile, Role, role};
use crate::prerequisites::{self, Readiness};
use crate::progress::Chatter;
use crate::session::{self, Count, Report, Session};
use crate::workspace::Workspace;
use anyhow::Result;
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
    let asked = boot::choose(&guest, &options.tests)?;
    let (kernel, files): (Vec<_>, Vec<_>) = asked.into_iter().partition(|name| role(name) == Role::Kernel);
    let start = Instant::now();
    for run in 1..=options.runs {
        let title = format!("run {run}/{}", options.runs);
        let folder = workspace.run_folder("soak")?;
        let mut counts = Count::default();
        if !kernel.is_empty() {
            let mut session = Session::of_kernel_tests(folder.clone(), kernel.clone());
            session.cpus = options.smp;
            let report = session.run_guest(&guest, None, Chatter::Nothing)?;
            if !report.is_success() {
                return Ok(failed(&title, &report, start));
            }
            counts += session::count(&report.outcome);
        }
        if !files.is_empty() {
            let mut session = Session::new(&title, folder, files.clone());
            session.cpus = options.smp;
            let disk = session::fresh_disk(&session.folder, Geometry::default())?;
            let report = session.run(&guest, &disk, Chatter::Nothing)?;
            if !report.is_success() {
                return Ok(failed(&title, &report, start));
            }
            counts += session::count(&report.outcome);
        }
        println!("{title}: {} passed, {} skipped", counts.passed, counts.skipped);
    }
    println!("{} consecutive boots passed in {:.0} s.", options.runs, start.elapsed().as_secs_f64());
    Ok(Verdict::Good)
}

fn failed(title: &str, report: &Report, start: Instant) -> Verdict {
    println!("{title} failed after {:.0} s:", start.elapsed().as_secs_f64());
    session::summarise(report);
    println!("  kept       {}", report.log.with_file_name("").display());
    Verdict::Bad
}
