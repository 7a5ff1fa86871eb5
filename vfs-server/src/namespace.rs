//! Operations on names and attributes: everything a path can be asked to do but file contents.
//!
//! Owns: the order of locks on directories, the rules that do not depend on the file system (what
//! may replace what, what a removed directory still does). Does not own: path walks (`namei`), the
//! file system's directories, nor requests (`request`).
//!
//! Keys of the directory class: 0 the parent or the ancestor, 1 the other parent, 2 and 3 the
//! directories that are moved and replaced. Two parents are only locked under the rename lock, so
//! that which one is above the other stays as it is.
//!
//! | | look-up, list | create, link | remove | rename |
//! |---|---|---|---|---|
//! | **look-up, list** | shared | inode lock | inode lock | inode locks |
//! | **create, link** | | inode lock | inode lock; a removed directory takes no names | inode locks |
//! | **remove** | | | inode lock, then the victim's | inode locks; victims after parents |
//! | **rename** | | | | rename lock where there are two parents |

use crate::dcache::DentryCache;
use crate::error::{Error, Result};
use crate::fs::{
    Attributes, Credentials, DirectoryEntry, FileKind, FileSystem, Inode, ReaddirControl, Rename, SetAttributes, StatFs,
};
use crate::inode_cache::InodeCache;
use crate::namei::{LastLink, Place};
use crate::permission::{self, Want};
use alloc::sync::Arc;
use alloc::vec::Vec;
use platform::lockdep::RENAME;
use platform::sync::{Mutex, WriteGuard};

const PARENT: u64 = 0;
const OTHER_PARENT: u64 = 1;
const CHILD: u64 = 2;
const OTHER_CHILD: u64 = 3;

/// The names of a mounted file system.
pub struct Namespace {
    fs: Arc<dyn FileSystem>,
    inodes: InodeCache,
    names: DentryCache,
    rename: Mutex<()>,
}

/// Whether `open` makes a file that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creation {
    /// It must be there.
    Never,
    /// It is made if it is not there.
    IfMissing,
    /// It must not be there (`O_EXCL`).
    MustCreate,
}

/// What `open` found or made.
pub struct Opened {
    /// The file.
    pub inode: Arc<Inode>,
    /// It was not there before.
    pub created: bool,
}

impl Namespace {
    /// The names of `fs`.
    pub fn new(fs: Arc<dyn FileSystem>) -> Self {
        Self { inodes: InodeCache::new(fs.clone()), fs, names: DentryCache::new(), rename: Mutex::new(&RENAME, ()) }
    }

    /// The file system.
    pub fn fs(&self) -> &Arc<dyn FileSystem> {
        &self.fs
    }

    /// Its inodes in use.
    pub fn inodes(&self) -> &InodeCache {
        &self.inodes
    }

    /// The root directory.
    pub fn root(&self) -> Result<Arc<Inode>> {
        self.inodes.get(self.fs.root())
    }

    /// The inode that `name` (neither `.` nor `..`) stands for in `directory`.
    pub fn lookup(&self, directory: &Inode, name: &[u8]) -> Result<Arc<Inode>> {
        let _shared = directory.lock.read();
        self.lookup_locked(directory, name)
    }

    fn lookup_locked(&self, directory: &Inode, name: &[u8]) -> Result<Arc<Inode>> {
        check_alive(directory)?;
        if let Some(ino) = self.names.lookup(directory.ino, name) {
            return self.inodes.get(ino);
        }
        let ino = directory.operations().lookup(directory, name)?;
        let inode = self.inodes.get(ino)?;
        self.names.insert(directory.ino, name, ino);
        Ok(inode)
    }

