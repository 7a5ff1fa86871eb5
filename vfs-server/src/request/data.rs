//! Requests that move a file's contents.

use super::{Call, Reply};
use crate::error::{Error, Result};
use crate::fs::FileKind;
use crate::open_file::{Handle, OpenFile};
use crate::server::Server;
use syscall::flag::O_APPEND;
use syscall::schemev2::Sqe;

impl Server {
    /// Read: args = [id, buffer, length, offset, flags].
    pub(super) fn request_read(&self, call: &Call, sqe: &Sqe) -> Result<Reply> {
        let [id, _, len, offset, ..] = call.args;
        let handle = self.files.get(id)?;
        let file = handle.file()?;
        match file.inode.kind {
            FileKind::Regular if !file.readable() => return Err(Error::BadDescriptor),
            FileKind::Regular => {}
            FileKind::Symlink => return self.read_target(call, file, offset, len),
            FileKind::Directory => return Err(Error::IsDirectory),
            _ => return Err(Error::NotSupported("reading a special file")),
        }
        let read = |progress: &mut _| self.read(file, call.request, offset, len as usize, progress);
        self.progress.resume(sqe, read).map(|count| Reply::Count(count as u64))
    }

    fn read_target(&self, call: &Call, file: &OpenFile, offset: u64, len: u64) -> Result<Reply> {
        let target = self.read_link(&file.inode)?;
        let rest = target.get(offset as usize..).unwrap_or(&[]);
        let rest = &rest[..rest.len().min(len as usize)];
        call.copy_out(rest)?;
        Ok(Reply::Count(rest.len() as u64))
    }

    /// Write: args = [id, buffer, length, offset, flags]; the flags are the open file's present ones
    /// in Redox's `O_*` numbers.
    pub(super) fn request_write(&self, call: &Call, sqe: &Sqe) -> Result<Reply> {
        let [id, _, len, offset, flags, _] = call.args;
        let handle = self.files.get(id)?;
        let file = match &*handle {
            Handle::File(file) => file,
            Handle::NewSymlink(link) => return self.write_target(call, id, link, len as usize),
        };
        if file.inode.kind == FileKind::Directory {
            return Err(Error::IsDirectory);
        }
        if !file.writable() || file.inode.kind != FileKind::Regular {
            return Err(Error::BadDescriptor);
        }
        let position = if flags as usize & O_APPEND != 0 { None } else { Some(offset) };
        let write = |progress: &mut _| self.write(file, call.request, position, len as usize, progress);
        self.progress.resume(sqe, write).map(|count| Reply::Count(count as u64))
    }

    /// Fsync: args = [id].
    pub(super) fn request_fsync(&self, call: &Call) -> Result<Reply> {
        let handle = self.files.get(call.args[0])?;
        self.fsync(handle.file()?, crate::file::sync::What::Everything).map(|()| Reply::Count(0))
    }

    /// Ftruncate: the new size.
    pub(super) fn request_truncate(&self, call: &Call, size: u64) -> Result<Reply> {
        let handle = self.files.get(call.args[0])?;
        let file = handle.file()?;
        match file.inode.kind {
            FileKind::Regular if !file.writable() => Err(Error::Invalid("not open for writing")),
            FileKind::Regular => self.truncate(&file.inode, size).map(|()| Reply::Count(0)),
            FileKind::Directory => Err(Error::IsDirectory),
            _ => Err(Error::Invalid("not a regular file")),
        }
    }
}
