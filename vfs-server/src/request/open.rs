//! Opening, creating, closing.
//!
//! A file is created under its directory's inode lock, after a look-up under the same lock: of two
//! that create one name, one makes it and the other opens it (or gets `EEXIST`, if it asked for that).

use super::{Call, Reply};
use crate::error::{Error, Result};
use crate::fs::{Credentials, FileKind};
use crate::inode::Inode;
use crate::inode_cache::InodeRef;
use crate::open_file::{Handle, NewSymlink, OpenFile};
use crate::path::{LastLink, PATH_MAX, Place, Walked, check_name};
use crate::permission;
use crate::server::Server;
use syscall::flag::{
    O_ACCMODE, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_RDONLY, O_RDWR, O_STAT, O_SYMLINK, O_TRUNC, O_WRONLY,
};

/// The mode bits of an OpenAt's flags.
const MODE: usize = 0o7777;

impl Server {
    /// OpenAt: args = [directory id, path, length, flags and mode, fcntl flags].
    pub(super) fn open_at(&self, call: &Call) -> Result<Reply> {
        let [directory, _, len, flags, ..] = call.args;
        let flags = flags as usize;
        if len as usize > PATH_MAX {
            return Err(Error::NameTooLong);
        }
        let path = call.copy_in(len as usize)?;
        let handle = self.files.get(directory)?;
        let start = &handle.file()?.inode;
        self.open(start, &path, flags, &call.who).map(|handle| Reply::Opened(self.files.insert(handle)))
    }

    fn open(&self, start: &InodeRef, path: &[u8], flags: usize, who: &Credentials) -> Result<Handle> {
        let keep = flags & (O_NOFOLLOW | O_SYMLINK) != 0 || flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL;
        let walked = self.walk(start, path, if keep { LastLink::Keep } else { LastLink::Follow }, who)?;
        match walked {
            Walked { inode: Some(inode), place, wants_directory } => {
                if flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL {
                    return Err(Error::Exists);
                }
                if wants_directory && inode.kind != FileKind::Directory {
                    return Err(Error::NotDirectory);
                }
                self.open_existing(inode, place, flags, who)
            }
            Walked { inode: None, place: Some(place), wants_directory } => {
                if flags & O_CREAT == 0 {
                    return Err(Error::NotFound);
                }
                if wants_directory && flags & O_DIRECTORY == 0 {
                    return Err(Error::IsDirectory);
                }
                self.create(place, flags, who)
            }
            Walked { inode: None, place: None, .. } => Err(Error::NotFound),
        }
    }

    fn open_existing(&self, inode: InodeRef, place: Option<Place>, flags: usize, who: &Credentials) -> Result<Handle> {
        let writes = matches!(flags & O_ACCMODE, O_WRONLY | O_RDWR);
        let reads = matches!(flags & O_ACCMODE, O_RDONLY | O_RDWR);
        if flags & O_DIRECTORY != 0 && inode.kind != FileKind::Directory {
            return Err(Error::NotDirectory);
        }
        if flags & O_STAT == 0 {
            match inode.kind {
                FileKind::Symlink if flags & O_SYMLINK == 0 => return Err(Error::SymlinkLoop),
                // The target was given when the link was made.
                FileKind::Symlink if flags & O_CREAT != 0 => return Err(Error::Exists),
                FileKind::Directory if writes || flags & O_TRUNC != 0 => return Err(Error::IsDirectory),
                FileKind::Regular | FileKind::Directory if flags & O_SYMLINK != 0 => {
                    return Err(Error::Invalid("no symbolic link"));
                }
                FileKind::Regular | FileKind::Directory | FileKind::Symlink => {}
                _ => return Err(Error::NotSupported("opening a special file")),
            }
            if inode.kind != FileKind::Symlink {
                let wanted = if reads { permission::READ } else { 0 } | if writes { permission::WRITE } else { 0 };
                permission::check(&inode, who, wanted)?;
            }
            if writes && self.fs.read_only() && inode.kind == FileKind::Regular {
                return Err(Error::ReadOnly);
            }
        }
        let truncates = flags & O_TRUNC != 0 && flags & O_STAT == 0 && inode.kind == FileKind::Regular;
        if truncates {
            permission::check(&inode, who, permission::WRITE)?;
            self.truncate(&inode, 0)?;
        }
        Ok(self.opened(inode, flags, who, place))
    }

