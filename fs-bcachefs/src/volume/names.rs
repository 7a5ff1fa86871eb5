//! Directories: names, and what happens to link counts and times when they change.

use super::{Body, Nodes};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use vfs_server::error::{Error, Result};
use vfs_server::fs::{Credentials, FileKind, Ino, Timestamp};

/// Longest name.
const NAME_MAX: usize = 255;

/// Positions of `.` and `..`; names follow.
const FIRST_POSITION: u64 = 2;

/// The names of one directory.
pub struct Names {
    parent: Ino,
    /// By its position for `readdir`: the name's hash, or the next that is free. So names that come
    /// while a directory is read come anywhere, and reading ends.
    by_position: BTreeMap<u64, (Vec<u8>, Ino)>,
    /// Where names are that are not at their hash's position.
    displaced: BTreeMap<Vec<u8>, u64>,
}

/// An entry of a directory, for `readdir`.
pub struct Readdir {
    /// Its inode.
    pub ino: Ino,
    /// Its name.
    pub name: Vec<u8>,
    /// Where reading goes on after it.
    pub next: u64,
}

impl Names {
    /// None, in a directory whose `..` is `parent`.
    pub fn new(parent: Ino) -> Self {
        Self { parent, by_position: BTreeMap::new(), displaced: BTreeMap::new() }
    }

    /// The directory's `..`.
    pub fn parent(&self) -> Ino {
        self.parent
    }

    /// What a name stands for.
    pub fn find(&self, name: &[u8]) -> Option<Ino> {
        Some(self.by_position.get(&self.position(name)?)?.1)
    }

    /// The first entry at or after a position; `.` and `..` come first.
    pub fn at(&self, directory: Ino, from: u64) -> Option<Readdir> {
        match from {
            0 => Some(Readdir { ino: directory, name: b".".to_vec(), next: 1 }),
            1 => Some(Readdir { ino: self.parent, name: b"..".to_vec(), next: FIRST_POSITION }),
            _ => {
                let (&position, (name, ino)) = self.by_position.range(from..).next()?;
                Some(Readdir { ino: *ino, name: name.clone(), next: position + 1 })
            }
        }
    }

    fn insert(&mut self, name: &[u8], ino: Ino) {
        let home = hash(name);
        let mut position = home;
        while self.by_position.get(&position).is_some_and(|(there, _)| there != name) {
            position += 1;
        }
        if position != home {
            self.displaced.insert(name.to_vec(), position);
        }
        self.by_position.insert(position, (name.to_vec(), ino));
    }

    /// Where a name is.
    fn position(&self, name: &[u8]) -> Option<u64> {
        if let Some(&position) = self.displaced.get(name) {
            return Some(position);
        }
        let home = hash(name);
        self.by_position.get(&home).is_some_and(|(there, _)| there == name).then_some(home)
    }

    fn remove(&mut self, name: &[u8]) -> Option<Ino> {
        let position = self.position(name)?;
        self.displaced.remove(name);
        self.by_position.remove(&position).map(|(_, ino)| ino)
    }
}

impl Nodes {
    /// A new inode with its first name.
    pub fn make(
        &mut self,
        directory: Ino,
        name: &[u8],
        kind: FileKind,
        permissions: u16,
        who: &Credentials,
        body: Body,
    ) -> Result<Ino> {
        check_name(name)?;
        if self.names(directory)?.find(name).is_some() {
            return Err(Error::Exists);
        }
        let ino = self.add(kind, permissions, who, body);
        self.names_mut(directory)?.insert(name, ino);
        if kind == FileKind::Directory {
            self.get_mut(directory)?.attributes.nlink += 1;
        }
        self.touch(directory, who.now)?;
        Ok(ino)
    }

    /// Another name for an inode.
    pub fn link(&mut self, directory: Ino, name: &[u8], target: Ino, now: Timestamp) -> Result<()> {
        check_name(name)?;
        if self.names(directory)?.find(name).is_some() {
            return Err(Error::Exists);
        }
        let attributes = &mut self.get_mut(target)?.attributes;
        attributes.nlink = attributes.nlink.checked_add(1).ok_or(Error::TooManyLinks)?;
        attributes.ctime = now;
        self.names_mut(directory)?.insert(name, target);
        self.touch(directory, now)
    }

    /// Removes a name of what is no directory, or an empty directory.
    pub fn remove(&mut self, directory: Ino, name: &[u8], victim: Ino, now: Timestamp) -> Result<()> {
        if self.names(directory)?.find(name) != Some(victim) {
            return Err(Error::NotFound);
        }
        let is_directory = self.check_empty(victim)?;
        self.names_mut(directory)?.remove(name);
        self.drop_link(victim, now)?;
        if is_directory {
            self.get_mut(directory)?.attributes.nlink -= 1;
        }
        self.touch(directory, now)
    }

    /// Moves a name, over another perhaps.
    pub fn rename(
        &mut self,
        (old_directory, old_name): (Ino, &[u8]),
        (new_directory, new_name): (Ino, &[u8]),
        ino: Ino,
        replaced: Option<Ino>,
        now: Timestamp,
    ) -> Result<()> {
        check_name(new_name)?;
        if self.names(old_directory)?.find(old_name) != Some(ino) {
            return Err(Error::NotFound);
        }
        self.names(new_directory)?;
        if let Some(replaced) = replaced {
            self.remove(new_directory, new_name, replaced, now)?;
        }
        self.names_mut(old_directory)?.remove(old_name);
        self.names_mut(new_directory)?.insert(new_name, ino);
        if old_directory != new_directory
            && let Body::Directory(names) = &mut self.get_mut(ino)?.body
        {
            names.parent = new_directory;
            self.get_mut(old_directory)?.attributes.nlink -= 1;
            self.get_mut(new_directory)?.attributes.nlink += 1;
        }
        self.get_mut(ino)?.attributes.ctime = now;
        self.touch(old_directory, now)?;
        self.touch(new_directory, now)
    }

    /// Whether it is a directory, which must be empty.
    fn check_empty(&self, ino: Ino) -> Result<bool> {
        match &self.get(ino)?.body {
            Body::Directory(names) if names.by_position.is_empty() => Ok(true),
            Body::Directory(_) => Err(Error::NotEmpty),
            _ => Ok(false),
        }
    }

    fn drop_link(&mut self, ino: Ino, now: Timestamp) -> Result<()> {
        let node = self.get_mut(ino)?;
        let links = &mut node.attributes.nlink;
        *links = if node.kind == FileKind::Directory { 0 } else { links.saturating_sub(1) };
        node.attributes.ctime = now;
        Ok(())
    }

    fn touch(&mut self, directory: Ino, now: Timestamp) -> Result<()> {
        let attributes = &mut self.get_mut(directory)?.attributes;
        attributes.mtime = now;
        attributes.ctime = now;
        Ok(())
    }
}

/// A position for a name: FNV-1a, without the topmost bit, after `.` and `..`.
fn hash(name: &[u8]) -> u64 {
    let hash = name
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    (hash >> 1).max(FIRST_POSITION)
}

fn check_name(name: &[u8]) -> Result<()> {
    if name.len() > NAME_MAX { Err(Error::NameTooLong) } else { Ok(()) }
}
