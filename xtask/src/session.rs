//! What every boot of ours has in common: archive, disk, run, and the checks after it.

use crate::compile::{self, Guest};
use crate::progress::{Chatter, Progress};
use anyhow::{Context, Result, bail};
use runner::archive::Archive;
use runner::boot_conf::{Access, BootConf, Disk, Mode, Trace};
use runner::boot_image::{boot_image, stripped};
use runner::ext4_image::{Geometry, Health, Image, recreate};
use runner::manifest::{self, Difference};
use runner::own_image::{self, FileSystemType};
use runner::qemu::{Clock, Debugger, Drive, Machine, Terminal, Vm, Writes};
use runner::sample_tree;
use runner::test_run::{self, End, Limits, Outcome, PowerOff, Verdict};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is on the disk.
#[derive(Clone, Copy, Debug, Default)]
pub enum FileSystem {
    /// ext4 with inline data, made by mke2fs.
    #[default]
    Ext4,
    /// Nothing: a scratch volume of bcachefs for this boot.
    Bcachefs,
    /// One of the table that brings its own tools.
    Own(&'static FileSystemType),
}

impl FileSystem {
    /// The one with a name of the table of file systems.
    ///
    /// # Errors
    /// There is none; which ones there are.
    pub fn named(name: &str) -> Result<Self, String> {
        match name {
            "ext4" => Ok(Self::Ext4),
            "bcachefs" => Ok(Self::Bcachefs),
            _ => own_image::find(name).map(Self::Own),
        }
    }

    /// Its name for the server.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Bcachefs => "bcachefs",
            Self::Own(kind) => kind.name,
        }
    }

    /// What its judge says of a disk.
    ///
    /// # Errors
    /// The judge could not be run.
    pub fn check(self, image: &Image) -> Result<Health> {
        match self {
            Self::Ext4 => image.check(),
            Self::Own(FileSystemType { tools: Some(tools), .. }) => own_image::check(tools, image),
            Self::Bcachefs | Self::Own(_) => bail!("it leaves nothing that could be judged"),
        }
    }

    /// Who judges what the guest left on the disk.
    pub fn judge(self) -> &'static str {
        match self {
            Self::Ext4 => "e2fsck",
            Self::Bcachefs | Self::Own(_) => "check",
        }
    }
}

/// One boot: what is started and how. The defaults are `cargo xtask boot`'s.
#[derive(Clone, Debug)]
pub struct Session {
    /// Shown while it runs.
    pub title: String,
    /// Where its disk, archive and log go.
    pub folder: PathBuf,
    /// What the guest does.
    pub mode: Mode,
    /// The programs that run, in order.
    pub programs: Vec<String>,
    /// Mount options.
    pub options: Vec<(String, String)>,
    /// Lines of `boot.conf` for this boot only.
    pub extra: Vec<(String, String)>,
    /// What is on the disk.
    pub file_system: FileSystem,
    /// How the disk is mounted.
    pub access: Access,
    /// Whether messages and faults are printed.
    pub trace: Trace,
    /// Machine type.
    pub machine: Machine,
    /// Whether the disk is a device, or in the boot archive.
    pub disk: Disk,
    /// CPUs.
    pub cpus: u32,
    /// Memory in MiB.
    pub mebibytes: u32,
    /// What passes for time.
    pub clock: Clock,
    /// Whether a debugger is waited for.
    pub debugger: Debugger,
    /// Most time that it may take.
    pub limits: Limits,
    /// The log's file, if it is not in the folder.
    pub log: Option<PathBuf>,
}

/// A disk for a boot.
#[derive(Clone, Debug)]
pub struct BootDisk {
    /// The image.
    pub image: Image,
    /// What becomes of the guest's writes.
    pub writes: Writes,
}

/// What a boot came to.
pub struct Report {
    /// What the guest did.
    pub outcome: Outcome,
    /// What is on the disk.
    pub file_system: FileSystem,
    /// What its judge says of the disk; `None` if there is no disk with the guest's writes on it.
    pub health: Option<Health>,
    /// Files compared with the lists on the disk, through debugfs.
    pub compared: usize,
    /// Those that differ.
    pub differences: Vec<Difference>,
    /// The serial port's lines.
    pub log: PathBuf,
}

impl Report {
    /// A run before anything is known of its disk.
    pub fn new(outcome: Outcome, file_system: FileSystem, log: PathBuf) -> Self {
        Self { outcome, file_system, health: None, compared: 0, differences: Vec::new(), log }
    }

