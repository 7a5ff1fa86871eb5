//! Finds all that is wrong with a file system, as fsck does. A mount refuses a disk with anything wrong but what a
//! power cut may leave behind, which it puts in order.

use crate::format::{ROOT, RawInode};
use crate::state::State;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use platform::block::{self, BlockDevice};
use vfs_server::error::{Error, Result};
use vfs_server::fs::FileKind::{self, Directory, Regular};
use zerocopy::FromZeros;

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Problem {
    #[error("the disk cannot be read: {0}")]
    Unreadable(#[from] Error),
    #[error("block {0} is not for data, or its inode has another one there, or cannot have one")]
    Block(u32),
    #[error("inode {0} is of a kind that there is not, or has what its kind cannot have")]
    Inode(u32),
    #[error("inode {0} has the name {1:?}, which is no name, or there twice, or not below the root")]
    Name(u32, String),
    #[error("inode {0} has no name: it is to be freed")]
    Orphan(u32),
    #[error("inode {0} has bytes behind its end: they are to be zeroed")]
    Tail(u32),
}

/// Everything that is wrong on `device`; nothing is written.
pub fn check(device: Arc<dyn BlockDevice>) -> Vec<Problem> {
    State::load(device).map_or_else(|error| vec![error.into()], |(_, problems)| problems)
}

impl State {
    /// The file system on `device`, with everything that is wrong with it.
    pub(crate) fn load(device: Arc<dyn BlockDevice>) -> Result<(Self, Vec<Problem>)> {
        let mut state = Self::read(device)?;
        let mut found = Vec::new();
        for (block, raw) in (0..).zip(&state.blocks).filter(|(_, raw)| raw.ino != 0) {
            let twice = state.map.insert((raw.ino.get(), raw.number.get()), block).is_some();
            if twice
                || state.kind(raw.ino.get()) != Some(Regular)
                || u64::from(block) < state.geometry.first_data_block()
            {
                found.push(Problem::Block(block));
            }
        }
        let (mut names, free) = (BTreeSet::new(), RawInode::new_zeroed());
        for (ino, inode) in (0..).zip(&state.inodes).filter(|(ino, inode)| *ino == ROOT || **inode != free) {
            if !state.is_of_its_kind(ino, inode) {
                found.push(Problem::Inode(ino));
            } else if inode.attributes.nlink == 0 {
                found.push(Problem::Orphan(ino));
            } else if ino != ROOT && !(state.is_named(ino, inode) && names.insert((inode.parent, inode.name()))) {
                found.push(Problem::Name(ino, String::from_utf8_lossy(inode.name()).into_owned()));
            } else if state.clean_tail(ino)?.is_some() {
                found.push(Problem::Tail(ino));
            }
        }
        Ok((state, found))
    }

    pub(crate) fn kind(&self, ino: u32) -> Option<FileKind> {
        self.inodes.get(ino as usize).and_then(RawInode::kind)
    }

    fn is_of_its_kind(&self, ino: u32, inode: &RawInode) -> bool {
        let (size, nlink, has_name) = (inode.size.get(), inode.attributes.nlink.get(), inode.name_length > 0);
        match inode.kind() {
            Some(Directory) if ino == ROOT => size == 0 && nlink == 1 && !has_name && inode.parent == ROOT,
            Some(Directory) => size == 0 && nlink == u32::from(has_name) && ino > ROOT,
            Some(Regular) => size / self.block_size() < u32::MAX.into() && nlink == u32::from(has_name) && ino > ROOT,
            _ => false,
        }
    }

    /// Whether its name is one, in directories that lead to the root.
    fn is_named(&self, ino: u32, inode: &RawInode) -> bool {
        let name = inode.name();
        let above = |ino: &u32| self.inodes.get(*ino as usize).map(|inode| inode.parent.get());
        let mut path = core::iter::successors(Some(ino), above).skip(1).take(self.inodes.len());
        let leads_to_root = path.find(|ino| *ino == ROOT || self.kind(*ino) != Some(Directory)) == Some(ROOT);
        leads_to_root && !matches!(name, b"" | b"." | b"..") && !name.iter().any(|byte| b"/\0".contains(byte))
    }

    /// A file's last block, by its first sector, and what it should be, if there are bytes behind the end that are not
    /// zeros: a cut may be committed before the block that it goes through is written.
    pub(crate) fn clean_tail(&self, ino: u32) -> Result<Option<(u64, Vec<u8>)>> {
        let (size, block_size) = (self.inodes[ino as usize].size.get(), self.block_size());
        let block = self.map.get(&(ino, (size / block_size) as u32)).filter(|_| size % block_size > 0);
        let Some(&block) = block else { return Ok(None) };
        let mut bytes = vec![0; block_size as usize];
        block::read(&*self.device, self.sector(block), &mut bytes)?;
        let (_, tail) = bytes.split_at_mut((size % block_size) as usize);
        let is_clean = tail.iter().all(|&byte| byte == 0);
        tail.fill(0);
        Ok((!is_clean).then_some((self.sector(block), bytes)))
    }
}
