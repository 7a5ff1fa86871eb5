//! A page fault comes in: what has to happen so that the access can go on?
//!
//! | the page | access | what happens |
//! |---|---|---|
//! | no mapping, or the mapping forbids it | any | it fails |
//! | translation allows it by now | any | run it again |
//! | private copy, the process's alone | any | map it |
//! | private copy shared with a relative | store | copy it |
//! | private, the file's page is mapped | store | copy it |
//! | private, nothing is mapped | any | message (a store's as a read), the copy is made when the page comes |
//! | shared, mapped read-only | store | message: `page_mkwrite` |
//! | shared, nothing is mapped | any | message |
//!
//! A fault on a page that has one in flight joins it if the one in flight asks for enough.

use crate::{
    Config, Frame, MapError, Mmu, Pager, PagerError, Revoked, Rights, Sharing, SocketId, Translation, VirtPage,
    VspaceId, WaiterId,
    message::{Body, FaultBody, Message, State},
    object::ObjectIndex,
    slab::{Links, List},
    vspace::Region,
};
use alloc::vec::Vec;
use pager_abi::{
    Tag,
    fault::{Access, FaultRecord},
};
use syscall::error::EFAULT;

/// Who touches the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An instruction of the client.
    Instruction,
    /// The kernel, for the buffer of a system call.
    Prefault,
}

/// A fault as the kernel's exception handler (or its prefault loop) has it.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Whose page it is.
    pub vspace: VspaceId,
    /// The page.
    pub page: VirtPage,
    /// What was done to it.
    pub access: Access,
    /// By whom.
    pub origin: Origin,
    /// The thread that will wait.
    pub waiter: WaiterId,
    /// uid in bits 31..0, gid in bits 63..32.
    pub credentials: u64,
    /// What the server sees as `Sqe::caller`.
    pub caller: u64,
}

/// What the kernel does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultOutcome {
    /// The access is allowed now: drop the page from this CPU's TLB and run it again.
    Resume,
    /// Flush what was revoked, release it, and call [`Pager::fault`] again (or run it again).
    Flush,
    /// A message is on its way (or was): block until the event.
    Wait {
        /// Whose queue.
        socket: SocketId,
        /// For [`Pager::detach`], should the thread be killed.
        tag: Tag,
    },
    /// The access fails with this errno.
    Fail(i32),
}

impl Pager {
    /// A fault comes in. `revoked` is empty, or holds what an earlier call left to flush.
    pub fn fault(&mut self, mmu: &mut impl Mmu, fault: &Fault, revoked: &mut Revoked, now: u64) -> FaultOutcome {
        self.fault_to(mmu, fault, |_| None, revoked, now)
    }

    /// As [`Pager::fault`]. When a message may be delivered at once, `receiver` is asked who waits for the faults
    /// of its socket: whom it names has the message ([`Pager::delivered`]), which passes through no queue.
    #[inline]
    pub fn fault_to(
        &mut self,
        mmu: &mut impl Mmu,
        fault: &Fault,
        receiver: impl FnOnce(SocketId) -> Option<u64>,
        revoked: &mut Revoked,
        now: u64,
    ) -> FaultOutcome {
        match self.try_fault(mmu, fault, receiver, revoked, now) {
            Ok(outcome) => outcome,
            Err(PagerError::NotMapped | PagerError::Forbidden) => FaultOutcome::Fail(EFAULT),
            Err(error) => FaultOutcome::Fail(error.errno()),
        }
    }

    #[inline]
    fn try_fault(
        &mut self,
        mmu: &mut impl Mmu,
        fault: &Fault,
        receiver: impl FnOnce(SocketId) -> Option<u64>,
        revoked: &mut Revoked,
        now: u64,
    ) -> Result<FaultOutcome, PagerError> {
        let space = self.vspaces.get_mut(fault.vspace.0 as usize).ok_or(PagerError::NotMapped)?;
        let region = space.find(fault.page).ok_or(PagerError::NotMapped)?;
        if region.dying {
            return Err(PagerError::NotMapped);
        }
        if !region.protection.allow(fault.access) {
            return Err(PagerError::Forbidden);
        }
        let present = mmu.translation(fault.vspace, fault.page);
        if present.is_some_and(|translation| translation.rights.allow(fault.access)) {
            return Ok(FaultOutcome::Resume);
        }
        if region.sharing == Sharing::Private {
            if let Some(&copy) = space.copies.get(&fault.page) {
                return self.fault_on_copy(mmu, fault, &region, copy, present, revoked);
            }
            if let (Access::Write, Some(file_page)) = (fault.access, present) {
                return self.copy_on_write(mmu, fault, &region, file_page.frame, Some(file_page), revoked);
            }
        }
        if let (Some(translation), Access::Read | Access::Execute) = (present, fault.access) {
            // The translation has fewer rights than the mapping, to which mprotect gave some.
            mmu.protect(fault.vspace, fault.page, file_rights(&region, translation.rights.write));
            return Ok(FaultOutcome::Resume);
        }
        self.ask_server(mmu, fault, &region, present, receiver, now)
    }

