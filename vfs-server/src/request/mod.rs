//! Requests: from the message to the operation and back to one answer.
//!
//! Owns: the one-shot request object, the decoding of Redox's `Sqe` layouts, the dispatch, RETRY and
//! the wait for memory, the form of the answers. Does not own: what the operations do.
//!
//! | module | operations |
//! |---|---|
//! | `open` | OpenAt, Dup, Close |
//! | `names` | unlink, rename, link |
//! | `data` | Read, Write, Ftruncate, Fsync and its kind |
//! | `attributes` | Fstat, Fchmod, Fchown, Futimens, Fstatvfs, Fpath, Getdents, Fcntl |
//! | `verbs` | the CALL verbs of `pager-abi` |
//! | `progress` | what a request that must be sent again has already done |
//!
//! A client's buffer is never mapped here: bytes are copied by the request's tag, and a page that is
//! not resident makes the operation drop every lock and answer RETRY. The same `Sqe` then arrives
//! again under the same tag, with everything that was done before remembered by [`progress`].

mod attributes;
mod data;
mod names;
mod open;
mod progress;
mod verbs;

pub(crate) use progress::{Progress, ProgressTable};

use crate::error::{Error, Result};
use crate::fs::{Credentials, Timestamp};
use crate::server::Server;
use alloc::vec;
use alloc::vec::Vec;
use pager_abi::fault::{ProvideMmap, RequestMmap, regular_cqe, retry_cqe};
use pager_abi::grant::{MUNMAP_COUNTED, MaxProtection, lazy_extra};
use pager_abi::socket::NO_WAIT;
use pager_abi::{COPY_ATOMIC, Cookie, Tag};
use platform::client;
use platform::host::CopyError;
use platform::tell;
use platform::thread::{now_ns, realtime_ns};
use platform::waits::{self, Doing};
use syscall::flag::MapFlags;
use syscall::schemev2::{Cqe, NewFdFlags, Opcode, Sqe, SqeFlags};

/// A message that waits for its answer. Dropping it unanswered is an error of the server.
pub(crate) struct Request {
    sqe: Sqe,
    answered: bool,
}

/// What a request is answered with.
#[derive(Debug)]
pub(crate) enum Reply {
    /// A count, or 0.
    Count(u64),
    /// A new open file.
    Opened(u64),
    /// A grant of a mapping object.
    Granted(Cookie, MaxProtection),
    /// Pages for a fault.
    Provide(ProvideMmap),
    /// Nothing is answered: the message was one-way.
    Nothing,
}

/// Whether the answer may leave at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    AtOnce,
    /// The request dirtied memory: its answer waits while too much is dirty.
    Throttled,
    /// The host ends the process when it hears of the unmount: the answer leaves before that.
    BeforeTheEnd,
}

/// What an operation needs to know of its request.
pub(crate) struct Call {
    /// The client's buffer.
    pub request: client::Request,
    /// The arguments of the `Sqe`.
    pub args: [u64; 6],
    /// Who asks; for CALL, whose arguments leave no room for it, nobody.
    pub who: Credentials,
}

impl Request {
    pub(crate) fn new(sqe: Sqe) -> Self {
        Self { sqe, answered: false }
    }

    fn is_one_way(&self) -> bool {
        self.sqe.sqe_flags.contains(SqeFlags::ONEWAY) || matches!(self.opcode(), Some(Opcode::CloseMsg))
    }

    fn opcode(&self) -> Option<Opcode> {
        Opcode::try_from_raw(self.sqe.opcode)
    }

    fn tag(&self) -> Tag {
        Tag(self.sqe.tag)
    }

    /// Ends the request with its answer, if it is one that has an answer.
    fn answer(mut self, outcome: Result<Reply>) -> Option<Cqe> {
        self.answered = true;
        if self.is_one_way() {
            return None;
        }
        let tag = self.tag();
        let mut cqe = match &outcome {
            Ok(Reply::Count(count)) => regular_cqe(tag, *count),
            Ok(Reply::Nothing) => regular_cqe(tag, 0),
            Ok(Reply::Opened(id)) => regular_cqe(tag, *id),
            Ok(Reply::Granted(cookie, _)) => regular_cqe(tag, cookie.0),
            Ok(Reply::Provide(provide)) => provide.to_cqe(),
            Err(Error::Retry(offset)) => retry_cqe(tag, *offset as u64),
            Err(error) => errno_cqe(tag, error.errno()),
        };
        match &outcome {
            Ok(Reply::Opened(_)) => cqe.extra_raw[0] = NewFdFlags::POSITIONED.bits(),
            Ok(Reply::Granted(_, max)) => cqe.extra_raw[0] = lazy_extra(*max),
            _ => {}
        }
        Some(cqe)
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        debug_assert!(self.answered, "request {} was dropped without an answer", self.sqe.tag);
    }
}

