//! Files and paths of a server: Redox's calls, and the verbs that `pager-abi` adds.

use crate::descriptor::{Descriptor, Fd};
use alloc::{string::String, vec, vec::Vec};
use pager_abi::{file_verb::FileVerb, server_verb::ServerVerb};
use syscall::{
    AT_REMOVEDIR, CallFlags, EILSEQ, EIO, Error, O_CREAT, O_DIRECTORY, O_EXCL, O_RDONLY, O_STAT, O_SYMLINK, O_WRONLY,
    Result, SYS_READ2, SYS_WRITE2, Stat, StatVfs, StdFsCallKind, StdFsCallMeta, TimeSpec, syscall5,
};

/// From where [`Fd::seek`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Whence {
    /// The file's start.
    Start = syscall::SEEK_SET,
    /// The descriptor's position.
    Current = syscall::SEEK_CUR,
    /// The file's end.
    End = syscall::SEEK_END,
}

/// An open file.
impl Fd {
    /// Reads at `offset`, whatever the descriptor's position.
    pub fn read_at(self, buf: &mut [u8], offset: u64) -> Result<usize> {
        // SAFETY: the buffer is ours to be written.
        unsafe { self.read_at_raw(buf.as_mut_ptr(), buf.len(), offset) }
    }

    /// Writes at `offset`, whatever the descriptor's position.
    pub fn write_at(self, buf: &[u8], offset: u64) -> Result<usize> {
        // SAFETY: the buffer is only read.
        unsafe { self.write_at_raw(buf.as_ptr(), buf.len(), offset) }
    }

    /// # Safety
    /// The `len` bytes at `buf` are no Rust object, or may be written.
    pub unsafe fn read_at_raw(self, buf: *mut u8, len: usize, offset: u64) -> Result<usize> {
        // SAFETY: the caller's promise.
        unsafe { syscall5(SYS_READ2, self.0, buf as usize, len, offset as usize, 0) }
    }

    /// # Safety
    /// None in this process: the kernel only reads the `len` bytes at `buf`, and refuses an address
    /// where nothing is mapped. It is unsafe beside its twin for what the pointer may point to.
    pub unsafe fn write_at_raw(self, buf: *const u8, len: usize, offset: u64) -> Result<usize> {
        // SAFETY: the caller's promise.
        unsafe { syscall5(SYS_WRITE2, self.0, buf as usize, len, offset as usize, 0) }
    }

    /// Moves the descriptor's position; gives the new one.
    pub fn seek(self, offset: i64, whence: Whence) -> Result<u64> {
        syscall::lseek(self.0, offset as isize, whence as usize).map(|position| position as u64)
    }

    /// What the file is.
    pub fn stat(self) -> Result<Stat> {
        let mut stat = Stat::default();
        syscall::fstat(self.0, &mut stat)?;
        Ok(stat)
    }

    /// Sets the file's size.
    pub fn truncate(self, size: u64) -> Result<()> {
        self.std_fs(StdFsCallKind::Ftruncate, &mut [], size, 0).map(|_| ())
    }

    /// Sets the permission bits.
    pub fn chmod(self, mode: u16) -> Result<()> {
        self.std_fs(StdFsCallKind::Fchmod, &mut [], u64::from(mode), 0).map(|_| ())
    }

    /// Sets the times of last access and modification.
    pub fn set_times(self, access: TimeSpec, modification: TimeSpec) -> Result<()> {
        let mut times = [access.as_ref(), modification.as_ref()].concat();
        self.std_fs(StdFsCallKind::Futimens, &mut times, 0, 0).map(|_| ())
    }

    /// Room in the file system that the file is on.
    pub fn stat_vfs(self) -> Result<StatVfs> {
        let mut stat = StatVfs::default();
        self.std_fs(StdFsCallKind::Fstatvfs, &mut stat, 0, 0)?;
        Ok(stat)
    }

    /// Waits until data and metadata are on the disk.
    pub fn sync(self) -> Result<()> {
        syscall::fsync(self.0).map(|_| ())
    }

    /// Waits until the data, and the metadata to reach it, are on the disk.
    pub fn data_sync(self) -> Result<()> {
        self.file_verb(FileVerb::Fdatasync, 0, 0).map(|_| ())
    }

    /// Waits until the dirty pages of the range (`len` 0: to the end) are on the disk.
    pub fn msync(self, offset: u64, len: u64) -> Result<()> {
        self.file_verb(FileVerb::Msync, offset, len).map(|_| ())
    }

