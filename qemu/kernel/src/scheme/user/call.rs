//! A client's system call as a message, and what its answer means.

use super::{Serving, Socket, lend, position};
use crate::arch::clock;
use crate::arch::cpu::Cpu;
use crate::context::{Context, State, Wait};
use crate::file::{Description, File, Position};
use crate::kernel::Kernel;
use crate::syscall::{Outcome, Stop};
use crate::vspace::user::UserSlice;
use crate::vspace::{SchemeMapping, Vspace};
use alloc::boxed::Box;
use kernel_logic::arena::Id;
use pager_abi::fault::Access;
use pager_abi::grant::lazy_protection;
use pager_abi::socket::QUEUE_ORDINARY;
use pager_abi::{PREFAULT_MAX, Tag};
use pager_core::{Buffer, NewRequest, Submitted, VspaceId, WaiterId};
use syscall::data::Map;
use syscall::error::{EFAULT, EINVAL, EIO, ENODEV, Error, Result};
use syscall::flag::{MapFlags, O_APPEND};
use syscall::schemev2::{Cqe, CqeOpcode, NewFdFlags, Opcode, Sqe};

/// A message to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    socket: Id<Socket>,
    file: Option<Id<Description>>,
    /// The client is filled in when it is sent.
    request: NewRequest,
}

/// What the answer means to the system call.
#[derive(Clone, Debug)]
pub enum Then {
    /// It is the result.
    Result,
    /// It is the result, and the position moves by it.
    Advance,
    /// It is the file's size, which is the position: the call is made again.
    Locate,
    /// It is the file's size: the position becomes that and `by` more.
    Seek {
        /// Bytes.
        by: isize,
    },
    /// It is the server's number for a new file.
    Open {
        /// The descriptor that it gets.
        out: usize,
        /// `O_` flags.
        flags: usize,
    },
    /// It is what is mapped.
    Map(Box<Mapping>),
}

/// A mapping that is being made.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// Where; held.
    pub vspace: Id<Vspace>,
    /// What was asked for.
    pub map: Map,
}

/// A message that was sent and whose answer a context waits for.
#[derive(Debug)]
pub struct Request {
    /// To whom.
    pub socket: Id<Socket>,
    /// Its name.
    pub tag: Tag,
    /// What it was.
    pub opcode: u8,
    /// The open file, held; without one the socket is held.
    pub file: Option<Id<Description>>,
    /// What the answer means.
    pub then: Then,
}

impl Message {
    /// About the file that the server knows by `number`.
    #[inline]
    pub fn new(opcode: Opcode, socket: Id<Socket>, number: u64, file: Id<Description>) -> Self {
        let mut message = Self::without_file(opcode, socket, [number, 0, 0, 0, 0, 0]);
        message.file = Some(file);
        message
    }

    /// Not about an open file.
    #[inline]
    pub fn without_file(opcode: Opcode, socket: Id<Socket>, args: [u64; 6]) -> Self {
        let sqe = Sqe { opcode: opcode as u8, args, ..Sqe::default() };
        let request = NewRequest { sqe, vspace: VspaceId(0), waiter: WaiterId(0), buffer: None };
        Self { socket, file: None, request }
    }

    /// Sets an argument.
    #[inline]
    pub fn with(mut self, index: usize, value: u64) -> Self {
        self.request.sqe.args[index] = value;
        self
    }

    /// With a buffer that the server may fill.
    #[inline]
    pub fn filled(self, slice: UserSlice) -> Self {
        self.buffered(slice, false, true)
    }

    /// With a buffer that the server may read.
    #[inline]
    pub fn emptied(self, slice: UserSlice) -> Self {
        self.buffered(slice, true, false)
    }

    /// With a buffer: arguments 1 and 2.
    #[inline]
    pub fn buffered(mut self, slice: UserSlice, read: bool, write: bool) -> Self {
        self.request.sqe.args[1] = slice.address as u64;
        self.request.sqe.args[2] = slice.len as u64;
        let rights = pager_core::Rights { read, write, execute: false };
        self.request.buffer = Some(Buffer { address: slice.address as u64, length: slice.len as u64, rights });
        self
    }

    /// Its arguments are all the caller's own, and leave no room for credentials.
    fn is_call(&self) -> bool {
        self.request.sqe.opcode == Opcode::Call as u8 || self.request.sqe.opcode == Opcode::StdFsCall as u8
    }

