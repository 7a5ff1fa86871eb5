//! Builds what runs in the guest.

use crate::prerequisites::{BARE, LINUX};
use crate::workspace::{Workspace, cargo};
use anyhow::{Context, Result, bail, ensure};
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
    /// What `--release` means.
    pub fn of(release: bool) -> Self {
        if release { Self::Release } else { Self::Checked }
    }

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
    /// A test on the mounted file system: runs at every boot.
    Test,
    /// A test of the kernel's contract, without a file server: runs at every boot.
    Kernel,
    /// Prints `bench` lines.
    Bench,
    /// Started by name only: the shell, parts of other commands.
    Tool,
}

/// What the client program of this name is for.
pub fn role(name: &str) -> Role {
    match name {
        "shell" | "list_files" => Role::Tool,
        crate::contract::PROGRAM | crate::power_cut::PROGRAM | crate::corruption::PROBE => Role::Tool,
        _ if name.starts_with("pager_") => Role::Kernel,
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

/// Which client programs are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// All of them.
    All,
    /// Those of one role: fewer are built faster.
    Only(Role),
}

impl Clients {
    fn names(self, workspace: &Workspace) -> Vec<String> {
        let mut names = workspace.programs(CLIENTS);
        if let Self::Only(wanted) = self {
            names.retain(|name| role(name) == wanted);
        }
        names
    }
}

/// Builds the kernel, the server and client programs.
///
/// # Errors
/// The build failed; cargo has said why.
pub fn guest(workspace: &Workspace, profile: Profile, clients: Clients) -> Result<Guest> {
    let mut names = clients.names(workspace);
    names.push(SERVER.to_string());
    let own = ["kernel".to_string(), "root-task".to_string()];
    let mut files =
        build(workspace, BARE, profile, &["kernel", "root-task", "daemon", CLIENTS], &[&names, &own[..]].concat())?;
    let [Some(kernel), Some(root_task)] = own.map(|name| files.remove(&name)) else {
        bail!("the build made no kernel or no root-task");
    };
    Ok(Guest { kernel, root_task, programs: files })
}

/// Builds client programs for Linux: their names and files.
///
/// # Errors
/// The build failed; cargo has said why.
pub fn linux_clients(workspace: &Workspace, profile: Profile, clients: Clients) -> Result<BTreeMap<String, PathBuf>> {
    build(workspace, LINUX, profile, &[CLIENTS], &clients.names(workspace))
}

/// Builds the programs `names` of `packages`: where they are.
fn build(
    workspace: &Workspace,
    target: &str,
    profile: Profile,
    packages: &[&str],
    names: &[String],
) -> Result<BTreeMap<String, PathBuf>> {
    let mut command = cargo();
    command.current_dir(&workspace.root).args(["build", "--target", target, "--profile", profile.name()]);
    for package in packages {
        command.args(["-p", package]);
    }
    for name in names {
        command.args(["--bin", name]);
    }
    if target == LINUX && profile == Profile::Checked {
        // Linking the standard library into each program anew takes minutes.
        command.args(["--config", "profile.checked.lto=\"off\""]);
    }
    println!("Building {} for {target} ({})", packages.join(", "), profile.name());
    let status = command.status().context("cannot start cargo")?;
    ensure!(status.success(), "the build for {target} failed");
    let folder = workspace.target.join(target).join(profile.name());
    let files: BTreeMap<_, _> = names.iter().map(|name| (name.clone(), folder.join(name))).collect();
    for file in files.values() {
        ensure!(file.is_file(), "the build did not make {}", file.display());
    }
    Ok(files)
}

/// The bytes of a built file.
///
/// # Errors
/// It cannot be read.
pub fn read(file: &PathBuf) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("reading {}", file.display()))
}
