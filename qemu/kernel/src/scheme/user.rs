//! Schemes of servers: messages from clients, answers back.
//!
//! Owns: the socket's receivers, what an answer means to the system call that waits for it
//! ([`Then`]), and the direct way from sender to receiver. Does not own: tags, queues, caps, file
//! mappings and what is in flight: `pager-core` does. Buffers are lent to a server that does not
//! page (Redox's way, [`lend`]) and copied by tag for one that does ([`unlocked`]).
//!
//! | | decided by |
//! |---|---|
//! | answer against death of the client | the kernel lock: a detached request becomes an orphan in `pager-core` |
//! | answer against death of the server | the kernel lock: closing the socket fails every request first |
//! | two receivers, one message | the kernel lock: a message is taken by whoever is handed it |
//! | close against a call in the file | the call holds the open file |

mod call;
mod fault_in;
mod lend;
mod receive;
mod receivers;
mod retry;
mod unlocked;
mod verbs;

pub use call::{Mapping, Message, Request, Then};
pub use receive::{answer_by_write, receive_by_read};
pub use retry::Retry;
pub use unlocked::{Unlocked, finish};
pub use verbs::socket_call;

use crate::arch::cpu::Cpu;
use crate::arch::{clock, heap};
use crate::context::Context;
use crate::file::{File, Position};
use crate::kernel::Kernel;
use crate::syscall::Outcome;
use crate::vspace::Rights;
use crate::vspace::map::Unmapped;
use alloc::vec::Vec;
use kernel_logic::arena::Id;
use lend::Lent;
use pager_core::{Progress, Revoked, SocketId};
use receivers::Receivers;
use syscall::error::{EBADF, EINVAL, ENOMEM, Error};
use syscall::flag::MunmapFlags;
use syscall::schemev2::{NewFdFlags, Opcode, Sqe, SqeFlags};

/// The most schemes.
pub const SOCKETS_MAX: usize = 256;

/// A scheme of a server.
pub struct Socket {
    /// Its queues.
    pub pager: SocketId,
    /// Whether it serves.
    pub state: Serving,
    /// Threads of the server that wait for a message.
    pub receivers: Receivers,
    /// Clients' buffers in the server's memory.
    lent: Vec<Lent>,
    /// Descriptors of both ends, mappings, calls and receivers.
    pub refs: u32,
}

/// How a server serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    /// As on Redox: buffers are lent, files are mapped at once.
    Portable,
    /// It has asked for the paging protocol's version: buffers are copied by tag, pages come by faults.
    Paging,
    /// Its last descriptor is closed.
    Dead,
}

/// `create-scheme`.
pub fn create(k: &mut Kernel, cpu: &Cpu, id: Id<Context>, out: usize) -> Outcome {
    if heap::is_short() {
        return Err(Error::new(ENOMEM).into());
    }
    let pager = k.pager.open_socket().map_err(|error| Error::new(error.errno()))?;
    let socket = Socket { pager, state: Serving::Portable, receivers: Receivers::new(), lent: Vec::new(), refs: 1 };
    let Some(socket) = k.sockets.insert(socket) else {
        k.close_in_pager(cpu, pager);
        return Err(Error::new(ENOMEM).into());
    };
    let number = pager.0 as usize;
    if k.socket_of.len() <= number {
        k.socket_of.resize(number + 1, None);
    }
    k.socket_of[number] = Some(socket);
    Ok(k.open_file(cpu, id, out, File::Socket(socket), 0, Position::Unkept)?)
}

/// `NewFdParams` = [offset, number, flags, internal flags]: a descriptor of the server's file `number`.
pub fn mint(
    k: &mut Kernel,
    cpu: &Cpu,
    id: Id<Context>,
    socket: Id<Socket>,
    [offset, number, flags, internal]: [usize; 4],
    out: usize,
) -> Outcome {
    let positioned = NewFdFlags::from_bits(internal as u8).ok_or(Error::new(EINVAL))?;
    if k.sockets[socket].state == Serving::Dead {
        return Err(Error::new(EBADF).into());
    }
    k.sockets[socket].refs += 1;
    let file = File::Remote { socket, number: number as u64 };
    Ok(k.open_file(cpu, id, out, file, flags, position(positioned, offset as u64))?)
}

