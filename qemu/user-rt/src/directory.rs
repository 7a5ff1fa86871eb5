//! Reading a directory, in Redox's records.

use crate::descriptor::Fd;
use alloc::{collections::VecDeque, string::String, vec};
use syscall::{
    EIO, Error, Result, StdFsCallKind,
    dirent::{DirentHeader, DirentKind},
};

/// Bytes of records fetched at once.
const BATCH: usize = 4096;

/// Bytes before the name in a record.
const HEADER: usize = size_of::<DirentHeader>();

/// One name of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The inode's number.
    pub inode: u64,
    /// What reading goes on from after this entry.
    pub next: u64,
    /// What it is, as far as the directory says (`DirentKind`'s number).
    pub kind: u8,
    /// The name.
    pub name: String,
}

impl Entry {
    /// Whether the directory says that it is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind == DirentKind::Directory as u8
    }
}

/// The entries of the open directory `fd`, from its start ("." and ".." where the server gives them).
pub fn entries(fd: Fd) -> Entries {
    entries_from(fd, 0)
}

/// As [`entries`], from the place that an entry's `next` named.
pub fn entries_from(fd: Fd, position: u64) -> Entries {
    Entries { fd, position, batch: VecDeque::new(), done: false }
}

/// Iterator of a directory's entries.
pub struct Entries {
    fd: Fd,
    position: u64,
    batch: VecDeque<Entry>,
    done: bool,
}

impl Entries {
    fn fetch(&mut self) -> Result<()> {
        let mut bytes = vec![0; BATCH];
        let count = self.fd.std_fs(StdFsCallKind::Getdents, &mut bytes, self.position, HEADER as u64)?;
        let mut rest = bytes.get(..count).ok_or(Error::new(EIO))?;
        self.done = rest.is_empty();
        while !rest.is_empty() {
            let (entry, after) = parse(rest).ok_or(Error::new(EIO))?;
            self.position = entry.next;
            self.batch.push_back(entry);
            rest = after;
        }
        Ok(())
    }
}

impl Iterator for Entries {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.batch.is_empty()
            && !self.done
            && let Err(error) = self.fetch()
        {
            self.done = true;
            return Some(Err(error));
        }
        self.batch.pop_front().map(Ok)
    }
}

/// Splits the first record off: header (packed), name, NUL, padding.
fn parse(bytes: &[u8]) -> Option<(Entry, &[u8])> {
    let inode = u64::from_ne_bytes(bytes.get(0..8)?.try_into().ok()?);
    let next = u64::from_ne_bytes(bytes.get(8..16)?.try_into().ok()?);
    let length = usize::from(u16::from_ne_bytes(bytes.get(16..18)?.try_into().ok()?));
    let kind = *bytes.get(18)?;
    let name = bytes.get(HEADER..length)?;
    let name = &name[..name.iter().position(|&byte| byte == 0)?];
    let name = String::from_utf8_lossy(name).into_owned();
    Some((Entry { inode, next, kind, name }, &bytes[length..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use syscall::dirent::{DirEntry, DirentBuf};

    #[test]
    fn records_of_the_crate_are_read_back() {
        let mut bytes = [0; 256];
        let mut buf = DirentBuf::new(&mut bytes[..], HEADER as u16).unwrap();
        for (inode, name) in [(2, "."), (12, "a name")] {
            buf.entry(DirEntry { inode, next_opaque_id: inode * 10, name, kind: DirentKind::Directory }).unwrap();
        }
        let count = buf.finalize();
        let (first, rest) = parse(&bytes[..count]).unwrap();
        assert_eq!((first.inode, first.next, first.name.as_str()), (2, 20, "."));
        let (second, rest) = parse(rest).unwrap();
        assert_eq!((second.inode, second.next, second.name.as_str()), (12, 120, "a name"));
        assert!(second.is_directory() && rest.is_empty());
    }

    #[test]
    fn a_cut_record_is_refused() {
        assert!(parse(&[0; 18]).is_none());
        let mut bytes = [1; 32];
        bytes[16..18].copy_from_slice(&64u16.to_ne_bytes());
        assert!(parse(&bytes).is_none());
    }
}
