//! The program that shows Redox's scheme contract, on our kernel: it must print what it printed on
//! the unmodified Redox kernel, apart from addresses, and go on where Redox hangs.

use crate::compile::Guest;
use crate::tally::Tally;
use crate::workspace::Workspace;
use crate::{compile, session::Session};
use anyhow::{Context, Result, bail, ensure};
use runner::boot_image::boot_image;
use runner::guest;
use runner::qemu::Terminal;
use runner::test_run::Limits;
use std::fs;
use std::time::Instant;

/// The program; it is a first process, not one that root-task starts.
pub const PROGRAM: &str = "contract";
/// What it printed on the Redox kernel of 2026-08-22, up to the store at which that kernel hangs.
const TRANSCRIPT: &str = include_str!("contract.transcript");
/// How its lines begin: root, server, client.
const SPEAKERS: [&str; 3] = ["[boot] ", "[vfsd] ", "[cli] "];

/// Boots it and compares what it prints.
///
/// # Errors
/// Something on the host went wrong.
pub fn check(workspace: &Workspace, guest: &Guest, tally: &mut Tally) -> Result<()> {
    let file = guest.programs.get(PROGRAM).with_context(|| format!("there is no program {PROGRAM}"))?;
    println!("Boot: Redox's scheme contract");
    let session = Session::of_kernel_tests(workspace.run_folder("contract")?, Vec::new());
    let initrd = session.folder.join("boot.img");
    fs::write(&initrd, boot_image(&compile::read(file)?, &[])?)?;
    let started = guest::Guest::start(session.machine_with(guest, initrd, Terminal::Lines).command()?, &session.log())?;
    tally.check("Redox's scheme contract, as on the Redox kernel", run(started));
    Ok(())
}

fn run(mut guest: guest::Guest) -> Result<()> {
    let deadline = Instant::now() + Limits::default().step;
    let mut said = Vec::new();
    loop {
        match guest.hear(deadline.saturating_duration_since(Instant::now())) {
            guest::Heard::Line(line) => said.push(line),
            guest::Heard::Silence => bail!("it hung after: {}", said.last().map_or("", String::as_str)),
            guest::Heard::Closed => break,
        }
    }
    let status = guest.wait(Limits::default().step)?.and_then(|status| status.code());
    compare(&said)?;
    ensure!(status == Some(1), "it ended with QEMU's status {status:?}, not with code 0");
    Ok(())
}

/// Each speaker's lines of the transcript, in order, among those it says here. (Between speakers the
/// order is the scheduler's, and a speaker may say more than it did there.)
fn compare(said: &[String]) -> Result<()> {
    for speaker in SPEAKERS {
        let mut here = said.iter().filter(|line| line.starts_with(speaker)).map(|line| normal(line));
        for expected in TRANSCRIPT.lines().filter(|line| line.starts_with(speaker)) {
            let wanted = normal(expected);
            ensure!(here.any(|line| line == wanted), "Redox says here: {expected:?}");
        }
    }
    let last = TRANSCRIPT.lines().last().map(normal);
    let on = said.iter().position(|line| Some(normal(line)) == last).is_some_and(|at| at + 1 < said.len());
    ensure!(on, "it does not go on where Redox hangs");
    Ok(())
}

/// A line without what is each kernel's own: addresses, tags, and where a buffer of no bytes is.
fn normal(line: &str) -> String {
    let mut line = line.to_string();
    if let Some(tag) = line.split_once(" tag=").and_then(|(_, rest)| rest.split(' ').next()).map(str::to_string) {
        line = line.replace(&format!(" tag={tag} "), " tag=TAG ");
    }
    if let Some((before, after)) = line.split_once("args=[7, ").filter(|_| line.contains("StdFsCall")) {
        let after = after.split_once(", 0, ").map_or(after, |(_, after)| after);
        line = format!("{before}args=[7, NOWHERE, 0, {after}");
    }
    let is_address = |word: &str| matches!(word.len(), 5 | 6) && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    line.split_inclusive(|c: char| !c.is_ascii_alphanumeric())
        .map(|part| {
            let word = part.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            let rest = &part[word.len()..];
            let bare = word.strip_prefix("0x").unwrap_or(word);
            if is_address(bare) { format!("ADDRESS{rest}") } else { part.to_string() }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_are_ignored() {
        let line = "[vfsd] sqe n=64 op=Some(Write) fl=0x0 tag=0 args=[7, 6bb42, 16, 0, 2030000, 0] caller=0";
        assert_eq!(normal(line), normal(&line.replace("6bb42", "17c000").replace("tag=0", "tag=3")));
        assert_ne!(normal(line), normal(&line.replace("16", "17")));
        assert_ne!(normal(line), normal(&line.replace("2030000", "2030001")));
        let transcript: Vec<_> = TRANSCRIPT.lines().map(str::to_string).collect();
        assert!(compare(&transcript).unwrap_err().to_string().contains("does not go on"));
        let mut longer = transcript.clone();
        longer.push("[cli] private store done".to_string());
        compare(&longer).unwrap();
        longer.remove(3);
        assert!(compare(&longer).is_err());
    }
}