    /// It is a write that goes to the end of the file.
    pub fn is_append(&self, flags: usize) -> bool {
        self.request.sqe.opcode == Opcode::Write as u8 && flags & O_APPEND != 0
    }
}

/// The access that a server's use of a buffer is.
pub fn buffer_access(buffer: &Buffer) -> Access {
    if buffer.rights.write { Access::Write } else { Access::Read }
}

/// An answer's result: `-errno` or a value.
#[inline]
pub fn demux(result: u64) -> Result<usize> {
    const LOWEST: i64 = -4095;
    match result as i64 {
        negative @ LOWEST..=-1 => Err(Error::new(-negative as i32)),
        _ => Ok(result as usize),
    }
}

impl Kernel {
    /// Sends `message` for context `id`, which waits for the answer. A buffer is faulted in before, as the
    /// caller. A receiver that waits gets the message at once and runs next.
    #[inline]
    pub fn call_server(&mut self, cpu: &Cpu, id: Id<Context>, mut message: Message, then: Then) -> Outcome {
        let (tag, receiver) = match self.send(cpu, id, &mut message) {
            Ok(sent) => sent,
            Err(stop) => {
                self.drop_then(cpu, then);
                return Err(stop);
            }
        };
        match message.file {
            Some(file) => self.retain_description(file),
            None => self.sockets[message.socket].refs += 1,
        }
        let context = &mut self.contexts[id];
        context.state = State::Waiting(Wait::Answer);
        let Message { socket, file, .. } = message;
        context.request = Some(Request { socket, tag, opcode: message.request.sqe.opcode, file, then });
        match receiver {
            Some(receiver) => {
                message.request.sqe.tag = tag.0;
                self.give(cpu, socket, receiver, &message.request.sqe);
            }
            None => self.kick(cpu, socket),
        }
        Err(Stop::Wait)
    }

    /// The message's name, and the receiver that it is given to if it needs no queue.
    #[inline(always)]
    fn send(
        &mut self,
        cpu: &Cpu,
        id: Id<Context>,
        message: &mut Message,
    ) -> core::result::Result<(Tag, Option<Id<Context>>), Stop> {
        let socket = &self.sockets[message.socket];
        let (pager, serving) = (socket.pager, socket.state);
        // Buffers are lent when a message is taken from its queue.
        let direct = serving == Serving::Paging || message.request.buffer.is_none();
        let context = &self.contexts[id];
        let vspace = context.vspace.ok_or(Error::new(EFAULT))?;
        if !message.is_call() {
            message.request.sqe.args[5] = context.credentials;
        }
        match serving {
            Serving::Dead => return Err(Error::new(ENODEV).into()),
            Serving::Paging => {}
            Serving::Portable => lend::cut(&mut message.request),
        }
        if let Some(buffer) = &message.request.buffer {
            let most = if serving == Serving::Paging { PREFAULT_MAX } else { usize::MAX };
            let slice = UserSlice::new(buffer.address as usize, buffer.length as usize)?.first(most);
            self.prefault(cpu, id, slice, buffer_access(buffer))?;
        }
        let receiver = self.sockets[message.socket].receivers.first(QUEUE_ORDINARY).filter(|_| direct);
        message.request.vspace = VspaceId(vspace.raw());
        message.request.waiter = WaiterId(u64::from(id.raw()));
        let to = receiver.map(|receiver| u64::from(receiver.raw()));
        match self.pager.submit_to(pager, &message.request, to, clock::coarse_ns()) {
            Ok(Submitted { tag, delivered }) => Ok((tag, receiver.filter(|_| delivered))),
            Err(error) => Err(Error::new(error.errno()).into()),
        }
    }

