//! What a file is, and small changes of that.

use super::{Call, Reply, now};
use crate::error::{Error, Result};
use crate::fs::{Attributes, Credentials, FileKind, ReaddirControl, SetAttributes, Timestamp};
use crate::inode::Inode;
use crate::inode_cache::InodeRef;
use crate::open_file::{Handle, OpenFile};
use crate::path::PATH_MAX;
use crate::permission;
use crate::server::Server;
use alloc::vec::Vec;
use pager_abi::file_verb::{STD_FS_LINKAT, STD_FS_RENAMEAT};
use syscall::data::{Stat, StatVfs};
use syscall::dirent::{DirentHeader, DirentKind};
use syscall::flag::{
    F_GETFL, F_SETFL, MODE_CHR, MODE_DIR, MODE_FIFO, MODE_FILE, MODE_SOCK, MODE_SYMLINK, O_ACCMODE, StdFsCallKind,
};

/// `S_IFBLK`, which redox_syscall does not have.
const MODE_BLOCK: u16 = 0x6000;

/// Most bytes that one Getdents fills.
const GETDENTS_MAX: usize = 64 << 10;

impl Server {
    /// StdFsCall: args = [id, payload, length, kind, first argument, second argument].
    pub(super) fn std_fs_call(&self, call: &Call) -> Result<Reply> {
        let [id, _, len, kind, first, second] = call.args;
        match kind as u8 {
            STD_FS_RENAMEAT | STD_FS_LINKAT => return self.name_at(call, kind as u8),
            _ => {}
        }
        match StdFsCallKind::try_from_raw(kind as u8).ok_or(Error::NoSuchCall)? {
            StdFsCallKind::Fchmod => self.fchmod(id, first as u16),
            StdFsCallKind::Fchown => self.fchown(call, first as u32, second as u32),
            StdFsCallKind::Getdents => self.getdents(call, len as usize, first, second as usize),
            StdFsCallKind::Fstat => self.fstat(call),
            StdFsCallKind::Fstatvfs => self.fstatvfs(call),
            StdFsCallKind::Fsync => self.request_fsync(call),
            StdFsCallKind::Ftruncate => self.request_truncate(call, first),
            StdFsCallKind::Futimens => self.futimens(call, len as usize),
            _ => Err(Error::NoSuchCall),
        }
    }

    /// Frenameat and Flinkat: the payload is a path, relative to the directory whose id is the
    /// first argument.
    fn name_at(&self, call: &Call, kind: u8) -> Result<Reply> {
        let [id, _, len, _, directory, _] = call.args;
        if len as usize > PATH_MAX {
            return Err(Error::NameTooLong);
        }
        let path = call.copy_in(len as usize)?;
        let handle = self.files.get(id)?;
        let file = handle.file()?;
        let directory = self.files.get(directory)?;
        let start = &directory.file()?.inode;
        let who = Credentials { now: now(), ..file.who };
        match kind {
            STD_FS_RENAMEAT => self.rename(file, start, &path, &who),
            _ => self.link(file, start, &path, &who),
        }
    }

    /// Fsize: args = [id].
    pub(super) fn fsize(&self, call: &Call) -> Result<Reply> {
        let handle = self.files.get(call.args[0])?;
        Ok(Reply::Count(handle.file()?.inode.size()))
    }

    /// Fstat: args = [id, buffer, length].
    pub(super) fn fstat(&self, call: &Call) -> Result<Reply> {
        if (call.args[2] as usize) < size_of::<Stat>() {
            return Err(Error::Invalid("buffer of fstat"));
        }
        let handle = self.files.get(call.args[0])?;
        let inode = &handle.file()?.inode;
        call.copy_out(&stat(inode, self.fs.block_size()))?;
        Ok(Reply::Count(0))
    }

    fn fstatvfs(&self, call: &Call) -> Result<Reply> {
        if (call.args[2] as usize) < size_of::<StatVfs>() {
            return Err(Error::Invalid("buffer of fstatvfs"));
        }
        self.files.get(call.args[0])?;
        let statfs = self.fs.statfs()?;
        let answer = StatVfs {
            f_bsize: self.fs.block_size(),
            f_blocks: statfs.blocks,
            f_bfree: statfs.free,
            f_bavail: statfs.available,
        };
        call.copy_out(&answer)?;
        Ok(Reply::Count(0))
    }

