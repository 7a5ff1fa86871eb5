//! A scratch volume: inodes and names in memory, for one mount; the data of files is on the device.
//!
//! Owns: the nodes and their table. Does not own: the extents, the page cache, the server's inodes.
//!
//! The disk format of bcachefs is not read yet: this is what the write path is mounted with until then.

mod names;

pub use names::{Names, Readdir};

use crate::extents::Extents;
use crate::options::Options;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use platform::lockdep::TABLE;
use platform::sync::{Mutex, MutexGuard};
use vfs_server::error::{Error, Result};
use vfs_server::fs::{Attributes, Credentials, FileKind, Ino};

/// The root directory.
pub const ROOT: Ino = 4096;

/// A mounted volume.
pub struct Volume {
    /// Where the sectors of files are.
    pub extents: Box<dyn Extents>,
    /// How it was mounted.
    pub options: Options,
    nodes: Mutex<Nodes>,
}

/// All inodes.
pub struct Nodes {
    by_number: BTreeMap<Ino, Node>,
    next: Ino,
}

/// An inode as it would be on a disk.
pub struct Node {
    /// Never changes.
    pub kind: FileKind,
    /// As they were last written.
    pub attributes: Attributes,
    /// Bytes that survive when the inode leaves the memory.
    pub size: u64,
    /// What it has beside file data.
    pub body: Body,
}

/// What a node has beside file data.
pub enum Body {
    /// Nothing.
    File,
    /// A directory's names.
    Directory(Names),
    /// Where a symbolic link points.
    Link(Vec<u8>),
}

impl Volume {
    /// An empty one.
    pub fn new(extents: Box<dyn Extents>, options: Options) -> Arc<Self> {
        let root = Node {
            kind: FileKind::Directory,
            attributes: Attributes { permissions: 0o755, nlink: 2, ..Attributes::default() },
            size: 0,
            body: Body::Directory(Names::new(ROOT)),
        };
        let nodes = Nodes { by_number: BTreeMap::from([(ROOT, root)]), next: ROOT + 1 };
        Arc::new(Self { extents, options, nodes: Mutex::new(&TABLE, nodes) })
    }

    /// The inodes, for a moment.
    pub fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock()
    }
}

impl Nodes {
    /// Inodes.
    pub fn count(&self) -> u64 {
        self.by_number.len() as u64
    }

    /// An inode; `Stale` if there is none of that number.
    pub fn get(&self, ino: Ino) -> Result<&Node> {
        self.by_number.get(&ino).ok_or(Error::Stale)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, ino: Ino) -> Result<&mut Node> {
        self.by_number.get_mut(&ino).ok_or(Error::Stale)
    }

    /// A directory's names.
    pub fn names(&self, directory: Ino) -> Result<&Names> {
        match &self.get(directory)?.body {
            Body::Directory(names) => Ok(names),
            _ => Err(Error::NotDirectory),
        }
    }

    fn names_mut(&mut self, directory: Ino) -> Result<&mut Names> {
        match &mut self.get_mut(directory)?.body {
            Body::Directory(names) => Ok(names),
            _ => Err(Error::NotDirectory),
        }
    }

    fn add(&mut self, kind: FileKind, permissions: u16, who: &Credentials, body: Body) -> Ino {
        let ino = self.next;
        self.next += 1;
        let size = if let Body::Link(target) = &body { target.len() as u64 } else { 0 };
        let attributes = Attributes {
            permissions,
            uid: who.uid,
            gid: who.gid,
            nlink: if kind == FileKind::Directory { 2 } else { 1 },
            atime: who.now,
            mtime: who.now,
            ctime: who.now,
            crtime: Some(who.now),
            sectors: 0,
        };
        self.by_number.insert(ino, Node { kind, attributes, size, body });
        ino
    }

    /// The last user of an inode without links is gone.
    pub fn forget(&mut self, ino: Ino) {
        self.by_number.remove(&ino);
    }
}