    /// A private page that has been copied already.
    fn fault_on_copy(
        &mut self,
        mmu: &mut impl Mmu,
        fault: &Fault,
        region: &Region,
        copy: Frame,
        present: Option<Translation>,
        revoked: &mut Revoked,
    ) -> Result<FaultOutcome, PagerError> {
        if fault.access == Access::Write && mmu.is_shared(copy) {
            return self.copy_on_write(mmu, fault, region, copy, present, revoked);
        }
        let rights = if mmu.is_shared(copy) { region.protection.without_write() } else { region.protection };
        match present {
            Some(_) => _ = mmu.protect(fault.vspace, fault.page, rights),
            None => map_absent(mmu, fault.vspace, fault.page, copy, rights)?,
        }
        Ok(FaultOutcome::Resume)
    }

    /// Gives the page of a private mapping a copy of its own. A translation that is there is taken
    /// away first and everywhere, so that no CPU reads the old page after another has stored to the
    /// new one: the access is made on the second try, by [`Pager::fault_on_copy`].
    fn copy_on_write(
        &mut self,
        mmu: &mut impl Mmu,
        fault: &Fault,
        region: &Region,
        original: Frame,
        present: Option<Translation>,
        revoked: &mut Revoked,
    ) -> Result<FaultOutcome, PagerError> {
        let copy = mmu.allocate().ok_or(PagerError::NoMemory)?;
        mmu.copy_page(copy, original);
        let before = self.vspace_mut(fault.vspace).copies.insert(fault.page, copy);
        self.sockets[self.objects[region.object].socket.0].counters.private_copies += 1;
        if let Some(translation) = present {
            mmu.unmap(fault.vspace, fault.page);
            revoked.flush.push((fault.vspace, fault.page));
            // The reference that the copies' table had, or that the translation had.
            revoked.frames.push(before.unwrap_or(translation.frame));
            return Ok(FaultOutcome::Flush);
        }
        if let Some(shared) = before {
            // No CPU reaches it by this address space, and a relative holds it.
            mmu.release(shared);
        }
        map_absent(mmu, fault.vspace, fault.page, copy, region.protection)?;
        Ok(FaultOutcome::Resume)
    }

    /// Joins a fault in flight, or sends a message.
    #[inline]
    fn ask_server(
        &mut self,
        mmu: &mut impl Mmu,
        fault: &Fault,
        region: &Region,
        present: Option<Translation>,
        receiver: impl FnOnce(SocketId) -> Option<u64>,
        now: u64,
    ) -> Result<FaultOutcome, PagerError> {
        let object = &self.objects[region.object];
        let (socket, cookie) = (object.socket, object.cookie);
        self.live_socket(socket)?;
        let private = region.sharing == Sharing::Private;
        let access = match fault.access {
            Access::Write if private => Access::Read,
            access => access,
        };
        self.owe_event()?;
        if let Some(index) = self.in_flight(region.object, fault, access) {
            return self.join(index, fault, socket);
        }
        let (before, after) = match present {
            Some(_) => (0, 0),
            None => self.window(mmu, fault.vspace, fault.page, region),
        };
        let made = self.client_of(socket, fault.vspace).and_then(|client| {
            let made = self.new_message(|tag| Message {
                tag,
                socket,
                client,
                vspace: fault.vspace,
                state: State::Queued,
                since: now,
                receiver: 0,
                caller: fault.caller,
                queued: Links::new(),
                of_object: Links::new(),
                body: Body::Fault(FaultBody {
                    object: region.object,
                    cookie,
                    page: fault.page,
                    file_page: region.file_page(fault.page),
                    access,
                    record: FaultRecord {
                        before,
                        after,
                        private,
                        present: present.is_some(),
                        prefault: fault.origin == Origin::Prefault,
                    },
                    credentials: fault.credentials,
                    copy_on_arrival: private && fault.access == Access::Write,
                    zapped: None,
                    write_protected: None,
                    waiter: Some((fault.waiter, fault.access)),
                    more_waiters: Vec::new(),
                }),
            })?;
            self.clients[client].messages += 1;
            Ok(made)
        });
        let (index, tag) = made.inspect_err(|_| self.owed -= 1)?;
        self.objects[region.object].faults.push_back(&mut self.messages, index, |message| &mut message.of_object);
        match self.may_have_fault(index).then(|| receiver(socket)).flatten() {
            Some(receiver) => self.fault_delivered(index, receiver),
            None => self.enqueue(index, now),
        }
        Ok(FaultOutcome::Wait { socket, tag })
    }

