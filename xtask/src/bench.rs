//! `cargo xtask bench`: instructions per operation, ours and Linux's.
//!
//! Both run in the same QEMU with `-icount shift=0 -smp 1`, where a nanosecond of the guest is an
//! instruction, on a disk of the same shape, from the same benchmark source. How two threads fare against
//! one is measured by the host's clock with two CPUs, in a boot of its own.

use crate::Verdict;
use crate::boot;
use crate::budget::{ROWS, Row, TWO_THREADS_SHARED, Unit};
use crate::compile::{self, Clients, Guest, Profile, Role};
use crate::linux_tests;
use crate::prerequisites::{self, LINUX, Need, Readiness};
use crate::progress::Chatter;
use crate::session::{self, BootDisk, FileSystem, Session};
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use runner::boot_conf::Mode;
use runner::ext4_image::Geometry;
use runner::linux_vm::package::LinuxKernel;
use runner::qemu::Clock;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// Options of `bench`.
#[derive(Args)]
pub struct Options {
    /// Write the table as JSON to this file as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Leave Linux out.
    #[arg(long)]
    no_linux: bool,
    /// A mount option of our file system (repeatable).
    #[arg(long = "opt", value_name = "NAME=VALUE", value_parser = boot::name_and_value)]
    options: Vec<(String, String)>,
    /// List what is missing on this machine and exit with status 2, instead of installing it.
    #[arg(long)]
    no_install: bool,
}

/// The program that needs two CPUs and a clock.
const TWO_THREADS: &str = "bench_two_threads";

/// Values by row name.
type Measured = BTreeMap<String, u64>;

/// Measures both and prints the table.
///
/// # Errors
/// Our own benchmark did not run to its end. Linux's failing is said in the table.
pub fn run(options: &Options) -> Result<Verdict> {
    let needs = [&prerequisites::BOOT[..], &[Need::Target(LINUX)]].concat();
    if prerequisites::ensure(&needs, boot::install(options.no_install))? == Readiness::Missing {
        return Ok(Verdict::Missing);
    }
    let workspace = Workspace::load()?;
    let guest = compile::guest(&workspace, Profile::Release, Clients::Only(Role::Bench))?;
    let ours = ours(&workspace, &guest, &options.options)?;
    let linux = if options.no_linux { bail_column("--no-linux was given") } else { linux(&workspace, &guest) };
    print(&ours, &linux);
    if let Some(file) = &options.json {
        let text = serde_json::to_string_pretty(&as_json(&ours, &linux))?;
        fs::write(file, text + "\n").with_context(|| format!("writing {}", file.display()))?;
    }
    let complete = ROWS.iter().all(|row| ours.contains_key(row.name));
    Ok(if complete { Verdict::Good } else { Verdict::Bad })
}

fn bail_column(reason: &str) -> Result<(String, Measured)> {
    bail!("{reason}")
}

/// Boots our benchmark programs.
fn ours(workspace: &Workspace, guest: &Guest, options: &[(String, String)]) -> Result<Measured> {
    let (counted, timed) = programs(guest)?;
    let mut session = Session::new("bench", workspace.run_folder("bench")?, counted);
    session.mode = Mode::Bench;
    session.cpus = 1;
    session.clock = Clock::Instructions;
    session.options = options.to_vec();
    let disk = session::fresh_disk(&session.folder, Geometry::default())?;
    let mut measured = measure(&session, guest, &disk)?;

    session.programs = timed;
    session.cpus = 2;
    session.clock = Clock::Host;
    measured.extend(measure(&session, guest, &disk)?);
    session.file_system = FileSystem::Bcachefs;
    session.options = vec![("volume".into(), "scratch".into())];
    let disk = session::blank_disk(&session.folder, Geometry::default().mebibytes)?;
    let shared = measure(&session, guest, &disk)?;
    measured.extend(shared.into_values().map(|value| (TWO_THREADS_SHARED.to_string(), value)));
    Ok(measured)
}

/// Those that count instructions, and those that need a clock.
fn programs(guest: &Guest) -> Result<(Vec<String>, Vec<String>)> {
    let (timed, counted): (Vec<_>, Vec<_>) =
        guest.clients(Role::Bench).into_iter().partition(|name| name == TWO_THREADS);
    ensure!(!timed.is_empty() && !counted.is_empty(), "a benchmark program is missing");
    Ok((counted, timed))
}

