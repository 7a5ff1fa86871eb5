//! The system calls of a client thread on files.
//!
//! Errors are errno numbers, as a program sees them. Files are named by the server's file ids; path 0
//! is the root directory.

use crate::client::{CallResult, Client, demux};
use pager_core::{Buffer, Rights};
use syscall::Stat;
use syscall::data::StdFsCallMeta;
use syscall::flag::StdFsCallKind;
use syscall::schemev2::{Opcode, Sqe};

impl Client {
    /// Opens `path`, seen from the root directory; `flags` are Redox's `O_*` with a mode below.
    pub fn open(&self, path: &str, flags: usize) -> CallResult<u64> {
        let buffer = self.fill_buffer(path.as_bytes());
        let args = [0, buffer.address, buffer.length, flags as u64, 0, 0];
        let cqe = self.request(Opcode::OpenAt, args, Some(buffer))?;
        demux(cqe).map(|id| id as u64)
    }

    /// The last descriptor of a file is closed.
    pub fn close(&self, file: u64) {
        let sqe = Sqe { opcode: Opcode::CloseMsg as u8, args: [file, 0, 0, 0, 0, 0], ..Sqe::default() };
        self.machine.change(|pager, _, _| pager.notify(self.machine.socket, sqe, 0)).unwrap_or_else(|error| {
            panic!("the close of file {file} could not be sent: {error:?}");
        });
    }

    /// Reads up to `len` bytes at `offset`.
    pub fn read(&self, file: u64, offset: u64, len: usize) -> CallResult<Vec<u8>> {
        let buffer = self.empty_buffer(len);
        let args = [file, buffer.address, buffer.length, offset, 0, 0];
        let count = demux(self.request(Opcode::Read, args, Some(buffer))?)?;
        assert!(count <= len, "read of {len} bytes answered {count}");
        Ok(self.take_buffer(count))
    }

    /// Writes at `offset`.
    pub fn write(&self, file: u64, offset: u64, bytes: &[u8]) -> CallResult<usize> {
        let buffer = self.fill_buffer(bytes);
        self.write_from(file, offset, buffer)
    }

    /// Writes memory of this client, a mapping's perhaps, at `offset`.
    pub fn write_memory(&self, file: u64, offset: u64, address: u64, len: u64) -> CallResult<usize> {
        self.write_from(file, offset, Buffer { address, length: len, rights: Rights::READ })
    }

    /// Writes at the end, wherever that is by then.
    pub fn append(&self, file: u64, bytes: &[u8]) -> CallResult<usize> {
        let buffer = self.fill_buffer(bytes);
        self.append_from(file, buffer)
    }

    /// Appends memory of this client, a mapping's perhaps.
    pub fn append_memory(&self, file: u64, address: u64, len: u64) -> CallResult<usize> {
        self.append_from(file, Buffer { address, length: len, rights: Rights::READ })
    }

    fn append_from(&self, file: u64, buffer: Buffer) -> CallResult<usize> {
        let flags = syscall::flag::O_APPEND as u64;
        let args = [file, buffer.address, buffer.length, 0, flags, 0];
        demux(self.request(Opcode::Write, args, Some(buffer))?)
    }

    fn write_from(&self, file: u64, offset: u64, buffer: Buffer) -> CallResult<usize> {
        let args = [file, buffer.address, buffer.length, offset, 0, 0];
        demux(self.request(Opcode::Write, args, Some(buffer))?)
    }

    /// Cuts or extends.
    pub fn truncate(&self, file: u64, size: u64) -> CallResult<()> {
        self.std_fs(file, StdFsCallKind::Ftruncate, size, None).map(|_| ())
    }

    /// Everything of the file is on the disk on return.
    pub fn fsync(&self, file: u64) -> CallResult<()> {
        demux(self.request(Opcode::Fsync, [file, 0, 0, 0, 0, 0], None)?).map(|_| ())
    }

