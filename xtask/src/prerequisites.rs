//! What a command needs from the machine: found, listed, and installed after saying so.
//!
//! Debian packages come by apt-get (with sudo for a user who is not root), compilation targets by
//! rustup. Nothing is installed that has not been named on the terminal first.

use anyhow::{Context, Result, bail};
use runner::tool::{self, DEBUGFS, E2FSCK, MKE2FS, QEMU, Tool};
use std::process::Command;
use std::time::Duration;

/// Something a command cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A program of a Debian package.
    Program(Tool),
    /// A compilation target of the Rust toolchain.
    Target(&'static str),
}

/// The kernel's and its programs' target.
pub const BARE: &str = "x86_64-unknown-none";
/// The test programs' and benchmarks' target for the Linux VM: static, so that they need nothing there.
pub const LINUX: &str = "x86_64-unknown-linux-musl";

/// What booting our kernel takes.
pub const BOOT: [Need; 5] =
    [Need::Program(QEMU), Need::Program(MKE2FS), Need::Program(E2FSCK), Need::Program(DEBUGFS), Need::Target(BARE)];

/// Whether missing things may be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Install {
    /// Yes, after naming them.
    Allowed,
    /// No: they are only listed.
    Forbidden,
}

/// Whether all that is needed is there now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Everything is there.
    Ready,
    /// Something is missing and has been listed.
    Missing,
}

impl Need {
    /// Whether it is there.
    ///
    /// # Errors
    /// The Rust toolchain does not answer.
    pub fn is_met(self) -> Result<bool> {
        Ok(match self {
            Self::Program(tool) => tool.find().is_some(),
            Self::Target(target) => target_is_installed(target)?,
        })
    }

    /// Its name and what it comes in.
    pub fn describe(self) -> String {
        match self {
            Self::Program(tool) => format!("{} (Debian package {})", tool.name, tool.package),
            Self::Target(target) => format!("Rust target {target} (rustup target add {target})"),
        }
    }
}

/// Sees to it that all of `needs` are there.
///
/// # Errors
/// An installation failed, or something is still missing after it.
pub fn ensure(needs: &[Need], install: Install) -> Result<Readiness> {
    let missing = missing(needs)?;
    if missing.is_empty() {
        return Ok(Readiness::Ready);
    }
    println!("Missing on this machine:");
    missing.iter().for_each(|need| println!("  {}", need.describe()));
    if install == Install::Forbidden {
        return Ok(Readiness::Missing);
    }
    let mut packages = Vec::new();
    for need in &missing {
        match need {
            Need::Program(tool) if !packages.contains(&tool.package) => packages.push(tool.package),
            Need::Program(_) => {}
            Need::Target(target) => step(Command::new("rustup").args(["target", "add", target]))?,
        }
    }
    if !packages.is_empty() {
        step(tool::administrator("apt-get")?.args(["update", "-q"]))?;
        let mut install = tool::administrator("apt-get")?;
        install.args(["install", "-y", "-q", "--no-install-recommends"]).args(&packages);
        step(&mut install)?;
    }
    match self::missing(needs)?.first() {
        None => Ok(Readiness::Ready),
        Some(need) => bail!("{} is still missing after the installation", need.describe()),
    }
}

fn missing(needs: &[Need]) -> Result<Vec<Need>> {
    let mut missing = Vec::new();
    for need in needs {
        if !need.is_met()? {
            missing.push(*need);
        }
    }
    Ok(missing)
}

/// The sysroot is asked, not rustup: a toolchain without rustup may have the target as well.
fn target_is_installed(target: &str) -> Result<bool> {
    let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let folder = tool::run_ok(command.args(["--print", "target-libdir", "--target", target]), Duration::from_secs(60))
        .context("asking the Rust compiler for its targets")?;
    let is_library = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.is_ok_and(|entry| entry.path().extension().is_some_and(|extension| extension == "rlib"))
    };
    Ok(std::fs::read_dir(folder.trim()).is_ok_and(|mut entries| entries.any(is_library)))
}

/// Runs an installation step with its output on the terminal, after showing the command.
fn step(command: &mut Command) -> Result<()> {
    println!("Running: {}", tool::describe(command));
    let status = command.status().with_context(|| format!("cannot start {}", tool::describe(command)))?;
    if !status.success() {
        bail!("{} failed ({status}); install it by hand and run this again", tool::describe(command));
    }
    Ok(())
}