fn measure(session: &Session, guest: &Guest, disk: &BootDisk) -> Result<Measured> {
    let report = session.run(guest, disk, Chatter::OfFailures)?;
    if !report.is_success() {
        session::summarise(&report);
        bail!("our benchmark did not run to its end");
    }
    Ok(report.outcome.bench.into_iter().collect())
}

/// The same programs in Debian's Linux: the kernel's package, and what it measured.
fn linux(workspace: &Workspace, guest: &Guest) -> Result<(String, Measured)> {
    let kernel = LinuxKernel::obtain(&|what| println!("{what}"))?;
    let built = compile::linux_clients(workspace, Profile::Release, Clients::Only(Role::Bench))?;
    let (counted, timed) = programs(guest)?;
    let mut measured = Measured::new();
    for (names, clock) in [(counted, Clock::Instructions), (timed, Clock::Host)] {
        let disk = session::fresh_disk(&workspace.run_folder("bench-linux")?, Geometry::default())?.image;
        let report = linux_tests::run_programs(&kernel, &built, &names, &disk, clock, Chatter::OfFailures)?;
        if !report.is_success() {
            session::summarise(&report);
            bail!("the benchmark did not run to its end on Linux");
        }
        measured.extend(report.outcome.bench);
    }
    Ok((kernel.package, measured))
}

fn print(ours: &Measured, linux: &Result<(String, Measured)>) {
    println!();
    println!("Instructions per operation (QEMU -icount shift=0 -smp 1 -cpu max,-erms,-fsrm)");
    println!(
        "  {:<42} {:>9} {:>9} {:>7} {:>8} {:>8}  against the budget",
        "", "Faultline", "Linux", "floor", "budget", "aim"
    );
    for row in &ROWS {
        let cell = |value: Option<u64>| value.map_or("-".to_string(), |value| row.unit.text(value));
        let measured = ours.get(row.name).copied();
        let theirs = linux.as_ref().ok().and_then(|(_, rows)| rows.get(row.name)).copied();
        println!(
            "  {:<42} {:>9} {:>9} {:>7} {:>8} {:>8}  {}",
            row.title,
            cell(measured),
            cell(theirs),
            cell(row.floor),
            row.unit.text(row.first),
            row.unit.text(row.aim),
            judgement(row, measured)
        );
    }
    for (name, value) in ours.iter().filter(|(name, _)| !ROWS.iter().any(|row| row.name == *name)) {
        println!("  {name:<42} {value:>9}  (no budget)");
    }
    match linux {
        Ok((package, _)) => println!("Linux: {package}, ext4 with inline_data on a disk of the same shape."),
        Err(reason) => println!("Linux's column is missing: {reason:#}"),
    }
}

/// In words, as the table's last column.
fn judgement(row: &Row, measured: Option<u64>) -> String {
    match measured {
        None => "not measured".to_string(),
        Some(value) if row.unit.reaches(value, row.aim) => "reaches the aim".to_string(),
        Some(value) if row.unit.reaches(value, row.first) => "within".to_string(),
        Some(_) if row.unit == Unit::Speedup => "below".to_string(),
        Some(value) => format!("over by {} ({:.1} x)", value - row.first, value as f64 / row.first as f64),
    }
}

fn as_json(ours: &Measured, linux: &Result<(String, Measured)>) -> Value {
    let theirs = |name: &str| linux.as_ref().ok().and_then(|(_, rows)| rows.get(name)).copied();
    let rows: Vec<_> = ROWS
        .iter()
        .map(|row| {
            json!({
                "row": row.name,
                "title": row.title,
                "unit": match row.unit {
                    Unit::Instructions => "instructions",
                    Unit::Bytes => "bytes",
                    Unit::Speedup => "hundredths of one thread's speed",
                },
                "faultline": ours.get(row.name),
                "linux": theirs(row.name),
                "floor": row.floor,
                "budget": row.first,
                "aim": row.aim,
            })
        })
        .collect();
    json!({
        "qemu": "-icount shift=0 -smp 1 -cpu max,-erms,-fsrm",
        "linux": linux.as_ref().ok().map(|(package, _)| package),
        "linux_missing": linux.as_ref().err().map(|reason| format!("{reason:#}")),
        "rows": rows,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_judgement_says_by_how_much() {
        let row = &ROWS[0];
        assert_eq!(judgement(row, None), "not measured");
        assert_eq!(judgement(row, Some(400)), "reaches the aim");
        assert_eq!(judgement(row, Some(900)), "within");
        assert_eq!(judgement(row, Some(1800)), "over by 900 (2.0 x)");
    }
}
