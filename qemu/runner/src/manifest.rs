//! Lists of files with their checksums, in the format of sha256sum.
//!
//! A test that wants its files to be checked from outside leaves a list `verify/NAME.sha256` on the
//! disk: lines `HEX  PATH`, paths relative to the disk's root. The host checks them through
//! debugfs, Linux by `sha256sum -c` in its mount.

use crate::ext4_image::Image;
use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;

/// The disk's folder for the lists that tests leave.
pub const FOLDER: &str = "verify";

/// A list of files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Each file's path, and its SHA-256 in lower-case hexadecimal.
    pub files: Vec<(String, String)>,
}

/// A file that is not what its list says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The file, relative to the disk's root.
    pub path: String,
    /// How it differs.
    pub what: String,
}

impl Manifest {
    /// Adds a file with these bytes.
    pub fn add(&mut self, path: &str, bytes: &[u8]) {
        self.files.push((path.to_string(), hex(&Sha256::digest(bytes))));
    }

    /// As sha256sum writes it.
    pub fn to_text(&self) -> String {
        self.files.iter().map(|(path, sum)| format!("{sum}  {path}\n")).collect()
    }

    /// Reads what sha256sum or a guest wrote.
    ///
    /// # Errors
    /// A line that is not `HEX  PATH`.
    pub fn parse(text: &str) -> Result<Self> {
        let mut manifest = Self::default();
        for (number, line) in text.lines().enumerate() {
            let (sum, path) = line
                .split_once("  ")
                .filter(|(sum, path)| {
                    sum.len() == 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit()) && !path.is_empty()
                })
                .with_context(|| format!("line {} is not \"SHA256  PATH\": {line:?}", number + 1))?;
            manifest.files.push((path.trim_start_matches("./").to_string(), sum.to_ascii_lowercase()));
        }
        Ok(manifest)
    }

    /// Compares the files of `image` with the list, through debugfs.
    ///
    /// # Errors
    /// debugfs could not be run.
    pub fn check(&self, image: &Image, scratch: &Path) -> Result<Vec<Difference>> {
        let paths: Vec<_> = self.files.iter().map(|(path, _)| path.as_str()).collect();
        let contents = image.read_files(&paths, scratch)?;
        let mut differences = Vec::new();
        for ((path, sum), bytes) in self.files.iter().zip(contents) {
            let what = match bytes {
                None => "is not there".to_string(),
                Some(bytes) => match hex(&Sha256::digest(&bytes)) {
                    found if found == *sum => continue,
                    found => format!("has {} bytes with SHA-256 {found}, not {sum}", bytes.len()),
                },
            };
            differences.push(Difference { path: path.clone(), what });
        }
        Ok(differences)
    }
}

/// Every list on `image`: the sample tree's, if it has one, and those that tests left.
///
/// # Errors
/// debugfs could not be run, or a list is malformed.
pub fn on_image(image: &Image, scratch: &Path) -> Result<Vec<(String, Manifest)>> {
    let mut names = vec![crate::sample_tree::MANIFEST.to_string()];
    let listed = image.list(FOLDER)?;
    names.extend(listed.into_iter().filter(|name| name.ends_with(".sha256")).map(|name| format!("{FOLDER}/{name}")));
    let paths: Vec<_> = names.iter().map(String::as_str).collect();
    let mut manifests = Vec::new();
    for (name, bytes) in names.iter().zip(image.read_files(&paths, scratch)?) {
        let Some(bytes) = bytes else { continue };
        let text = String::from_utf8(bytes).with_context(|| format!("{name} is not text"))?;
        manifests.push((name.clone(), Manifest::parse(&text).with_context(|| name.clone())?));
    }
    Ok(manifests)
}

/// The SHA-256 of a file of the host, in lower-case hexadecimal.
///
/// # Errors
/// It cannot be read.
pub fn sha256_of(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(hex(&Sha256::digest(bytes)))
}

/// Fails with the first few differences.
///
/// # Errors
/// There is a difference.
pub fn ensure_same(list: &str, differences: &[Difference]) -> Result<()> {
    if differences.is_empty() {
        return Ok(());
    }
    ensure!(!list.is_empty(), "a list has a name");
    let shown: Vec<_> = differences.iter().take(5).map(|each| format!("  {} {}", each.path, each.what)).collect();
    bail!("{} file(s) of {list} differ:\n{}", differences.len(), shown.join("\n"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_sha256sum_writes() {
        let mut manifest = Manifest::default();
        manifest.add("a/b c", b"abc");
        assert_eq!(manifest.to_text(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  a/b c\n");
        assert_eq!(Manifest::parse(&manifest.to_text()).unwrap(), manifest);
    }

    #[test]
    fn a_malformed_line_is_named() {
        let error = Manifest::parse("abc  x\n").unwrap_err().to_string();
        assert!(error.contains("line 1"), "{error}");
    }
}