    fn set_attributes(&self, file: &OpenFile, change: SetAttributes) -> Result<Reply> {
        let inode = &file.inode;
        if self.fs.read_only() {
            return Err(Error::ReadOnly);
        }
        permission::check_owner(inode, &file.who)?;
        let _lock = inode.lock.write_key(if inode.kind == FileKind::Directory { 0 } else { inode.ino });
        inode.operations().setattr(inode, &SetAttributes { now: now(), ..change })?;
        Ok(Reply::Count(0))
    }

    fn fchmod(&self, id: u64, mode: u16) -> Result<Reply> {
        let handle = self.files.get(id)?;
        let change = SetAttributes { permissions: Some(mode & 0o7777), ..SetAttributes::default() };
        self.set_attributes(handle.file()?, change)
    }

    /// Fchown: args = [id, uid, gid]; `u32::MAX` leaves one as it is.
    pub(super) fn fchown(&self, call: &Call, uid: u32, gid: u32) -> Result<Reply> {
        let handle = self.files.get(call.args[0])?;
        let file = handle.file()?;
        let wanted = |id: u32| (id != u32::MAX).then_some(id);
        if file.who.uid != 0 && wanted(uid).is_some_and(|uid| uid != file.inode.attributes().uid) {
            return Err(Error::NotPermitted);
        }
        let change = SetAttributes { uid: wanted(uid), gid: wanted(gid), ..SetAttributes::default() };
        self.set_attributes(file, change)
    }

    /// Futimens: two `TimeSpec` of 16 bytes, last access and modification.
    fn futimens(&self, call: &Call, len: usize) -> Result<Reply> {
        if len < 32 {
            return Err(Error::Invalid("buffer of futimens"));
        }
        let bytes = call.copy_in(32)?;
        let handle = self.files.get(call.args[0])?;
        let time = |at: usize| -> Result<Timestamp> {
            let (mut seconds, mut nanoseconds) = ([0; 8], [0; 4]);
            seconds.copy_from_slice(&bytes[at..at + 8]);
            nanoseconds.copy_from_slice(&bytes[at + 8..at + 12]);
            let nanoseconds = u32::from_ne_bytes(nanoseconds);
            if nanoseconds >= 1_000_000_000 {
                return Err(Error::Invalid("nanoseconds"));
            }
            Ok(Timestamp { seconds: i64::from_ne_bytes(seconds), nanoseconds })
        };
        let change = SetAttributes { atime: Some(time(0)?), mtime: Some(time(16)?), ..SetAttributes::default() };
        self.set_attributes(handle.file()?, change)
    }

    /// Getdents: as many whole records as fit, from position `from` on.
    fn getdents(&self, call: &Call, len: usize, from: u64, header: usize) -> Result<Reply> {
        if header != size_of::<DirentHeader>() {
            return Err(Error::Invalid("size of a directory record's header"));
        }
        let handle = self.files.get(call.args[0])?;
        let directory = &handle.file()?.inode;
        if directory.kind != FileKind::Directory {
            return Err(Error::NotDirectory);
        }
        let mut records = Records { bytes: Vec::new(), room: len.min(GETDENTS_MAX), refused: false };
        let lock = directory.lock.read();
        if directory.attributes().nlink > 0 {
            directory.operations().readdir(directory, from, &mut |entry| records.push(&entry))?;
        }
        drop(lock);
        if records.bytes.is_empty() && records.refused {
            return Err(Error::Invalid("buffer of getdents"));
        }
        call.copy_out(&records.bytes)?;
        Ok(Reply::Count(records.bytes.len() as u64))
    }

    /// Fcntl: args = [id, command, argument]. The kernel keeps the flags that can change, and sends
    /// them with each request.
    pub(super) fn fcntl(&self, call: &Call) -> Result<Reply> {
        let handle = self.files.get(call.args[0])?;
        match (call.args[1] as usize, &*handle) {
            (F_GETFL, Handle::File(file)) => Ok(Reply::Count((file.flags & O_ACCMODE) as u64)),
            (F_SETFL, _) => Ok(Reply::Count(0)),
            _ => Err(Error::Invalid("fcntl command")),
        }
    }

