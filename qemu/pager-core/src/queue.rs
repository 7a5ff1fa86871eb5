//! The two queues of a socket: who is delivered next.
//!
//! Owns: sockets, the client records (one per socket and address space) and the order of delivery.
//! Faults have a queue of their own and go first when a receiver takes both; within a queue clients
//! take turns, and a client at its cap waits without being looked at. Notices (one-way messages:
//! Cancel, the counted Munmap, Close) have no cap, because nothing is held for them on the server.

use crate::{
    Pager, PagerError, SocketId, VspaceId,
    message::{Body, State},
    object::ObjectIndex,
    slab::{Links, List, NONE},
};
use alloc::collections::BTreeMap;
use pager_abi::{
    Cookie, Tag,
    fault::Access,
    socket::{Counters, QUEUE_FAULT, QUEUE_ORDINARY},
};
use syscall::schemev2::{Opcode, Sqe, SqeFlags};

/// Index of a queue in the arrays below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    Fault = 0,
    Ordinary = 1,
}

pub(crate) struct Socket {
    pub(crate) alive: bool,
    /// Place among the sockets with new notices.
    noticed: Links,
    is_noticed: bool,
    /// [`Pager::close_socket`] is at work and needs the record.
    pub(crate) closing: bool,
    pub(crate) objects: BTreeMap<Cookie, ObjectIndex>,
    /// Clients that have something queued and are under their cap, in turn.
    ready: [List; 2],
    /// One-way messages and cancelled requests.
    pub(crate) notices: List,
    /// Objects with grants to give back.
    pub(crate) giving_back: List,
    /// Client records of this socket.
    pub(crate) clients: u32,
    pub(crate) counters: Counters,
}

pub(crate) struct Client {
    pub(crate) socket: SocketId,
    /// The address space is gone; the record goes with its last message.
    pub(crate) dead: bool,
    queued: [List; 2],
    pub(crate) delivered: [u16; 2],
    ready: [Links; 2],
    is_ready: [bool; 2],
    /// Messages that hold a tag.
    pub(crate) messages: u32,
    /// Of these, requests.
    pub(crate) requests: u32,
}

impl Socket {
    /// Counts what is delivered, if it is a fault.
    #[inline]
    fn count_fault(&mut self, body: &Body) {
        if let Body::Fault(fault) = body {
            match fault.access {
                Access::Write if fault.record.present => self.counters.mkwrite_faults += 1,
                Access::Write => self.counters.write_faults += 1,
                Access::Read | Access::Execute => self.counters.read_faults += 1,
            }
        }
    }
}

impl Client {
    /// Nothing of the client is queued before a new request, and it is under its cap.
    #[inline]
    pub(crate) fn may_have_request(&self, cap: u16) -> bool {
        let queue = Queue::Ordinary as usize;
        self.queued[queue].is_empty() && self.delivered[queue] < cap
    }

    /// A request that was counted did not come to be.
    pub(crate) fn request_refused(&mut self, delivered: bool) {
        self.requests -= 1;
        self.messages -= 1;
        self.delivered[Queue::Ordinary as usize] -= u16::from(delivered);
    }

    /// A request went to the server past the queue.
    #[inline]
    pub(crate) fn request_delivered(&mut self) {
        self.delivered[Queue::Ordinary as usize] += 1;
    }
}

impl Pager {
    /// Makes a socket.
    pub fn open_socket(&mut self) -> Result<SocketId, PagerError> {
        let socket = Socket {
            alive: true,
            noticed: Links::new(),
            is_noticed: false,
            closing: false,
            objects: BTreeMap::new(),
            ready: [List::new(); 2],
            notices: List::new(),
            giving_back: List::new(),
            clients: 0,
            counters: Counters::default(),
        };
        self.sockets.insert(socket).map(SocketId)
    }

    /// The counters of a socket.
    pub fn counters(&self, socket: SocketId) -> Result<Counters, PagerError> {
        Ok(self.sockets.get(socket.0).ok_or(PagerError::ServerDead)?.counters)
    }

