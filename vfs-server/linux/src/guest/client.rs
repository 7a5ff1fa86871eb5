//! A client thread of the machine in software: system calls on files, mappings, loads and stores.
//!
//! Errors are errno numbers, as a program sees them. Files are named by the server's file ids.

use super::machine::{Machine, copy_unit};
use super::memory::PAGE;
use pager_abi::fault::Access;
use pager_abi::grant::lazy_protection;
use pager_abi::{Cookie, Tag};
use pager_core::{
    BounceDirection, BounceStep, Buffer, Fault, FaultOutcome, FilePage, NewMapping, NewRequest, Origin, Progress,
    Revoked, Rights, Sharing, VirtPage, VspaceId, WaiterId, Wake,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use syscall::data::StdFsCallMeta;
use syscall::flag::{MapFlags, StdFsCallKind};
use syscall::schemev2::{Cqe, Opcode, Sqe};
use syscall::{Error, Stat, error};

/// The result of a system call; the error is an errno.
pub type CallResult<T> = Result<T, i32>;

/// Where buffers of system calls lie in a client, each thread's at a place of its own.
const BUFFERS: u64 = 0x1000_0000;
/// Bytes between the buffers of two threads; the largest read or write.
const BUFFER_STRIDE: u64 = 4 << 20;
/// Where mappings begin.
const MAPPINGS: u64 = 0x4000_0000_0000;

/// One thread of a client process.
pub struct Client {
    machine: Arc<Machine>,
    process: Arc<Process>,
    waiter: WaiterId,
    buffer: u64,
}

struct Process {
    vspace: VspaceId,
    next_buffer: AtomicU64,
    next_mapping: AtomicU64,
}

/// A mapped range of a file in a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Address of its first byte.
    pub address: u64,
    /// Pages.
    pub pages: u64,
}

impl Client {
    /// The first thread of a new process.
    pub fn new(machine: &Arc<Machine>) -> Self {
        let process = Process {
            vspace: machine.new_vspace(),
            next_buffer: AtomicU64::new(BUFFERS),
            next_mapping: AtomicU64::new(MAPPINGS),
        };
        Self::thread_of(machine, Arc::new(process))
    }

    /// Another thread of the same process.
    pub fn thread(&self) -> Self {
        Self::thread_of(&self.machine, self.process.clone())
    }

    fn thread_of(machine: &Arc<Machine>, process: Arc<Process>) -> Self {
        let buffer = process.next_buffer.fetch_add(BUFFER_STRIDE, Ordering::Relaxed);
        Self { machine: machine.clone(), waiter: machine.new_waiter(), process, buffer }
    }