    fn find_locked(&self, directory: &Inode, name: &[u8]) -> Result<Option<Arc<Inode>>> {
        match self.lookup_locked(directory, name) {
            Ok(inode) => Ok(Some(inode)),
            Err(Error::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn check_writable(&self) -> Result<()> {
        if self.fs.read_only() { Err(Error::ReadOnly) } else { Ok(()) }
    }

    /// Finds or makes a regular file.
    pub fn open(
        &self,
        start: &Arc<Inode>,
        path: &[u8],
        creation: Creation,
        last: LastLink,
        permissions: u16,
        who: &Credentials,
    ) -> Result<Opened> {
        if creation != Creation::MustCreate {
            match self.resolve(start, path, last, who) {
                Ok(inode) => return Ok(Opened { inode, created: false }),
                Err(Error::NotFound) if creation == Creation::IfMissing => {}
                Err(error) => return Err(error),
            }
        }
        self.check_writable()?;
        let place = self.resolve_parent(start, path, who)?;
        let Some(name) = &place.name else {
            return Err(if creation == Creation::MustCreate { Error::Exists } else { Error::IsDirectory });
        };
        if place.wants_directory {
            return Err(Error::IsDirectory);
        }
        let guard = place.directory.lock.write_key(PARENT);
        if let Some(inode) = self.find_locked(&place.directory, name)? {
            drop(guard);
            return match creation {
                Creation::MustCreate => Err(Error::Exists),
                // Somebody made it meanwhile, or it is a link that points nowhere.
                _ if inode.kind == FileKind::Symlink => {
                    Ok(Opened { inode: self.resolve(start, path, last, who)?, created: false })
                }
                _ => Ok(Opened { inode, created: false }),
            };
        }
        permission::check(&place.directory, who, Want::WRITE | Want::EXECUTE)?;
        let operations = place.directory.operations();
        let new = operations.create(&place.directory, name, FileKind::Regular, permissions, who)?;
        Ok(Opened { inode: self.made(&place.directory, name, new), created: true })
    }

    /// Makes a directory.
    pub fn mkdir(&self, start: &Arc<Inode>, path: &[u8], permissions: u16, who: &Credentials) -> Result<Arc<Inode>> {
        let place = self.new_place(start, path, who)?;
        let name = place.name.as_deref().ok_or(Error::Exists)?;
        let _exclusive = self.lock_for_new(&place, name, who)?;
        let new = place.directory.operations().mkdir(&place.directory, name, permissions, who)?;
        Ok(self.made(&place.directory, name, new))
    }

    /// Makes a symbolic link that holds `target`.
    pub fn symlink(&self, start: &Arc<Inode>, path: &[u8], target: &[u8], who: &Credentials) -> Result<Arc<Inode>> {
        let place = self.new_place(start, path, who)?;
        let name = place.file_name()?;
        let _exclusive = self.lock_for_new(&place, name, who)?;
        let new = place.directory.operations().symlink(&place.directory, name, target, who)?;
        Ok(self.made(&place.directory, name, new))
    }

    /// Gives `target` another name.
    pub fn link(&self, target: &Arc<Inode>, start: &Arc<Inode>, path: &[u8], who: &Credentials) -> Result<()> {
        if target.kind == FileKind::Directory {
            return Err(Error::Permission);
        }
        let place = self.new_place(start, path, who)?;
        let name = place.file_name()?;
        let _exclusive = self.lock_for_new(&place, name, who)?;
        let _target = target.lock.write_key(target.ino);
        if target.attributes().nlink == 0 {
            return Err(Error::NotFound);
        }
        place.directory.operations().link(&place.directory, name, target, who)?;
        self.names.insert(place.directory.ino, name, target.ino);
        Ok(())
    }

    /// Removes the name of something that is no directory.
    pub fn unlink(&self, start: &Arc<Inode>, path: &[u8], who: &Credentials) -> Result<()> {
        self.check_writable()?;
        let place = self.resolve_parent(start, path, who)?;
        let name = place.name.as_deref().ok_or(Error::IsDirectory)?;
        let directory = &place.directory;
        let _exclusive = directory.lock.write_key(PARENT);
        let victim = self.lookup_locked(directory, name)?;
        if victim.kind == FileKind::Directory {
            return Err(Error::IsDirectory);
        }
        if place.wants_directory {
            return Err(Error::NotDirectory);
        }
        permission::check_remove(directory, &victim, who)?;
        let _victim = victim.lock.write_key(victim.ino);
        directory.operations().unlink(directory, name, &victim, who)?;
        self.removed(directory, name, &victim);
        Ok(())
    }

    /// Removes an empty directory.
    pub fn rmdir(&self, start: &Arc<Inode>, path: &[u8], who: &Credentials) -> Result<()> {
        self.check_writable()?;
        let place = self.resolve_parent(start, path, who)?;
        // "." cannot be removed, ".." is not empty.
        let name = place.name.as_deref().ok_or(Error::Invalid("the directory itself"))?;
        let directory = &place.directory;
        let _exclusive = directory.lock.write_key(PARENT);
        let victim = self.lookup_locked(directory, name)?;
        if victim.kind != FileKind::Directory {
            return Err(Error::NotDirectory);
        }
        permission::check_remove(directory, &victim, who)?;
        let _victim = victim.lock.write_key(CHILD);
        directory.operations().rmdir(directory, name, &victim, who)?;
        self.removed(directory, name, &victim);
        Ok(())
    }

    /// Moves a name, replacing what the new one stands for.
    pub fn rename(
        &self,
        old_start: &Arc<Inode>,
        old_path: &[u8],
        new_start: &Arc<Inode>,
        new_path: &[u8],
        who: &Credentials,
    ) -> Result<()> {
        self.check_writable()?;
        let old = self.resolve_parent(old_start, old_path, who)?;
        let new = self.resolve_parent(new_start, new_path, who)?;
        let old_name = old.name.as_deref().ok_or(Error::Busy)?;
        let new_name = new.name.as_deref().ok_or(Error::Busy)?;
        let two_parents = old.directory.ino != new.directory.ino;
        let _rename = two_parents.then(|| self.rename.lock());
        let _parents = self.lock_parents(&old.directory, &new.directory)?;

        let inode = self.lookup_locked(&old.directory, old_name)?;
        let replaced = self.find_locked(&new.directory, new_name)?;
        if replaced.as_ref().is_some_and(|replaced| replaced.ino == inode.ino) {
            return Ok(());
        }
        if (old.wants_directory || new.wants_directory) && inode.kind != FileKind::Directory {
            return Err(Error::NotDirectory);
        }
        permission::check_remove(&old.directory, &inode, who)?;
        permission::check(&new.directory, who, Want::WRITE | Want::EXECUTE)?;
        if let Some(replaced) = &replaced {
            permission::check_remove(&new.directory, replaced, who)?;
            match (inode.kind == FileKind::Directory, replaced.kind == FileKind::Directory) {
                (true, false) => return Err(Error::NotDirectory),
                (false, true) => return Err(Error::IsDirectory),
                _ => {}
            }
        }
        if two_parents && inode.kind == FileKind::Directory && self.is_above(&inode, &new.directory)? {
            return Err(Error::Invalid("a directory cannot be moved into itself"));
        }
        let _children = lock_children(&inode, replaced.as_deref());
        let rename = Rename {
            old_directory: &old.directory,
            old_name,
            inode: &inode,
            new_directory: &new.directory,
            new_name,
            replaced: replaced.as_deref(),
        };
        old.directory.operations().rename(&rename, who)?;
        self.names.remove(old.directory.ino, old_name);
        if let Some(replaced) = &replaced {
            self.removed(&new.directory, new_name, replaced);
        }
        self.names.insert(new.directory.ino, new_name, inode.ino);
        Ok(())
    }

    /// Where a symbolic link points.
    pub fn readlink(&self, inode: &Inode) -> Result<Vec<u8>> {
        if inode.kind != FileKind::Symlink {
            return Err(Error::Invalid("not a symbolic link"));
        }
        let _shared = inode.lock.read();
        inode.operations().readlink(inode)
    }

    /// Lists a directory from position `from` on until `emit` says that it is full.
    pub fn readdir(
        &self,
        directory: &Inode,
        from: u64,
        emit: &mut dyn FnMut(DirectoryEntry<'_>) -> ReaddirControl,
    ) -> Result<()> {
        if directory.kind != FileKind::Directory {
            return Err(Error::NotDirectory);
        }
        let _shared = directory.lock.read();
        if directory.attributes().nlink == 0 {
            return Ok(());
        }
        directory.operations().readdir(directory, from, emit)
    }

    /// Changes attributes; each only by whom it may be changed.
    pub fn setattr(&self, inode: &Inode, change: &SetAttributes, who: &Credentials) -> Result<()> {
        self.check_writable()?;
        let _exclusive = lock_one(inode);
        let before = inode.attributes();
        permission::check_owner(inode, who)?;
        let gives_away = change.uid.is_some_and(|uid| uid != before.uid);
        let foreign_group = change.gid.is_some_and(|gid| gid != before.gid && gid != who.gid);
        if who.uid != 0 && (gives_away || foreign_group) {
            return Err(Error::Permission);
        }
        inode.operations().setattr(inode, change)
    }

    /// How full the file system is.
    pub fn statfs(&self) -> Result<StatFs> {
        self.fs.statfs()
    }

    fn new_place(&self, start: &Arc<Inode>, path: &[u8], who: &Credentials) -> Result<Place> {
        self.check_writable()?;
        self.resolve_parent(start, path, who)
    }

    fn lock_for_new<'a>(&self, place: &'a Place, name: &[u8], who: &Credentials) -> Result<WriteGuard<'a, ()>> {
        let guard = place.directory.lock.write_key(PARENT);
        if self.find_locked(&place.directory, name)?.is_some() {
            return Err(Error::Exists);
        }
        permission::check(&place.directory, who, Want::WRITE | Want::EXECUTE)?;
        Ok(guard)
    }

    fn made(&self, directory: &Inode, name: &[u8], new: crate::fs::NewInode) -> Arc<Inode> {
        let inode = self.inodes.insert(new);
        self.names.insert(directory.ino, name, inode.ino);
        inode
    }

    fn removed(&self, directory: &Inode, name: &[u8], victim: &Inode) {
        self.names.remove(directory.ino, name);
        self.inodes.released(victim);
    }

    /// The one above the other first; the same one once.
    fn lock_parents<'a>(&self, old: &'a Inode, new: &'a Inode) -> Result<[Option<WriteGuard<'a, ()>>; 2]> {
        if old.ino == new.ino {
            let guard = old.lock.write_key(PARENT);
            check_alive(old)?;
            return Ok([Some(guard), None]);
        }
        let (first, second) = if self.is_above(new, old)? { (new, old) } else { (old, new) };
        let guards = [Some(first.lock.write_key(PARENT)), Some(second.lock.write_key(OTHER_PARENT))];
        check_alive(old)?;
        check_alive(new)?;
        Ok(guards)
    }

    /// Whether `above` is `below` or lies on its way to the root. Under the rename lock.
    fn is_above(&self, above: &Inode, below: &Inode) -> Result<bool> {
        let mut at = below.ino;
        // A damaged disk may have a cycle: no path has more components than bytes, and moved
        // directories do not make it longer than all directories.
        for _ in 0..1 << 20 {
            if at == above.ino {
                return Ok(true);
            }
            if at == self.fs.root() {
                return Ok(false);
            }
            let directory = self.inodes.get(at)?;
            at = directory.operations().parent(&directory)?;
        }
        Err(Error::Corrupt("directories form a cycle".into()))
    }
}

impl Place {
    /// The name, where only a file's will do.
    fn file_name(&self) -> Result<&[u8]> {
        match &self.name {
            Some(name) if !self.wants_directory => Ok(name),
            Some(_) => Err(Error::NotFound),
            None => Err(Error::Exists),
        }
    }
}

/// A directory that was removed while somebody still had it holds nothing and takes nothing.
fn check_alive(directory: &Inode) -> Result<()> {
    if directory.attributes().nlink == 0 { Err(Error::NotFound) } else { Ok(()) }
}

fn lock_one(inode: &Inode) -> WriteGuard<'_, ()> {
    if inode.kind == FileKind::Directory { inode.lock.write_key(PARENT) } else { inode.lock.write_key(inode.ino) }
}