    /// The answer to context `id`'s request is here.
    #[inline(always)]
    pub fn complete(&mut self, cpu: &Cpu, id: Id<Context>, request: Request, cqe: &Cqe) {
        if !self.sockets[request.socket].lent.is_empty() {
            self.take_back_lent(request.socket, Tag(cqe.tag));
        }
        // The common case: the answer is the result as it is.
        if let (Then::Result, Some(file), 0) = (&request.then, request.file, cqe.flags) {
            self.release_description(cpu, file);
            let context = &mut self.contexts[id];
            context.registers.get_mut().rax = cqe.result as usize;
            context.prefaulted = 0;
            return self.hand_over(cpu, id);
        }
        let known = matches!(CqeOpcode::try_from_raw(cqe.flags & 0b111), Some(CqeOpcode::RespondRegular));
        let answer = if known { demux(cqe.result) } else { Err(Error::new(EIO)) };
        let result = match answer {
            Ok(value) => self.go_on(cpu, id, &request, value, cqe),
            Err(error) => Err(error),
        };
        self.end_request(cpu, request);
        match result {
            Ok(Some(value)) => self.contexts[id].set_result(Ok(value)),
            Ok(None) => self.contexts[id].restart_call(),
            Err(error) => self.contexts[id].set_result(Err(error)),
        }
        self.hand_over(cpu, id);
    }

    /// What a successful answer means; `None`: the call is made again.
    #[inline(always)]
    fn go_on(
        &mut self,
        cpu: &Cpu,
        id: Id<Context>,
        request: &Request,
        value: usize,
        cqe: &Cqe,
    ) -> Result<Option<usize>> {
        match &request.then {
            Then::Result => {}
            Then::Advance => {
                let file = &mut self.descriptions[request.file.ok_or(Error::new(EIO))?];
                file.position = match file.position {
                    _ if request.opcode == Opcode::Write as u8 && file.flags & O_APPEND != 0 => Position::End,
                    Position::At(offset) => Position::At(offset.saturating_add(value as u64)),
                    other => other,
                };
            }
            Then::Locate => {
                self.descriptions[request.file.ok_or(Error::new(EIO))?].position = Position::At(value as u64);
                return Ok(None);
            }
            Then::Seek { by } => {
                return self.set_position(request.file.ok_or(Error::new(EIO))?, value as u64, *by).map(Some);
            }
            Then::Open { out, flags } => {
                let file = File::Remote { socket: request.socket, number: value as u64 };
                self.sockets[request.socket].refs += 1;
                let Some(extra) = NewFdFlags::from_bits(cqe.extra_raw[0]) else {
                    let unknown = self.new_description(cpu, file, *flags, Position::Unkept)?;
                    self.release_description(cpu, unknown);
                    return Err(Error::new(EINVAL));
                };
                return self.open_file(cpu, id, *out, file, *flags, position(extra, 0)).map(Some);
            }
            Then::Map(mapping) => return self.map_answer(cpu, request, mapping.vspace, &mapping.map, cqe).map(Some),
        }
        Ok(Some(value))
    }

    fn map_answer(&mut self, cpu: &Cpu, request: &Request, vspace: Id<Vspace>, map: &Map, cqe: &Cqe) -> Result<usize> {
        if let Some(maximum) = lazy_protection(cqe) {
            return self.pager_map(cpu, request.socket, vspace, map, pager_abi::Cookie(cqe.result), maximum);
        }
        let server = self.scheduler.running(cpu).and_then(|id| self.contexts[id].vspace).ok_or(Error::new(EIO))?;
        let number = match request.file.map(|file| &self.descriptions[file].file) {
            Some(File::Remote { number, .. }) => *number,
            _ => return Err(Error::new(EIO)),
        };
        let private = map.flags.contains(MapFlags::MAP_PRIVATE);
        let mapping = SchemeMapping { socket: request.socket, number, offset: map.offset as u64, private };
        let base = self.map_eager(cpu, vspace, map, server, cqe.result as usize, mapping)?;
        self.sockets[request.socket].refs += 1;
        Ok(base)
    }

    /// The context of `request` ends: the server goes on with it and is told.
    pub fn cancel_request(&mut self, cpu: &Cpu, id: Id<Context>, request: Request) {
        self.detach(cpu, id, request.tag);
        self.end_request(cpu, request);
    }

    /// Lets go of what a request held.
    #[inline(always)]
    pub fn end_request(&mut self, cpu: &Cpu, request: Request) {
        match request.file {
            Some(file) => self.release_description(cpu, file),
            None => self.release_socket(request.socket),
        }
        self.drop_then(cpu, request.then);
    }

    #[inline]
    fn drop_then(&mut self, cpu: &Cpu, then: Then) {
        if let Then::Map(mapping) = then {
            self.release_vspace(cpu, mapping.vspace);
        }
    }
}
