//! A thread of a client process: its buffers, its faults, its requests.
//!
//! Does not own: which calls there are ([`crate::calls`]), mappings ([`crate::mapping`]). Each thread
//! runs on a CPU of its own.

use crate::WOKEN;
use crate::machine::{Machine, Waiter, copy_unit};
use crate::memory::PAGE;
use pager_abi::Tag;
use pager_abi::fault::{Access, regular_cqe};
use pager_core::{
    BounceDirection, BounceStep, Buffer, Fault, FaultOutcome, NewRequest, Origin, Rights, VirtPage, VspaceId, WaiterId,
    Wake,
};
use platform::sync::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use syscall::Error;
use syscall::error::EINTR;
use syscall::schemev2::{Cqe, Opcode, Sqe};

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
    pub(crate) machine: Arc<Machine>,
    pub(crate) process: Arc<Process>,
    id: WaiterId,
    waiter: Arc<Waiter<Wake>>,
    pub(crate) cpu: usize,
    buffer: u64,
    retries: Mutex<Vec<u64>>,
    /// The request that it waits for.
    current: Mutex<Option<Tag>>,
}

pub(crate) struct Process {
    pub(crate) vspace: VspaceId,
    next_buffer: AtomicU64,
    pub(crate) next_mapping: AtomicU64,
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
        let (id, waiter, cpu) = machine.new_thread();
        Self {
            machine: machine.clone(),
            process,
            id,
            waiter,
            cpu,
            buffer,
            retries: Mutex::new(&WOKEN, Vec::new()),
            current: Mutex::new(&WOKEN, None),
        }
    }

    /// What the server sees as `Sqe::caller`.
    pub fn caller(&self) -> u64 {
        self.id.0
    }

    /// Byte offsets in its buffer at which the server has let go of the last request (RETRY).
    pub fn take_retries(&self) -> Vec<u64> {
        std::mem::take(&mut *self.retries.lock())
    }

    /// A signal: if the thread waits for the answer to a request with a buffer, it goes on with `EINTR`, and the
    /// server's answer will go nowhere. Whether it did. For another task to call.
    pub fn interrupt(&self) -> bool {
        let Some(tag) = *self.current.lock() else { return false };
        let waited = self.machine.change(|pager, _, revoked| {
            let waits = pager.request_buffer(tag).is_some_and(|(waiter, _)| waiter == self.id);
            if waits {
                pager.detach(tag, self.id, revoked);
            }
            waits
        });
        if waited {
            let result = Error::mux(Err(Error::new(EINTR))) as u64;
            self.waiter.give(Wake::Answer(regular_cqe(tag, result)));
        }
        waited
    }

    // --- faults and requests ------------------------------------------------------------------

    /// Has a page made accessible; returns when the access may be tried again.
    pub(crate) fn fault(&self, address: u64, access: Access, origin: Origin) -> CallResult<()> {
        let fault = Fault {
            vspace: self.process.vspace,
            page: VirtPage::containing(address),
            access,
            origin,
            waiter: self.id,
            credentials: 0,
            caller: self.id.0,
        };
        loop {
            let outcome = self.machine.change(|pager, memory, revoked| pager.fault(memory, &fault, revoked, 0));
            match outcome {
                FaultOutcome::Resume => return Ok(()),
                // What stood in the way was flushed on the way out of `change`.
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

    fn wait(&self) -> Wake {
        self.machine.wait(&self.waiter)
    }

    pub(crate) fn request(&self, opcode: Opcode, args: [u64; 6], buffer: Option<Buffer>) -> CallResult<Cqe> {
        self.retries.lock().clear();
        if let Some(buffer) = &buffer {
            self.prefault(buffer, 0)?;
        }
        let sqe = Sqe { opcode: opcode as u8, args, caller: self.id.0, ..Sqe::default() };
        let new = NewRequest { sqe, vspace: self.process.vspace, waiter: self.id, buffer };
        let tag = self
            .machine
            .change(|pager, _, _| pager.submit(self.machine.socket, &new, 0))
            .map_err(|error| error.errno())?;
        *self.current.lock() = Some(tag);
        let answer = self.answer(tag, buffer);
        *self.current.lock() = None;
        answer
    }

    fn answer(&self, tag: Tag, buffer: Option<Buffer>) -> CallResult<Cqe> {
        loop {
            match self.wait() {
                Wake::Answer(cqe) => return Ok(cqe),
                Wake::AnswerAndDrain(cqe) => {
                    let count = Error::demux(cqe.result as usize).unwrap_or(0) as u64;
                    self.bounce(tag, BounceDirection::Drain, count)?;
                    let drained = self.machine.change(|pager, _, revoked| pager.drained(tag, revoked));
                    drained.unwrap_or_else(|error| panic!("drained: {error:?}"));
                    return Ok(cqe);
                }
                Wake::Prefault { offset } => {
                    self.retries.lock().push(offset);
                    if let Some(buffer) = &buffer {
                        self.prefault(buffer, offset)?;
                    }
                    self.requeue(tag);
                }
                Wake::Bounce { offset } => {
                    self.retries.lock().push(offset);
                    let begun =
                        self.machine.change(|pager, memory, revoked| pager.begin_bounce(memory, tag, offset, revoked));
                    begun.unwrap_or_else(|error| panic!("bounce: {error:?}"));
                    self.bounce(tag, BounceDirection::Fill, u64::MAX)?;
                    self.requeue(tag);
                }
                other => panic!("a request was answered by {other:?}"),
            }
        }
    }

    fn requeue(&self, tag: Tag) {
        self.machine.change(|pager, _, _| pager.requeue(tag, 0)).unwrap_or_else(|error| panic!("requeue: {error:?}"));
    }

    /// Faults the buffer in from `offset` on, as far as the kernel does.
    fn prefault(&self, buffer: &Buffer, offset: u64) -> CallResult<()> {
        let access = if buffer.rights.write { Access::Write } else { Access::Read };
        let mut from = buffer.address + offset;
        loop {
            let missing = {
                let state = self.machine.lock();
                let memory = self.machine.memory();
                state.pager.first_missing(&*memory, self.process.vspace, buffer, from)
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
                let memory = self.machine.memory();
                let step = state.pager.bounce_step(&*memory, tag, direction, offset, limit);
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

    pub(crate) fn empty_buffer(&self, len: usize) -> Buffer {
        assert!(len as u64 <= BUFFER_STRIDE, "a buffer of {len} bytes");
        let mut memory = self.machine.memory();
        for page in 0..len.div_ceil(PAGE) as u64 {
            let page = VirtPage::containing(self.buffer).forward(page);
            memory.map_anonymous(self.process.vspace, page);
        }
        Buffer { address: self.buffer, length: len as u64, rights: Rights::READ_WRITE }
    }

    pub(crate) fn fill_buffer(&self, bytes: &[u8]) -> Buffer {
        let buffer = self.empty_buffer(bytes.len());
        self.store(self.buffer, bytes).unwrap_or_else(|errno| panic!("anonymous memory: errno {errno}"));
        Buffer { rights: Rights::READ, ..buffer }
    }

    pub(crate) fn take_buffer(&self, len: usize) -> Vec<u8> {
        self.load(self.buffer, len).unwrap_or_else(|errno| panic!("anonymous memory: errno {errno}"))
    }
}

/// The number in an answer, or its errno.
pub(crate) fn demux(cqe: Cqe) -> CallResult<usize> {
    Error::demux(cqe.result as usize).map_err(|error| error.errno)
}
