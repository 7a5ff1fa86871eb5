//! Disk images: made, checked and read by e2fsprogs, never by our own code.
//!
//! That the tools are not ours is the point: they are the judge of what our server writes.

use crate::tool::{self, DEBUGFS, E2FSCK, MKE2FS, Tool};
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// No e2fsprogs run on our images takes longer; on a corrupted one e2fsck itself may hang.
const LIMIT: Duration = Duration::from_secs(120);
/// The same identifier for every image: runs are then comparable byte by byte.
const UUID: &str = "666c7466-0000-4000-8000-000000000001";

/// The shape of a new file system. What is not here is mke2fs's default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Size of the whole image, in MiB.
    pub mebibytes: u32,
    /// Bytes of a block: 1024, 2048 or 4096.
    pub block_size: u32,
    /// Bytes of an inode: 256, 512 or 1024.
    pub inode_size: u32,
}

impl Default for Geometry {
    /// What mke2fs chooses by itself from 512 MiB on, on a disk small enough that a test can fill it.
    fn default() -> Self {
        Self { mebibytes: 128, block_size: 4096, inode_size: 256 }
    }
}

impl std::fmt::Display for Geometry {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{} MiB, {} B blocks, {} B inodes", self.mebibytes, self.block_size, self.inode_size)
    }
}

/// What e2fsck says about an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Exit status 0.
    Clean,
    /// Anything else, with the end of its output.
    Damaged(String),
}

/// An ext4 image in a file.
#[derive(Clone, Debug)]
pub struct Image {
    /// The file.
    pub path: PathBuf,
}

impl Image {
    /// An image that is already there.
    pub fn open(path: &Path) -> Self {
        Self { path: path.to_path_buf() }
    }

    /// Makes a new image at `path`: mke2fs's ext4 plus inline data, with the files below `root` on it.
    ///
    /// # Errors
    /// mke2fs is missing or failed.
    pub fn make(path: &Path, geometry: Geometry, root: Option<&Path>) -> Result<Self> {
        let (block, inode) = (geometry.block_size.to_string(), geometry.inode_size.to_string());
        let mut arguments: Vec<&OsStr> = ["-O", "inline_data", "-b", &block, "-I", &inode].map(OsStr::new).to_vec();
        if let Some(root) = root {
            arguments.extend([OsStr::new("-d"), root.as_os_str()]);
        }
        Self::make_shaped(path, geometry.mebibytes, &arguments)
    }

    /// Makes a new image at `path` with mke2fs's ext4 and these arguments besides.
    ///
    /// # Errors
    /// mke2fs is missing or failed.
    pub fn make_shaped(path: &Path, mebibytes: u32, arguments: &[impl AsRef<OsStr>]) -> Result<Self> {
        let file = fs::File::create(path).with_context(|| format!("creating {}", path.display()))?;
        file.set_len(u64::from(mebibytes) << 20)?;
        let mut command = MKE2FS.command()?;
        command.args(["-q", "-F", "-t", "ext4", "-U", UUID]);
        command.args(["-E", &format!("root_owner=0:0,hash_seed={UUID}")]).args(arguments);
        tool::run_ok(command.arg(path), LIMIT).context("making the disk")?;
        Ok(Self::open(path))
    }

    /// What `e2fsck -fn` says; it changes nothing.
    ///
    /// # Errors
    /// e2fsck is missing or did not end.
    pub fn check(&self) -> Result<Health> {
        let finished = tool::run(E2FSCK.command()?.arg("-fn").arg(&self.path), LIMIT)?;
        Ok(if finished.status.code() == Some(0) {
            Health::Clean
        } else {
            Health::Damaged(format!("{}\n{}", finished.status, tool::tail(&finished.output, 30)))
        })
    }

    /// The names in a directory, without `.` and `..`; none if it is not there.
    ///
    /// # Errors
    /// debugfs could not be run.
    pub fn list(&self, directory: &str) -> Result<Vec<String>> {
        let output = self.debugfs(&format!("ls -p {}", quote(directory)?))?;
        Ok(output
            .lines()
            .filter_map(|line| line.strip_prefix('/')?.split('/').nth(4))
            .filter(|name| !name.is_empty() && *name != "." && *name != "..")
            .map(str::to_string)
            .collect())
    }

