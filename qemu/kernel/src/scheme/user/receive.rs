//! The server's side: messages out, answers in, and the hand-over between the two.

use super::call::demux;
use super::{Serving, Socket};
use crate::arch::clock;
use crate::arch::cpu::Cpu;
use crate::context::{Context, FaultOrigin, Incoming, State, Wait};
use crate::kernel::Kernel;
use crate::syscall::{Outcome, Stop};
use crate::vspace::user::UserSlice;
use kernel_logic::arena::Id;
use pager_abi::Tag;
use pager_abi::fault::Access;
use pager_abi::socket::{NO_WAIT, QUEUE_FAULT, QUEUE_ORDINARY};
use pager_core::{Event, PagerError, Revoked, VspaceId, Wake};
use syscall::error::{EBADF, EFAULT, EINVAL, Error};
use syscall::schemev2::{Cqe, Opcode, Sqe, SqeFlags};

/// Bytes of a message.
pub const SQE_BYTES: usize = size_of::<Sqe>();

/// Bytes of an answer.
pub const CQE_BYTES: usize = size_of::<Cqe>();

/// READ of the socket: waits for one message.
pub fn receive_by_read(k: &mut Kernel, cpu: &Cpu, id: Id<Context>, socket: Id<Socket>, buffer: UserSlice) -> Outcome {
    k.receive(cpu, id, socket, QUEUE_FAULT | QUEUE_ORDINARY, buffer)
}

/// WRITE of the socket: takes answers.
pub fn answer_by_write(k: &mut Kernel, cpu: &Cpu, id: Id<Context>, socket: Id<Socket>, buffer: UserSlice) -> Outcome {
    if buffer.len == 0 || !buffer.len.is_multiple_of(CQE_BYTES) {
        return Err(Error::new(EINVAL).into());
    }
    k.prefault(cpu, id, buffer, Access::Read)?;
    let mut done = 0;
    while done < buffer.len {
        let cqe = match k.read_cqe(cpu, id, buffer.address + done) {
            Ok(cqe) => cqe,
            Err(_) if done > 0 => break,
            Err(stop) => return Err(stop),
        };
        match k.answer(cpu, id, socket, &cqe) {
            Ok(()) => done += CQE_BYTES,
            Err(error) if done == 0 => return Err(error.into()),
            Err(_) => break,
        }
    }
    Ok(done)
}

impl Kernel {
    /// Gives context `id` a message of the queues in `mask`, now or later.
    #[inline(always)]
    pub fn receive(&mut self, cpu: &Cpu, id: Id<Context>, socket: Id<Socket>, mask: u64, buffer: UserSlice) -> Outcome {
        if buffer.len < SQE_BYTES {
            return Err(Error::new(EINVAL).into());
        }
        let buffer = buffer.first(SQE_BYTES);
        self.prefault(cpu, id, buffer, Access::Write)?;
        if let Some(sqe) = self.next_message(id, socket, mask) {
            self.write_user(cpu, id, buffer, &sqe)?;
            return Ok(SQE_BYTES);
        }
        if mask & NO_WAIT != 0 {
            return Ok(0);
        }
        let record = &mut self.sockets[socket];
        if record.state == Serving::Dead {
            return Err(Error::new(EBADF).into());
        }
        record.refs += 1;
        record.receivers.push(&mut self.contexts, id, mask);
        self.contexts[id].state = State::Waiting(Wait::Receive { socket, mask, buffer: buffer.address });
        Err(Stop::Wait)
    }

    /// The next message of the queues in `mask`, as `receiver` sees it.
    #[inline(always)]
    fn next_message(&mut self, receiver: Id<Context>, id: Id<Socket>, mask: u64) -> Option<Sqe> {
        let socket = &self.sockets[id];
        if !self.pager.deliverable(socket.pager, mask) {
            return None;
        }
        let portable = socket.state == Serving::Portable;
        let mut sqe = self.pager.receive(socket.pager, mask, u64::from(receiver.raw()), clock::coarse_ns())?;
        if portable {
            self.lend(receiver, id, &mut sqe);
        }
        crate::trace::received(receiver, &sqe);
        Some(sqe)
    }

    /// Something may have become deliverable: receivers that wait for it get it, the first one next on this CPU.
    #[inline]
    pub fn kick(&mut self, cpu: &Cpu, id: Id<Socket>) {
        if self.pager.deliverable(self.sockets[id].pager, QUEUE_FAULT | QUEUE_ORDINARY) {
            self.give_queued(cpu, id);
        }
    }

    fn give_queued(&mut self, cpu: &Cpu, id: Id<Socket>) {
        for queue in [QUEUE_FAULT, QUEUE_ORDINARY] {
            while let Some(receiver) = self.sockets[id].receivers.first(queue) {
                let Some(sqe) = self.next_message(receiver, id, queue) else { break };
                self.give(cpu, id, receiver, &sqe);
            }
        }
    }

    /// A waiting receiver gets its message, and runs next on this CPU.
    #[inline(always)]
    pub fn give(&mut self, cpu: &Cpu, id: Id<Socket>, receiver: Id<Context>, sqe: &Sqe) {
        let context = &mut self.contexts[receiver];
        let State::Waiting(Wait::Receive { buffer, mask, .. }) = context.state else {
            unreachable!("a receiver waits for a message")
        };
        context.incoming = Some(Incoming { sqe: *sqe, buffer });
        context.set_result(Ok(SQE_BYTES));
        let socket = &mut self.sockets[id];
        socket.receivers.remove(&mut self.contexts, receiver, mask);
        // Clients and the server's own descriptor hold it too.
        socket.refs -= 1;
        self.hand_over(cpu, receiver);
    }

