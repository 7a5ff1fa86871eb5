//! `ProvideMmap`: the answer to a fault that maps pages of the server.
//!
//! Nothing that was true when the fault was sent is taken for granted: the mapping is looked up
//! again, the run is cut to what is still there, to the window that was asked for, and to what no
//! ZAP has taken meanwhile. Only frames of the server's own RAM are mapped, never with more rights
//! than the server has, never over another page.

use crate::{
    FilePage, Frame, MapError, Mmu, Pager, PagerError, Revoked, Rights, Sharing, VirtPage, VspaceId,
    fault::file_rights,
    message::{Body, FileRange, Wake},
    vspace::Region,
};
use mutants::{Mutant, mutant};
use pager_abi::fault::ProvideMmap;
use syscall::error::ENOMEM;

/// A run that has passed the checks, ready to be mapped.
struct Run {
    vspace: VspaceId,
    /// Pages of the file that are provided and still wanted.
    from: FilePage,
    to: FilePage,
    /// The page of the server that holds `from`.
    source: VirtPage,
    faulting: FilePage,
    writable: bool,
    private: bool,
    write_protected: Option<FileRange>,
}

impl Run {
    /// The rights of the translation to one page.
    fn rights(&self, region: &Region, file_page: FilePage) -> Rights {
        let protected = self.write_protected.is_some_and(|range| contains(range, file_page))
            && !mutant(Mutant::WritableAfterWrprotect);
        file_rights(region, self.writable && !protected)
    }
}

enum Mapped {
    Settled,
    NoMemory,
    Refused,
}

impl Pager {
    pub(crate) fn provide(
        &mut self,
        mmu: &mut impl Mmu,
        index: u32,
        server: VspaceId,
        provide: &ProvideMmap,
        revoked: &mut Revoked,
        now: u64,
    ) -> Result<(), PagerError> {
        let message = &self.messages[index];
        let vspace = message.vspace;
        let Body::Fault(fault) = &message.body else { unreachable!("the caller has a fault") };
        if provide.before > fault.record.before || provide.count - provide.before - 1 > fault.record.after {
            return self.refuse(index, revoked);
        }
        if !fault.has_waiters() {
            self.end_fault(index, |_| Wake::FaultSettled);
            return Ok(());
        }
        let (page, file_page, object) = (fault.page, fault.file_page, fault.object);
        if fault.zapped.is_some_and(|range| contains(range, file_page)) {
            self.resend(mmu, index, now);
            return Ok(());
        }
        let provided_from = FilePage(file_page.0 - u64::from(provide.before));
        let mut run = Run {
            vspace,
            from: provided_from,
            to: provided_from.forward(provide.count.into()),
            source: VirtPage::containing(provide.address),
            faulting: file_page,
            writable: provide.writable,
            private: false,
            write_protected: fault.write_protected,
        };
        if let Some((low, high)) = fault.zapped {
            // The marks lie on one side of the page, or on both with the page in between: then the
            // union has swallowed it and the answer was turned back above.
            if low > file_page {
                run.to = run.to.min(low);
            } else {
                run.from = run.from.max(high);
            }
        }
        let copy_on_arrival = fault.copy_on_arrival;
        let region = match self.vspace_mut(vspace).find(page) {
            Some(region) if !region.dying && region.object == object && region.file_page(page) == file_page => region,
            // Unmapped or replaced meanwhile: the access looks again.
            _ => {
                self.end_fault(index, |_| Wake::FaultSettled);
                return Ok(());
            }
        };
        run.private = region.sharing == Sharing::Private;
        run.from = run.from.max(region.file);
        run.to = run.to.min(region.file.forward(region.pages));
        run.source = run.source.forward(run.from.0 - provided_from.0);

        let copy = copy_on_arrival && region.sharing == Sharing::Private && region.protection.write;
        match self.map_run(mmu, server, &region, &run, copy) {
            Mapped::Settled => {
                self.end_fault(index, |_| Wake::FaultSettled);
                Ok(())
            }
            Mapped::NoMemory => {
                self.fail_fault(index, ENOMEM);
                Ok(())
            }
            Mapped::Refused => self.refuse(index, revoked),
        }
    }

