//! Changes of names: unlink, rename, link.
//!
//! | | lookup | create, unlink | rename |
//! |---|---|---|---|
//! | **unlink** | directory lock | directory lock | directory lock |
//! | **rename** | directory locks; a walk sees the old or the new place | directory locks | rename lock between two directories |
//!
//! Two directories are locked ancestor first, else by inode number; the rename lock keeps the tree
//! as it is while that is found out. What is removed or replaced is locked after them.

use super::{Call, Reply};
use crate::error::{Error, Result};
use crate::fs::{Credentials, FileKind, Ino, Rename};
use crate::inode::Inode;
use crate::inode_cache::InodeRef;
use crate::open_file::OpenFile;
use crate::path::{LastLink, PATH_MAX, Place, check_name};
use crate::permission;
use crate::server::Server;
use platform::sync::WriteGuard;
use platform::{Mutant, mutant};
use syscall::flag::AT_REMOVEDIR;

/// Most directories above one another: on a damaged disk they may form a circle.
const DEPTH_MAX: usize = 1 << 16;

impl Server {
    /// UnlinkAt: args = [directory id, path, length, flags].
    pub(super) fn unlink_at(&self, call: &Call) -> Result<Reply> {
        let [directory, _, len, flags, ..] = call.args;
        let path = copy_path(call, len)?;
        let handle = self.files.get(directory)?;
        let walked = self.walk(&handle.file()?.inode, &path, LastLink::Keep, &call.who)?;
        let removes_directory = flags as usize & AT_REMOVEDIR != 0;
        let place = walked.place.ok_or_else(|| no_name_to_remove(&path, removes_directory))?;
        walked.inode.ok_or(Error::NotFound)?;
        self.remove_name(&place, removes_directory, walked.wants_directory, &call.who)?;
        Ok(Reply::Count(0))
    }

    fn remove_name(
        &self,
        place: &Place,
        removes_directory: bool,
        wants_directory: bool,
        who: &Credentials,
    ) -> Result<()> {
        self.check_change(&place.directory, who)?;
        let directory = &place.directory;
        let _directory_lock = directory.lock.write_key(0);
        let victim = self.lookup_locked(directory, &place.name)?;
        check_sticky(directory, &victim, who)?;
        let is_directory = victim.kind == FileKind::Directory;
        match (is_directory, removes_directory) {
            (true, false) => return Err(Error::IsDirectory),
            (false, true) => return Err(Error::NotDirectory),
            (false, false) if wants_directory => return Err(Error::NotDirectory),
            _ => {}
        }
        if victim.ino == self.root.ino {
            return Err(Error::Busy);
        }
        let _victim_lock = lock_victim(&victim, 1);
        if removes_directory {
            directory.operations().rmdir(directory, &place.name, &victim, who)?;
        } else {
            directory.operations().unlink(directory, &place.name, &victim, who)?;
        }
        self.dentries.remove(directory.ino, &place.name);
        Ok(())
    }

    /// Flink: args = [id of the file, path from the root, length].
    pub(super) fn flink(&self, call: &Call) -> Result<Reply> {
        let path = copy_path(call, call.args[2])?;
        let handle = self.files.get(call.args[0])?;
        self.link(handle.file()?, &self.root, &path, &call.who)
    }

    /// Gives an open file another name.
    pub(super) fn link(&self, file: &OpenFile, start: &InodeRef, path: &[u8], who: &Credentials) -> Result<Reply> {
        let target = &file.inode;
        if target.kind == FileKind::Directory {
            return Err(Error::NotPermitted);
        }
        let walked = self.walk(start, path, LastLink::Keep, who)?;
        let place = match (walked.inode, walked.place) {
            (None, Some(place)) if !walked.wants_directory => place,
            (None, _) => return Err(Error::NotFound),
            (Some(_), _) => return Err(Error::Exists),
        };
        check_name(&place.name)?;
        self.check_change(&place.directory, who)?;
        let directory = &place.directory;
        let _directory_lock = directory.lock.write_key(0);
        match self.lookup_locked(directory, &place.name) {
            Ok(_) => return Err(Error::Exists),
            Err(Error::NotFound) if directory.attributes().nlink > 0 => {}
            Err(error) => return Err(error),
        }
        let _target_lock = lock_victim(target, 1);
        if target.attributes().nlink == 0 {
            return Err(Error::NotFound);
        }
        directory.operations().link(directory, &place.name, target, who)?;
        self.dentries.insert(directory.ino, &place.name, target.ino);
        Ok(Reply::Count(0))
    }

    /// Frename: args = [id of the file, path from the root, length].
    pub(super) fn frename(&self, call: &Call) -> Result<Reply> {
        let path = copy_path(call, call.args[2])?;
        let handle = self.files.get(call.args[0])?;
        self.rename(handle.file()?, &self.root, &path, &call.who)
    }

    /// Moves the name by which an open file was opened.
    pub(super) fn rename(&self, file: &OpenFile, start: &InodeRef, path: &[u8], who: &Credentials) -> Result<Reply> {
        let old = file.place.lock().clone().ok_or(Error::Busy)?;
        let walked = self.walk(start, path, LastLink::Keep, who)?;
        let new = walked.place.ok_or(if walked.inode.is_some() { Error::Busy } else { Error::NotFound })?;
        check_name(&new.name)?;
        if walked.wants_directory && file.inode.kind != FileKind::Directory {
            return Err(Error::NotDirectory);
        }
        self.check_change(&old.directory, who)?;
        self.check_change(&new.directory, who)?;
        self.rename_between(&old, &new, &file.inode, who)?;
        let before = file.place.lock().replace(new);
        drop(before);
        Ok(Reply::Count(0))
    }