    /// Fpath: args = [id, buffer, length]; the path from the root of this file system.
    pub(super) fn fpath(&self, call: &Call) -> Result<Reply> {
        let handle = self.files.get(call.args[0])?;
        let file = handle.file()?;
        let place = file.place.lock().clone();
        let path = match place {
            _ if file.inode.kind == FileKind::Directory => self.directory_path(&file.inode)?,
            Some(place) => {
                let mut path = self.directory_path(&place.directory)?;
                push_name(&mut path, &place.name);
                path
            }
            None => return Err(Error::NotFound),
        };
        let path = &path[..path.len().min(call.args[2] as usize)];
        call.copy_out(path)?;
        Ok(Reply::Count(path.len() as u64))
    }

    /// The path of a directory, found from below: each parent is searched for its child.
    fn directory_path(&self, directory: &InodeRef) -> Result<Vec<u8>> {
        let mut names: Vec<Vec<u8>> = Vec::new();
        let mut at = directory.clone();
        while at.ino != self.root.ino {
            let parent = self.parent(&at)?;
            names.push(name_of(&parent, at.ino)?);
            at = parent;
            if names.len() > PATH_MAX {
                return Err(Error::NameTooLong);
            }
        }
        let mut path = Vec::from(b"/");
        names.iter().rev().for_each(|name| push_name(&mut path, name));
        Ok(path)
    }
}

fn name_of(directory: &Inode, ino: u64) -> Result<Vec<u8>> {
    let mut found = None;
    let _lock = directory.lock.read();
    directory.operations().readdir(directory, 0, &mut |entry| {
        if entry.ino == ino && entry.name != b"." && entry.name != b".." {
            found = Some(entry.name.to_vec());
            return ReaddirControl::Full;
        }
        ReaddirControl::Continue
    })?;
    found.ok_or(Error::NotFound)
}

fn push_name(path: &mut Vec<u8>, name: &[u8]) {
    if path.last() != Some(&b'/') {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

fn stat(inode: &Inode, block_size: u32) -> Stat {
    let attributes: Attributes = inode.attributes();
    Stat {
        st_dev: 0,
        st_ino: inode.ino,
        st_mode: mode_type(inode.kind) | attributes.permissions,
        st_nlink: attributes.nlink,
        st_uid: attributes.uid,
        st_gid: attributes.gid,
        st_size: inode.size(),
        st_blksize: block_size,
        st_blocks: attributes.sectors,
        st_mtime: attributes.mtime.seconds as u64,
        st_mtime_nsec: attributes.mtime.nanoseconds,
        st_atime: attributes.atime.seconds as u64,
        st_atime_nsec: attributes.atime.nanoseconds,
        st_ctime: attributes.ctime.seconds as u64,
        st_ctime_nsec: attributes.ctime.nanoseconds,
    }
}

fn mode_type(kind: FileKind) -> u16 {
    match kind {
        FileKind::Regular => MODE_FILE,
        FileKind::Directory => MODE_DIR,
        FileKind::Symlink => MODE_SYMLINK,
        FileKind::Fifo => MODE_FIFO,
        FileKind::Socket => MODE_SOCK,
        FileKind::CharDevice => MODE_CHR,
        FileKind::BlockDevice => MODE_BLOCK,
    }
}

fn dirent_kind(kind: Option<FileKind>) -> DirentKind {
    match kind {
        Some(FileKind::Regular) => DirentKind::Regular,
        Some(FileKind::Directory) => DirentKind::Directory,
        Some(FileKind::Symlink) => DirentKind::Symlink,
        Some(FileKind::Socket) => DirentKind::Socket,
        Some(FileKind::CharDevice) => DirentKind::CharDev,
        Some(FileKind::BlockDevice) => DirentKind::BlockDev,
        Some(FileKind::Fifo) | None => DirentKind::Unspecified,
    }
}

/// Directory records in Redox's layout: header, name, NUL, padding to 8 bytes.
struct Records {
    bytes: Vec<u8>,
    room: usize,
    refused: bool,
}

impl Records {
    fn push(&mut self, entry: &crate::fs::DirectoryEntry<'_>) -> ReaddirControl {
        let header = size_of::<DirentHeader>();
        let len = (header + entry.name.len() + 1).next_multiple_of(8);
        if self.bytes.len() + len > self.room {
            self.refused = true;
            return ReaddirControl::Full;
        }
        let end = self.bytes.len() + len;
        let record = DirentHeader {
            inode: entry.ino,
            next_opaque_id: entry.next,
            record_len: len as u16,
            kind: dirent_kind(entry.kind) as u8,
        };
        self.bytes.extend_from_slice(&record);
        self.bytes.extend_from_slice(entry.name);
        self.bytes.resize(end, 0);
        ReaddirControl::Continue
    }
}
