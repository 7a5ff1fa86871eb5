//! From a path to an inode.
//!
//! Owns: components, `.` and `..`, symbolic links and their limits. Does not own: what is done with
//! the last name (`namespace`). A walk holds one directory's inode lock at a time, shared.

use crate::error::{Error, Result};
use crate::fs::{Credentials, FileKind, Inode};
use crate::namespace::Namespace;
use crate::permission::{self, Want};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Longest name of a directory entry, in bytes.
pub const NAME_MAX: usize = 255;

/// Longest path, in bytes, with the targets of its links put in.
pub const PATH_MAX: usize = 4096;

/// Symbolic links that one walk follows at most.
pub const LINKS_MAX: usize = 40;

/// What becomes of a symbolic link at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastLink {
    /// It is followed.
    Follow,
    /// It is what was meant.
    Keep,
}

/// Where a walk ended: a directory, and a name in it that was not looked up.
pub struct Place {
    /// The directory.
    pub directory: Arc<Inode>,
    /// The name; `None` where the path ends in `/`, `.` or `..` and so means the directory itself.
    pub name: Option<Vec<u8>>,
    /// The path ends in a slash: the name must be a directory's.
    pub wants_directory: bool,
}

struct Walk<'a> {
    namespace: &'a Namespace,
    who: &'a Credentials,
    at: Arc<Inode>,
    /// What is still to be walked, the next component last.
    rest: Vec<Vec<u8>>,
    links: usize,
    trailing_slash: bool,
}

impl Namespace {
    /// The inode that `path` stands for, seen from `start`.
    pub fn resolve(&self, start: &Arc<Inode>, path: &[u8], last: LastLink, who: &Credentials) -> Result<Arc<Inode>> {
        let mut walk = Walk::new(self, start, path, who)?;
        while let Some(name) = walk.rest.pop() {
            let ends = walk.rest.is_empty();
            walk.step(&name, if ends && !walk.trailing_slash { last } else { LastLink::Follow })?;
        }
        if walk.trailing_slash && walk.at.kind != FileKind::Directory {
            return Err(Error::NotDirectory);
        }
        Ok(walk.at)
    }

    /// The directory that the last name of `path` is in, and that name.
    pub fn resolve_parent(&self, start: &Arc<Inode>, path: &[u8], who: &Credentials) -> Result<Place> {
        let mut walk = Walk::new(self, start, path, who)?;
        while let Some(name) = walk.rest.pop() {
            if !walk.rest.is_empty() {
                walk.step(&name, LastLink::Follow)?;
                continue;
            }
            if walk.at.kind != FileKind::Directory {
                return Err(Error::NotDirectory);
            }
            if name == b"." || name == b".." {
                walk.step(&name, LastLink::Follow)?;
                break;
            }
            check_name(&name)?;
            return Ok(Place { directory: walk.at, name: Some(name), wants_directory: walk.trailing_slash });
        }
        Ok(Place { directory: walk.at, name: None, wants_directory: true })
    }
}

/// Whether a name may stand in a directory.
pub fn check_name(name: &[u8]) -> Result<()> {
    if name.len() > NAME_MAX {
        return Err(Error::NameTooLong);
    }
    if name.is_empty() || name.contains(&0) || name.contains(&b'/') {
        return Err(Error::Invalid("name"));
    }
    Ok(())
}

/// The components of a path, the first last.
fn components(path: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    path.rsplit(|&byte| byte == b'/').filter(|name| !name.is_empty()).map(<[u8]>::to_vec)
}

impl<'a> Walk<'a> {
    fn new(namespace: &'a Namespace, start: &Arc<Inode>, path: &[u8], who: &'a Credentials) -> Result<Self> {
        if path.len() > PATH_MAX {
            return Err(Error::NameTooLong);
        }
        let at = if path.first() == Some(&b'/') { namespace.root()? } else { start.clone() };
        let trailing_slash = path.last() == Some(&b'/');
        Ok(Self { namespace, who, at, rest: components(path).collect(), links: 0, trailing_slash })
    }

    fn step(&mut self, name: &[u8], link: LastLink) -> Result<()> {
        if self.at.kind != FileKind::Directory {
            return Err(Error::NotDirectory);
        }
        permission::check(&self.at, self.who, Want::EXECUTE)?;
        if name == b"." {
            return Ok(());
        }
        if name == b".." {
            let parent = {
                let _shared = self.at.lock.read();
                self.at.operations().parent(&self.at)?
            };
            self.at = self.namespace.inodes().get(parent)?;
            return Ok(());
        }
        if name.len() > NAME_MAX {
            return Err(Error::NameTooLong);
        }
        let next = self.namespace.lookup(&self.at, name)?;
        if next.kind == FileKind::Symlink && link == LastLink::Follow {
            return self.follow(&next);
        }
        self.at = next;
        Ok(())
    }

    fn follow(&mut self, link: &Arc<Inode>) -> Result<()> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(Error::SymlinkLoop);
        }
        let target = {
            let _shared = link.lock.read();
            link.operations().readlink(link)?
        };
        let left: usize = self.rest.iter().map(|name| name.len() + 1).sum();
        if target.is_empty() || left + target.len() > PATH_MAX {
            return Err(if target.is_empty() { Error::NotFound } else { Error::NameTooLong });
        }
        if target[0] == b'/' {
            self.at = self.namespace.root()?;
        }
        // A link at the end that points to "name/" asks for a directory, too.
        self.trailing_slash |= self.rest.is_empty() && target.last() == Some(&b'/');
        self.rest.extend(components(&target));
        Ok(())
    }
}