    fn map_run(&mut self, mmu: &mut impl Mmu, server: VspaceId, region: &Region, run: &Run, copy: bool) -> Mapped {
        let count = run.to.0 - run.from.0;
        if mmu.givable_run(server, run.source, count) < count {
            return Mapped::Refused;
        }
        let needed = if run.writable { Rights::READ_WRITE } else { Rights::READ };
        let given = |mmu: &mut _, nth: u64| {
            let given = Mmu::translation(mmu, server, run.source.forward(nth))?;
            given.rights.include(needed).then_some(given.frame)
        };
        // The faulting page first: the answer stands or falls with it.
        let faulting = run.faulting.0 - run.from.0;
        let Some(frame) = given(mmu, faulting) else { return Mapped::Refused };
        let first = region.start.forward(run.from.0 - region.file.0);
        let page = first.forward(faulting);
        let mapped = match copy {
            true => self.map_copy(mmu, run.vspace, region, page, frame),
            false => self.map_file_page(mmu, run, page, frame, run.rights(region, run.faulting)),
        };
        if !matches!(mapped, Mapped::Settled) {
            return mapped;
        }
        // The neighbours. One that does not fit is left out: nobody has asked for it.
        let plain = !run.private && !run.writable;
        let rights = file_rights(region, false);
        for (from, to) in [(0, faulting), (faulting + 1, count)] {
            if from == to {
                continue;
            }
            if plain && !rights.none() {
                let (source, page) = (run.source.forward(from), first.forward(from));
                let done = mmu.share_run(server, source, needed, run.vspace, page, rights, to - from);
                if from + done < to && given(mmu, from + done).is_none() {
                    return Mapped::Refused;
                }
                continue;
            }
            for nth in from..to {
                let Some(frame) = given(mmu, nth) else { return Mapped::Refused };
                let rights = run.rights(region, run.from.forward(nth));
                _ = self.map_file_page(mmu, run, first.forward(nth), frame, rights);
            }
        }
        self.sockets[self.objects[region.object].socket.0].counters.pages_provided += count;
        if let Some(region) = self.vspace_mut(run.vspace).find_mut(page) {
            region.expected = first.forward(count);
        }
        Mapped::Settled
    }

    /// One page of the file, never over a private copy and never over another frame.
    #[inline]
    fn map_file_page(&mut self, mmu: &mut impl Mmu, run: &Run, page: VirtPage, frame: Frame, rights: Rights) -> Mapped {
        if run.private && self.vspace_mut(run.vspace).copies.contains_key(&page) || rights.none() {
            return Mapped::Settled;
        }
        match mmu.map(run.vspace, page, frame, rights) {
            Ok(()) => {
                mmu.hold(frame);
                Mapped::Settled
            }
            Err(MapError::NoMemory) => Mapped::NoMemory,
            Err(MapError::Present(present)) if present.frame == frame => {
                if rights.write && !present.rights.write {
                    mmu.protect(run.vspace, page, rights);
                }
                Mapped::Settled
            }
            // Another page of the cache stands there, so the server changed its mind without a ZAP.
            Err(MapError::Present(_)) => Mapped::Refused,
        }
    }

    /// The page came for a store to a private mapping: the copy is mapped at once.
    fn map_copy(
        &mut self,
        mmu: &mut impl Mmu,
        vspace: VspaceId,
        region: &Region,
        page: VirtPage,
        original: Frame,
    ) -> Mapped {
        if self.vspace_mut(vspace).copies.contains_key(&page) || mmu.translation(vspace, page).is_some() {
            // Another thread was faster; the store tries again.
            return Mapped::Settled;
        }
        let Some(copy) = mmu.allocate() else { return Mapped::NoMemory };
        mmu.copy_page(copy, original);
        self.vspace_mut(vspace).copies.insert(page, copy);
        self.sockets[self.objects[region.object].socket.0].counters.private_copies += 1;
        match mmu.map(vspace, page, copy, region.protection) {
            Ok(()) => Mapped::Settled,
            // The copy stays, and the next fault maps it.
            Err(MapError::NoMemory) => Mapped::NoMemory,
            Err(MapError::Present(_)) => unreachable!("looked above, under the same lock"),
        }
    }

    /// A ZAP overtook the answer: the fault is sent again under the same tag, with the facts of now.
    fn resend(&mut self, mmu: &mut impl Mmu, index: u32, now: u64) {
        let message = &self.messages[index];
        let (vspace, socket) = (message.vspace, message.socket);
        let Body::Fault(fault) = &message.body else { unreachable!("the caller has a fault") };
        let (page, file_page, object) = (fault.page, fault.file_page, fault.object);
        let region = self
            .vspace_mut(vspace)
            .find(page)
            .filter(|region| !region.dying && region.object == object && region.file_page(page) == file_page);
        let present = mmu.translation(vspace, page).is_some();
        let Some(region) = region.filter(|_| !present) else {
            self.end_fault(index, |_| Wake::FaultSettled);
            return;
        };
        let (before, after) = self.window(mmu, vspace, page, &region);
        self.taken_back(index);
        let Body::Fault(fault) = &mut self.messages[index].body else { unreachable!("as above") };
        fault.record.before = before;
        fault.record.after = after;
        fault.record.present = false;
        fault.zapped = None;
        fault.write_protected = None;
        self.sockets[socket.0].counters.resent_faults += 1;
        self.enqueue(index, now);
    }
}

fn contains(range: FileRange, page: FilePage) -> bool {
    range.0 <= page && page < range.1
}
