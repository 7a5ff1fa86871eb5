//! Requests with buffers: from the system call to the answer, with everything that goes wrong
//! in between.
//!
//! The server reaches a request's buffer by COPY only, and COPY never faults. When a page of the
//! buffer is missing the server answers RETRY with its offset; the caller's thread then faults it in
//! and queues the same request again ([`Pager::requeue`]). RETRY is an answer like any other: the
//! server keeps nothing for the tag. Should the page be gone again, eviction could go on for ever;
//! so from the second RETRY at one page (or the [`RETRIES_BEFORE_BOUNCE`]th in all) up to 64 KiB of
//! the buffer are replaced by a bounce buffer of the kernel's.

use crate::{
    CopyUnit, Frame, Mmu, Pager, PagerError, Revoked, Rights, SocketId, VspaceId, WaiterId,
    copy::resident,
    message::{Body, Message, RequestBody, State, Wake},
    slab::Links,
};
use alloc::{boxed::Box, vec::Vec};
use mutants::{Mutant, mutant};
use pager_abi::{PAGE_SIZE, PREFAULT_MAX, Tag};
use syscall::schemev2::Sqe;

/// RETRYs of one request before the bounce buffer is used at whatever page they were.
pub const RETRIES_BEFORE_BOUNCE: u32 = 8;

/// The memory of the client that belongs to a request.
#[derive(Clone, Copy, Debug)]
pub struct Buffer {
    /// Address in the client.
    pub address: u64,
    /// Bytes; `address + length` does not wrap.
    pub length: u64,
    /// `read`: the server may copy from it (`Write`, paths). `write`: to it (`Read`).
    pub rights: Rights,
}

impl Buffer {
    pub(crate) fn filled_by_server(self) -> bool {
        self.rights.write
    }
}

/// A request as a system call makes it.
#[derive(Clone, Copy, Debug)]
pub struct NewRequest {
    /// Opcode, arguments and caller; the tag is the pager's.
    pub sqe: Sqe,
    /// The client.
    pub vspace: VspaceId,
    /// The thread that will wait.
    pub waiter: WaiterId,
    /// What COPY by this request's tag reaches.
    pub buffer: Option<Buffer>,
}

/// A request that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// Its name.
    pub tag: Tag,
    /// It went past the queue: the caller gives it to the receiver that it named.
    pub delivered: bool,
}

/// Which way the bytes of a bounce buffer go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BounceDirection {
    /// From the client's buffer to the bounce buffer, before the request is queued again.
    Fill,
    /// From the bounce buffer to the client's buffer, after the answer.
    Drain,
}

/// The next step of filling or emptying a bounce buffer, done by the caller's thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BounceStep {
    /// Copy this, at once or at least before the next shootdown is acknowledged, then ask for the
    /// step at `next`.
    Copy {
        /// What to copy.
        unit: CopyUnit,
        /// Offset in the request's buffer after it.
        next: u64,
    },
    /// Fault this address of the client in, then ask again.
    Missing {
        /// The address.
        address: u64,
    },
    /// Nothing is left.
    Done,
}

/// Kernel memory in place of `[start, start + length)` of a request's buffer.
pub(crate) struct Bounce {
    pub(crate) start: u64,
    pub(crate) length: u64,
    /// One for each page; a page's place in its frame is that of the client's address in its page.
    pub(crate) frames: Vec<Frame>,
}

impl Bounce {
    /// The frame that stands for the client's page at `address` (its offset in the buffer is
    /// `offset`), if the bounce buffer covers it.
    pub(crate) fn frame_at(&self, buffer: &Buffer, offset: u64) -> Option<Frame> {
        if offset < self.start || offset - self.start >= self.length {
            return None;
        }
        let first = (buffer.address + self.start) / PAGE_SIZE;
        Some(self.frames[((buffer.address + offset) / PAGE_SIZE - first) as usize])
    }
}

impl Pager {
    /// Queues a request. Prefault its buffer before ([`Pager::first_missing`]); no more than
    /// [`PREFAULT_MAX`] bytes of it.
    pub fn submit(&mut self, socket: SocketId, new: &NewRequest, now: u64) -> Result<Tag, PagerError> {
        self.submit_to(socket, new, None, now).map(|submitted| submitted.tag)
    }