    /// Notes that the caller sent a shootdown on behalf of this socket.
    pub fn count_shootdown(&mut self, socket: SocketId) {
        if let Some(socket) = self.sockets.get_mut(socket.0) {
            socket.counters.shootdowns += 1;
        }
    }

    pub(crate) fn live_socket(&self, socket: SocketId) -> Result<&Socket, PagerError> {
        self.sockets.get(socket.0).filter(|socket| socket.alive).ok_or(PagerError::ServerDead)
    }

    /// The client record of (socket, address space); makes it at first use.
    #[inline]
    pub(crate) fn client_of(&mut self, socket: SocketId, vspace: VspaceId) -> Result<u32, PagerError> {
        if let Some(space) = self.vspaces.get(vspace.0 as usize)
            && let Some(&(_, client)) = space.clients.iter().find(|(of, _)| *of == socket)
        {
            return Ok(client);
        }
        self.new_client(socket, vspace)
    }

    fn new_client(&mut self, socket: SocketId, vspace: VspaceId) -> Result<u32, PagerError> {
        let space = self.vspace_mut(vspace);
        space.clients.try_reserve(1).map_err(|_| PagerError::NoMemory)?;
        let client = self.clients.insert(Client {
            socket,
            dead: false,
            queued: [List::new(); 2],
            delivered: [0; 2],
            ready: [Links::new(); 2],
            is_ready: [false; 2],
            messages: 0,
            requests: 0,
        })?;
        self.vspace_mut(vspace).clients.push((socket, client));
        self.sockets[socket.0].clients += 1;
        Ok(client)
    }

    /// A delivered request of `client` is gone. Tells whether another one may be delivered now.
    #[inline]
    pub(crate) fn request_answered(&mut self, client: u32) -> bool {
        let record = &mut self.clients[client];
        let queue = Queue::Ordinary as usize;
        record.messages -= 1;
        record.requests -= 1;
        record.delivered[queue] -= 1;
        let waits = !record.queued[queue].is_empty();
        let dead = record.dead;
        if waits {
            self.update_ready(client, Queue::Ordinary);
        }
        if dead {
            self.settle_client(client);
        }
        waits
    }

    /// A delivered fault of `client` is gone.
    #[inline]
    pub(crate) fn fault_answered(&mut self, client: u32) {
        let record = &mut self.clients[client];
        let queue = Queue::Fault as usize;
        record.messages -= 1;
        record.delivered[queue] -= 1;
        let dead = record.dead;
        if !record.queued[queue].is_empty() {
            self.update_ready(client, Queue::Fault);
        }
        if dead {
            self.settle_client(client);
        }
    }

    /// Puts a message at the end of its client's queue.
    #[inline]
    pub(crate) fn enqueue(&mut self, index: u32, now: u64) {
        let message = &mut self.messages[index];
        message.state = State::Queued;
        message.since = now;
        let (queue, client) = (queue_of(&message.body), message.client);
        self.clients[client].queued[queue as usize].push_back(&mut self.messages, index, |m| &mut m.queued);
        self.update_ready(client, queue);
    }

    /// Takes a message that was never delivered out of its client's queue.
    pub(crate) fn unqueue(&mut self, index: u32) {
        let message = &self.messages[index];
        let (queue, client) = (queue_of(&message.body), message.client);
        self.clients[client].queued[queue as usize].unlink(&mut self.messages, index, |m| &mut m.queued);
        self.update_ready(client, queue);
    }

    /// The server has the message no longer: a place under the client's cap is free.
    #[inline]
    pub(crate) fn taken_back(&mut self, index: u32) {
        let message = &self.messages[index];
        let (queue, client) = (queue_of(&message.body), message.client);
        self.clients[client].delivered[queue as usize] -= 1;
        self.update_ready(client, queue);
    }

