//! `cargo xtask boot`: the whole path once, and the truth about it.

use crate::Verdict;
use crate::compile::{self, Clients, Guest, Profile, Role};
use crate::prerequisites::{self, Install, Readiness};
use crate::progress::Chatter;
use crate::session::{self, BootDisk, FileSystem, Session};
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use runner::boot_conf::{Access, Disk, Mode, Trace};
use runner::ext4_image::{Geometry, Image};
use runner::qemu::{Debugger, Machine, Terminal, Writes};
use std::path::PathBuf;
use std::time::Instant;

/// Options of `boot`.
#[derive(Args)]
pub struct Options {
    /// An image to mount instead of a fresh disk; it stays as it is unless --rw is given.
    #[arg(long, value_name = "IMG")]
    disk: Option<PathBuf>,
    /// Let the guest change the image of --disk.
    #[arg(long, requires = "disk")]
    rw: bool,
    /// Run only this program (repeatable); an unknown name lists them.
    #[arg(long = "test", value_name = "NAME")]
    tests: Vec<String>,
    /// CPUs of the machine.
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    smp: u32,
    /// Memory of the machine in MiB.
    #[arg(long, default_value_t = 512, value_name = "M", value_parser = clap::value_parser!(u32).range(64..))]
    mem: u32,
    /// Machine type: microvm has the disk on virtio-mmio, q35 on PCI.
    #[arg(long, value_enum, default_value_t = MachineName::Microvm)]
    machine: MachineName,
    /// Put the disk into the boot archive and mount it from memory; what the guest writes is gone with it.
    #[arg(long, conflicts_with = "rw")]
    ram_disk: bool,
    /// Wait for a debugger on TCP port 1234 before the first instruction.
    #[arg(long)]
    gdb: bool,
    /// Print messages and page faults, readable.
    #[arg(long)]
    trace: bool,
    /// An interactive shell in the guest instead of the tests.
    #[arg(long, conflicts_with_all = ["tests", "log"])]
    shell: bool,
    /// A mount option of the file system (repeatable).
    #[arg(long = "opt", value_name = "NAME=VALUE", value_parser = name_and_value)]
    options: Vec<(String, String)>,
    /// Build without debug assertions, as measured.
    #[arg(long)]
    release: bool,
    /// Where the lines of the serial port go (default: target/faultline/boot/serial.log).
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// What is on the disk.
    #[arg(long, default_value = "ext4", value_name = "TYPE", value_parser = FileSystem::named)]
    fs: FileSystem,
    /// When a message is late, in milliseconds, and what happens then: it is printed, or its access fails.
    #[arg(long, value_name = "print:MS|fail:MS")]
    deadline: Option<String>,
    /// Block size of the fresh disk in bytes.
    #[arg(long, default_value_t = 4096, value_name = "BYTES", conflicts_with = "disk")]
    block_size: u32,
    /// Inode size of the fresh disk in bytes.
    #[arg(long, default_value_t = 256, value_name = "BYTES", conflicts_with = "disk")]
    inode_size: u32,
    /// List what is missing on this machine and exit with status 2, instead of installing it.
    #[arg(long)]
    no_install: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum MachineName {
    Microvm,
    Q35,
}

/// Takes `NAME=VALUE` apart.
///
/// # Errors
/// It is not of that form.
pub fn name_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_string(), value.to_string())),
        _ => Err("it is not NAME=VALUE".to_string()),
    }
}

/// Whether installing is allowed.
pub fn install(no_install: bool) -> Install {
    if no_install { Install::Forbidden } else { Install::Allowed }
}

/// Boots once as the options say.
///
/// # Errors
/// Something on the host went wrong.
pub fn run(options: &Options) -> Result<Verdict> {
    if prerequisites::ensure(&prerequisites::BOOT, install(options.no_install))? == Readiness::Missing {
        return Ok(Verdict::Missing);
    }
    let workspace = Workspace::load()?;
    let guest = compile::guest(&workspace, Profile::of(options.release), Clients::All)?;
    let asked = choose(&guest, &options.tests)?;
    let (kernel, files) = asked.into_iter().partition(|name| compile::role(name) == Role::Kernel);
    let mut session = Session::new("boot", workspace.run_folder("boot")?, files);
    session.machine = match options.machine {
        MachineName::Microvm => Machine::Microvm,
        MachineName::Q35 => Machine::Q35,
    };
    session.disk = if options.ram_disk { Disk::Ram } else { Disk::Virtio };
    session.cpus = options.smp;
    session.mebibytes = options.mem;
    session.options = options.options.clone();
    session.extra.extend(options.deadline.iter().map(|deadline| ("deadline".into(), deadline.clone())));
    session.file_system = options.fs;
    if matches!(options.fs, FileSystem::Bcachefs) && options.disk.is_none() {
        session.options.push(("volume".into(), "scratch".into()));
    }
    session.trace = if options.trace { Trace::On } else { Trace::Off };
    session.debugger = if options.gdb { Debugger::Waits } else { Debugger::Off };
    session.log = options.log.clone();
    if options.gdb {
        println!("Waiting for a debugger: gdb {} -ex 'target remote :1234'", guest.kernel.display());
    }
    if options.shell {
        let disk = disk(options, &session)?;
        return shell(session, &guest, &disk);
    }
    let contract =
        Session { mode: Mode::Contract, title: "kernel".to_string(), programs: kernel, log: None, ..session.clone() };
    let mut verdict = Verdict::Good;
    if !contract.programs.is_empty() {
        verdict = verdict.and(test(&contract, &guest, None)?);
    }
    if !session.programs.is_empty() {
        let disk = disk(options, &session)?;
        verdict = verdict.and(test(&session, &guest, Some(&disk))?);
    }
    println!("{}", if verdict == Verdict::Good { "Succeeded." } else { "FAILED." });
    Ok(verdict)
}