    // --- files -------------------------------------------------------------------------------

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
        self.machine.change(|state| state.pager.notify(self.machine.socket, sqe, 0)).unwrap_or_else(|error| {
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

    // --- mappings ----------------------------------------------------------------------------

    /// Maps `pages` pages of a file from page `first` on.
    pub fn map(&self, file: u64, first: u64, pages: u64, rights: Rights, sharing: Sharing) -> CallResult<Mapping> {
        let mut flags = match sharing {
            Sharing::Shared => MapFlags::MAP_SHARED,
            Sharing::Private => MapFlags::MAP_PRIVATE,
        };
        flags |= MapFlags::MAP_LAZY;
        for (right, flag) in [
            (rights.read, MapFlags::PROT_READ),
            (rights.write, MapFlags::PROT_WRITE),
            (rights.execute, MapFlags::PROT_EXEC),
        ] {
            flags |= if right { flag } else { MapFlags::empty() };
        }
        let bytes = pages * PAGE as u64;
        let args = [file, bytes, flags.bits() as u64, first * PAGE as u64, 0, 0];
        let cqe = self.request(Opcode::MmapPrep, args, None)?;
        let cookie = Cookie(demux(cqe)? as u64);
        let maximum = lazy_protection(&cqe).ok_or(error::EOPNOTSUPP)?;
        let address = self.process.next_mapping.fetch_add(bytes + PAGE as u64, Ordering::Relaxed);
        let new = NewMapping {
            vspace: self.process.vspace,
            start: VirtPage::containing(address),
            pages,
            file: FilePage(first),
            protection: rights,
            maximum: maximum.into(),
            sharing,
        };
        let mapped = self.machine.change(|state| state.pager.map(self.machine.socket, cookie, &new));
        mapped.map_err(|error| error.errno())?;
        Ok(Mapping { address, pages })
    }

    /// Ends a mapping.
    pub fn unmap(&self, mapping: Mapping) {
        self.machine.change(|state| {
            let mut revoked = Revoked::new();
            let start = VirtPage::containing(mapping.address);
            loop {
                let vspace = self.process.vspace;
                let progress = state.pager.unmap(&mut state.memory, vspace, start, mapping.pages, &mut revoked);
                revoked.release(&mut state.memory);
                match progress {
                    Ok(Progress::More) => {}
                    Ok(Progress::Done) => return,
                    Err(error) => panic!("unmap failed: {error:?}"),
                }
            }
        });
    }

    /// Loads bytes, faulting as instructions would; the error is the errno of the failed access.
    /// A page's part is loaded in one step.
    pub fn load(&self, address: u64, len: usize) -> CallResult<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.access(address, len, Access::Read, |at, memory, count| {
            let piece = &mut bytes[at..at + count];
            // SAFETY: `access` gives memory of that length that stays while it calls us.
            unsafe { memory.copy_to(piece.as_mut_ptr(), count) }
        })?;
        Ok(bytes)
    }

    /// Stores bytes, likewise.
    pub fn store(&self, address: u64, bytes: &[u8]) -> CallResult<()> {
        self.access(address, bytes.len(), Access::Write, |at, memory, count| {
            let piece = &bytes[at..at + count];
            // SAFETY: as in `load`.
            unsafe { memory.copy_from(piece.as_ptr(), count) }
        })
    }

    /// Calls `step` with (offset in the range, memory, bytes) for the part in each page. A page has
    /// a reference while its translation stands, and the machine's lock keeps it standing.
    fn access(
        &self,
        address: u64,
        len: usize,
        access: Access,
        mut step: impl FnMut(usize, *mut u8, usize),
    ) -> CallResult<()> {
        let needed = if access == Access::Write { Rights::READ_WRITE } else { Rights::READ };
        let mut at = 0;
        while at < len {
            let here = address + at as u64;
            let mut state = self.machine.lock();
            if let Some(memory) = state.memory.reach(self.process.vspace, here, needed) {
                let count = (len - at).min(PAGE - here as usize % PAGE);
                step(at, memory, count);
                at += count;
                continue;
            }
            drop(state);
            self.fault(here, access, Origin::Instruction)?;
        }
        Ok(())
    }

    /// Has a page made accessible; returns when the access may be tried again.
    fn fault(&self, address: u64, access: Access, origin: Origin) -> CallResult<()> {
        let fault = Fault {
            vspace: self.process.vspace,
            page: VirtPage::containing(address),
            access,
            origin,
            waiter: self.waiter,
            credentials: 0,
            caller: self.waiter.0,
        };
        loop {
            let outcome = self.machine.change(|state| {
                let mut revoked = Revoked::new();
                let outcome = state.pager.fault(&mut state.memory, &fault, &mut revoked, 0);
                revoked.release(&mut state.memory);
                outcome
            });
            match outcome {
                FaultOutcome::Resume => return Ok(()),
                FaultOutcome::Flush => {}
                FaultOutcome::Fail(errno) => return Err(errno),
                FaultOutcome::Wait { .. } => match self.wait() {
                    Wake::FaultSettled => {}
                    Wake::FaultFailed(errno) => return Err(errno),
                    other => panic!("a fault was answered by {other:?}"),
                },
            }
        }
    }

    // --- requests ----------------------------------------------------------------------------

    fn wait(&self) -> Wake {
        self.machine.wait_for(|state| state.woken.remove(&self.waiter))
    }

    fn request(&self, opcode: Opcode, args: [u64; 6], buffer: Option<Buffer>) -> CallResult<Cqe> {
        if let Some(buffer) = &buffer {
            self.prefault(buffer, 0)?;
        }
        let sqe = Sqe { opcode: opcode as u8, args, caller: self.waiter.0, ..Sqe::default() };
        let new = NewRequest { sqe, vspace: self.process.vspace, waiter: self.waiter, buffer };
        let tag = self
            .machine
            .change(|state| state.pager.submit(self.machine.socket, &new, 0))
            .map_err(|error| error.errno())?;
        loop {
            match self.wait() {
                Wake::Answer(cqe) => return Ok(cqe),
                Wake::AnswerAndDrain(cqe) => {
                    let count = Error::demux(cqe.result as usize).unwrap_or(0) as u64;
                    self.bounce(tag, BounceDirection::Drain, count)?;
                    self.machine.change(|state| {
                        let mut revoked = Revoked::new();
                        let drained = state.pager.drained(tag, &mut revoked);
                        revoked.release(&mut state.memory);
                        drained.unwrap_or_else(|error| panic!("drained: {error:?}"));
                    });
                    return Ok(cqe);
                }
                Wake::Prefault { offset } => {
                    if let Some(buffer) = &buffer {
                        self.prefault(buffer, offset)?;
                    }
                    self.requeue(tag);
                }
                Wake::Bounce { offset } => {
                    self.machine.change(|state| {
                        let mut revoked = Revoked::new();
                        let begun = state.pager.begin_bounce(&mut state.memory, tag, offset, &mut revoked);
                        revoked.release(&mut state.memory);
                        begun.unwrap_or_else(|error| panic!("bounce: {error:?}"));
                    });
                    self.bounce(tag, BounceDirection::Fill, u64::MAX)?;
                    self.requeue(tag);
                }
                other => panic!("a request was answered by {other:?}"),
            }
        }
    }

    fn requeue(&self, tag: Tag) {
        self.machine.change(|state| state.pager.requeue(tag, 0)).unwrap_or_else(|error| panic!("requeue: {error:?}"));
    }

    /// Faults the buffer in from `offset` on, as far as the kernel does.
    fn prefault(&self, buffer: &Buffer, offset: u64) -> CallResult<()> {
        let access = if buffer.rights.write { Access::Write } else { Access::Read };
        let mut from = buffer.address + offset;
        loop {
            let missing = {
                let state = self.machine.lock();
                state.pager.first_missing(&state.memory, self.process.vspace, buffer, from)
            };
            let Some(address) = missing else { return Ok(()) };
            self.fault(address, access, Origin::Prefault)?;
            // A page that was taken away again at once is the RETRY's business.
            from = (address / PAGE as u64 + 1) * PAGE as u64;
        }
    }

    fn bounce(&self, tag: Tag, direction: BounceDirection, limit: u64) -> CallResult<()> {
        let mut offset = 0;
        loop {
            let step = {
                let state = self.machine.lock();
                let step = state.pager.bounce_step(&state.memory, tag, direction, offset, limit);
                if let Ok(BounceStep::Copy { unit, .. }) = &step {
                    copy_unit(unit);
                }
                step.unwrap_or_else(|error| panic!("bounce step: {error:?}"))
            };
            match step {
                BounceStep::Copy { next, .. } => offset = next,
                BounceStep::Missing { address } => {
                    let access = if direction == BounceDirection::Drain { Access::Write } else { Access::Read };
                    self.fault(address, access, Origin::Prefault)?;
                }
                BounceStep::Done => return Ok(()),
            }
        }
    }

    // --- buffers -----------------------------------------------------------------------------

    fn empty_buffer(&self, len: usize) -> Buffer {
        assert!(len as u64 <= BUFFER_STRIDE, "a buffer of {len} bytes");
        let mut state = self.machine.lock();
        for page in 0..len.div_ceil(PAGE) as u64 {
            let page = VirtPage::containing(self.buffer).forward(page);
            state.memory.map_anonymous(self.process.vspace, page);
        }
        Buffer { address: self.buffer, length: len as u64, rights: Rights::READ_WRITE }
    }

    fn fill_buffer(&self, bytes: &[u8]) -> Buffer {
        let buffer = self.empty_buffer(bytes.len());
        self.store(self.buffer, bytes).unwrap_or_else(|errno| panic!("anonymous memory: errno {errno}"));
        Buffer { rights: Rights::READ, ..buffer }
    }

    fn take_buffer(&self, len: usize) -> Vec<u8> {
        self.load(self.buffer, len).unwrap_or_else(|errno| panic!("anonymous memory: errno {errno}"))
    }
}

fn demux(cqe: Cqe) -> CallResult<usize> {
    Error::demux(cqe.result as usize).map_err(|error| error.errno)
}
