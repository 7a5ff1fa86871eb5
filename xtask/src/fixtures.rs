//! `cargo xtask fixtures`: test disks, made anywhere: of every shape, unclean, corrupted.

use crate::Verdict;
use crate::boot;
use crate::compile::Guest;
use crate::corruption::{self, Expected};
use crate::prerequisites::{self, Readiness};
use crate::progress::Chatter;
use crate::session::{BootDisk, Session};
use crate::tally::Tally;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use clap::Args;
use runner::boot_conf::Access;
use runner::ext4_image::{Health, Image, recreate};
use runner::fixtures::corrupt::ALL;
use runner::fixtures::healthy::{self, Left, SHAPES};
use runner::linux_vm::package::LinuxKernel;
use runner::manifest::{self, ensure_same};
use runner::qemu::Writes;
use std::path::{Path, PathBuf};

/// Options of `fixtures`.
#[derive(Args)]
pub struct Options {
    /// Where the images go (default: target/faultline/fixtures).
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// List what is missing on this machine and exit with status 2, instead of installing it.
    #[arg(long)]
    no_install: bool,
}

/// Makes all of them, and says what each is.
///
/// # Errors
/// e2fsprogs or the VM failed.
pub fn run(options: &Options) -> Result<Verdict> {
    if prerequisites::ensure(&prerequisites::BOOT, boot::install(options.no_install))? == Readiness::Missing {
        return Ok(Verdict::Missing);
    }
    let workspace = Workspace::load()?;
    let folder = match &options.out {
        Some(folder) => std::path::absolute(folder)?,
        None => workspace.run_folder("fixtures")?,
    };
    std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    println!("Corrupted disks");
    for corruption in &ALL {
        let image = corruption.make(&folder.join(format!("corrupt_{}.img", corruption.name)), &folder.join("tree"))?;
        println!("  {}", image.path.display());
    }
    let kernel = LinuxKernel::obtain(&|what| println!("{what}"))?;
    println!("Disks that Linux fills");
    let mut tally = Tally::default();
    for (shape, image) in SHAPES.iter().zip(healthy::make(&kernel, &folder)?) {
        tally.check(&image.path.display().to_string(), as_meant(&image, shape.left, &folder));
    }
    Ok(tally.conclude())
}

/// e2fsck and debugfs on a disk as Linux left it.
fn as_meant(image: &Image, left: Left, folder: &Path) -> Result<()> {
    let recovery = image.debugfs("features")?.contains("needs_recovery");
    match (left, recovery) {
        (Left::Clean, false) => {}
        (Left::Clean, true) => bail!("Linux left its journal to be recovered"),
        (_, true) => return Ok(()),
        (_, false) => bail!("the journal needs no recovery after a reset"),
    }
    if let Health::Damaged(why) = image.check()? {
        bail!("{why}");
    }
    let lists = manifest::on_image(image, &folder.join("readback"))?;
    let (name, list) = lists.first().context("there is no list on the disk")?;
    ensure_same(name, &list.check(image, &folder.join("readback"))?)
}

/// Boots our guest on every shape: it reads the clean ones right and refuses the unclean ones by name.
///
/// # Errors
/// Something on the host went wrong.
pub fn check(workspace: &Workspace, guest: &Guest, kernel: &LinuxKernel, tally: &mut Tally) -> Result<()> {
    let folder = workspace.run_folder("fixtures")?;
    println!("Boot: {} disks that Linux filled", SHAPES.len());
    for (shape, image) in SHAPES.iter().zip(healthy::make(kernel, &folder)?) {
        let name = format!("disk of Linux: {}", shape.name);
        if let Err(error) = as_meant(&image, shape.left, &folder) {
            tally.check(&name, Err(error));
            continue;
        }
        let folder = folder.join(shape.name);
        recreate(&folder)?;
        let result = match shape.left {
            Left::Clean => reads(guest, &folder, &image)?,
            _ => corruption::mount(guest, &folder, &image, Expected::RefusedFor("recover"))?.map(drop),
        };
        tally.check(&name, result);
    }
    Ok(())
}

/// The guest reads every file of a read-only disk as its list says.
fn reads(guest: &Guest, folder: &Path, image: &Image) -> Result<Result<()>> {
    let mut session = Session::new("fixture", folder.to_path_buf(), vec!["check_lists".to_string()]);
    session.access = Access::ReadOnly;
    let disk = BootDisk { image: image.clone(), writes: Writes::Kept };
    let report = session.run(guest, &disk, Chatter::Nothing)?;
    if report.is_success() {
        return Ok(Ok(()));
    }
    let (tests, end) = (&report.outcome.tests, &report.outcome.end);
    Ok(Err(anyhow::anyhow!("{tests:?} {end:?}; see {}", report.log.display())))
}