fn errno_cqe(tag: Tag, errno: i32) -> Cqe {
    regular_cqe(tag, syscall::Error::mux(Err(syscall::Error::new(errno))) as u64)
}

impl Call {
    /// `len` bytes of the client's buffer from its start on.
    pub(crate) fn copy_in(&self, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.copy_in_at(0, &mut bytes)?;
        Ok(bytes)
    }

    /// Bytes of the client's buffer from `offset` on.
    pub(crate) fn copy_in_at(&self, offset: usize, to: &mut [u8]) -> Result<()> {
        for (index, piece) in to.chunks_mut(COPY_ATOMIC).enumerate() {
            let at = offset + index * COPY_ATOMIC;
            self.request.copy_in(at, piece).map_err(|error| buffer_error(error, at))?;
        }
        Ok(())
    }

    /// Fills the client's buffer from its start on.
    pub(crate) fn copy_out(&self, from: &[u8]) -> Result<()> {
        for (index, piece) in from.chunks(COPY_ATOMIC).enumerate() {
            let at = index * COPY_ATOMIC;
            self.request.copy_out(at, piece).map_err(|error| buffer_error(error, at))?;
        }
        Ok(())
    }
}

/// The error of a copy that began at `at` in the buffer.
pub(crate) fn buffer_error(error: CopyError, at: usize) -> Error {
    match error {
        CopyError::NotResident { copied } => Error::Retry(at + copied),
        other => other.into(),
    }
}

/// The time of day.
pub(crate) fn now() -> Timestamp {
    let ns = realtime_ns();
    Timestamp { seconds: (ns / 1_000_000_000) as i64, nanoseconds: (ns % 1_000_000_000) as u32 }
}

impl Server {
    /// Does what a message asks for; the answer, unless there is none or it leaves later.
    pub(crate) fn handle(&self, sqe: Sqe) -> Option<Cqe> {
        let request = Request::new(sqe);
        self.counters.requests.inc();
        let mut pace = Pace::AtOnce;
        let mut outcome = self.with_memory(|| self.dispatch(&request, &mut pace));
        match &outcome {
            Err(Error::Retry(offset)) => {
                tell!("has let go of everything: byte {offset} of the client's buffer is not resident");
                self.counters.retries.inc();
            }
            Err(error) => {
                if let Error::Corrupt(what) = error {
                    log::error!("corrupt: {what}");
                }
                let done = self.progress.forget(&request.sqe).done;
                if done > 0 {
                    outcome = Ok(Reply::Count(done as u64));
                }
            }
            Ok(_) => {}
        }
        let answer = request.answer(outcome)?;
        self.reap_inodes();
        match pace {
            Pace::AtOnce => Some(answer),
            Pace::Throttled => self.pace_writer(answer),
            Pace::BeforeTheEnd => {
                client::receive(NO_WAIT, &[answer]);
                self.announce_unmounted();
                None
            }
        }
    }

    /// Runs an operation again, after a wait without locks, as long as it finds no free folio.
    fn with_memory(&self, mut operation: impl FnMut() -> Result<Reply>) -> Result<Reply> {
        let mut deadline = None;
        loop {
            match operation() {
                Err(Error::NoFolio) => {}
                outcome => return outcome,
            }
            self.counters.memory_waits.inc();
            let deadline = *deadline.get_or_insert_with(|| now_ns().saturating_add(self.config.memory_deadline_ns));
            if !self.page_cache.wait_for_room(deadline) && now_ns() >= deadline {
                return Err(Error::NoMemory);
            }
        }
    }