    fn rename_between(&self, old: &Place, new: &Place, moved: &InodeRef, who: &Credentials) -> Result<()> {
        let (from, to) = (&old.directory, &new.directory);
        let one_directory = from.ino == to.ino;
        let _rename_lock = (!one_directory).then(|| self.rename_lock.lock());
        let below_to = if one_directory { None } else { self.ancestry(to, from)? };
        if !one_directory && moved.kind == FileKind::Directory && self.ancestry(moved, to)?.is_some() {
            return Err(Error::Invalid("a directory into itself"));
        }
        let from_is_above = !one_directory && self.ancestry(from, to)?.is_some();
        let to_first = below_to.is_some() || !from_is_above && to.ino < from.ino;
        let (first, second) = if to_first { (to, from) } else { (from, to) };
        let _first_lock = first.lock.write_key(0);
        let _second_lock = (!one_directory).then(|| second.lock.write_key(1));

        let inode = self.lookup_locked(from, &old.name)?;
        if inode.ino != moved.ino {
            // The name means another file by now.
            return Err(Error::NotFound);
        }
        check_sticky(from, &inode, who)?;
        let replaced = match self.lookup_locked(to, &new.name) {
            Ok(replaced) if replaced.ino == inode.ino => return Ok(()),
            Ok(replaced) => Some(replaced),
            Err(Error::NotFound) if to.attributes().nlink > 0 => None,
            Err(error) => return Err(error),
        };
        if let Some(replaced) = &replaced {
            check_sticky(to, replaced, who)?;
            match (inode.kind == FileKind::Directory, replaced.kind == FileKind::Directory) {
                (true, false) => return Err(Error::NotDirectory),
                (false, true) => return Err(Error::IsDirectory),
                _ => {}
            }
            if below_to == Some(replaced.ino) {
                // It holds what is moved; to lock it now would be against the order.
                return Err(Error::NotEmpty);
            }
        }
        // A directory that is moved gets another `..`.
        let is_directory = inode.kind == FileKind::Directory;
        let _moved_lock = (is_directory && !one_directory).then(|| inode.lock.write_key(2));
        let _replaced_lock = replaced.as_ref().map(|replaced| lock_victim(replaced, 3));
        let mut goes = replaced.as_deref();
        if mutant(Mutant::RenameInTwoSteps)
            && let Some(victim) = goes.take()
        {
            to.operations().unlink(to, &new.name, victim, who)?;
        }
        from.operations().rename(
            &Rename {
                old_directory: from,
                old_name: &old.name,
                inode: &inode,
                new_directory: to,
                new_name: &new.name,
                replaced: goes,
            },
            who,
        )?;
        self.dentries.remove(from.ino, &old.name);
        self.dentries.insert(to.ino, &new.name, inode.ino);
        Ok(())
    }

    /// Whether `above` is `below` or lies above it: then the child of `above` on the way (`above`
    /// itself if they are one). The rename lock is held, so the answer stays true.
    fn ancestry(&self, above: &Inode, below: &InodeRef) -> Result<Option<Ino>> {
        let mut at = below.clone();
        let mut child = above.ino;
        for _ in 0..DEPTH_MAX {
            if at.ino == above.ino {
                return Ok(Some(child));
            }
            if at.ino == self.root.ino {
                return Ok(None);
            }
            child = at.ino;
            at = self.parent(&at)?;
        }
        Err(Error::Corrupt("directories that do not lead to the root".into()))
    }

    fn check_change(&self, directory: &Inode, who: &Credentials) -> Result<()> {
        if self.fs.read_only() {
            return Err(Error::ReadOnly);
        }
        permission::check(directory, who, permission::WRITE | permission::EXECUTE)
    }
}

/// Why what a path that ends with `.`, `..` or `/` alone names cannot be removed.
fn no_name_to_remove(path: &[u8], removes_directory: bool) -> Error {
    let last = path.rsplit(|&byte| byte == b'/').find(|name| !name.is_empty());
    match last {
        _ if !removes_directory => Error::IsDirectory,
        Some(b".") => Error::Invalid("the directory itself"),
        Some(b"..") => Error::NotEmpty,
        _ => Error::Busy,
    }
}

/// In a sticky directory only the owners remove a name.
fn check_sticky(directory: &Inode, victim: &Inode, who: &Credentials) -> Result<()> {
    let directory = directory.attributes();
    let may = directory.permissions & 0o1000 == 0 || [0, directory.uid, victim.attributes().uid].contains(&who.uid);
    if may { Ok(()) } else { Err(Error::NotPermitted) }
}

/// Locks what is removed or replaced: a directory after the directories that are held.
fn lock_victim(victim: &Inode, depth: u64) -> WriteGuard<'_, ()> {
    let key = if victim.kind == FileKind::Directory { depth } else { victim.ino };
    victim.lock.write_key(key)
}

fn copy_path(call: &Call, len: u64) -> Result<alloc::vec::Vec<u8>> {
    if len as usize > PATH_MAX {
        return Err(Error::NameTooLong);
    }
    call.copy_in(len as usize)
}
