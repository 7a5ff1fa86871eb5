//! Finds all that is wrong with a file system, as fsck does. A mount refuses a disk with any of it.

use crate::format::{CLEAN, DIRECTORY, REGULAR, ROOT, SYMLINK};
use crate::state::{State, device_block};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use platform::block::BlockDevice;
use vfs_server::error::Error;

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Problem {
    #[error("the disk cannot be read: {0}")]
    Unreadable(Error),
    #[error("there is no superblock with a right checksum that fits the disk")]
    NoSuperblock,
    #[error("the metadata does not have the superblock's checksum")]
    AreaChecksum,
    #[error("no inode at byte {0} of the metadata")]
    Record(usize),
    #[error("inode {0} is there twice")]
    Twice(u32),
    #[error("inode {0} is of kind {1}, which there is not, or has what its kind cannot have")]
    Kind(u32, u8),
    #[error("inode {0} has block {1} of the disk, which is not on it, or not for data, or in use twice")]
    Block(u32, u32),
    #[error("inode {0} has {1} links and {2} names")]
    Links(u32, u32, u32),
    #[error("directory {0} has the name {1:?}, which is no name or there twice")]
    Name(u32, String),
    #[error("directory {0} has {1:?} for inode {2}, which is not there or another directory's")]
    Target(u32, String, u32),
    #[error("directory {0} is not below the root")]
    Astray(u32),
    #[error("inode {0} has no name, though the disk was unmounted")]
    Orphan(u32),
    #[error("inode {0} has bytes behind its end, though the disk was unmounted")]
    Tail(u32),
}

/// Everything that is wrong on `device`.
pub fn check(device: Arc<dyn BlockDevice>) -> Vec<Problem> {
    match State::load(device) {
        Ok((state, mut problems)) if state.superblock.state == CLEAN => {
            for node in state.inodes.values() {
                match state.unclean_tail(node) {
                    Ok(None) => {}
                    Ok(Some(_)) => problems.push(Problem::Tail(node.raw.ino.get())),
                    Err(error) => problems.push(Problem::Unreadable(error)),
                }
            }
            problems
        }
        Ok((_, problems)) => problems,
        Err(problem) => vec![problem],
    }
}

impl State {
    /// Looks at everything, and marks the blocks that are in use.
    pub(crate) fn problems(&mut self) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut links: BTreeMap<u32, u32> = BTreeMap::from([(ROOT, 1)]);
        for (&ino, node) in &self.inodes {
            let of_its_kind = match node.raw.kind {
                REGULAR => node.names.is_empty() && node.target.is_empty() && node.raw.size <= self.max_file_size(),
                DIRECTORY => node.blocks.is_empty() && node.target.is_empty(),
                SYMLINK => node.blocks.is_empty() && node.names.is_empty() && node.raw.size == node.target.len() as u64,
                _ => false,
            };
            if !of_its_kind || ino == ROOT && !node.is_directory() || !(ROOT..self.next_ino).contains(&ino) {
                found.push(Problem::Kind(ino, node.raw.kind));
            }
            for block in node.blocks.values().filter_map(|state| device_block(*state)) {
                match self.busy.get_mut(block as usize) {
                    Some(busy) if !*busy => *busy = true,
                    _ => found.push(Problem::Block(ino, block)),
                }
            }
            let mut names = BTreeSet::new();
            for (name, target) in node.names.values() {
                let text = || String::from_utf8_lossy(name).into_owned();
                if name.is_empty()
                    || name.len() > 255
                    || name.iter().any(|byte| b"/\0".contains(byte))
                    || !names.insert(name)
                {
                    found.push(Problem::Name(ino, text()));
                }
                *links.entry(*target).or_default() += 1;
                match self.inodes.get(target) {
                    Some(child) if child.is_directory() && child.raw.parent == ino && *target != ROOT => {
                        *links.entry(ino).or_default() += 1
                    }
                    Some(child) if !child.is_directory() => {}
                    _ => found.push(Problem::Target(ino, text(), *target)),
                }
            }
            if node.is_directory() && !self.is_below_root(ino) {
                found.push(Problem::Astray(ino));
            }
        }
        for (ino, node) in &self.inodes {
            let (has, names) = (node.raw.nlink.get(), links.get(ino).copied().unwrap_or(0));
            // A directory's own `.` counts, while it has a name.
            if has != names + u32::from(node.is_directory() && has > 0) {
                found.push(Problem::Links(*ino, has, names));
            }
            if has == 0 && self.superblock.state == CLEAN {
                found.push(Problem::Orphan(*ino));
            }
        }
        if !self.inodes.contains_key(&ROOT) {
            found.push(Problem::Astray(ROOT));
        }
        found
    }
}
