//! `cargo xtask interchange`: Linux reads what our guest wrote, our guest reads what Linux wrote.

use crate::Verdict;
use crate::boot;
use crate::compile::{self, Clients, Guest, Profile};
use crate::prerequisites::{self, Readiness};
use crate::progress::Chatter;
use crate::session::{self, BootDisk, Session};
use crate::tally::Tally;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use runner::ext4_image::{Geometry, Health, Image};
use runner::linux_vm::{job::Job, package::LinuxKernel};
use runner::qemu::{Drive, Writes};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Options of `interchange`.
#[derive(Args)]
pub struct Options {
    /// A disk on which list_files has run, for Linux to check, instead of booting the tests first.
    #[arg(long, value_name = "IMG")]
    written: Option<PathBuf>,
    /// List what is missing on this machine and exit with status 2, instead of installing it.
    #[arg(long)]
    no_install: bool,
}

/// The guest programs that leave and check lists.
const LIST: &str = "list_files";
const CHECK: &str = "check_lists";

/// Both directions, on fresh disks.
///
/// # Errors
/// The VM cannot be had, or something on the host went wrong.
pub fn run(options: &Options) -> Result<Verdict> {
    if prerequisites::ensure(&prerequisites::BOOT, boot::install(options.no_install))? == Readiness::Missing {
        return Ok(Verdict::Missing);
    }
    let workspace = Workspace::load()?;
    let kernel = LinuxKernel::obtain(&|what| println!("{what}"))?;
    let mut tally = Tally::default();
    let guest = compile::guest(&workspace, Profile::Checked, Clients::All)?;
    if let Some(path) = &options.written {
        exchange(&workspace, &guest, &kernel, &Image::open(path), &mut tally)?;
        return Ok(tally.conclude());
    }
    let session = Session::new("guest writes", workspace.run_folder("guest-writes")?, boot::file_tests(&guest));
    let disk = session::fresh_disk(&session.folder, Geometry::default())?;
    tally.report("guest writes", &session.run(&guest, &disk, Chatter::OfFailures)?);
    exchange(&workspace, &guest, &kernel, &disk.image, &mut tally)?;
    Ok(tally.conclude())
}

/// Has Linux check `written`, on which a guest left its lists, and write a disk that a guest checks.
///
/// # Errors
/// Something on the host went wrong; what differs goes to `tally`.
pub fn exchange(
    workspace: &Workspace,
    guest: &Guest,
    kernel: &LinuxKernel,
    written: &Image,
    tally: &mut Tally,
) -> Result<()> {
    let folder = workspace.run_folder("interchange")?;
    let fresh = session::fresh_disk(&folder, Geometry::default())?.image;
    let drives = vec![
        Drive { path: written.path.clone(), writes: Writes::Discarded },
        Drive { path: fresh.path.clone(), writes: Writes::Kept },
    ];
    println!("Linux reads what the guest wrote, and writes");
    let done = Job::new(folder.clone(), drives, SCRIPT).run(kernel)?;
    for line in &done.lines {
        match line.strip_prefix("##x ").and_then(|line| line.split_once(": ")) {
            Some((what, "ok")) => tally.check(&format!("Linux: {what}"), Ok(())),
            Some((what, why)) => tally.check(&format!("Linux: {what}"), Err(anyhow::anyhow!("{why}"))),
            None => println!("        | {line}"),
        }
    }
    let finished = if done.status == 0 { Ok(()) } else { Err(anyhow::anyhow!("status {}", done.status)) };
    tally.check("Linux: the script ran to its end", finished);
    tally.check("Linux wrote a disk that e2fsck calls clean", clean(&fresh));

    let programs = vec![CHECK.to_string(), LIST.to_string()];
    let session = Session::new("guest reads", folder, programs);
    let disk = BootDisk { image: fresh, writes: Writes::Kept };
    tally.report("guest reads", &session.run(guest, &disk, Chatter::OfFailures)?);
    tally.check("the guest finds exactly the names that Linux made", same_names(&disk.image, &session));
    Ok(())
}

fn clean(image: &Image) -> Result<()> {
    match image.check()? {
        Health::Clean => Ok(()),
        Health::Damaged(why) => bail!("{why}"),
    }
}

/// Compares the names that Linux listed with those that the guest listed afterwards.
fn same_names(image: &Image, session: &Session) -> Result<()> {
    let lists = ["verify/linux.names", "verify/files.names"];
    let mut files = image.read_files(&lists, &session.folder.join("readback"))?.into_iter().zip(lists);
    let mut next = || -> Result<BTreeSet<String>> {
        let (bytes, name) = files.next().context("two lists were asked for")?;
        let text = String::from_utf8(bytes.with_context(|| format!("{name} is not there"))?)?;
        Ok(text.lines().map(str::to_string).collect())
    };
    let (linux, guest) = (next()?, next()?);
    let differ: Vec<_> = linux.symmetric_difference(&guest).take(5).collect();
    ensure!(!linux.is_empty(), "Linux listed nothing");
    ensure!(differ.is_empty(), "only one of the two has {differ:?}");
    Ok(())
}

/// What Linux does.
const SCRIPT: &str = include_str!("interchange.sh");
