//! An answer comes in: which kind, to what, and who goes on.
//!
//! Each message takes one answer. An unknown tag is counted and refused, and so is an answer that
//! does not fit: its fault or request then fails with `EIO`, so that a broken server cannot make
//! its clients wait for ever by answering nonsense.

use crate::{
    Mmu, Pager, PagerError, Revoked, SocketId, VspaceId, WaiterId,
    message::{Body, Event, State, Wake},
};
use pager_abi::{
    Cookie, Tag,
    fault::{Access, PROVIDE_MMAP, ProvideMmap, RETRY, cqe_opcode, regular_cqe},
    grant::lazy_protection,
};
use syscall::{
    error::{EIO, Error},
    schemev2::{Cqe, CqeOpcode, Opcode},
};

/// A request that ended plainly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Who goes on with the answer.
    pub waiter: WaiterId,
    /// Whether a place under the client's cap has become free that something waited for.
    pub place: bool,
}

impl Pager {
    /// Takes one answer of the server whose address space is `server`. An `Err` is for the server's
    /// information: its clients have been woken whatever the answer was.
    pub fn answer(
        &mut self,
        mmu: &mut impl Mmu,
        socket: SocketId,
        server: VspaceId,
        cqe: &Cqe,
        revoked: &mut Revoked,
        now: u64,
    ) -> Result<(), PagerError> {
        self.live_socket(socket)?;
        let outcome = match self.message_in(socket, Tag(cqe.tag), State::Delivered) {
            Ok(index) => self.answer_message(mmu, index, server, cqe, revoked, now),
            Err(error) => Err(error),
        };
        if matches!(outcome, Err(PagerError::NoSuchTag | PagerError::BadAnswer)) {
            self.sockets[socket.0].counters.refused_answers += 1;
        }
        outcome
    }

    /// The plain case of [`Pager::answer`], without an event: the answer ends a request somebody waits for. `None`
    /// if it is not that; nothing has changed then.
    #[inline]
    pub fn answer_request(&mut self, socket: SocketId, cqe: &Cqe) -> Option<Answered> {
        if matches!(cqe_opcode(cqe), RETRY | PROVIDE_MMAP) {
            return None;
        }
        let index = self.find_message(Tag(cqe.tag))?;
        let message = &self.messages[index];
        let Body::Request(request) = &message.body else { return None };
        if message.socket != socket || message.state != State::Delivered || request.bounce.is_some() {
            return None;
        }
        let waiter = request.waiter?;
        let client = message.client;
        self.messages.free(index);
        self.owed -= 1;
        Some(Answered { waiter, place: self.request_answered(client) })
    }

    #[inline]
    fn answer_message(
        &mut self,
        mmu: &mut impl Mmu,
        index: u32,
        server: VspaceId,
        cqe: &Cqe,
        revoked: &mut Revoked,
        now: u64,
    ) -> Result<(), PagerError> {
        let is_fault = matches!(self.messages[index].body, Body::Fault(_));
        match (is_fault, cqe_opcode(cqe)) {
            (true, PROVIDE_MMAP) => match ProvideMmap::from_cqe(cqe) {
                Some(provide) => self.provide(mmu, index, server, &provide, revoked, now),
                None => self.refuse(index, revoked),
            },
            (true, opcode) if opcode == CqeOpcode::RespondRegular as u8 => match Error::demux(cqe.result as usize) {
                Err(error) => {
                    self.fail_fault(index, error.errno);
                    Ok(())
                }
                Ok(_) => self.refuse(index, revoked),
            },
            (false, RETRY) => self.retry(index, cqe.result, revoked),
            (true, _) | (false, PROVIDE_MMAP) => self.refuse(index, revoked),
            (false, _) => {
                self.finish_request(index, *cqe, revoked);
                Ok(())
            }
        }
    }

    /// Ends a message whose answer is nonsense.
    pub(crate) fn refuse(&mut self, index: u32, revoked: &mut Revoked) -> Result<(), PagerError> {
        match &self.messages[index].body {
            Body::Fault(_) => self.fail_fault(index, EIO),
            _ => {
                let tag = self.messages[index].tag;
                self.finish_request(index, regular_cqe(tag, Error::mux(Err(Error::new(EIO))) as u64), revoked);
            }
        }
        Err(PagerError::BadAnswer)
    }

