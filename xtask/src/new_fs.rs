//! `cargo xtask new-fs NAME`: a file system of one's own, begun as a copy of the template `fs-mini`.
//!
//! Owns: what is copied, what is renamed in it, where it is entered. All is worked out before anything is written, and
//! what was written is taken back if the rest cannot be: it is made, or nothing is.

use crate::Verdict;
use crate::workspace::{Workspace, cargo};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use std::fs;
use std::path::{Path, PathBuf};

/// Options of `new-fs`.
#[derive(Args)]
pub struct Options {
    /// Its name: 2 to 8 small letters and digits, a letter first. The crate is called fs-NAME.
    name: String,
}

/// Where a file system is entered: a line like the template's goes behind the template's.
struct Entry {
    file: &'static str,
    /// The template's line; the new one is this with the names changed.
    line: &'static str,
}

const ENTRIES: &[Entry] = &[
    // Twice: members and default members.
    Entry { file: "Cargo.toml", line: "    \"fs-mini\",\n" },
    Entry { file: "Cargo.toml", line: "fs-mini = { path = \"fs-mini\" }\n" },
    Entry { file: "vfs-server/file-systems/Cargo.toml", line: "fs-mini.workspace = true\n" },
    Entry { file: "vfs-server/file-systems/src/lib.rs", line: "    like_mini!(\"mini\", fs_mini),\n" },
    Entry { file: "vfs-server/explorer/src/world/file_systems.rs", line: "own!(MINI, \"mini\");\n" },
];

/// The template's first line, which the copy must not have.
const ABOUT: &str = "//! A small real file system: the template from which to start one of your own.\n";

/// Makes the file system.
///
/// # Errors
/// The name cannot be, the file system is there, or the sources are not as expected; then nothing is changed.
pub fn run(options: &Options) -> Result<Verdict> {
    let workspace = Workspace::load()?;
    let plan = Plan::new(&workspace.root, &options.name)?;
    plan.carry_out()?;
    let manifest = workspace.root.join("Cargo.toml");
    let package = format!("fs-{}", options.name);
    let formatted = cargo().args(["fmt", "--package", &package, "--manifest-path"]).arg(&manifest).status();
    if !formatted.is_ok_and(|status| status.success()) {
        println!("cargo fmt could not be run on it: lines may be longer than they should be.");
    }
    println!("Made {package}/, a copy of fs-mini/ with a disk format of its own magic, and entered it in");
    plan.changes.iter().for_each(|change| println!("  {}", change.shown.display()));
    println!("Next:");
    println!("  cargo test -p {package}                 # its crash, race and damage tests");
    println!("  cargo xtask boot --fs {}            # in the guest, with all test programs", options.name);
    println!("  {package}/src/lib.rs, docs/new-file-system.md   # what to read, and what to change first");
    Ok(Verdict::Good)
}

/// Everything that is going to be written.
#[derive(Debug)]
struct Plan {
    folder: PathBuf,
    /// Files of the new crate, by path below its folder.
    files: Vec<(PathBuf, String)>,
    changes: Vec<Change>,
}

/// A file that is changed.
#[derive(Debug)]
struct Change {
    path: PathBuf,
    shown: PathBuf,
    before: String,
    after: String,
}

impl Plan {
    /// Works it out; nothing is written.
    fn new(root: &Path, name: &str) -> Result<Self> {
        check_name(name)?;
        let folder = root.join(format!("fs-{name}"));
        ensure!(!folder.exists(), "{} is there already", folder.display());
        let template = root.join("fs-mini");
        let mut files = Vec::new();
        for path in files_below(&template)? {
            let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            files.push((path.strip_prefix(&template)?.to_path_buf(), renamed(&text, name)));
        }
        let about = format!("//! The file system {name}, begun as a copy of the template `fs-mini`.\n");
        let lib =
            files.iter_mut().find(|(path, _)| path == Path::new("src/lib.rs")).context("fs-mini has no lib.rs")?;
        let new_about = renamed(ABOUT, name);
        ensure!(lib.1.starts_with(&new_about), "fs-mini/src/lib.rs does not begin as expected: {}", ABOUT.trim());
        lib.1 = lib.1.replacen(&new_about, &about, 1);
        let mut changes: Vec<Change> = Vec::new();
        for Entry { file, line } in ENTRIES {
            let path = root.join(file);
            let index = match changes.iter().position(|change| change.path == path) {
                Some(index) => index,
                None => {
                    let before = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
                    changes.push(Change { path, shown: file.into(), after: before.clone(), before });
                    changes.len() - 1
                }
            };
            let (after, new) = (&mut changes[index].after, renamed(line, name));
            ensure!(after.contains(line), "{file} has no line {:?}, behind which the new one belongs", line.trim());
            ensure!(!after.contains(&new), "{file} has {:?} already", new.trim());
            *after = after.replace(line, &format!("{line}{new}"));
        }
        Ok(Self { folder, files, changes })
    }