    /// Has e2fsck judge the disk, and compares its files with the lists on it. The latter only after
    /// a clean shutdown: before, the programs have promised nothing.
    ///
    /// # Errors
    /// e2fsprogs could not be run.
    pub fn examine(&mut self, image: &Image, folder: &Path) -> Result<()> {
        self.health = Some(image.check()?);
        if !matches!(self.outcome.end, End::Shutdown(_)) {
            return Ok(());
        }
        let scratch = folder.join("readback");
        for (name, list) in manifest::on_image(image, &scratch).context("reading the lists on the disk")? {
            let differences = list.check(image, &scratch).with_context(|| format!("checking {name}"))?;
            self.compared += list.files.len();
            self.differences.extend(differences);
        }
        Ok(())
    }

    /// Whether everything is as it should be.
    pub fn is_success(&self) -> bool {
        self.outcome.is_success() && !matches!(self.health, Some(Health::Damaged(_))) && self.differences.is_empty()
    }
}

impl Session {
    /// A boot that runs `programs`, two CPUs, in `folder`.
    pub fn new(title: &str, folder: PathBuf, programs: Vec<String>) -> Self {
        Self {
            title: title.to_string(),
            folder,
            mode: Mode::Test,
            programs,
            options: Vec::new(),
            extra: Vec::new(),
            file_system: FileSystem::Ext4,
            access: Access::ReadWrite,
            trace: Trace::Off,
            machine: Machine::Microvm,
            disk: Disk::Virtio,
            cpus: 2,
            mebibytes: 512,
            clock: Clock::Host,
            debugger: Debugger::Off,
            limits: Limits::default(),
            log: None,
        }
    }

    /// Where the lines of the serial port go.
    pub fn log(&self) -> PathBuf {
        let name = if self.mode == Mode::Contract { "serial-kernel.log" } else { "serial.log" };
        self.log.clone().unwrap_or_else(|| self.folder.join(name))
    }

    /// A boot of the kernel's own tests, without a file server and a disk.
    pub fn of_kernel_tests(folder: PathBuf, programs: Vec<String>) -> Self {
        Self { mode: Mode::Contract, ..Self::new("kernel", folder, programs) }
    }

    /// The command that boots `guest` with `disk`.
    ///
    /// # Errors
    /// The boot archive cannot be made, or QEMU is missing.
    pub fn command(&self, guest: &Guest, disk: Option<&BootDisk>, terminal: Terminal) -> Result<Command> {
        let conf = BootConf {
            mode: self.mode,
            programs: self.programs.clone(),
            disk: self.disk,
            access: self.access,
            virtio: self.machine.virtio(),
            options: self.options.clone(),
            trace: self.trace,
            extra: [vec![("fs".to_string(), self.file_system.name().to_string())], self.extra.clone()].concat(),
        };
        let mut archive = Archive::new();
        archive.file("etc/boot.conf", conf.to_text().as_bytes());
        for (name, file) in &guest.programs {
            archive.program(&format!("bin/{name}"), &stripped(&compile::read(file)?)?);
        }
        let mut drives = Vec::new();
        match disk {
            Some(disk) if self.disk == Disk::Virtio => {
                drives.push(Drive { path: disk.image.path.clone(), writes: disk.writes });
            }
            Some(disk) => {
                archive.file("ramdisk.img", &compile::read(&disk.image.path)?);
            }
            None => {}
        }
        let initrd = self.folder.join("boot.img");
        fs::write(&initrd, boot_image(&compile::read(&guest.root_task)?, &archive.finish())?)?;
        Vm { drives, ..self.machine_with(guest, initrd, terminal) }.command()
    }

    /// The machine that boots `initrd`, without disks.
    pub fn machine_with(&self, guest: &Guest, initrd: PathBuf, terminal: Terminal) -> Vm {
        Vm {
            machine: self.machine,
            cpus: self.cpus,
            mebibytes: self.mebibytes,
            kernel: guest.kernel.clone(),
            initrd,
            drives: Vec::new(),
            clock: self.clock,
            debugger: self.debugger,
            terminal,
        }
    }

    /// Boots, follows the programs to their verdicts, and checks the disk.
    ///
    /// # Errors
    /// Something on the host went wrong; what goes wrong in the guest is in the report.
    pub fn run(&self, guest: &Guest, disk: &BootDisk, chatter: Chatter) -> Result<Report> {
        let mut report = self.run_guest(guest, Some(disk), chatter)?;
        if disk.writes == Writes::Kept && self.disk == Disk::Virtio {
            match self.file_system {
                FileSystem::Ext4 => report.examine(&disk.image, &self.folder)?,
                FileSystem::Own(_) => report.health = Some(self.file_system.check(&disk.image)?),
                FileSystem::Bcachefs => {}
            }
        }
        Ok(report)
    }

