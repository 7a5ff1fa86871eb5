//! The files that a fresh disk is populated with.
//!
//! The tree has what an ext4 reader meets: sizes around the inline and the block boundaries, a file
//! of many blocks, a sparse one, deep folders, a folder of thousands of names, short and long
//! symbolic links. Contents are a function of the path, so that every run has the same bytes. The
//! list of checksums goes on the disk too ([`MANIFEST`]), in sha256sum's format: the guest, Linux
//! and the host all check against it. Tests may read the tree but leave it as it is.

use crate::manifest::Manifest;
use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::symlink;
use std::path::Path;

/// The tree's folder on the disk.
pub const FOLDER: &str = "sample";
/// The disk's list of the tree's files.
pub const MANIFEST: &str = "sample.sha256";

/// Names in `sample/many`: enough for a hashed directory of several blocks at any block size.
const MANY: usize = 3000;
/// Bytes: 60 is i_block's part of inline data, 128 the most that a 256-byte inode has, 4096 a block.
const SIZES: [usize; 22] = [
    0, 1, 59, 60, 61, 100, 127, 128, 129, 500, 1023, 1024, 1025, 4095, 4096, 4097, 8192, 12_345, 65_535, 65_536,
    65_537, 1_000_003,
];
/// Bytes of the file of many blocks.
const LARGE: usize = 6 << 20;

/// Writes the tree below `root`, which becomes the root directory of a disk.
///
/// # Errors
/// The host's file system refused.
pub fn generate(root: &Path) -> Result<()> {
    let mut writer = Writer { root, manifest: Manifest::default() };
    for size in SIZES {
        writer.file(&format!("{FOLDER}/size/{size:07}"), size)?;
    }
    writer.file(&format!("{FOLDER}/large"), LARGE)?;
    for index in 0..MANY {
        writer.file(&format!("{FOLDER}/many/name-{index:04}"), if index % 50 == 0 { index } else { 0 })?;
    }
    let mut deep = format!("{FOLDER}/deep");
    for level in 0..16 {
        deep.push_str(&format!("/level-{level}"));
        writer.file(&format!("{deep}/here"), 40 + level * 10)?;
    }
    writer.file(&format!("{FOLDER}/name with spaces and ümläuts"), 77)?;
    writer.file(&format!("{FOLDER}/{}", "n".repeat(255)), 5)?;
    writer.sparse(&format!("{FOLDER}/sparse"))?;
    // mke2fs makes this one inline, with a size far beyond the inline area: legal, and read as zeros.
    writer.hole(&format!("{FOLDER}/hole"), 300_000)?;
    let folder = root.join(FOLDER);
    fs::create_dir(folder.join("empty"))?;
    symlink("large", folder.join("link-short"))?;
    symlink(format!("{}large", "./".repeat(60)), folder.join("link-long"))?;
    symlink("nowhere", folder.join("link-broken"))?;
    fs::write(root.join(MANIFEST), writer.manifest.to_text())?;
    fs::create_dir(root.join("verify"))?;
    Ok(())
}

/// The bytes of the file at `path`: a stream of SHA-256 blocks, so that no two pages are alike.
pub fn contents(path: &str, size: usize) -> Vec<u8> {
    let seed = Sha256::digest(path.as_bytes());
    let mut bytes = Vec::with_capacity(size + 32);
    // A hash for each kilobyte, repeated with its position mixed in: fast, and every 32 bytes differ.
    for index in 0..size.div_ceil(1024) as u64 {
        let block = Sha256::new().chain_update(seed).chain_update(index.to_le_bytes()).finalize();
        for turn in 0..32u8 {
            bytes.extend(block.iter().map(|byte| byte.wrapping_add(turn)));
        }
    }
    bytes.truncate(size);
    bytes
}

struct Writer<'a> {
    root: &'a Path,
    manifest: Manifest,
}

impl Writer<'_> {
    fn file(&mut self, path: &str, size: usize) -> Result<()> {
        self.store(path, &contents(path, size))
    }

    fn store(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        self.manifest.add(path, bytes);
        let file = self.create(path)?;
        (&file).write_all(bytes).with_context(|| format!("writing {path}"))
    }

    /// Data at the start and far away. (It ends in data: mke2fs 1.47.0 cuts a hole at the end off.)
    fn sparse(&mut self, path: &str) -> Result<()> {
        let (head, island) = (contents(path, 3000), contents("island", 9000));
        let at = 2_000_000;
        let mut bytes = vec![0; at + island.len()];
        bytes[..head.len()].copy_from_slice(&head);
        bytes[at..].copy_from_slice(&island);
        self.manifest.add(path, &bytes);
        let mut file = self.create(path)?;
        file.write_all(&head)?;
        file.seek(SeekFrom::Start(at as u64))?;
        Ok(file.write_all(&island)?)
    }

    /// Nothing but a hole.
    fn hole(&mut self, path: &str, size: usize) -> Result<()> {
        self.manifest.add(path, &vec![0; size]);
        Ok(self.create(path)?.set_len(size as u64)?)
    }

    fn create(&self, path: &str) -> Result<fs::File> {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().expect("every path here has a folder"))?;
        fs::File::create_new(&path).with_context(|| format!("creating {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_reproducible_and_differ_between_paths_and_pages() {
        let bytes = contents("sample/large", 3 * 4096);
        assert_eq!(bytes, contents("sample/large", 3 * 4096));
        assert_ne!(bytes[..4096], bytes[4096..8192]);
        assert_ne!(bytes[..32], contents("sample/other", 32)[..]);
        assert_eq!(contents("a", 5), contents("a", 9)[..5]);
    }
}