    /// Ends a fault by an error. Whoever joined it with a lesser access tries for itself: a load
    /// does not fail because a store found no space.
    pub(crate) fn fail_fault(&mut self, index: u32, errno: i32) {
        let message = &self.messages[index];
        let Body::Fault(fault) = &message.body else { unreachable!("the caller has a fault") };
        let only_stores_fail = fault.access == Access::Write;
        self.sockets[message.socket.0].counters.failed_faults += 1;
        self.end_fault(index, |access| {
            if only_stores_fail && access != Access::Write { Wake::FaultSettled } else { Wake::FaultFailed(errno) }
        });
    }

    /// The accesses that wait for fault `tag` fail with `errno`: its server has not answered in time. If the server has
    /// it, the tag stays reserved until the answer comes, which nobody waits for then. Drain the events. Whether it was
    /// a fault that somebody waited for.
    pub fn fail_late(&mut self, tag: Tag, errno: i32) -> bool {
        let Some(index) = self.find_message(tag) else { return false };
        let message = &mut self.messages[index];
        let state = message.state;
        let Body::Fault(fault) = &mut message.body else { return false };
        if !fault.has_waiters() {
            return false;
        }
        if state == State::Queued {
            self.fail_fault(index, errno);
            return true;
        }
        let waiter = fault.waiter.take();
        let more_waiters = core::mem::take(&mut fault.more_waiters);
        self.sockets[message.socket.0].counters.failed_faults += 1;
        for (waiter, _) in waiter.into_iter().chain(more_waiters) {
            self.wake(waiter, Wake::FaultFailed(errno));
        }
        true
    }

    /// Ends a delivered or queued fault and wakes its waiters.
    #[inline]
    pub(crate) fn end_fault(&mut self, index: u32, why: impl Fn(Access) -> Wake) {
        let message = &mut self.messages[index];
        let (client, state) = (message.client, message.state);
        if state != State::Delivered {
            self.unqueue(index);
        }
        let message = &mut self.messages[index];
        let Body::Fault(fault) = &mut message.body else { unreachable!("the caller has a fault") };
        let (object, waiter) = (fault.object, fault.waiter.take());
        let more_waiters = core::mem::take(&mut fault.more_waiters);
        let faults = &mut self.objects[object].faults;
        faults.unlink(&mut self.messages, index, |message| &mut message.of_object);
        self.messages.free(index);
        self.settle_object(object);
        match state {
            State::Delivered => self.fault_answered(client),
            _ => self.forget_message(client, 0),
        }
        if let Some((waiter, access)) = waiter {
            self.wake(waiter, why(access));
        }
        for (waiter, access) in more_waiters {
            self.wake(waiter, why(access));
        }
    }

    /// Ends a delivered request by `cqe`.
    pub(crate) fn finish_request(&mut self, index: u32, cqe: Cqe, revoked: &mut Revoked) {
        let message = &mut self.messages[index];
        let socket = message.socket;
        let Body::Request(request) = &mut message.body else { unreachable!("the caller has a request") };
        match request.waiter {
            Some(waiter) if request.must_drain() => {
                self.taken_back(index);
                self.messages[index].state = State::Draining;
                self.wake(waiter, Wake::AnswerAndDrain(cqe));
            }
            Some(waiter) => {
                self.end_request(index, revoked);
                self.wake(waiter, Wake::Answer(cqe));
            }
            None => {
                let sqe = request.sqe;
                self.end_request(index, revoked);
                self.owed -= 1;
                if sqe.opcode == Opcode::MmapPrep as u8 && lazy_protection(&cqe).is_some() {
                    // Without memory for the object's record the grant stays with the server: it
                    // keeps an inode too long, which no client can see.
                    _ = self.return_grant(socket, Cookie(cqe.result));
                } else {
                    self.events.push_back(Event::Orphan { socket, sqe, cqe });
                }
            }
        }
    }
}