    /// A fault in flight on the same page whose answer lets `access` go on.
    fn in_flight(&self, object: ObjectIndex, fault: &Fault, access: Access) -> Option<u32> {
        let mut next = self.objects[object].faults.first();
        while let Some(index) = next {
            let message = &self.messages[index];
            if let Body::Fault(body) = &message.body
                && message.vspace == fault.vspace
                && body.page == fault.page
                && (body.access == Access::Write || access != Access::Write)
            {
                return Some(index);
            }
            next = List::next_of(&self.messages, index, |message| &message.of_object);
        }
        None
    }

    fn join(&mut self, index: u32, fault: &Fault, socket: SocketId) -> Result<FaultOutcome, PagerError> {
        let message = &mut self.messages[index];
        let tag = message.tag;
        let Body::Fault(body) = &mut message.body else { unreachable!("the object's list holds faults") };
        let waiter = (fault.waiter, fault.access);
        if body.waiter.is_none() {
            body.waiter = Some(waiter);
        } else if body.more_waiters.try_reserve(1).is_ok() {
            body.more_waiters.push(waiter);
        } else {
            self.owed -= 1;
            return Err(PagerError::NoMemory);
        }
        body.copy_on_arrival |= body.record.private && fault.access == Access::Write;
        Ok(FaultOutcome::Wait { socket, tag })
    }

    /// How many pages before and after `page` the server may provide along with it: those of the block
    /// that it lies in, or, if it goes on where the last answer ended, twice as many ahead as the last time.
    pub(crate) fn window(&mut self, mmu: &impl Mmu, vspace: VspaceId, page: VirtPage, region: &Region) -> (u16, u16) {
        let Config { window, window_ahead, .. } = self.config;
        let sequential = page == region.expected && page != region.start;
        let ahead = if sequential { (region.ahead * 2).clamp(window, window_ahead.max(window)) } else { 0 };
        if let Some(found) = self.vspace_mut(vspace).find_mut(page)
            && found.start == region.start
        {
            found.ahead = ahead;
        }
        let (before, after) = if sequential {
            (0, ahead - 1)
        } else {
            let within = (region.file_page(page).0 & u64::from(window - 1)) as u16;
            (within, window - 1 - within)
        };
        let before = (page.0 - region.start.0).min(u64::from(before)) as u16;
        let after = (region.end().0 - page.0 - 1).min(u64::from(after)) as u16;
        if before == 0 && after == 0 { (0, 0) } else { mmu.absent_around(vspace, page, before, after) }
    }
}

/// The rights of a translation to a page of the file itself.
pub(crate) fn file_rights(region: &Region, writable: bool) -> Rights {
    match region.sharing {
        Sharing::Shared if writable => region.protection,
        _ => region.protection.without_write(),
    }
}

fn map_absent(
    mmu: &mut impl Mmu,
    vspace: VspaceId,
    page: VirtPage,
    frame: Frame,
    rights: Rights,
) -> Result<(), PagerError> {
    match mmu.map(vspace, page, frame, rights) {
        Ok(()) => Ok(()),
        Err(MapError::NoMemory) => Err(PagerError::NoMemory),
        Err(MapError::Present(_)) => unreachable!("the caller saw no translation, under the same lock"),
    }
}