fn position(flags: NewFdFlags, offset: u64) -> Position {
    if flags.contains(NewFdFlags::POSITIONED) { Position::At(offset) } else { Position::Unkept }
}

impl Kernel {
    /// The server's last descriptor is closed: every call fails, and its pages go.
    pub fn close_socket(&mut self, cpu: &Cpu, id: Id<Socket>) {
        let socket = &mut self.sockets[id];
        socket.state = Serving::Dead;
        let pager = socket.pager;
        self.socket_of[pager.0 as usize] = None;
        self.close_in_pager(cpu, pager);
        while let Some(receiver) = self.sockets[id].receivers.pop(&mut self.contexts) {
            self.contexts[receiver].set_result(Err(Error::new(EBADF)));
            self.make_ready(receiver);
            self.release_socket(id);
        }
        self.sockets[id].lent.clear();
        self.release_socket(id);
    }

    fn close_in_pager(&mut self, cpu: &Cpu, pager: SocketId) {
        let mut revoked = Revoked::new();
        loop {
            let (core, mut machine) = self.pager_and_machine();
            let closed = core.close_socket(&mut machine, pager, &mut revoked);
            self.flush_revoked(&mut revoked);
            if !matches!(closed, Ok(Progress::More)) {
                break;
            }
        }
        self.drain_events(cpu);
    }

    /// The socket that `pager-core` means, unless its server is gone.
    pub fn socket_of(&self, pager: SocketId) -> Option<Id<Socket>> {
        self.socket_of.get(pager.0 as usize).copied().flatten()
    }

    /// One holder less.
    pub fn release_socket(&mut self, id: Id<Socket>) {
        let socket = &mut self.sockets[id];
        socket.refs -= 1;
        if socket.refs == 0 {
            self.sockets.remove(id);
        }
    }

    /// A message without an answer.
    pub fn notify_server(&mut self, cpu: &Cpu, id: Id<Socket>, sqe: Sqe) {
        if self.sockets[id].state != Serving::Dead {
            // Without memory for it the server keeps a file open too long; nothing waits for it.
            let _ = self.pager.notify(self.sockets[id].pager, sqe, clock::coarse_ns());
            self.deliver_notices(cpu);
        }
    }

    /// Munmap = [number, length, flags, offset], for a mapping that ended without a call to wait in it.
    pub fn tell_unmapped(&mut self, cpu: &Cpu, unmapped: Unmapped) {
        let sqe = Sqe {
            opcode: Opcode::Munmap as u8,
            sqe_flags: SqeFlags::ONEWAY,
            args: munmap_arguments(&unmapped),
            ..Sqe::default()
        };
        self.notify_server(cpu, unmapped.mapping.socket, sqe);
        self.release_socket(unmapped.mapping.socket);
    }

    /// The same in a FUNMAP, which waits for the answer.
    pub fn wait_unmapped(&mut self, cpu: &Cpu, id: Id<Context>, unmapped: Unmapped) -> Outcome {
        let socket = unmapped.mapping.socket;
        let message = Message::without_file(Opcode::Munmap, socket, munmap_arguments(&unmapped));
        let outcome = self.call_server(cpu, id, message, Then::Result);
        self.release_socket(socket);
        outcome
    }
}

fn munmap_arguments(unmapped: &Unmapped) -> [u64; 6] {
    let dirty = !unmapped.mapping.private && unmapped.rights.contains(Rights::WRITE);
    let flags = if dirty { MunmapFlags::NEEDS_SYNC } else { MunmapFlags::empty() };
    [unmapped.mapping.number, unmapped.len as u64, flags.bits() as u64, unmapped.mapping.offset, 0, 0]
}