    /// Puts the client into, or takes it out of, the turn of its socket.
    #[inline]
    fn update_ready(&mut self, index: u32, queue: Queue) {
        let cap = match queue {
            Queue::Fault => self.config.faults_delivered,
            Queue::Ordinary => self.config.requests_delivered,
        };
        let queue = queue as usize;
        let client = &mut self.clients[index];
        let ready = !client.queued[queue].is_empty() && client.delivered[queue] < cap;
        if ready == client.is_ready[queue] {
            return;
        }
        client.is_ready[queue] = ready;
        let list = &mut self.sockets[client.socket.0].ready[queue];
        if ready {
            list.push_back(&mut self.clients, index, |client| &mut client.ready[queue]);
        } else {
            list.unlink(&mut self.clients, index, |client| &mut client.ready[queue]);
        }
    }

    /// Whether [`Pager::receive`] would give something from the queues in `mask`
    /// (`pager_abi::socket::QUEUE_*`).
    #[inline]
    pub fn deliverable(&self, socket: SocketId, mask: u64) -> bool {
        let Ok(socket) = self.live_socket(socket) else { return false };
        mask & QUEUE_FAULT != 0 && !socket.ready[Queue::Fault as usize].is_empty()
            || mask & QUEUE_ORDINARY != 0
                && (!socket.ready[Queue::Ordinary as usize].is_empty()
                    || !socket.notices.is_empty()
                    || !socket.giving_back.is_empty())
    }

    /// The next message of the queues in `mask`, now in the hands of `receiver` (a thread of the
    /// server; only [`Pager::write_waits`] shows it).
    pub fn receive(&mut self, socket: SocketId, mask: u64, receiver: u64, now: u64) -> Option<Sqe> {
        self.live_socket(socket).ok()?;
        if mask & QUEUE_FAULT != 0
            && let Some(sqe) = self.deliver(socket, Queue::Fault, receiver, now)
        {
            return Some(sqe);
        }
        if mask & QUEUE_ORDINARY == 0 {
            return None;
        }
        self.next_notice(socket)
            .or_else(|| self.next_munmap(socket))
            .or_else(|| self.deliver(socket, Queue::Ordinary, receiver, now))
    }

    /// Nothing of the client of a new fault is queued before it, and the client is under its cap.
    #[inline]
    pub(crate) fn may_have_fault(&self, index: u32) -> bool {
        let client = &self.clients[self.messages[index].client];
        let queue = Queue::Fault as usize;
        client.queued[queue].is_empty() && client.delivered[queue] < self.config.faults_delivered
    }

    /// A new fault goes to `receiver` past the queue.
    #[inline]
    pub(crate) fn fault_delivered(&mut self, index: u32, receiver: u64) {
        let message = &mut self.messages[index];
        message.state = State::Delivered;
        message.receiver = receiver;
        self.clients[message.client].delivered[Queue::Fault as usize] += 1;
        self.sockets[message.socket.0].count_fault(&message.body);
    }

    /// The message that a receiver was just named for.
    #[inline]
    pub fn delivered(&self, tag: Tag) -> Option<Sqe> {
        Some(self.messages[self.find_message(tag)?].to_sqe())
    }

    #[inline]
    fn deliver(&mut self, socket: SocketId, queue: Queue, receiver: u64, now: u64) -> Option<Sqe> {
        let client = self.sockets[socket.0].ready[queue as usize].first()?;
        // The client leaves its turn and, if it may have more delivered, joins again at the end.
        self.sockets[socket.0].ready[queue as usize]
            .unlink(&mut self.clients, client, |client| &mut client.ready[queue as usize]);
        let record = &mut self.clients[client];
        record.is_ready[queue as usize] = false;
        record.delivered[queue as usize] += 1;
        let index = record.queued[queue as usize]
            .pop_front(&mut self.messages, |message| &mut message.queued)
            .expect("a client in turn has something queued: update_ready");
        self.update_ready(client, queue);

        let message = &mut self.messages[index];
        message.state = State::Delivered;
        message.since = now;
        message.receiver = receiver;
        self.sockets[socket.0].count_fault(&message.body);
        Some(message.to_sqe())
    }

