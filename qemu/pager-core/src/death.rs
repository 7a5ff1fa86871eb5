//! The end of a client and the end of a server.
//!
//! A client that dies leaves its tags behind until the server answers them; nothing of its memory is
//! reached by them any more. A server that dies takes its pages back from everybody and fails every
//! message; its sockets answer errors ever after, and private copies stay with their processes.

use crate::{
    Mmu, Pager, PagerError, Progress, REVOKE_MAX, Revoked, SocketId, VirtPage, VspaceId, WaiterId,
    message::{Body, Event, State, Wake},
};
use alloc::vec::Vec;
use pager_abi::fault::regular_cqe;
use syscall::error::{ECANCELED, Error};

impl Pager {
    /// An address space ends; none of its threads runs any more. Call again after the flush while
    /// there is more; then the number may be used for another.
    pub fn vspace_died(&mut self, mmu: &mut impl Mmu, vspace: VspaceId, revoked: &mut Revoked) -> Progress {
        if self.vspace(vspace).is_none() {
            return Progress::Done;
        }
        let unmapped = self
            .unmap(mmu, vspace, VirtPage(0), u64::MAX, revoked)
            .expect("unmapping everything splits nothing, so it needs no memory");
        if unmapped == Progress::More {
            return Progress::More;
        }
        let clients = core::mem::take(&mut self.vspace_mut(vspace).clients);
        for (_, client) in clients {
            for tag in self.messages_of(client) {
                let Some(index) = self.find_message(tag) else { continue };
                match &self.messages[index].body {
                    Body::Fault(_) => self.fail_waiters(index),
                    // One that drains has no waiter on record, and ends whoever asks.
                    Body::Request(request) => {
                        let waiter = request.waiter.unwrap_or(WaiterId(u64::MAX));
                        self.detach(tag, waiter, revoked);
                    }
                    Body::OneWay(_) => {}
                }
            }
            self.clients[client].dead = true;
            self.settle_client(client);
        }
        Progress::Done
    }

    fn messages_of(&self, client: u32) -> Vec<pager_abi::Tag> {
        self.messages.iter().filter(|(_, message)| message.client == client).map(|(_, message)| message.tag).collect()
    }

    /// A page of an address space that has ended. Its own threads have been detached; who still waits is a
    /// server's thread on behalf of one of them.
    fn fail_waiters(&mut self, index: u32) {
        let message = &mut self.messages[index];
        let queued = message.state == State::Queued;
        let Body::Fault(fault) = &mut message.body else { unreachable!("the caller has a fault") };
        let waiters = fault.waiter.take().into_iter().chain(core::mem::take(&mut fault.more_waiters));
        for (waiter, _) in waiters.collect::<Vec<_>>() {
            self.wake(waiter, Wake::FaultFailed(ECANCELED));
        }
        if queued {
            self.end_fault(index, |_| Wake::FaultSettled);
        }
    }

    /// The server of `socket` is gone: fails all its messages and takes its pages from everybody.
    /// Call again after the flush while there is more. Frames that a device may still write to must
    /// be kept by the caller until the device is reset.
    pub fn close_socket(
        &mut self,
        mmu: &mut impl Mmu,
        socket: SocketId,
        revoked: &mut Revoked,
    ) -> Result<Progress, PagerError> {
        let record = self.sockets.get_mut(socket.0).filter(|record| record.alive || record.closing);
        let record = record.ok_or(PagerError::ServerDead)?;
        if core::mem::replace(&mut record.alive, false) {
            record.closing = true;
            self.fail_messages(socket, revoked);
        }
        let objects: Vec<_> = self.sockets[socket.0].objects.values().copied().collect();
        let mut budget = REVOKE_MAX;
        for index in objects {
            let object = &mut self.objects[index];
            object.zapping = 0;
            if core::mem::replace(&mut object.gives_back, false) {
                let Self { sockets, objects, .. } = self;
                sockets[socket.0].giving_back.unlink(objects, index, |object| &mut object.giving_back);
            }
            let regions: Vec<_> = self.objects[index].regions.iter().copied().collect();
            for (vspace, start) in regions {
                let Some(region) = self.vspace_mut(vspace).find(start) else { continue };
                if !self.drop_file_pages(mmu, vspace, region.start, region.end(), revoked, &mut budget) {
                    return Ok(Progress::More);
                }
            }
        }
        let objects: Vec<_> = self.sockets[socket.0].objects.values().copied().collect();
        for index in objects {
            self.settle_object(index);
        }
        self.sockets[socket.0].closing = false;
        self.settle_socket(socket);
        Ok(Progress::Done)
    }

    /// Translations to pages of the server; those to private copies stay.
    fn drop_file_pages(
        &mut self,
        mmu: &mut impl Mmu,
        vspace: VspaceId,
        from: VirtPage,
        to: VirtPage,
        revoked: &mut Revoked,
        budget: &mut usize,
    ) -> bool {
        let mut at = from;
        while let Some(page) = mmu.next_present(vspace, at, to) {
            at = page.forward(1);
            if self.vspace_mut(vspace).copies.contains_key(&page) {
                continue;
            }
            if *budget == 0 {
                return false;
            }
            *budget -= 1;
            if let Some(old) = mmu.unmap(vspace, page) {
                revoked.flush.push((vspace, page));
                revoked.frames.push(old.frame);
            }
        }
        true
    }

    fn fail_messages(&mut self, socket: SocketId, revoked: &mut Revoked) {
        let dead = PagerError::ServerDead.errno();
        let messages: Vec<_> =
            self.messages.iter().filter(|(_, message)| message.socket == socket).map(|(index, _)| index).collect();
        for index in messages {
            let message = &self.messages[index];
            match &message.body {
                Body::Fault(_) => self.end_fault(index, |_| Wake::FaultFailed(dead)),
                // The answer was given; its bytes still go to the client.
                Body::Request(_) if message.state == State::Draining => {}
                Body::Request(request) => {
                    let (tag, state, waiter, sqe) = (message.tag, message.state, request.waiter, request.sqe);
                    let cqe = regular_cqe(tag, Error::mux(Err(Error::new(dead))) as u64);
                    self.end_request(index, revoked);
                    match (state, waiter) {
                        // The thread is faulting its buffer in; requeueing will tell it.
                        (State::Retrying, _) => {}
                        (_, Some(waiter)) => self.wake(waiter, Wake::Answer(cqe)),
                        (_, None) => {
                            self.owed -= 1;
                            self.events.push_back(Event::Orphan { socket, sqe, cqe });
                        }
                    }
                }
                Body::OneWay(_) => {
                    self.sockets[socket.0].notices.unlink(&mut self.messages, index, |message| &mut message.queued);
                    self.messages.free(index);
                }
            }
        }
    }
}
