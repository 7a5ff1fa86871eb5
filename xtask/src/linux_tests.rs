//! `cargo xtask linux-tests`: the test programs built for Linux, on Linux's own ext4 with inline data.
//!
//! A test that fails there claims something that Linux does not do: then the test is wrong.

use crate::Verdict;
use crate::boot;
use crate::compile::{self, Clients, Profile, Role, role};
use crate::prerequisites::{self, LINUX, Need, Readiness};
use crate::progress::{Chatter, Progress};
use crate::session::{self, FileSystem, Report};
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use clap::Args;
use runner::boot_image::stripped;
use runner::ext4_image::{Geometry, Image};
use runner::linux_vm::{job::Job, package::LinuxKernel};
use runner::qemu::{Clock, Drive, Writes};
use runner::test_run::{self, Limits, PowerOff, Verdict as TestVerdict};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Options of `linux-tests`.
#[derive(Args)]
pub struct Options {
    /// Run only this program (repeatable).
    #[arg(long = "test", value_name = "NAME")]
    tests: Vec<String>,
    /// Show all that the programs print.
    #[arg(long)]
    verbose: bool,
    /// List what is missing on this machine and exit with status 2, instead of installing it.
    #[arg(long)]
    no_install: bool,
}

/// Runs the tests in the VM.
///
/// # Errors
/// The VM cannot be had, or something on the host went wrong.
pub fn run(options: &Options) -> Result<Verdict> {
    let needs = [&prerequisites::BOOT[..], &[Need::Target(LINUX)]].concat();
    if prerequisites::ensure(&needs, boot::install(options.no_install))? == Readiness::Missing {
        return Ok(Verdict::Missing);
    }
    let workspace = Workspace::load()?;
    let kernel = LinuxKernel::obtain(&|what| println!("{what}"))?;
    let chatter = if options.verbose { Chatter::All } else { Chatter::OfFailures };
    let runs = tests(&workspace, &kernel, &options.tests, chatter)?;
    for Run { report, failure } in &runs {
        session::summarise(report);
        if let Some(failure) = failure {
            println!("  note  {failure}");
        }
    }
    let good = runs.iter().all(Run::is_success);
    println!("{}", if good { "Succeeded." } else { "FAILED." });
    Ok(if good { Verdict::Good } else { Verdict::Bad })
}

/// One VM's part of the tests.
pub struct Run {
    /// What the programs came to; after a failure of Linux, only those up to it.
    pub report: Report,
    /// How Linux's own ext4 failed in this VM, if it did: the last program is skipped for it.
    pub failure: Option<String>,
}

impl Run {
    /// Whether every program that Linux let run to its end passed.
    fn is_success(&self) -> bool {
        match self.failure {
            None => self.report.is_success(),
            Some(_) => !self.report.outcome.tests.iter().any(|(_, it)| matches!(it, TestVerdict::Failed(_))),
        }
    }
}

/// Builds and runs the tests, those named or all, under `kernel`.
///
/// Linux 6.12 loses the race between a write and a store to a mapped inline file (one of the cases
/// that this project is about): its ext4 then remounts the disk read-only, and every program after
/// that would fail. No program is held responsible for that: the one under which it happens is
/// skipped, with Linux's words, and those after it run in a new VM.
///
/// # Errors
/// The build failed, there is no such test, or a VM does not start.
pub fn tests(workspace: &Workspace, kernel: &LinuxKernel, names: &[String], chatter: Chatter) -> Result<Vec<Run>> {
    let programs = compile::linux_clients(workspace, Profile::Checked, Clients::All)?;
    let mut left: Vec<String> = match names {
        [] => programs.keys().filter(|name| role(name) == Role::Test).cloned().collect(),
        names => names.to_vec(),
    };
    let mut runs = Vec::new();
    while !left.is_empty() {
        let folder = workspace.run_folder("linux-tests")?;
        let disk = session::fresh_disk(&folder, Geometry::default())?.image;
        let mut report = run_programs(kernel, &programs, &left, &disk, Clock::Host, chatter)?;
        let failure = ext4_failure(&report).map(|failure| format!("Linux's own ext4 failed: {failure}"));
        let passed = |name: &String| {
            let verdict = report.outcome.tests.iter().find(|(other, _)| other == name).map(|(_, verdict)| verdict);
            matches!(verdict, Some(TestVerdict::Passed { .. } | TestVerdict::Skipped(_)))
        };
        let culprit = left.iter().position(|name| !passed(name));
        let (Some(failure), Some(culprit)) = (failure, culprit) else {
            runs.push(Run { report, failure: None });
            break;
        };
        let after = left.split_off(culprit + 1);
        report.outcome.tests.retain(|(name, _)| !after.contains(name));
        if let Some((_, verdict)) = report.outcome.tests.iter_mut().find(|(name, _)| *name == left[culprit]) {
            *verdict = TestVerdict::Skipped(failure.clone());
        }
        runs.push(Run { report, failure: Some(failure) });
        left = after;
    }
    Ok(runs)
}

