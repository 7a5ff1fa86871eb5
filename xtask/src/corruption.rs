//! Corrupted and unclean disks: each is refused by name or gives errors by name, and nothing else
//! happens: no panic, no hang, no write to the disk.
//!
//! A disk whose damage is in the superblock is refused at the mount: vfsd says why and ends, and the
//! machine goes down in order. On the others a probe program reads everything twice.

use crate::compile::Guest;
use crate::progress::Chatter;
use crate::session::{BootDisk, Report, Session};
use crate::tally::Tally;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use runner::boot_conf::Access;
use runner::ext4_image::{Image, recreate};
use runner::fixtures::corrupt::{ALL, Noticed};
use runner::manifest::sha256_of;
use runner::qemu::Writes;
use runner::test_run::End;
use std::fs;
use std::path::Path;

/// The guest's program that reads a damaged disk.
pub const PROBE: &str = "probe_corruption";
/// How vfsd begins the line that says why it does not mount.
const REFUSAL: &str = "vfsd: cannot mount ";

/// The errors by which a program is told of damage.
const DAMAGE: [&str; 2] = ["EUCLEAN", "EIO"];

/// What a server must make of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The damage is noticed here, and only at this path.
    Noticed(Noticed, &'static str),
    /// The mount is refused for a reason with this word in it.
    RefusedFor(&'static str),
}

/// Boots every corrupted disk.
///
/// # Errors
/// Something on the host went wrong.
pub fn check(workspace: &Workspace, guest: &Guest, tally: &mut Tally) -> Result<()> {
    println!("Boot: {} corrupted disks", ALL.len());
    let folder = workspace.run_folder("corruption")?;
    for corruption in &ALL {
        let folder = folder.join(corruption.name);
        recreate(&folder)?;
        let image = corruption.make(&folder.join("disk.img"), &folder.join("tree"))?;
        let result = mount(guest, &folder, &image, Expected::Noticed(corruption.noticed, corruption.damaged))?;
        if let Ok(how) = &result {
            println!("        {how}");
        }
        let kept = result.is_err();
        tally.check(&format!("corrupted disk: {}", corruption.name), result.map(drop));
        if !kept {
            fs::remove_dir_all(folder)?;
        }
    }
    Ok(())
}

/// Boots one disk; the inner result is the verdict, and what the server said.
///
/// # Errors
/// Something on the host went wrong.
pub fn mount(guest: &Guest, folder: &Path, image: &Image, expected: Expected) -> Result<Result<String>> {
    let before = sha256_of(&image.path)?;
    let mut session = Session::new("corruption", folder.to_path_buf(), vec![PROBE.to_string()]);
    session.access = Access::ReadOnly;
    let disk = BootDisk { image: image.clone(), writes: Writes::Kept };
    let report = session.run_guest(guest, Some(&disk), Chatter::Nothing)?;
    let log = fs::read_to_string(&report.log).context("reading the boot's log")?;
    let verdict = judge(&report, &log, expected);
    if sha256_of(&image.path)? != before {
        return Ok(Err(anyhow::anyhow!("a disk that was mounted read-only has changed")));
    }
    Ok(verdict.with_context(|| format!("see {}", report.log.display())))
}

fn judge(report: &Report, log: &str, expected: Expected) -> Result<String> {
    if let Some(line) = log.lines().find(|line| line.contains("panicked") || line.contains("PANIC")) {
        bail!("it panicked: {line}");
    }
    if let Some(why) = log.lines().find_map(|line| line.split_once(REFUSAL)).map(|(_, why)| why.trim()) {
        let only_used = matches!(expected, Expected::Noticed(Noticed::AtUse, _));
        ensure!(!only_used, "a damaged file keeps it from being mounted: {why}");
        if let Expected::RefusedFor(word) = expected {
            ensure!(why.to_lowercase().contains(word), "it is refused, but not for {word:?}: {why}");
        }
        ensure!(matches!(report.outcome.end, End::Shutdown(_)), "after the refusal: {:?}", report.outcome.end);
        return Ok(format!("refused: {why}"));
    }
    let Expected::Noticed(Noticed::AtUse | Noticed::AtEither, damaged) = expected else {
        bail!("no refusal: {:?} {:?}", report.outcome.tests, report.outcome.end);
    };
    ensure!(report.outcome.is_success(), "{:?} {:?}", report.outcome.tests, report.outcome.end);
    let said: Vec<_> = log.lines().filter_map(|line| line.trim().strip_prefix("refused: ")).collect();
    for refusal in &said {
        let (path, error) = refusal.split_once(": ").context("a refusal is a path and an error")?;
        ensure!(path.starts_with(damaged), "{path} is not damaged, but: {error}");
        ensure!(DAMAGE.contains(&error), "{path}: {error} does not say that the disk is damaged");
    }
    Ok(said.join("; "))
}