    /// The file's size.
    pub fn size(&self, file: u64) -> CallResult<u64> {
        Ok(self.stat(file)?.st_size)
    }

    /// The file's attributes.
    pub fn stat(&self, file: u64) -> CallResult<Stat> {
        let buffer = self.empty_buffer(size_of::<Stat>());
        let args = [file, buffer.address, buffer.length, 0, 0, 0];
        demux(self.request(Opcode::Fstat, args, Some(buffer))?)?;
        let bytes = self.take_buffer(size_of::<Stat>());
        let mut stat = Stat::default();
        stat.copy_from_slice(&bytes);
        Ok(stat)
    }

    /// The names of a directory, `.` and `..` among them.
    pub fn list(&self, directory: u64) -> CallResult<Vec<String>> {
        let mut names = Vec::new();
        let mut position = 0;
        loop {
            let buffer = self.empty_buffer(4096);
            let header = size_of::<syscall::dirent::DirentHeader>() as u64;
            let count = self.std_fs_words(directory, StdFsCallKind::Getdents, [position, header], Some(buffer))?;
            if count == 0 {
                return Ok(names);
            }
            for entry in syscall::dirent::DirentIter::new(&self.take_buffer(count)) {
                let (header, name) = entry.unwrap_or_else(|_| panic!("getdents answered half an entry"));
                position = header.next_opaque_id;
                let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
                names.push(String::from_utf8_lossy(name).into_owned());
            }
        }
    }

    /// Removes a name; `flags` may be `AT_REMOVEDIR`.
    pub fn unlink(&self, path: &str, flags: usize) -> CallResult<()> {
        let buffer = self.fill_buffer(path.as_bytes());
        let args = [0, buffer.address, buffer.length, flags as u64, 0, 0];
        demux(self.request(Opcode::UnlinkAt, args, Some(buffer))?).map(|_| ())
    }

    /// Moves an open file's name to `path`.
    pub fn rename(&self, file: u64, path: &str) -> CallResult<()> {
        let buffer = self.fill_buffer(path.as_bytes());
        demux(self.request(Opcode::Frename, [file, buffer.address, buffer.length, 0, 0, 0], Some(buffer))?).map(|_| ())
    }

    /// Gives an open file another name.
    pub fn link(&self, file: u64, path: &str) -> CallResult<()> {
        let buffer = self.fill_buffer(path.as_bytes());
        demux(self.request(Opcode::Flink, [file, buffer.address, buffer.length, 0, 0, 0], Some(buffer))?).map(|_| ())
    }

    /// A CALL with a verb of `pager_abi` and two arguments; `room` bytes may come back.
    pub fn call(&self, file: u64, words: [u64; 3], room: usize) -> CallResult<(usize, Vec<u8>)> {
        let buffer = (room > 0).then(|| self.empty_buffer(room));
        let (address, length) = buffer.map_or((0, 0), |buffer| (buffer.address, buffer.length));
        let args = [file, address, length, words[0], words[1], words[2]];
        let result = demux(self.request(Opcode::Call, args, buffer)?)?;
        Ok((result, self.take_buffer(result.min(room))))
    }

    fn std_fs(&self, file: u64, kind: StdFsCallKind, arg: u64, buffer: Option<Buffer>) -> CallResult<usize> {
        self.std_fs_words(file, kind, [arg, 0], buffer)
    }

    fn std_fs_words(
        &self,
        file: u64,
        kind: StdFsCallKind,
        words: [u64; 2],
        buffer: Option<Buffer>,
    ) -> CallResult<usize> {
        let meta = StdFsCallMeta::new(kind, words[0], words[1]);
        let (address, length) = buffer.map_or((0, 0), |buffer| (buffer.address, buffer.length));
        let args = [file, address, length, u64::from(meta.kind), words[0], words[1]];
        demux(self.request(Opcode::StdFsCall, args, buffer)?)
    }
}