/// The programs to run: those asked for, or all tests.
///
/// # Errors
/// There is no such program.
pub fn choose(guest: &Guest, asked: &[String]) -> Result<Vec<String>> {
    let all = [guest.clients(Role::Kernel), file_tests(guest)].concat();
    ensure!(!all.is_empty(), "there is no test program to run");
    if asked.is_empty() {
        return Ok(all);
    }
    for name in asked {
        if !guest.programs.contains_key(name) {
            bail!("there is no program {name:?}; there are: {}", all.join(", "));
        }
    }
    Ok(asked.to_vec())
}

/// All tests on the file system: what is on the disk is read first, and listed for other readers last.
pub fn file_tests(guest: &Guest) -> Vec<String> {
    let mut tests = guest.clients(Role::Test);
    tests.sort_by_key(|name| name != "check_lists");
    if !tests.is_empty() && guest.programs.contains_key("list_files") {
        tests.push("list_files".to_string());
    }
    tests
}

fn disk(options: &Options, session: &Session) -> Result<BootDisk> {
    let Some(path) = &options.disk else {
        ensure!([1024, 2048, 4096].contains(&options.block_size), "a block has 1024, 2048 or 4096 bytes");
        let geometry =
            Geometry { block_size: options.block_size, inode_size: options.inode_size, ..Geometry::default() };
        if let FileSystem::Own(kind) = options.fs {
            let Geometry { mebibytes, block_size, .. } = geometry;
            println!("Making a disk with {}: {mebibytes} MiB, {block_size} B blocks", kind.name);
            return session::fresh_own_disk(kind, &session.folder, geometry);
        }
        if matches!(options.fs, FileSystem::Bcachefs) {
            println!("A scratch volume of bcachefs: {} MiB", geometry.mebibytes);
            return session::blank_disk(&session.folder, geometry.mebibytes);
        }
        println!("Making a disk: {geometry}");
        return session::fresh_disk(&session.folder, geometry);
    };
    let path = path.canonicalize().with_context(|| format!("no disk at {}", path.display()))?;
    // A scratch volume is not meant to be kept.
    let kept = options.rw && !matches!(options.fs, FileSystem::Bcachefs);
    let writes = if kept { Writes::Kept } else { Writes::Discarded };
    Ok(BootDisk { image: Image::open(&path), writes })
}

fn test(session: &Session, guest: &Guest, disk: Option<&BootDisk>) -> Result<Verdict> {
    let start = Instant::now();
    let chatter = if session.trace == Trace::On { Chatter::All } else { Chatter::OfFailures };
    let report = match disk {
        Some(disk) => session.run(guest, disk, chatter)?,
        None => session.run_guest(guest, None, chatter)?,
    };
    println!("{}: {:.1} s", session.title, start.elapsed().as_secs_f64());
    session::summarise(&report);
    println!("  log        {}", report.log.display());
    Ok(if report.is_success() { Verdict::Good } else { Verdict::Bad })
}

fn shell(mut session: Session, guest: &Guest, disk: &BootDisk) -> Result<Verdict> {
    session.mode = Mode::Shell;
    session.access = Access::ReadWrite;
    session.programs.clear();
    let mut command = session.command(guest, Some(disk), Terminal::Interactive)?;
    println!("`exit` or Ctrl-D shuts the machine down; Ctrl-T prints who waits for whom; Ctrl-A X kills the machine.");
    let status = command.status().context("cannot start QEMU")?;
    if disk.writes == Writes::Kept && session.disk == Disk::Virtio {
        let health = session.file_system.check(&disk.image)?;
        println!(
            "{}: {}",
            session.file_system.judge(),
            if health == runner::ext4_image::Health::Clean { "clean" } else { "DAMAGED" }
        );
    }
    // The kernel ends QEMU with code << 1 | 1; Ctrl-A X gives 0.
    match status.code() {
        Some(1) => Ok(Verdict::Good),
        Some(0) => {
            println!("The machine was killed.");
            Ok(Verdict::Bad)
        }
        _ => {
            println!("The machine ended with {status}.");
            Ok(Verdict::Bad)
        }
    }
}
