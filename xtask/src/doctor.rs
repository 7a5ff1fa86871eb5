//! `cargo xtask doctor`: what is there, what is missing, and what that disables.

use crate::Verdict;
use crate::prerequisites::{BARE, LINUX, Need};
use anyhow::Result;
use runner::tool::{self, DEBUGFS, E2FSCK, MKE2FS, QEMU, Tool};
use std::process::Command;
use std::time::Duration;

const GCC: Tool = Tool { name: "cc", package: "gcc" };
const APT: Tool = Tool { name: "apt-get", package: "apt" };
const DPKG_DEB: Tool = Tool { name: "dpkg-deb", package: "dpkg" };

/// Each need, and what does not work without it.
const NEEDS: [(Need, &str); 9] = [
    (Need::Program(GCC), "nothing builds: Rust links programs of this machine with it"),
    (Need::Program(QEMU), "boot, test, bench, soak and interchange: nothing of ours runs"),
    (Need::Program(MKE2FS), "boot, test, bench, soak and interchange: there are no disks (--disk needs none)"),
    (Need::Program(E2FSCK), "disks are not checked after a run, so that no run succeeds"),
    (Need::Program(DEBUGFS), "what a guest wrote is not read back on this machine, so that no run succeeds"),
    (Need::Target(BARE), "the kernel and its programs do not build"),
    (Need::Target(LINUX), "linux-tests, and the Linux column of bench"),
    (Need::Program(APT), "missing packages are not installed; no Linux VM (interchange, linux-tests, bench's column)"),
    (Need::Program(DPKG_DEB), "no Linux VM (interchange, linux-tests, bench's column)"),
];

/// Prints the table. [`Verdict::Missing`] if something is.
///
/// # Errors
/// The Rust toolchain does not answer.
pub fn run() -> Result<Verdict> {
    let mut verdict = Verdict::Good;
    for (need, disables) in NEEDS {
        if need.is_met()? {
            println!("  ok       {}{}", need.describe(), version(need));
        } else {
            verdict = Verdict::Missing;
            println!("  MISSING  {}\n           without it: {disables}", need.describe());
        }
    }
    match verdict {
        Verdict::Good => println!("Everything is there."),
        _ => println!("`cargo xtask boot` and `cargo xtask test` install what they miss, after naming it."),
    }
    Ok(verdict)
}

/// The first line of what a program says of its version.
fn version(need: Need) -> String {
    let Need::Program(tool) = need else { return String::new() };
    let Some(path) = tool.find() else { return String::new() };
    let flag = if tool.package == "e2fsprogs" { "-V" } else { "--version" };
    let said = tool::run(Command::new(path).arg(flag), Duration::from_secs(10));
    let line = said.ok().and_then(|finished| finished.output.lines().next().map(str::to_string));
    line.map(|line| format!(": {line}")).unwrap_or_default()
}
