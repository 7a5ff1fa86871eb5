//! Lists of files by which others check what is on the disk, and we what others wrote.
//!
//! `verify/NAME.sha256` is in sha256sum's format, paths relative to the disk's root. The host checks
//! it through debugfs, Linux by `sha256sum -c`. `verify/NAME.names` has a line for each entry of the
//! tree: `d PATH`, `f PATH` or `l PATH -> TARGET`. Names that such lists cannot hold (line breaks,
//! quotes, backslashes) are left out and counted.

use crate::errno::Errno;
use crate::sys::{self, File, Kind, Open};
use alloc::{format, string::String, vec, vec::Vec};
use sha2::{Digest, Sha256};

/// The directory of the lists.
pub const FOLDER: &str = "verify";

/// In sha256sum's format a name with these is escaped, and debugfs takes none of them.
const UNLISTABLE: [char; 3] = ['\n', '\\', '"'];

/// Bytes that are read at a time: many blocks, so that readahead has something to do.
const CHUNK: usize = 64 * 1024;

/// Both lists of a tree.
#[derive(Default)]
pub struct Lists {
    /// The text of the `.sha256` list.
    pub sums: String,
    /// The text of the `.names` list.
    pub names: String,
    /// Regular files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Entries that were left out for their names.
    pub unlistable: usize,
}

impl Lists {
    /// Lists all that is below the root, but for the lists' own directory.
    pub fn of_the_disk() -> Result<Self, Errno> {
        let mut lists = Self::default();
        lists.walk("")?;
        Ok(lists)
    }

    fn walk(&mut self, directory: &str) -> Result<(), Errno> {
        let entries = File::open(directory, Open::READ | Open::DIRECTORY, 0)?.entries()?;
        for entry in entries {
            let path = if directory.is_empty() { entry.name } else { format!("{directory}/{}", entry.name) };
            if path == FOLDER || path.ends_with("/.") || path.ends_with("/..") || path == "." || path == ".." {
                continue;
            }
            if path.contains(UNLISTABLE) {
                self.unlistable += 1;
                continue;
            }
            match sys::stat(&path)?.kind {
                Kind::Directory => {
                    self.names.push_str(&format!("d {path}\n"));
                    self.walk(&path)?;
                }
                Kind::Symlink => self.names.push_str(&format!("l {path} -> {}\n", sys::read_symlink(&path)?)),
                Kind::File => {
                    let (sum, size) = sha256(&path)?;
                    self.names.push_str(&format!("f {path}\n"));
                    self.sums.push_str(&format!("{sum}  {path}\n"));
                    self.files += 1;
                    self.bytes += size;
                }
                Kind::Other => {}
            }
        }
        Ok(())
    }
}

/// The SHA-256 of a file in lower-case hexadecimal, and its size.
pub fn sha256(path: &str) -> Result<(String, u64), Errno> {
    let file = File::open(path, Open::READ, 0)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    let mut size = 0;
    loop {
        match file.read_at(&mut buffer, size)? {
            0 => break,
            count => {
                hash.update(&buffer[..count]);
                size += count as u64;
            }
        }
    }
    Ok((hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect(), size))
}

/// The lines of a `.sha256` list: sum and path; an error is the line that is none.
pub fn parse(text: &str) -> Result<Vec<(&str, &str)>, &str> {
    text.lines().map(|line| line.split_once("  ").filter(|(sum, _)| sum.len() == 64).ok_or(line)).collect()
}

/// A whole file.
pub fn read_whole(path: &str) -> Result<Vec<u8>, Errno> {
    let file = File::open(path, Open::READ, 0)?;
    let mut bytes = vec![0; file.stat()?.size as usize];
    let mut at = 0;
    while at < bytes.len() {
        match file.read_at(&mut bytes[at..], at as u64)? {
            0 => break,
            count => at += count,
        }
    }
    bytes.truncate(at);
    Ok(bytes)
}