    /// One answer from the program.
    pub fn read_cqe(&mut self, cpu: &Cpu, id: Id<Context>, address: usize) -> Result<Cqe, Stop> {
        let mut cqe = Cqe::default();
        self.read_user(cpu, id, UserSlice::new(address, CQE_BYTES)?, &mut cqe)?;
        Ok(cqe)
    }

    /// Takes one answer of the server's thread `id`, and lets go on who waited for it.
    #[inline]
    pub fn answer(&mut self, cpu: &Cpu, id: Id<Context>, socket: Id<Socket>, cqe: &Cqe) -> Result<(), Error> {
        crate::trace::answered(id, cqe);
        if let Some(answered) = self.pager.answer_request(self.sockets[socket].pager, cqe) {
            let waiter = Id::from_raw(answered.waiter.0 as u32);
            let request = self.contexts[waiter].request.take().expect("who waits for an answer has a request");
            self.complete(cpu, waiter, request, cqe);
            if answered.place {
                self.kick(cpu, socket);
            }
            return Ok(());
        }
        self.answer_otherwise(cpu, id, socket, cqe)
    }

    /// An answer that is more than the end of a request.
    fn answer_otherwise(&mut self, cpu: &Cpu, id: Id<Context>, socket: Id<Socket>, cqe: &Cqe) -> Result<(), Error> {
        let server = self.contexts[id].vspace.ok_or(Error::new(EFAULT))?;
        let pager = self.sockets[socket].pager;
        let mut revoked = Revoked::new();
        let now = clock::coarse_ns();
        let (core, mut machine) = self.pager_and_machine_to_give();
        let answered = core.answer(&mut machine, pager, VspaceId(server.raw()), cqe, &mut revoked, now);
        if !revoked.is_empty() {
            self.flush_revoked(&mut revoked);
        }
        self.drain_events(cpu);
        // A place under a client's cap may be free now.
        self.kick(cpu, socket);
        answered.map_err(|error: PagerError| Error::new(error.errno()))
    }

    /// Lets contexts go on as the pager says.
    #[inline]
    pub fn drain_events(&mut self, cpu: &Cpu) {
        while let Some(event) = self.pager.next_event() {
            match event {
                Event::Wake { waiter, why } => self.wake(cpu, Id::from_raw(waiter.0 as u32), why),
                Event::Orphan { socket, sqe, cqe } => {
                    // A server that is gone has nothing to close.
                    if let Some(socket) = self.socket_of(socket) {
                        self.orphan(cpu, socket, &sqe, &cqe);
                    }
                }
            }
        }
    }

    #[inline]
    fn wake(&mut self, cpu: &Cpu, id: Id<Context>, why: Wake) {
        let context = &mut self.contexts[id];
        match (&context.state, why) {
            (State::Waiting(Wait::Answer), why) => {
                let request = context.request.take().expect("who waits for an answer has a request");
                match why {
                    Wake::Answer(cqe) => self.complete(cpu, id, request, &cqe),
                    why => self.retry_request(cpu, id, request, why),
                }
            }
            (&State::Waiting(Wait::Page { origin, .. }), Wake::FaultSettled) => self.page_came(cpu, id, origin),
            (&State::Waiting(Wait::Page { origin, .. }), Wake::FaultFailed(errno)) => {
                self.page_failed(cpu, id, origin, errno)
            }
            (state, why) => unreachable!("{id:?} is {state:?}, but was woken by {why:?}"),
        }
    }

    fn page_came(&mut self, cpu: &Cpu, id: Id<Context>, origin: FaultOrigin) {
        match origin {
            FaultOrigin::Instruction { .. } => {}
            FaultOrigin::SystemCall => self.contexts[id].restart_call(),
            FaultOrigin::Retry => return self.go_on_with_retry(cpu, id),
        }
        self.hand_over(cpu, id);
    }

    fn page_failed(&mut self, cpu: &Cpu, id: Id<Context>, origin: FaultOrigin, errno: i32) {
        match origin {
            FaultOrigin::Instruction { address, access } => {
                // In no queue yet; ending it takes it from one.
                self.hand_over(cpu, id);
                self.end_by_fault(cpu, id, errno, address, access);
            }
            FaultOrigin::SystemCall => {
                self.contexts[id].set_result(Err(Error::new(EFAULT)));
                self.hand_over(cpu, id);
            }
            FaultOrigin::Retry => self.give_up_retry(cpu, id),
        }
    }

    /// A request whose client had gone was answered: what the answer opened is closed again.
    fn orphan(&mut self, cpu: &Cpu, socket: Id<Socket>, sqe: &Sqe, cqe: &Cqe) {
        self.take_back_lent(socket, Tag(cqe.tag));
        let opened = matches!(Opcode::try_from_raw(sqe.opcode), Some(Opcode::OpenAt | Opcode::Dup));
        if let (true, Ok(number)) = (opened, demux(cqe.result)) {
            let close = Sqe {
                opcode: Opcode::CloseMsg as u8,
                sqe_flags: SqeFlags::ONEWAY,
                args: [number as u64, 0, 0, 0, 0, 0],
                ..Sqe::default()
            };
            self.notify_server(cpu, socket, close);
        }
    }
}