/// Runs `names` of `programs` under `kernel` with `disk` as their file system; the disk's folder gets
/// the logs.
///
/// # Errors
/// There is no such program, or the VM does not start.
pub fn run_programs(
    kernel: &LinuxKernel,
    programs: &BTreeMap<String, PathBuf>,
    names: &[String],
    disk: &Image,
    clock: Clock,
    chatter: Chatter,
) -> Result<Report> {
    let mut files = Vec::new();
    for name in names {
        let program = programs.get(name).with_context(|| format!("there is no program {name:?}"))?;
        files.push((name.clone(), stripped(&compile::read(program)?)?));
    }
    let folder = disk.path.parent().context("a disk is in a folder")?;
    let drives = vec![Drive { path: disk.path.clone(), writes: Writes::Kept }];
    let mut job = Job::new(folder.to_path_buf(), drives, &script(names));
    job.files = files;
    job.clock = clock;
    job.cpus = if clock == Clock::Instructions { 1 } else { job.cpus };
    let mut progress = Progress::new("linux", names.len(), chatter);
    let guest = job.start(kernel)?;
    let outcome = test_run::follow(guest, names, PowerOff::Acpi, Limits::default(), &mut progress);
    progress.finish();
    let mut report = Report::new(outcome?, FileSystem::Ext4, job.log());
    report.examine(disk, folder)?;
    // Linux 6.12's ext4 with inline data has been seen to lose what a program wrote and read back.
    // That is Linux's failure and not a test's: our kernel's disks are held to the same lists.
    for lost in report.differences.drain(..) {
        println!("  note  Linux's own disk is not as the test left it: {} {}", lost.path, lost.what);
    }
    Ok(report)
}

/// What Linux's kernel log says if its ext4 itself failed in the run of `report`.
fn ext4_failure(report: &Report) -> Option<String> {
    let log = std::fs::read_to_string(report.log.with_file_name("linux-console.log")).ok()?;
    let failure = log.lines().find(|line| line.contains("EXT4-fs error") || line.contains("kernel BUG at fs/ext4"))?;
    Some(failure.to_string())
}

/// What root-task does on our kernel: start and verdict lines around each program, a count at the end.
fn script(names: &[String]) -> String {
    let mut script = String::from(
        "now() { read up _ </proc/uptime; echo ${up%.*}${up#*.}; }
passed=0 failed=0
mount -t ext4 /dev/vda /mnt || exit 1
cd /mnt
errors() { cat /sys/fs/ext4/vda/errors_count 2>/dev/null || echo 0; }
run() {
    echo \"##fl start $1\"
    begin=$(now)
    /job/$1
    status=$?
    # What comes after a failure of the file system is no test's fault: the machine stops here.
    if [ \"$(errors)\" != 0 ]; then echo \"##fl fail $1 ext4 reports $(errors) errors\"; poweroff -f; sleep 60; fi
    case $status in
    0) echo \"##fl pass $1 ns=$(( ($(now) - begin) * 10000000 ))\"; passed=$((passed + 1));;
    1) failed=$((failed + 1));;
    77) ;;
    *) echo \"##fl fail $1 ended with status $status\"; failed=$((failed + 1));;
    esac
}
",
    );
    names.iter().for_each(|name| script.push_str(&format!("run {name}\n")));
    script.push_str("cd /\numount /mnt || exit 1\necho \"##fl done passed=$passed failed=$failed\"\n");
    script
}