    /// As [`Pager::submit`]. If `receiver`, who waits for ordinary messages, may have it now, it is delivered
    /// without passing through the queue: nothing else can be deliverable, or nobody would wait.
    #[inline]
    pub fn submit_to(
        &mut self,
        socket: SocketId,
        new: &NewRequest,
        receiver: Option<u64>,
        now: u64,
    ) -> Result<Submitted, PagerError> {
        self.live_socket(socket)?;
        if new.buffer.is_some_and(|buffer| buffer.address.checked_add(buffer.length).is_none()) {
            return Err(PagerError::BadRange);
        }
        let client = self.client_of(socket, new.vspace)?;
        let record = &mut self.clients[client];
        if record.requests >= self.config.outstanding {
            return Err(PagerError::TooManyTags);
        }
        let receiver = receiver.filter(|_| record.may_have_request(self.config.requests_delivered));
        // What is counted here is taken back if there is no room for the message.
        record.requests += 1;
        record.messages += 1;
        if receiver.is_some() {
            record.request_delivered();
        }
        let body = |new: &NewRequest| RequestBody {
            sqe: new.sqe,
            waiter: Some(new.waiter),
            buffer: new.buffer,
            last_retry: None,
            retries: 0,
            bounce: None,
            cancelling: false,
        };
        let generation = self.next_generation();
        let made = self.owe_event().and_then(|()| {
            let made = self.messages_with_room().and_then(|messages| {
                messages.insert_with(|index| Message {
                    tag: Tag(generation | index),
                    socket,
                    client,
                    vspace: new.vspace,
                    state: if receiver.is_some() { State::Delivered } else { State::Queued },
                    since: now,
                    receiver: receiver.unwrap_or(0),
                    caller: new.sqe.caller,
                    queued: Links::new(),
                    of_object: Links::new(),
                    body: Body::Request(body(new)),
                })
            });
            made.inspect_err(|_| self.owed -= 1)
        });
        match made {
            Ok(index) => {
                if receiver.is_none() {
                    self.enqueue(index, now);
                }
                Ok(Submitted { tag: Tag(generation | index), delivered: receiver.is_some() })
            }
            Err(error) => {
                self.clients[client].request_refused(receiver.is_some());
                Err(error)
            }
        }
    }

    /// The first address of the buffer's first [`PREFAULT_MAX`] bytes, at or after `from`, whose
    /// page is not there with the rights that COPY needs.
    pub fn first_missing(&self, mmu: &impl Mmu, vspace: VspaceId, buffer: &Buffer, from: u64) -> Option<u64> {
        let end = buffer.address + buffer.length.min(PREFAULT_MAX as u64);
        let mut at = from.max(buffer.address);
        while at < end {
            if resident(mmu, vspace, at, buffer.rights).is_none() {
                return Some(at);
            }
            at = (at / PAGE_SIZE + 1) * PAGE_SIZE;
        }
        None
    }

    /// Who waits for the request with this tag, and its buffer; `None` if either is not there.
    pub fn request_buffer(&self, tag: Tag) -> Option<(WaiterId, Buffer)> {
        match &self.messages[self.find_message(tag)?].body {
            Body::Request(request) => Some((request.waiter?, request.buffer?)),
            _ => None,
        }
    }

    /// Whose memory the buffer of the request with that tag is.
    pub fn request_vspace(&self, tag: Tag) -> Option<VspaceId> {
        let message = &self.messages[self.find_message(tag)?];
        matches!(message.body, Body::Request(_)).then_some(message.vspace)
    }