    /// A socket that has got a notice (Cancel, Munmap, a one-way message) since it was last named here: if
    /// a receiver waits for ordinary messages, it can have it. Drain this after every call.
    pub fn next_noticed(&mut self) -> Option<SocketId> {
        let index = self.noticed.pop_front(&mut self.sockets, |socket| &mut socket.noticed)?;
        self.sockets[index].is_noticed = false;
        Some(SocketId(index))
    }

    pub(crate) fn note_notice(&mut self, socket: SocketId) {
        if !core::mem::replace(&mut self.sockets[socket.0].is_noticed, true) {
            self.noticed.push_back(&mut self.sockets, socket.0, |socket| &mut socket.noticed);
        }
    }

    /// Queues a notice.
    pub(crate) fn push_notice(&mut self, socket: SocketId, index: u32) {
        self.sockets[socket.0].notices.push_back(&mut self.messages, index, |message| &mut message.queued);
        self.note_notice(socket);
    }

    fn next_notice(&mut self, socket: SocketId) -> Option<Sqe> {
        let index = self.sockets[socket.0].notices.pop_front(&mut self.messages, |message| &mut message.queued)?;
        let message = &mut self.messages[index];
        match &mut message.body {
            Body::OneWay(sqe) => {
                let sqe = *sqe;
                self.messages.free(index);
                Some(sqe)
            }
            Body::Request(request) => {
                request.cancelling = false;
                let tag = message.tag.0;
                Some(Sqe {
                    opcode: Opcode::Cancel as u8,
                    sqe_flags: SqeFlags::ONEWAY,
                    tag,
                    caller: message.caller,
                    ..Sqe::default()
                })
            }
            Body::Fault(_) => unreachable!("a fault is never cancelled by a notice"),
        }
    }

    /// Queues a message that has no answer (Close, Detach).
    pub fn notify(&mut self, socket: SocketId, sqe: Sqe, now: u64) -> Result<(), PagerError> {
        self.live_socket(socket)?;
        let sqe = Sqe { sqe_flags: sqe.sqe_flags | SqeFlags::ONEWAY, ..sqe };
        let (index, _) = self.new_message(|tag| crate::message::Message {
            tag,
            socket,
            client: NONE,
            vspace: VspaceId(u32::MAX),
            state: State::Queued,
            since: now,
            receiver: 0,
            caller: sqe.caller,
            queued: Links::new(),
            of_object: Links::new(),
            body: Body::OneWay(sqe),
        })?;
        self.push_notice(socket, index);
        Ok(())
    }

    /// A message of this client has ended; so many of it were requests.
    #[inline]
    pub(crate) fn forget_message(&mut self, client: u32, requests: u32) {
        let record = &mut self.clients[client];
        record.messages -= 1;
        record.requests -= requests;
        if record.dead {
            self.settle_client(client);
        }
    }

    /// Ends the record of a client that is gone, once no tag of it is left.
    pub(crate) fn settle_client(&mut self, index: u32) {
        let client = &self.clients[index];
        if client.dead && client.messages == 0 {
            let socket = client.socket;
            self.clients.remove(index);
            self.sockets[socket.0].clients -= 1;
            self.settle_socket(socket);
        }
    }

    /// Ends the record of a dead socket, once nothing names it.
    pub(crate) fn settle_socket(&mut self, socket: SocketId) {
        let record = &self.sockets[socket.0];
        if !record.alive && !record.closing && record.clients == 0 && record.objects.is_empty() {
            if record.is_noticed {
                self.noticed.unlink(&mut self.sockets, socket.0, |socket| &mut socket.noticed);
            }
            self.sockets.remove(socket.0);
        }
    }
}

#[inline]
fn queue_of(body: &Body) -> Queue {
    match body {
        Body::Fault(_) => Queue::Fault,
        Body::Request(_) | Body::OneWay(_) => Queue::Ordinary,
    }
}