    /// The bytes of files, in the order of `paths`; `None` for one that is not there.
    ///
    /// debugfs's `dump` writes 60 bytes for a shorter inline file and stops at the last mapped block
    /// of a sparse one; the inode's size, from its `stat`, says how long the file is.
    ///
    /// # Errors
    /// debugfs could not be run, met an error in the file system, or `scratch` cannot be written.
    pub fn read_files(&self, paths: &[&str], scratch: &Path) -> Result<Vec<Option<Vec<u8>>>> {
        recreate(scratch)?;
        let out = |index: usize| scratch.join(format!("{index}.bytes"));
        let mut script = String::new();
        for (index, path) in paths.iter().enumerate() {
            let path = quote(path)?;
            script.push_str(&format!("stat {path}\ndump {path} {}\n", quote(&out(index).display().to_string())?));
        }
        let commands = scratch.join("commands");
        fs::write(&commands, script)?;
        let output = tool::run(DEBUGFS.command()?.arg("-f").arg(&commands).arg(&self.path), LIMIT)?.output;
        let is_error = |line: &&str| {
            let complaint = line.rsplit_once(": ").map_or(*line, |(_, complaint)| complaint);
            !line.starts_with("debugfs: ") && complaint.to_lowercase().contains("error")
        };
        if let Some(line) = output.lines().find(is_error) {
            bail!("debugfs on {}: {line}", self.path.display());
        }
        // Each command is echoed; what follows up to the next echo is its answer.
        let sizes: Vec<Option<usize>> = output
            .split("debugfs: stat ")
            .skip(1)
            .map(|answer| answer.split_once(" Size: ")?.1.split_whitespace().next()?.parse().ok())
            .collect();
        let mut found = Vec::with_capacity(paths.len());
        for index in 0..paths.len() {
            found.push(match (fs::read(out(index)), sizes.get(index).copied().flatten()) {
                (Ok(mut bytes), Some(size)) => {
                    bytes.resize(size, 0);
                    Some(bytes)
                }
                _ => None,
            });
        }
        fs::remove_dir_all(scratch).ok();
        Ok(found)
    }

    /// Runs one debugfs command that only reads.
    ///
    /// # Errors
    /// debugfs could not be run. What it complains about is in its output, as it has no exit status.
    pub fn debugfs(&self, request: &str) -> Result<String> {
        Ok(tool::run(DEBUGFS.command()?.arg("-R").arg(request).arg(&self.path), LIMIT)?.output)
    }

    /// Runs debugfs commands that change the image.
    ///
    /// # Errors
    /// debugfs could not be run.
    pub fn debugfs_write(&self, requests: &[String], scratch: &Path) -> Result<String> {
        let commands = scratch.join("debugfs-commands");
        fs::write(&commands, requests.join("\n"))?;
        let finished = tool::run(DEBUGFS.command()?.arg("-w").arg("-f").arg(&commands).arg(&self.path), LIMIT)?;
        fs::remove_file(&commands).ok();
        Ok(finished.output)
    }
}

/// The programs that this module runs.
pub const TOOLS: [Tool; 3] = [MKE2FS, E2FSCK, DEBUGFS];

/// An empty folder at `path`, whatever was there.
///
/// # Errors
/// The host's file system refused.
pub fn recreate(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("emptying {}", path.display()));
        }
        _ => {}
    }
    fs::create_dir_all(path).with_context(|| format!("creating {}", path.display()))
}

/// As debugfs reads a word; it knows no escape for a quote.
fn quote(word: &str) -> Result<String> {
    if word.contains(['"', '\n']) {
        bail!("debugfs cannot name {word:?}");
    }
    Ok(format!("\"{word}\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{manifest, sample_tree};

    /// A folder of this test below the build's; cargo does not give library tests one.
    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("faultline-{name}-{}", std::process::id()));
        recreate(&folder).unwrap();
        folder
    }

    #[test]
    fn a_made_disk_is_clean_and_holds_the_sample_tree() {
        if TOOLS.iter().any(|tool| tool.find().is_none()) {
            eprintln!("skipped: e2fsprogs is not installed");
            return;
        }
        let folder = folder("image");
        let root = folder.join("root");
        fs::create_dir(&root).unwrap();
        sample_tree::generate(&root).unwrap();
        for geometry in [
            Geometry::default(),
            Geometry { mebibytes: 64, block_size: 1024, inode_size: 256 },
            Geometry { mebibytes: 64, block_size: 2048, inode_size: 1024 },
        ] {
            let image = Image::make(&folder.join("disk.img"), geometry, Some(&root)).unwrap();
            assert_eq!(image.check().unwrap(), Health::Clean, "{geometry}");
            let lists = manifest::on_image(&image, &folder.join("scratch")).unwrap();
            assert_eq!(lists.len(), 1);
            assert!(lists[0].1.files.len() > 3000);
            let differences = lists[0].1.check(&image, &folder.join("scratch")).unwrap();
            manifest::ensure_same(&lists[0].0, &differences).unwrap();
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_changed_file_and_a_missing_file_are_differences() {
        if TOOLS.iter().any(|tool| tool.find().is_none()) {
            eprintln!("skipped: e2fsprogs is not installed");
            return;
        }
        let folder = folder("difference");
        let root = folder.join("root");
        fs::create_dir(&root).unwrap();
        fs::write(root.join("here"), b"other").unwrap();
        let geometry = Geometry { mebibytes: 16, ..Geometry::default() };
        let image = Image::make(&folder.join("disk.img"), geometry, Some(&root)).unwrap();
        let mut list = manifest::Manifest::default();
        list.add("here", b"these");
        list.add("gone", b"");
        let differences = list.check(&image, &folder.join("scratch")).unwrap();
        assert_eq!(differences.iter().map(|each| each.path.as_str()).collect::<Vec<_>>(), ["here", "gone"]);
        assert_eq!(differences[1].what, "is not there");
        fs::remove_dir_all(folder).unwrap();
    }
}