/// The moved and the replaced inode: directories in the order moved, replaced; files by number.
fn lock_children<'a>(moved: &'a Inode, replaced: Option<&'a Inode>) -> [Option<WriteGuard<'a, ()>>; 2] {
    let is_directory = |inode: &Inode| inode.kind == FileKind::Directory;
    match replaced {
        None if is_directory(moved) => [Some(moved.lock.write_key(CHILD)), None],
        None => [Some(moved.lock.write_key(moved.ino)), None],
        Some(replaced) if is_directory(moved) => {
            [Some(moved.lock.write_key(CHILD)), Some(replaced.lock.write_key(OTHER_CHILD))]
        }
        Some(replaced) => {
            let (first, second) = if moved.ino < replaced.ino { (moved, replaced) } else { (replaced, moved) };
            [Some(first.lock.write_key(first.ino)), Some(second.lock.write_key(second.ino))]
        }
    }
}

/// What `stat` answers.
pub fn stat(inode: &Inode, block_size: u32) -> syscall::Stat {
    let Attributes { permissions, uid, gid, nlink, atime, mtime, ctime, sectors, .. } = inode.attributes();
    let kind = match inode.kind {
        FileKind::Regular => syscall::MODE_FILE,
        FileKind::Directory => syscall::MODE_DIR,
        FileKind::Symlink => syscall::MODE_SYMLINK,
        FileKind::Fifo => syscall::MODE_FIFO,
        FileKind::Socket => syscall::MODE_SOCK,
        FileKind::CharDevice => syscall::MODE_CHR,
        // Redox has no number of its own for it; this is everybody else's.
        FileKind::BlockDevice => 0x6000,
    };
    syscall::Stat {
        st_ino: inode.ino,
        st_mode: kind | permissions,
        st_nlink: nlink,
        st_uid: uid,
        st_gid: gid,
        st_size: inode.size(),
        st_blksize: block_size,
        st_blocks: sectors,
        st_mtime: mtime.seconds as u64,
        st_mtime_nsec: mtime.nanoseconds,
        st_atime: atime.seconds as u64,
        st_atime_nsec: atime.nanoseconds,
        st_ctime: ctime.seconds as u64,
        st_ctime_nsec: ctime.nanoseconds,
        ..syscall::Stat::default()
    }
}