    /// The server answered RETRY.
    pub(crate) fn retry(&mut self, index: u32, offset: u64, revoked: &mut Revoked) -> Result<(), PagerError> {
        let message = &mut self.messages[index];
        let Body::Request(request) = &mut message.body else { unreachable!("the caller has a request") };
        let Some(buffer) = request.buffer.filter(|buffer| offset < buffer.length) else {
            return self.refuse(index, revoked);
        };
        let Some(waiter) = request.waiter else {
            // Nobody is there to fault anything in: the request ends here.
            self.end_request(index, revoked);
            self.owed -= 1;
            return Ok(());
        };
        let page = (buffer.address + offset) / PAGE_SIZE;
        request.retries += 1;
        let again = request.last_retry.replace(page) == Some(page) || request.retries >= RETRIES_BEFORE_BOUNCE;
        message.state = State::Retrying;
        self.sockets[message.socket.0].counters.retries += 1;
        self.taken_back(index);
        self.wake(waiter, if again { Wake::Bounce { offset } } else { Wake::Prefault { offset } });
        Ok(())
    }

    /// Queues a request again, under the same tag, after RETRY.
    pub fn requeue(&mut self, tag: Tag, now: u64) -> Result<(), PagerError> {
        let index = self.retrying(tag)?;
        self.owe_event()?;
        self.enqueue(index, now);
        Ok(())
    }

    /// Ends a request whose buffer cannot be faulted in after RETRY (the caller gets `EFAULT`).
    pub fn abandon(&mut self, tag: Tag, revoked: &mut Revoked) -> Result<(), PagerError> {
        let index = self.retrying(tag)?;
        self.end_request(index, revoked);
        Ok(())
    }

    /// Replaces up to 64 KiB of the buffer from the page at `offset` on by kernel memory. Follow with
    /// [`Pager::bounce_step`] (`Fill`) until done, then [`Pager::requeue`]. If the server fills the
    /// buffer, what an earlier bounce buffer of this request holds is lost: `Drain` it before.
    pub fn begin_bounce(
        &mut self,
        mmu: &mut impl Mmu,
        tag: Tag,
        offset: u64,
        revoked: &mut Revoked,
    ) -> Result<(), PagerError> {
        let index = self.retrying(tag)?;
        let Body::Request(request) = &mut self.messages[index].body else { unreachable!("only requests retry") };
        let buffer = request.buffer.filter(|buffer| offset < buffer.length).ok_or(PagerError::BadRange)?;
        if let Some(old) = request.bounce.take() {
            revoked.frames.extend(old.frames);
        }
        let start = offset.saturating_sub((buffer.address + offset) % PAGE_SIZE);
        let in_first_page = (buffer.address + start) % PAGE_SIZE;
        let length = (buffer.length - start).min(PREFAULT_MAX as u64 - in_first_page);
        let mut frames = Vec::new();
        let pages = (in_first_page + length).div_ceil(PAGE_SIZE);
        frames.try_reserve_exact(pages as usize).map_err(|_| PagerError::NoMemory)?;
        for _ in 0..pages {
            let Some(frame) = mmu.allocate() else {
                revoked.frames.extend(frames);
                return Err(PagerError::NoMemory);
            };
            mmu.clear_page(frame);
            frames.push(frame);
        }
        request.bounce = Some(Box::new(Bounce { start, length, frames }));
        Ok(())
    }

    /// The step at `offset` (start with 0) of filling or emptying the bounce buffer of a request that
    /// retries or drains, up to `limit` bytes of the request's buffer.
    pub fn bounce_step(
        &self,
        mmu: &impl Mmu,
        tag: Tag,
        direction: BounceDirection,
        offset: u64,
        limit: u64,
    ) -> Result<BounceStep, PagerError> {
        let index = self.find_message(tag).ok_or(PagerError::NoSuchTag)?;
        let message = &self.messages[index];
        let Body::Request(request) = &message.body else { return Err(PagerError::NoSuchTag) };
        let (Some(buffer), Some(bounce)) = (&request.buffer, &request.bounce) else { return Ok(BounceStep::Done) };
        let offset = offset.max(bounce.start);
        let end = (bounce.start + bounce.length).min(limit);
        let (wanted, needed) = match direction {
            BounceDirection::Fill => (buffer.rights.read, Rights::READ),
            BounceDirection::Drain => (buffer.rights.write, Rights::READ_WRITE),
        };
        if !wanted || offset >= end {
            return Ok(BounceStep::Done);
        }
        let address = buffer.address + offset;
        let Some(client) = resident(mmu, message.vspace, address, needed) else {
            return Ok(BounceStep::Missing { address });
        };
        let bounced = bounce.frame_at(buffer, offset).expect("the offset was clamped to the bounce buffer");
        let place = address % PAGE_SIZE;
        let length = (PAGE_SIZE - place).min(end - offset);
        let unit = match direction {
            BounceDirection::Fill => CopyUnit::single(client, bounced, place, length),
            BounceDirection::Drain => CopyUnit::single(bounced, client, place, length),
        };
        Ok(BounceStep::Copy { unit, next: offset + length })
    }