    /// Writes back all of the file system that this is on.
    pub fn syncfs(self) -> Result<()> {
        self.file_verb(FileVerb::Syncfs, 0, 0).map(|_| ())
    }

    /// The first hole at or after `offset`.
    pub fn seek_hole(self, offset: u64) -> Result<u64> {
        self.file_verb(FileVerb::SeekHole, offset, 0).map(|position| position as u64)
    }

    /// The first data at or after `offset`; `ENXIO` if there is none.
    pub fn seek_data(self, offset: u64) -> Result<u64> {
        self.file_verb(FileVerb::SeekData, offset, 0).map(|position| position as u64)
    }

    fn file_verb(self, verb: FileVerb, first: u64, second: u64) -> Result<usize> {
        syscall::call_wo(self.0, &[], CallFlags::empty(), &[verb as u64, first, second])
    }

    pub(crate) fn std_fs(self, kind: StdFsCallKind, payload: &mut [u8], first: u64, second: u64) -> Result<usize> {
        syscall::std_fs_call(self.0, payload, &StdFsCallMeta::new(kind, first, second))
    }
}

/// A directory: the paths are relative to it.
impl Fd {
    /// Makes a directory.
    pub fn make_directory(self, path: &str, mode: u16) -> Result<()> {
        self.open(path, O_CREAT | O_EXCL | O_DIRECTORY | O_RDONLY | usize::from(mode)).map(|_| ())
    }

    /// Makes a symbolic link with the text `target`.
    pub fn make_symlink(self, path: &str, target: &str) -> Result<()> {
        let link = self.open(path, O_CREAT | O_EXCL | O_SYMLINK | O_WRONLY | 0o777)?;
        match link.fd().write(target.as_bytes())? {
            count if count == target.len() => Ok(()),
            _ => Err(Error::new(EIO)),
        }
    }

    /// The text of a symbolic link.
    pub fn read_symlink(self, path: &str) -> Result<String> {
        let link = self.open(path, O_SYMLINK | O_RDONLY)?;
        let mut text = vec![0; 4096];
        let count = link.fd().read(&mut text)?;
        text.truncate(count);
        String::from_utf8(text).map_err(|_| Error::new(EILSEQ))
    }

    /// Removes a name of a file.
    pub fn unlink(self, path: &str) -> Result<()> {
        syscall::unlinkat(self.0, path, 0).map(|_| ())
    }

    /// Removes an empty directory.
    pub fn remove_directory(self, path: &str) -> Result<()> {
        syscall::unlinkat(self.0, path, AT_REMOVEDIR).map(|_| ())
    }

    /// Renames `from` to `to`, both relative to this directory, which must be the root: FRENAME
    /// goes by a path from there.
    pub fn rename(self, from: &str, to: &str) -> Result<()> {
        syscall::frename(self.open_itself(from)?.fd().0, to).map(|_| ())
    }

    /// Makes `to` another name of the file `from`; see [`Fd::rename`] for the directory.
    pub fn link(self, from: &str, to: &str) -> Result<()> {
        syscall::flink(self.open_itself(from)?.fd().0, to).map(|_| ())
    }

    /// What is at `path`, itself if it is a symbolic link.
    pub fn stat_at(self, path: &str) -> Result<Stat> {
        self.open_itself(path)?.fd().stat()
    }

    fn open_itself(self, path: &str) -> Result<Descriptor> {
        self.open(path, O_SYMLINK | O_STAT)
    }
}

/// The root directory: what a shell asks the server about itself.
impl Fd {
    /// The server's text on `verb` (waits, counters, mount options).
    pub fn server_text(self, verb: ServerVerb) -> Result<String> {
        let mut text = vec![0; 64 << 10];
        let count = syscall::call_ro(self.0, &mut text, CallFlags::empty(), &[verb as u64])?;
        text.truncate(count);
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Has the server do `verb` (unmount, drop caches); what it answers.
    pub fn server_do(self, verb: ServerVerb) -> Result<usize> {
        syscall::call_wo(self.0, &[], CallFlags::empty(), &[verb as u64])
    }
}

/// All bytes of an open file from its start.
pub fn read_to_end(file: Fd) -> Result<Vec<u8>> {
    let mut bytes = vec![0; file.stat()?.st_size as usize];
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], done as u64)? {
            0 => break,
            count => done += count,
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}