    fn dispatch(&self, request: &Request, pace: &mut Pace) -> Result<Reply> {
        let Some(opcode) = request.opcode() else { return Err(Error::NoSuchCall) };
        let args = request.sqe.args;
        // Close and Munmap release what others wait for; they work on a dead file system too.
        match opcode {
            Opcode::Close | Opcode::CloseMsg => return self.close(args[0]),
            Opcode::Munmap => return self.munmap(args),
            // The kernel detaches the client by itself: copies of the tag end with `Cancelled`.
            Opcode::Cancel | Opcode::Detach => return Ok(Reply::Nothing),
            Opcode::Call if verbs::is_unmount(args) => {
                *pace = Pace::BeforeTheEnd;
                return self.request_unmount(args[0]);
            }
            _ => {}
        }
        let mounted = self.mounted.read();
        if !*mounted {
            return Err(Error::Io(platform::block::IoError::Gone));
        }
        let [.., ids] = args;
        let who = Credentials { uid: ids as u32, gid: (ids >> 32) as u32, now: Timestamp::default() };
        let mut call = Call { request: client::Request(request.tag()), args, who };
        let Sqe { tag, caller, .. } = request.sqe;
        waits::set_doing(Some(Doing { what: name(opcode), inode: 0, tag, caller }));
        match opcode {
            Opcode::Read => self.request_read(&call, &request.sqe),
            Opcode::Write => {
                *pace = Pace::Throttled;
                self.request_write(&call, &request.sqe)
            }
            Opcode::RequestMmap => {
                let fault = RequestMmap::from_sqe(&request.sqe).ok_or(Error::Invalid("fault"))?;
                self.request_fault(&fault, pace)
            }
            Opcode::MmapPrep => {
                let handle = self.files.get(args[0])?;
                let flags = MapFlags::from_bits_retain(args[2] as usize);
                self.mmap_prep(handle.file()?, flags).map(|(cookie, max)| Reply::Granted(cookie, max))
            }
            Opcode::OpenAt => self.open_at(&with_time(call)),
            Opcode::Dup => self.dup(&call),
            Opcode::UnlinkAt => self.unlink_at(&with_time(call)),
            Opcode::Frename => self.frename(&with_time(call)),
            Opcode::Flink => self.flink(&with_time(call)),
            Opcode::Fsize => self.fsize(&call),
            Opcode::Fstat => self.fstat(&call),
            Opcode::Fchown => self.fchown(&call, args[1] as u32, args[2] as u32),
            Opcode::Fcntl => self.fcntl(&call),
            Opcode::Fpath => self.fpath(&call),
            Opcode::Fsync => self.request_fsync(&call),
            Opcode::StdFsCall => {
                call.who = Credentials::default();
                self.std_fs_call(&call)
            }
            Opcode::Call => {
                call.who = Credentials::default();
                self.verb(&call)
            }
            _ => Err(Error::NoSuchCall),
        }
    }

    fn request_fault(&self, fault: &RequestMmap, pace: &mut Pace) -> Result<Reply> {
        match self.fault(fault) {
            Ok(provide) => {
                self.counters.pages_provided.add(u64::from(provide.count));
                if provide.writable {
                    *pace = Pace::Throttled;
                }
                Ok(Reply::Provide(provide))
            }
            Err(error) => {
                if error != Error::NoFolio {
                    self.counters.failed_faults.inc();
                }
                Err(error)
            }
        }
    }

    fn munmap(&self, args: [u64; 6]) -> Result<Reply> {
        if args[2] & MUNMAP_COUNTED == 0 {
            return Err(Error::NoSuchCall);
        }
        self.mappings.give_back(Cookie(args[0]), args[1]);
        Ok(Reply::Nothing)
    }
}

fn with_time(mut call: Call) -> Call {
    call.who.now = now();
    call
}

fn name(opcode: Opcode) -> &'static str {
    match opcode {
        Opcode::Read => "read",
        Opcode::Write => "write",
        Opcode::RequestMmap => "fault",
        Opcode::MmapPrep => "mmap",
        Opcode::OpenAt => "open",
        Opcode::UnlinkAt => "unlink",
        Opcode::Frename => "rename",
        Opcode::Flink => "link",
        Opcode::Fstat => "stat",
        Opcode::Fsync => "fsync",
        Opcode::StdFsCall => "a file call",
        Opcode::Call => "a verb",
        _ => "a request",
    }
}