    /// Writes it, or leaves everything as it was.
    fn carry_out(&self) -> Result<()> {
        let outcome = self.write();
        if outcome.is_err() {
            // It was not there before, and the others have been read: what fails now is told by the first error.
            _ = fs::remove_dir_all(&self.folder);
            self.changes.iter().for_each(|change| _ = fs::write(&change.path, &change.before));
        }
        outcome
    }

    fn write(&self) -> Result<()> {
        for (path, text) in &self.files {
            let path = self.folder.join(path);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
            }
            fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        }
        for change in &self.changes {
            fs::write(&change.path, &change.after).with_context(|| format!("writing {}", change.path.display()))?;
        }
        Ok(())
    }
}

fn check_name(name: &str) -> Result<()> {
    let right = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|each| each.is_ascii_lowercase() || each.is_ascii_digit());
    ensure!(
        right && (2..=8).contains(&name.len()),
        "{name:?} is no name: 2 to 8 small letters and digits, a letter first"
    );
    if runner::own_image::find(name).is_ok() {
        bail!("there is a file system {name} already");
    }
    Ok(())
}

/// A text of the template with the new names: of the crate, of its type, on the disk and on command lines.
fn renamed(text: &str, name: &str) -> String {
    let capital = name[..1].to_uppercase() + &name[1..];
    text.replace("b\"fs-mini2\"", &format!("b\"{name:-<8}\""))
        .replace("fs-mini", &format!("fs-{name}"))
        .replace("fs_mini", &format!("fs_{name}"))
        .replace("like_mini!(\"mini\"", &format!("like_mini!(\"{name}\""))
        .replace("\"mini\"", &format!("\"{name}\""))
        .replace("Mini", &capital)
        .replace("MINI", &name.to_uppercase())
}

/// All files below a folder, sorted, but for what a build leaves there.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        match path.is_dir() {
            true if path.ends_with("target") => {}
            true => found.extend(files_below(&path)?),
            false => found.push(path),
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A copy of what is read, in a folder of its own.
    fn tree(name: &str) -> PathBuf {
        let sources = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let root = std::env::temp_dir().join(format!("faultline-new-fs-{name}-{}", std::process::id()));
        _ = fs::remove_dir_all(&root);
        let mut files = files_below(&sources.join("fs-mini")).unwrap();
        files.extend(ENTRIES.iter().map(|entry| sources.join(entry.file)));
        for file in files {
            let copy = root.join(file.strip_prefix(sources).unwrap());
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(&file, &copy).unwrap();
        }
        root
    }

    fn contents(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        files_below(root).unwrap().into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    #[test]
    fn a_copy_has_its_own_name_everywhere() {
        let root = tree("copy");
        Plan::new(&root, "trial").unwrap().carry_out().unwrap();
        for (path, text) in contents(&root.join("fs-trial")) {
            let text = String::from_utf8(text).unwrap();
            let left = text.lines().filter(|line| {
                let line = line.replace("of the template `fs-mini`", "").replace("minim", "");
                line.to_lowercase().contains("mini")
            });
            assert_eq!(left.collect::<Vec<_>>(), Vec::<&str>::new(), "{}", path.display());
        }
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
        assert_eq!(read("Cargo.toml").matches("    \"fs-trial\",\n").count(), 2, "members and default members");
        assert!(read("fs-trial/Cargo.toml").contains("name = \"fs-trial\""));
        assert!(read("fs-trial/src/format.rs").contains("*b\"trial---\""));
        assert!(read("vfs-server/file-systems/src/lib.rs").contains("like_mini!(\"trial\", fs_trial),"));
        assert!(read("vfs-server/explorer/src/world/file_systems.rs").contains("own!(TRIAL, \"trial\");"));
        let again = Plan::new(&root, "trial").unwrap_err().to_string();
        assert!(again.ends_with("fs-trial is there already"), "{again}");
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn what_cannot_be_made_changes_nothing() {
        let root = tree("nothing");
        for name in ["", "x", "Trial", "my-fs", "9p", "ninecharsx", "ext4", "bcachefs", "mini", "../x"] {
            Plan::new(&root, name).expect_err(name);
        }
        let table = root.join("vfs-server/file-systems/src/lib.rs");
        let before = contents(&root);
        // A folder where a file belongs: it fails after most was written.
        let plan = Plan::new(&root, "trial").unwrap();
        fs::remove_file(&table).unwrap();
        fs::create_dir(&table).unwrap();
        plan.carry_out().unwrap_err();
        fs::remove_dir(&table).unwrap();
        fs::write(&table, &plan.changes.iter().find(|change| change.path == table).unwrap().before).unwrap();
        assert_eq!(contents(&root), before);
        fs::write(&table, "nothing as expected").unwrap();
        let refused = Plan::new(&root, "trial").unwrap_err().to_string();
        assert!(refused.contains("has no line \"like_mini!"), "{refused}");
        fs::remove_dir_all(root).unwrap();
    }
}
