//! Where things are: the sources, the build's folder, the user's cache.

use anyhow::{Context, Result};
use runner::tool;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// The workspace as cargo sees it.
pub struct Workspace {
    /// The folder of the workspace's Cargo.toml.
    pub root: PathBuf,
    /// cargo's target folder.
    pub target: PathBuf,
    metadata: Value,
}

impl Workspace {
    /// Asks cargo.
    ///
    /// # Errors
    /// `cargo metadata` failed.
    pub fn load() -> Result<Self> {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
        let mut command = cargo();
        command.args(["metadata", "--format-version=1", "--no-deps", "--manifest-path", manifest]);
        let output = tool::run_ok(&mut command, Duration::from_secs(120))?;
        let line = output.lines().find(|line| line.starts_with('{')).context("cargo metadata said nothing")?;
        let metadata: Value = serde_json::from_str(line).context("cargo metadata is not JSON")?;
        let path = |key: &str| -> Result<PathBuf> {
            Ok(metadata[key].as_str().with_context(|| format!("cargo metadata has no {key}"))?.into())
        };
        Ok(Self { root: path("workspace_root")?, target: path("target_directory")?, metadata })
    }

    /// The names of a package's programs, sorted.
    pub fn programs(&self, package: &str) -> Vec<String> {
        let packages = self.metadata["packages"].as_array().into_iter().flatten();
        let targets = packages.filter(|each| each["name"] == package).flat_map(|each| each["targets"].as_array());
        let mut names: Vec<_> = targets
            .flatten()
            .filter(|target| target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "bin")))
            .filter_map(|target| target["name"].as_str().map(str::to_string))
            .collect();
        names.sort();
        names
    }

    /// The folder below the target folder for one kind of run's disks and logs; made if need be.
    ///
    /// # Errors
    /// The host's file system refused.
    pub fn run_folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.target.join("faultline").join(name);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        Ok(folder)
    }
}

/// A cargo command: the cargo that runs us.
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
