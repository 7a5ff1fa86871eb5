//! Walking a path: names, `.`, `..`, symbolic links.
//!
//! Owns: the walk from a directory to the last name's inode. Does not own: opening or changing what
//! is found (`request::open`, `request::names`).
//!
//! One directory is locked (shared) at a time, for the look-up of one name and the reference to
//! what it names; so a walk sees each directory at a different moment, as on every Unix.

use crate::error::{Error, Result};
use crate::fs::{Credentials, FileKind};
use crate::inode_cache::InodeRef;
use crate::permission;
use crate::server::Server;
use alloc::borrow::Cow;
use alloc::vec::Vec;

/// Longest name, in bytes.
pub const NAME_MAX: usize = 255;

/// Longest path, in bytes.
pub const PATH_MAX: usize = 4096;

/// Most symbolic links of one walk.
const LINKS_MAX: usize = 40;

/// Whether a symbolic link at the end of a path is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastLink {
    /// Goes on to what it points to.
    Follow,
    /// The link itself is meant.
    Keep,
}

/// Where a walk ended.
pub struct Walked {
    /// The directory of the last name and the name; absent when the path ended with `.`, `..`, `/`.
    pub place: Option<Place>,
    /// What is there.
    pub inode: Option<InodeRef>,
    /// The path ended with a slash: it must be a directory.
    pub wants_directory: bool,
}

/// A name in a directory.
#[derive(Clone)]
pub struct Place {
    /// The directory.
    pub directory: InodeRef,
    /// The name.
    pub name: Vec<u8>,
}

impl Server {
    /// Walks `path` from `start` (from the root if the path begins with a slash).
    pub(crate) fn walk(&self, start: &InodeRef, path: &[u8], last_link: LastLink, who: &Credentials) -> Result<Walked> {
        if path.len() > PATH_MAX {
            return Err(Error::NameTooLong);
        }
        if path.contains(&0) {
            return Err(Error::Invalid("NUL in a path"));
        }
        let mut at = start.clone();
        let mut rest = Cow::Borrowed(path);
        let mut links = 0;
        loop {
            if rest.first() == Some(&b'/') {
                at = self.root.clone();
            }
            match self.walk_to_link(&mut at, &rest, last_link, who)? {
                Step::Ended(walked) => return Ok(walked),
                Step::Link { target, rest: tail } => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(Error::SymlinkLoop);
                    }
                    let mut next = target;
                    next.push(b'/');
                    next.extend_from_slice(&tail);
                    if tail.is_empty() {
                        next.pop();
                    }
                    rest = Cow::Owned(next);
                }
            }
        }
    }

    /// Walks until the end or until a symbolic link is to be followed.
    fn walk_to_link(&self, at: &mut InodeRef, path: &[u8], last_link: LastLink, who: &Credentials) -> Result<Step> {
        let mut rest = path;
        loop {
            while let [b'/', tail @ ..] = rest {
                rest = tail;
            }
            if rest.is_empty() {
                let wants_directory = path.last() == Some(&b'/');
                return Ok(Step::Ended(Walked { place: None, inode: Some(at.clone()), wants_directory }));
            }
            let end = rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
            let (name, tail) = rest.split_at(end);
            let is_last = tail.iter().all(|&byte| byte == b'/');
            let wants_directory = !tail.is_empty();
            if at.kind != FileKind::Directory {
                return Err(Error::NotDirectory);
            }
            permission::check(at, who, permission::EXECUTE)?;
            rest = tail;
            match name {
                b"." => continue,
                b".." => {
                    *at = self.parent(at)?;
                    continue;
                }
                _ => {}
            }
            let found = match self.lookup(at, name) {
                Ok(found) => Some(found),
                Err(Error::NotFound) if is_last => None,
                Err(error) => return Err(error),
            };
            if let Some(link) = found.as_ref().filter(|inode| inode.kind == FileKind::Symlink)
                && (!is_last || wants_directory || last_link == LastLink::Follow)
            {
                let target = self.read_link(link)?;
                return Ok(Step::Link { target, rest: tail.into() });
            }
            match found {
                Some(inode) if !is_last => *at = inode,
                inode => {
                    let place = Place { directory: at.clone(), name: name.into() };
                    return Ok(Step::Ended(Walked { place: Some(place), inode, wants_directory }));
                }
            }
        }
    }

    /// What `name` stands for in `directory`.
    pub(crate) fn lookup(&self, directory: &InodeRef, name: &[u8]) -> Result<InodeRef> {
        check_name(name)?;
        let _lock = directory.lock.read();
        self.lookup_locked(directory, name)
    }

    /// As [`Server::lookup`], by one who holds the directory's lock.
    pub(crate) fn lookup_locked(&self, directory: &InodeRef, name: &[u8]) -> Result<InodeRef> {
        if directory.attributes().nlink == 0 {
            return Err(Error::NotFound);
        }
        let ino = match self.dentries.get(directory.ino, name) {
            Some(ino) => ino,
            None => {
                let ino = directory.operations().lookup(directory, name)?;
                self.dentries.insert(directory.ino, name, ino);
                ino
            }
        };
        self.iget(ino)
    }

    /// The parent of a directory; the root's is the root.
    pub(crate) fn parent(&self, directory: &InodeRef) -> Result<InodeRef> {
        if directory.ino == self.root.ino {
            return Ok(self.root.clone());
        }
        let _lock = directory.lock.read();
        if directory.attributes().nlink == 0 {
            return Err(Error::NotFound);
        }
        self.iget(directory.operations().parent(directory)?)
    }

    /// Where a symbolic link points.
    pub(crate) fn read_link(&self, link: &InodeRef) -> Result<Vec<u8>> {
        let _lock = link.lock.read();
        let target = link.operations().readlink(link)?;
        if target.is_empty() { Err(Error::NotFound) } else { Ok(target) }
    }
}

/// Whether `name` can be the name of something.
pub(crate) fn check_name(name: &[u8]) -> Result<()> {
    match name.len() {
        0 => Err(Error::Invalid("empty name")),
        1..=NAME_MAX if !name.contains(&b'/') && !name.contains(&0) => Ok(()),
        1..=NAME_MAX => Err(Error::Invalid("name")),
        _ => Err(Error::NameTooLong),
    }
}

enum Step {
    Ended(Walked),
    Link { target: Vec<u8>, rest: Vec<u8> },
}
