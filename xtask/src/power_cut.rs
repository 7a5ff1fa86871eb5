//! What fsync, fdatasync and msync promised is on the disk when the power goes off.
//!
//! The guest's program writes, syncs, leaves a list of what was promised, and cuts the power without
//! an unmount. e2fsck is not asked for a clean disk (nobody promised one), only for the files.

use crate::compile::Guest;
use crate::progress::Chatter;
use crate::session::{self, Session};
use crate::tally::Tally;
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use runner::ext4_image::{Geometry, Image};
use runner::manifest::{Manifest, ensure_same};
use std::fs;
use std::path::Path;

/// The guest's program.
pub const PROGRAM: &str = "power_cut";
/// The last line that it prints.
const LAST_WORDS: &str = "the power goes off";
/// The list that it leaves.
const LIST: &str = "verify/power_cut.sha256";

/// Boots it and reads the disk afterwards.
///
/// # Errors
/// Something on the host went wrong.
pub fn check(workspace: &Workspace, guest: &Guest, tally: &mut Tally) -> Result<()> {
    println!("Boot: a power cut");
    let session = Session::new(PROGRAM, workspace.run_folder(PROGRAM)?, vec![PROGRAM.to_string()]);
    let disk = session::fresh_disk(&session.folder, Geometry::default())?;
    let report = session.run_guest(guest, Some(&disk), Chatter::Nothing)?;
    let log = fs::read_to_string(&report.log)?;
    let result = if log.contains(LAST_WORDS) {
        promised(&disk.image, &session.folder)
    } else {
        Err(anyhow::anyhow!("it did not come to its end: {:?}; see {}", report.outcome.tests, report.log.display()))
    };
    tally.check("what was synced before a power cut is on the disk", result);
    Ok(())
}

fn promised(image: &Image, folder: &Path) -> Result<()> {
    let scratch = folder.join("readback");
    let list = image.read_files(&[LIST], &scratch)?.pop().flatten().with_context(|| format!("{LIST} is not there"))?;
    let list = Manifest::parse(&String::from_utf8(list)?)?;
    ensure!(!list.files.is_empty(), "{LIST} is empty");
    ensure_same(LIST, &list.check(image, &scratch)?)
}