    /// Boots and follows the programs to their verdicts; the disk is not looked at.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_guest(&self, guest: &Guest, disk: Option<&BootDisk>, chatter: Chatter) -> Result<Report> {
        let command = self.command(guest, disk, Terminal::Lines)?;
        let mut progress = Progress::new(&self.title, self.programs.len(), chatter);
        let started = runner::guest::Guest::start(command, &self.log())?;
        let outcome = test_run::follow(started, &self.programs, PowerOff::DebugExit, self.limits, &mut progress);
        progress.finish();
        Ok(Report::new(outcome?, self.file_system, self.log()))
    }
}

/// A fresh, empty disk in `folder` with a file system that brings its own mkfs.
///
/// # Errors
/// It has none, or the disk cannot be made.
pub fn fresh_own_disk(kind: &FileSystemType, folder: &Path, geometry: Geometry) -> Result<BootDisk> {
    let tools = kind.tools.as_ref().with_context(|| format!("{} brings no mkfs", kind.name))?;
    let image = own_image::make(tools, &folder.join("disk.img"), geometry.mebibytes, geometry.block_size)?;
    Ok(BootDisk { image, writes: Writes::Kept })
}

/// A disk in `folder` for a scratch volume, whose contents end with the boot.
///
/// # Errors
/// It cannot be made.
pub fn blank_disk(folder: &Path, mebibytes: u32) -> Result<BootDisk> {
    let path = folder.join("disk.img");
    fs::File::create(&path)
        .and_then(|file| file.set_len(u64::from(mebibytes) << 20))
        .with_context(|| format!("creating {}", path.display()))?;
    Ok(BootDisk { image: Image::open(&path), writes: Writes::Discarded })
}

/// A fresh disk in `folder` with the sample tree on it.
///
/// # Errors
/// mke2fs failed.
pub fn fresh_disk(folder: &Path, geometry: Geometry) -> Result<BootDisk> {
    let root = folder.join("tree");
    recreate(&root)?;
    sample_tree::generate(&root).context("making the sample tree")?;
    let image = Image::make(&folder.join("disk.img"), geometry, Some(&root))?;
    fs::remove_dir_all(&root)?;
    Ok(BootDisk { image, writes: Writes::Kept })
}

/// Tests by verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Passed.
    pub passed: usize,
    /// Failed.
    pub failed: usize,
    /// Skipped for a reason that was given.
    pub skipped: usize,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// Counts verdicts.
pub fn count(outcome: &Outcome) -> Count {
    let mut count = Count::default();
    for (_, verdict) in &outcome.tests {
        match verdict {
            Verdict::Passed { .. } => count.passed += 1,
            Verdict::Failed(_) => count.failed += 1,
            Verdict::Skipped(_) => count.skipped += 1,
        }
    }
    count
}

/// Prints what a boot came to, with everything that is wrong.
pub fn summarise(report: &Report) {
    let Count { passed, failed, skipped } = count(&report.outcome);
    println!("  tests      {passed} passed, {failed} failed, {skipped} skipped");
    for (name, verdict) in &report.outcome.tests {
        match verdict {
            Verdict::Failed(reason) => println!("             FAIL {name}: {reason}"),
            Verdict::Skipped(reason) => println!("             skip {name}: {reason}"),
            Verdict::Passed { .. } => {}
        }
    }
    match &report.outcome.end {
        End::Shutdown(0) => println!("  machine    shut down cleanly"),
        End::Shutdown(code) => println!("  machine    SHUT DOWN WITH CODE {code}"),
        End::Died(how) => println!("  machine    DIED: {how}"),
        End::Hung { during, waits } => {
            println!("  machine    HUNG{}", during.as_ref().map(|name| format!(" in {name}")).unwrap_or_default());
            match waits.is_empty() {
                true => println!("             it does not say who waits for whom"),
                false => waits.iter().for_each(|line| println!("             | {line}")),
            }
        }
    }
    report.outcome.complaints.iter().for_each(|complaint| println!("  protocol   {complaint}"));
    let judge = report.file_system.judge();
    match &report.health {
        Some(Health::Clean) => println!("  {judge:<10} clean"),
        Some(Health::Damaged(output)) => {
            println!("  {judge:<10} DAMAGED");
            output.lines().for_each(|line| println!("             | {line}"));
        }
        None => println!("  {judge:<10} not run: there is no disk with the guest's writes"),
    }
    if report.compared > 0 {
        println!("  debugfs    {} files compared, {} differ", report.compared, report.differences.len());
        report.differences.iter().take(10).for_each(|each| println!("             {} {}", each.path, each.what));
    }
    if !report.is_success() {
        println!("  last lines of the serial port (all of them: {})", report.log.display());
        report.outcome.tail.iter().for_each(|line| println!("             | {line}"));
    }
}
