//! `cargo xtask test`: all tests, one total.
//!
//! What cannot run on this machine (no network for the Linux VM) is a skip with its reason in the
//! total, never a silent pass.

use crate::Verdict;
use crate::boot;
use crate::compile::{self, Clients, Guest, Profile, Role};
use crate::contract;
use crate::corruption;
use crate::explore;
use crate::fixtures;
use crate::host_tests;
use crate::interchange;
use crate::linux_tests;
use crate::power_cut;
use crate::prerequisites::{self, LINUX, Need, Readiness};
use crate::progress::Chatter;
use crate::protocols;
use crate::session::{self, BootDisk, Session};
use crate::tally::Tally;
use crate::workspace::Workspace;
use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use runner::ext4_image::Geometry;
use runner::linux_vm::package::LinuxKernel;
use std::time::Instant;

/// Options of `test`.
#[derive(Args)]
pub struct Options {
    /// Run only these parts (repeatable).
    #[arg(long = "only", value_enum, value_name = "PART")]
    parts: Vec<Part>,
    /// List what is missing on this machine and exit with status 2, instead of installing it.
    #[arg(long)]
    no_install: bool,
}

/// A part of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// cargo test on this machine.
    Host,
    /// The explorer: its tests, shuttle's view of the same cases, every experiment, the stored schedules.
    Explore,
    /// The locks, checked by loom.
    Loom,
    /// The test programs on our kernel, on disks of several shapes.
    Boot,
    /// Every variant of every protocol, by mount option.
    Protocols,
    /// Corrupted disks, mounted by our server.
    Corruption,
    /// Disks between our guest and Linux.
    Interchange,
    /// The test programs on Linux.
    Linux,
}

/// Besides the default: small blocks, where trees are deep, and large inodes, where much is inline.
const OTHER_DISKS: [Geometry; 2] = [
    Geometry { mebibytes: 96, block_size: 1024, inode_size: 256 },
    Geometry { mebibytes: 96, block_size: 2048, inode_size: 1024 },
];

/// Runs all parts, or those asked for.
///
/// # Errors
/// Something on the host went wrong.
pub fn run(options: &Options) -> Result<Verdict> {
    let needs = [&prerequisites::BOOT[..], &[Need::Target(LINUX)]].concat();
    if prerequisites::ensure(&needs, boot::install(options.no_install))? == Readiness::Missing {
        return Ok(Verdict::Missing);
    }
    let start = Instant::now();
    let wanted = |part| options.parts.is_empty() || options.parts.contains(&part);
    let workspace = Workspace::load()?;
    let mut tally = Tally::default();
    if wanted(Part::Host) {
        host_tests::run(&workspace, &mut tally)?;
    }
    if wanted(Part::Loom) {
        host_tests::run_loom(&workspace, &mut tally)?;
    }
    if wanted(Part::Explore) {
        explore::check(&workspace, &mut tally)?;
    }
    if ![Part::Boot, Part::Protocols, Part::Corruption, Part::Interchange, Part::Linux].into_iter().any(wanted) {
        let verdict = tally.conclude();
        println!("{:.0} s", start.elapsed().as_secs_f64());
        return Ok(verdict);
    }
    let guest = compile::guest(&workspace, Profile::Checked, Clients::All)?;
    if wanted(Part::Boot) {
        kernel_tests(&workspace, &guest, &mut tally)?;
        contract::check(&workspace, &guest, &mut tally)?;
    }
    let mut written = None;
    if wanted(Part::Boot) || wanted(Part::Interchange) {
        written = Some(boot_tests(&workspace, &guest, "boot", Geometry::default(), &mut tally)?);
    }
    if wanted(Part::Boot) {
        for geometry in OTHER_DISKS {
            let title = format!("boot-{}-{}", geometry.block_size, geometry.inode_size);
            boot_tests(&workspace, &guest, &title, geometry, &mut tally)?;
        }
    }
    if wanted(Part::Boot) {
        power_cut::check(&workspace, &guest, &mut tally)?;
    }
    if wanted(Part::Protocols) {
        protocols::check(&workspace, &guest, &mut tally)?;
    }
    if wanted(Part::Corruption) {
        corruption::check(&workspace, &guest, &mut tally)?;
    }
    if wanted(Part::Interchange) || wanted(Part::Linux) {
        match LinuxKernel::obtain(&|what| println!("{what}")) {
            Ok(kernel) => {
                if let Some(written) = written.filter(|_| wanted(Part::Interchange)) {
                    interchange::exchange(&workspace, &guest, &kernel, &written.image, &mut tally)?;
                }
                if wanted(Part::Interchange) {
                    fixtures::check(&workspace, &guest, &kernel, &mut tally)?;
                }
                if wanted(Part::Linux) {
                    for run in linux_tests::tests(&workspace, &kernel, &[], Chatter::OfFailures)? {
                        match run.failure {
                            Some(_) => tally.programs("linux", &run.report.outcome),
                            None => tally.report("linux", &run.report),
                        }
                    }
                }
            }
            Err(error) => tally.skip("interchange with Linux, test programs on Linux", &format!("{error:#}")),
        }
    }
    let verdict = tally.conclude();
    println!("{:.0} s", start.elapsed().as_secs_f64());
    Ok(verdict)
}

/// Boots all test programs on a fresh disk, which they leave behind.
fn boot_tests(
    workspace: &Workspace,
    guest: &Guest,
    title: &str,
    geometry: Geometry,
    tally: &mut Tally,
) -> Result<BootDisk> {
    println!("Boot: {geometry}");
    let session = Session::new(title, workspace.run_folder(title)?, boot::file_tests(guest));
    ensure!(!session.programs.is_empty(), "there is no test program to run");
    let disk = session::fresh_disk(&session.folder, geometry)?;
    tally.report(title, &session.run(guest, &disk, Chatter::OfFailures)?);
    Ok(disk)
}

/// The kernel's own tests, which need no file server.
fn kernel_tests(workspace: &Workspace, guest: &Guest, tally: &mut Tally) -> Result<()> {
    println!("Boot: the kernel's contract");
    let session = Session::of_kernel_tests(workspace.run_folder("kernel")?, guest.clients(Role::Kernel));
    ensure!(!session.programs.is_empty(), "there is no test program of the kernel's contract");
    tally.report("kernel", &session.run_guest(guest, None, Chatter::OfFailures)?);
    Ok(())
}