    /// The bounce buffer of an answered request has been emptied.
    pub fn drained(&mut self, tag: Tag, revoked: &mut Revoked) -> Result<(), PagerError> {
        let index = self.find_message(tag).ok_or(PagerError::NoSuchTag)?;
        if self.messages[index].state != State::Draining {
            return Err(PagerError::NoSuchTag);
        }
        self.end_request(index, revoked);
        Ok(())
    }

    /// `waiter` will not wait for `tag` any longer: it was killed, or its call was interrupted. A
    /// request that the server has keeps its tag until it is answered, and the server is told.
    pub fn detach(&mut self, tag: Tag, waiter: WaiterId, revoked: &mut Revoked) {
        let Some(index) = self.find_message(tag) else { return };
        let message = &mut self.messages[index];
        let (state, socket) = (message.state, message.socket);
        match &mut message.body {
            Body::Fault(fault) => {
                let before = fault.waiters();
                fault.forget_waiter(waiter);
                self.owed -= before - fault.waiters();
                if !fault.has_waiters() && state == State::Queued {
                    self.end_fault(index, |_| Wake::FaultSettled);
                }
            }
            Body::Request(request) => {
                if request.waiter != Some(waiter) && state != State::Draining {
                    return;
                }
                match state {
                    State::Delivered if mutant(Mutant::TagReusedBeforeAnswer) => {
                        self.owed -= 1;
                        self.taken_back(index);
                        self.end_request_in_no_queue(index, revoked);
                    }
                    State::Delivered => {
                        // The event stays owed: it becomes `Event::Orphan`.
                        request.waiter = None;
                        request.cancelling = true;
                        self.push_notice(socket, index);
                    }
                    State::Queued => {
                        self.owed -= 1;
                        self.unqueue(index);
                        self.end_request_in_no_queue(index, revoked);
                    }
                    State::Retrying | State::Draining => self.end_request_in_no_queue(index, revoked),
                }
            }
            Body::OneWay(_) => {}
        }
    }

    /// The request that is being retried under `tag`.
    fn retrying(&self, tag: Tag) -> Result<u32, PagerError> {
        let index = self.find_message(tag).ok_or(PagerError::ServerDead)?;
        if self.messages[index].state != State::Retrying {
            return Err(PagerError::NoSuchTag);
        }
        Ok(index)
    }

    /// Ends a request, whether or not the server has it; gives back its bounce buffer.
    pub(crate) fn end_request(&mut self, index: u32, revoked: &mut Revoked) {
        let message = &mut self.messages[index];
        let (state, socket) = (message.state, message.socket);
        let Body::Request(request) = &mut message.body else { unreachable!("the caller has a request") };
        if core::mem::take(&mut request.cancelling) {
            self.sockets[socket.0].notices.unlink(&mut self.messages, index, |message| &mut message.queued);
        }
        match state {
            State::Delivered => self.taken_back(index),
            State::Queued => self.unqueue(index),
            State::Retrying | State::Draining => {}
        }
        self.end_request_in_no_queue(index, revoked);
    }

    fn end_request_in_no_queue(&mut self, index: u32, revoked: &mut Revoked) {
        if let Body::Request(RequestBody { bounce: Some(bounce), .. }) = &mut self.messages[index].body {
            revoked.frames.append(&mut bounce.frames);
        }
        let client = self.messages[index].client;
        self.messages.free(index);
        self.forget_message(client, 1);
    }
}