    fn opened(&self, inode: InodeRef, flags: usize, who: &Credentials, place: Option<Place>) -> Handle {
        // A file opened to be looked at can be neither read nor written.
        let flags = if flags & O_STAT != 0 && inode.kind != FileKind::Directory { flags & !O_ACCMODE } else { flags };
        Handle::File(OpenFile::new(inode, flags, *who, self.errors.sample(), place))
    }

    fn create(&self, place: Place, flags: usize, who: &Credentials) -> Result<Handle> {
        check_name(&place.name)?;
        if flags & O_SYMLINK != 0 {
            permission::check(&place.directory, who, permission::WRITE | permission::EXECUTE)?;
            return Ok(Handle::NewSymlink(NewSymlink { place, who: *who }));
        }
        let permissions = (flags & MODE) as u16;
        let (inode, made) = self.find_or_make(&place, who, |directory| {
            let operations = directory.operations();
            if flags & O_DIRECTORY != 0 {
                operations.mkdir(directory, &place.name, permissions, who)
            } else {
                operations.create(directory, &place.name, FileKind::Regular, permissions, who)
            }
        })?;
        if made {
            return Ok(self.opened(inode, flags, who, Some(place)));
        }
        if flags & O_EXCL != 0 || flags & O_DIRECTORY != 0 {
            return Err(Error::Exists);
        }
        // Somebody else made it since the walk.
        self.open_existing(inode, Some(place), flags, who)
    }

    /// The inode at `place`, made by `make` if there is none; whether it was made.
    pub(super) fn find_or_make(
        &self,
        place: &Place,
        who: &Credentials,
        make: impl FnOnce(&Inode) -> Result<crate::fs::NewInode>,
    ) -> Result<(InodeRef, bool)> {
        let directory = &place.directory;
        let _lock = directory.lock.write();
        match self.lookup_locked(directory, &place.name) {
            Ok(inode) => return Ok((inode, false)),
            Err(Error::NotFound) if directory.attributes().nlink > 0 => {}
            Err(error) => return Err(error),
        }
        if self.fs.read_only() {
            return Err(Error::ReadOnly);
        }
        permission::check(directory, who, permission::WRITE | permission::EXECUTE)?;
        let inode = self.adopt_inode(make(directory)?)?;
        self.dentries.insert(directory.ino, &place.name, inode.ino);
        Ok((inode, true))
    }

    /// The first write to a new symbolic link: its target.
    pub(super) fn write_target(&self, call: &Call, id: u64, link: &NewSymlink, len: usize) -> Result<Reply> {
        match len {
            0 => return Err(Error::NotFound),
            PATH_MAX.. => return Err(Error::NameTooLong),
            _ => {}
        }
        let target = call.copy_in(len)?;
        let who = Credentials { now: super::now(), ..link.who };
        let make = |directory: &Inode| directory.operations().symlink(directory, &link.place.name, &target, &who);
        let (inode, made) = self.find_or_make(&link.place, &who, make)?;
        if !made {
            return Err(Error::Exists);
        }
        let file = OpenFile::new(inode, O_SYMLINK | O_RDONLY, who, self.errors.sample(), Some(link.place.clone()));
        self.files.replace(id, Handle::File(file));
        Ok(Reply::Count(len as u64))
    }

    /// Dup: args = [id, buffer, length]; only without a buffer.
    pub(super) fn dup(&self, call: &Call) -> Result<Reply> {
        if call.args[2] != 0 {
            return Err(Error::Invalid("dup with a name"));
        }
        let handle = self.files.get(call.args[0])?;
        let file = handle.file()?;
        let place = file.place.lock().clone();
        let again = OpenFile::new(file.inode.clone(), file.flags, file.who, self.errors.sample(), place);
        Ok(Reply::Opened(self.files.insert(Handle::File(again))))
    }

    /// Close and CloseMsg: args = [id].
    pub(super) fn close(&self, id: u64) -> Result<Reply> {
        if id != 0 && self.files.remove(id).is_none() {
            return Err(Error::BadDescriptor);
        }
        Ok(Reply::Count(0))
    }
}
