//! Builds what runs in the guest.

use crate::prerequisites::{BARE, LINUX};
use crate::workspace::{Workspace, cargo};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// How the guest is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Optimised, with debug assertions: lock order, one-shot answers, overflow.
    Checked,
    /// As measured.
    Release,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Checked => "checked",
            Self::Release => "release",
        }
    }
}

/// The guest's programs as ELF files.
pub struct Guest {
    /// The kernel's ELF file.
    pub kernel: PathBuf,
    /// The first process's.
    pub root_task: PathBuf,
    /// What the boot archive has in `bin/`, by name: the server and the client programs.
    pub programs: BTreeMap<String, PathBuf>,
}

/// The package of the client programs.
const CLIENTS: &str = "userland-tests";
const SERVER: &str = "vfsd";

/// What a client program is for; its name says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A test: runs at every boot.
    Test,
    /// Prints `bench` lines.
    Bench,
    /// Started by name only: the shell, the contract program, parts of other commands.
    Tool,
}

/// What the client program of this name is for.
pub fn role(name: &str) -> Role {
    match name {
        "shell" | "contract" | "list_files" | "probe_corruption" => Role::Tool,
        _ if name == "bench" || name.starts_with("bench_") => Role::Bench,
        _ => Role::Test,
    }
}

impl Guest {
    /// The client programs of a role.
    pub fn clients(&self, wanted: Role) -> Vec<String> {
        self.programs.keys().filter(|name| *name != SERVER && role(name) == wanted).cloned().collect()
    }
}

/// Builds the kernel, the server and the client programs.
///
/// # Errors
/// The build failed; cargo has said why.
pub fn guest(workspace: &Workspace, profile: Profile) -> Result<Guest> {
    let packages = ["kernel", "root-task", "daemon", CLIENTS];
    build(workspace, BARE, profile, &packages)?;
    let folder = workspace.target.join(BARE).join(profile.name());
    let mut programs = BTreeMap::new();
    for name in workspace.programs(CLIENTS).into_iter().chain([SERVER.to_string()]) {
        programs.insert(name.clone(), folder.join(name));
    }
    let guest = Guest { kernel: folder.join("kernel"), root_task: folder.join("root-task"), programs };
    for file in guest.programs.values().chain([&guest.kernel, &guest.root_task]) {
        ensure!(file.is_file(), "the build did not make {}", file.display());
    }
    Ok(guest)
}

/// Builds the client programs for Linux: their names and files.
///
/// # Errors
/// The build failed; cargo has said why.
pub fn linux_clients(workspace: &Workspace) -> Result<BTreeMap<String, PathBuf>> {
    build(workspace, LINUX, Profile::Release, &[CLIENTS])?;
    let folder = workspace.target.join(LINUX).join(Profile::Release.name());
    Ok(workspace.programs(CLIENTS).into_iter().map(|name| (name.clone(), folder.join(name))).collect())
}

fn build(workspace: &Workspace, target: &str, profile: Profile, packages: &[&str]) -> Result<()> {
    let mut command = cargo();
    command.current_dir(&workspace.root).args(["build", "--bins", "--target", target, "--profile", profile.name()]);
    for package in packages {
        command.args(["-p", package]);
    }
    println!("Building {} for {target} ({})", packages.join(", "), profile.name());
    let status = command.status().context("cannot start cargo")?;
    ensure!(status.success(), "the build for {target} failed");
    Ok(())
}

/// The bytes of a built file.
///
/// # Errors
/// It cannot be read.
pub fn read(file: &PathBuf) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("reading {}", file.display()))
}
