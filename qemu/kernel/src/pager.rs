//! Where `pager-core` meets the machine.
//!
//! `pager-core` decides what a fault, an answer or a revocation does; here are its page tables and
//! frames ([`Machine`]), the flush that follows a revocation ([`Kernel::flush_revoked`]), and the
//! calls for a region that is a file mapping (`vspace::Backing::Pager`). How it plugs in:
//!
//! | event | comes from | goes to |
//! |---|---|---|
//! | page fault, prefault | `vspace::fault` | [`Kernel::pager_fault`] -> `Pager::fault` |
//! | FMAP with a lazy answer | `scheme::user::call` | [`Kernel::pager_map`] -> `Pager::map` |
//! | FUNMAP, MPROTECT, MREMAP, fork, death | `vspace` | `pager_unmap`, `pager_protect`, .. |
//! | request, answer, message | `scheme::user` | `Pager::submit`, `answer`, `receive` |
//! | ZAP, WRPROTECT, COPY | `scheme::user::unlocked` | `Pager::revoke`, `copy_unit` |
//!
//! Everything is under the kernel lock, the flush included; only the flushes of ZAP and WRPROTECT are waited for
//! without it (`scheme::user::unlocked`), and whoever takes something away meanwhile waits for them first. So one
//! revocation is complete before the next call sees its effect.

use crate::arch::cpu::Cpu;
use crate::arch::paging::{Entry, Flags};
use crate::arch::{clock, physmap, tlb};
use crate::context::{Context, FaultOrigin, State, Wait};
use crate::kernel::Kernel;
use crate::scheme::user::Socket;
use crate::syscall::Stop;
use crate::vspace::{Backing, Region, Rights, Vspace};
use alloc::vec::Vec;
use kernel_logic::arena::{Arena, Id};
use kernel_logic::buddy::{Frame, Frames};
use kernel_logic::span::Span;
use pager_abi::fault::Access;
use pager_abi::grant::MaxProtection;
use pager_abi::socket::QUEUE_FAULT;
use pager_abi::{Cookie, Tag};
use pager_core::{
    Config, Fault, FaultOutcome, FilePage, MapError, Mmu, NewMapping, Origin, Pager, PagerError, Progress, Protect,
    Revoked, Sharing, SocketId, Translation, VirtPage, VspaceId, WaiterId,
};
use syscall::PAGE_SIZE;
use syscall::data::Map;
use syscall::error::{EACCES, Error, Result};
use syscall::flag::MapFlags;

/// The protocol's limits.
pub const CONFIG: Config = Config::STANDARD;

/// Page tables and frames, as `pager-core` wants them.
pub struct Machine<'a> {
    vspaces: &'a mut Arena<Vspace>,
    frames: &'a mut Frames<'static>,
}

/// Translations that the CPUs of a set may hold.
#[derive(Clone, Copy, Debug)]
pub struct Shootdown {
    /// A bit each.
    pub cpus: u64,
    /// Address of the first page.
    pub base: usize,
    /// How many.
    pub pages: usize,
}

impl Kernel {
    /// The pager, and the machine for it, to take something away: after what another CPU is taking away without the
    /// lock has been flushed, for one flush at a time is under way.
    #[inline]
    pub fn pager_and_machine(&mut self) -> (&mut Pager, Machine<'_>) {
        tlb::wait_for_flush();
        self.pager_and_machine_to_give()
    }

    /// The same to answer, which waits for no flush.
    #[inline]
    pub fn pager_and_machine_to_give(&mut self) -> (&mut Pager, Machine<'_>) {
        (&mut self.pager, Machine { vspaces: &mut self.vspaces, frames: &mut self.frames })
    }

    /// Drops everywhere what was revoked, then frees it. Tells whether another CPU was involved.
    #[inline]
    pub fn flush_revoked(&mut self, revoked: &mut Revoked) -> bool {
        if revoked.is_empty() { false } else { self.flush_now(revoked) }
    }

    fn flush_now(&mut self, revoked: &mut Revoked) -> bool {
        let mut others = false;
        for shootdown in self.shootdowns_for(revoked) {
            others |= tlb::shootdown(shootdown.cpus, shootdown.base, shootdown.pages);
        }
        revoked.release(&mut self.pager_and_machine().1);
        others
    }

    /// What has to be flushed where before the frames of `revoked` are free.
    pub fn shootdowns_for(&self, revoked: &Revoked) -> Vec<Shootdown> {
        if revoked.flush.is_empty() {
            // Bounce buffers: no translation leads to them, but a copy may be in one.
            return alloc::vec![Shootdown { cpus: tlb::with_copying(0), base: 0, pages: 0 }];
        }
        // One for each run of entries of one vspace: from its lowest page to its highest.
        let runs = revoked.flush.chunk_by(|a, b| a.0 == b.0);
        runs.map(|run| {
            let low = run.iter().map(|(_, page)| page.0).min().unwrap_or(0);
            let high = run.iter().map(|(_, page)| page.0).max().unwrap_or(0);
            Shootdown {
                cpus: tlb::with_copying(self.vspaces[Id::from_raw(run[0].0.0)].cpus),
                base: low as usize * PAGE_SIZE,
                pages: (high - low) as usize + 1,
            }
        })
        .collect()
    }

    /// A fault in a file mapping.
    #[inline]
    pub fn pager_fault(
        &mut self,
        cpu: &Cpu,
        id: Id<Context>,
        vspace: Id<Vspace>,
        address: usize,
        access: Access,
        origin: FaultOrigin,
    ) -> core::result::Result<(), Stop> {
        let fault = Fault {
            vspace: VspaceId(vspace.raw()),
            page: VirtPage::containing(address as u64),
            access,
            origin: match origin {
                FaultOrigin::Instruction { .. } => Origin::Instruction,
                FaultOrigin::SystemCall | FaultOrigin::Retry => Origin::Prefault,
            },
            waiter: WaiterId(u64::from(id.raw())),
            credentials: self.contexts[id].credentials,
            caller: 0,
        };
        let mut revoked = Revoked::new();
        loop {
            let Self { pager, vspaces, frames, sockets, socket_of, .. } = self;
            let mut handed = None;
            let receiver = |socket: SocketId| {
                let socket = (*socket_of.get(socket.0 as usize)?)?;
                let receiver = sockets[socket].receivers.first(QUEUE_FAULT)?;
                handed = Some((socket, receiver));
                Some(u64::from(receiver.raw()))
            };
            let outcome =
                pager.fault_to(&mut Machine { vspaces, frames }, &fault, receiver, &mut revoked, clock::coarse_ns());
            self.flush_revoked(&mut revoked);
            match outcome {
                FaultOutcome::Resume => {
                    tlb::flush_current(address & !(PAGE_SIZE - 1), 1);
                    return Ok(());
                }
                FaultOutcome::Flush => {}
                FaultOutcome::Wait { tag, .. } => {
                    self.contexts[id].state = State::Waiting(Wait::Page { tag, origin });
                    // Else every receiver is busy, or the client is at its cap: an answer will deliver it.
                    if let Some((socket, receiver)) = handed
                        && let Some(sqe) = self.pager.delivered(tag)
                    {
                        crate::trace::received(receiver, &sqe);
                        self.give(cpu, socket, receiver, &sqe);
                    }
                    return Err(Stop::Wait);
                }
                FaultOutcome::Fail(errno) => return Err(Error::new(errno).into()),
            }
        }
    }

    /// FMAP of a file whose pages come by faults.
    pub fn pager_map(
        &mut self,
        cpu: &Cpu,
        socket: Id<Socket>,
        id: Id<Vspace>,
        map: &Map,
        cookie: Cookie,
        maximum: MaxProtection,
    ) -> Result<usize> {
        let pager = self.sockets[socket].pager;
        let rights = Rights::of(map.flags);
        let most = rights_of_core(maximum.into());
        let placed = match most.contains(rights) {
            true => self.place_mapping(cpu, id, map),
            false => Err(Error::new(EACCES)),
        };
        let span = match placed {
            Ok(span) => span,
            Err(error) => {
                // The grant was given for nothing. Without memory for its record it stays with the server.
                let _ = self.pager.return_grant(pager, cookie);
                self.deliver_notices(cpu);
                return Err(error);
            }
        };
        let private = map.flags.contains(MapFlags::MAP_PRIVATE);
        let mapping = NewMapping {
            vspace: VspaceId(id.raw()),
            start: page_of(span.base),
            pages: span.pages() as u64,
            file: FilePage((map.offset / PAGE_SIZE) as u64),
            protection: rights_for_core(rights),
            maximum: maximum.into(),
            sharing: if private { Sharing::Private } else { Sharing::Shared },
        };
        if let Err(error) = self.pager.map(pager, cookie, &mapping) {
            self.deliver_notices(cpu);
            return Err(errno(error));
        }
        self.vspaces[id].regions.insert(span, Region { rights, maximum: most, backing: Backing::Pager });
        Ok(span.base)
    }

    /// A part of a file mapping goes.
    pub fn pager_unmap(&mut self, cpu: &Cpu, id: Id<Vspace>, span: Span) {
        let mut revoked = Revoked::new();
        loop {
            let (core, mut machine) = self.pager_and_machine();
            let (start, pages) = (page_of(span.base), span.pages() as u64);
            let progress = core.unmap(&mut machine, VspaceId(id.raw()), start, pages, &mut revoked);
            self.flush_revoked(&mut revoked);
            match progress {
                Ok(Progress::More) => {}
                Ok(Progress::Done) => break,
                // No memory to split a region: the kernel's own map of regions has just found some for the
                // same split, so this is the end of the kernel's memory.
                Err(error) => panic!("a file mapping cannot be split: {error:?}"),
            }
        }
        self.deliver_notices(cpu);
    }

    /// MPROTECT of a part of a file mapping.
    pub fn pager_protect(&mut self, id: Id<Vspace>, span: Span, rights: Rights) -> Result<()> {
        let (start, pages) = (page_of(span.base), span.pages() as u64);
        let mut protect = Protect::new(VspaceId(id.raw()), start, pages, rights_for_core(rights));
        let mut revoked = Revoked::new();
        loop {
            let (core, mut machine) = self.pager_and_machine();
            let progress = core.protect(&mut machine, &mut protect, &mut revoked);
            self.flush_revoked(&mut revoked);
            if progress.map_err(errno)? == Progress::Done {
                return Ok(());
            }
        }
    }

    /// MREMAP of a part of a file mapping.
    pub fn pager_relocate(&mut self, id: Id<Vspace>, from: Span, to: usize) -> Result<()> {
        let mut revoked = Revoked::new();
        loop {
            let (core, mut machine) = self.pager_and_machine();
            let (start, pages) = (page_of(from.base), from.pages() as u64);
            let vspace = VspaceId(id.raw());
            let progress = core.relocate(&mut machine, vspace, start, pages, page_of(to), &mut revoked);
            self.flush_revoked(&mut revoked);
            if progress.map_err(errno)? == Progress::Done {
                return Ok(());
            }
        }
    }

    /// A file mapping that ends at `end` grows by `pages`.
    pub fn pager_extend(&mut self, id: Id<Vspace>, end: usize, pages: usize) -> Result<()> {
        self.pager.extend(VspaceId(id.raw()), page_of(end), pages as u64).map_err(errno)
    }

    /// A fork: the child gets the file mappings.
    pub fn pager_inherit(&mut self, parent: Id<Vspace>, child: Id<Vspace>) -> Result<()> {
        let mut revoked = Revoked::new();
        loop {
            let (core, mut machine) = self.pager_and_machine();
            let (parent, child) = (VspaceId(parent.raw()), VspaceId(child.raw()));
            let progress = core.inherit(&mut machine, parent, child, &mut revoked);
            self.flush_revoked(&mut revoked);
            if progress.map_err(errno)? == Progress::Done {
                return Ok(());
            }
        }
    }

    /// A vspace ends.
    pub fn pager_vspace_died(&mut self, cpu: &Cpu, id: Id<Vspace>) {
        let mut revoked = Revoked::new();
        loop {
            let (core, mut machine) = self.pager_and_machine();
            let progress = core.vspace_died(&mut machine, VspaceId(id.raw()), &mut revoked);
            self.flush_revoked(&mut revoked);
            if progress == Progress::Done {
                break;
            }
        }
        self.drain_events(cpu);
        self.deliver_notices(cpu);
    }

    /// Context `id` will not wait for `tag` any longer.
    pub fn detach(&mut self, cpu: &Cpu, id: Id<Context>, tag: Tag) {
        let mut revoked = Revoked::new();
        self.pager.detach(tag, WaiterId(u64::from(id.raw())), &mut revoked);
        self.flush_revoked(&mut revoked);
        self.deliver_notices(cpu);
    }

    /// The mapping object and byte offset that `address` shows, if stores to it are shared.
    pub fn pager_place(&mut self, id: Id<Vspace>, address: usize) -> Option<(u64, u64)> {
        let (object, page) = self.pager.shared_place(VspaceId(id.raw()), page_of(address))?;
        Some((u64::from(object), page.offset() + (address % PAGE_SIZE) as u64))
    }

    /// Messages that nobody sent on purpose (grants given back, cancellations) go to receivers that wait.
    pub fn deliver_notices(&mut self, cpu: &Cpu) {
        while let Some(socket) = self.pager.next_noticed() {
            if let Some(socket) = self.socket_of(socket) {
                self.kick(cpu, socket);
            }
        }
    }
}

fn page_of(address: usize) -> VirtPage {
    VirtPage::containing(address as u64)
}

fn errno(error: PagerError) -> Error {
    Error::new(error.errno())
}

fn rights_for_core(rights: Rights) -> pager_core::Rights {
    pager_core::Rights {
        read: rights.contains(Rights::READ),
        write: rights.contains(Rights::WRITE),
        execute: rights.contains(Rights::EXECUTE),
    }
}

fn rights_of_core(rights: pager_core::Rights) -> Rights {
    let mut own = Rights::empty();
    own.set(Rights::READ, rights.read);
    own.set(Rights::WRITE, rights.write);
    own.set(Rights::EXECUTE, rights.execute);
    own
}

#[inline]
fn frame_of(frame: pager_core::Frame) -> Frame {
    Frame(frame.0 as u32)
}

#[inline]
fn translation(entry: Entry) -> Option<Translation> {
    let flags = entry.flags();
    flags.contains(Flags::PRESENT | Flags::USER).then(|| Translation {
        frame: pager_core::Frame(u64::from(entry.frame().0)),
        rights: pager_core::Rights {
            read: true,
            write: flags.contains(Flags::WRITE),
            execute: !flags.contains(Flags::NO_EXECUTE),
        },
        accessed: flags.contains(Flags::ACCESSED),
        dirty: flags.contains(Flags::DIRTY),
    })
}

#[inline]
fn vspace_id(vspace: VspaceId) -> Id<Vspace> {
    Id::from_raw(vspace.0)
}

#[inline]
fn address_of(page: VirtPage) -> usize {
    page.0 as usize * PAGE_SIZE
}

impl Mmu for Machine<'_> {
    #[inline]
    fn translation(&self, vspace: VspaceId, page: VirtPage) -> Option<Translation> {
        translation(self.vspaces[vspace_id(vspace)].table.get(address_of(page)))
    }

    #[inline]
    fn map(
        &mut self,
        vspace: VspaceId,
        page: VirtPage,
        frame: pager_core::Frame,
        rights: pager_core::Rights,
    ) -> core::result::Result<(), MapError> {
        let table = &mut self.vspaces[vspace_id(vspace)].table;
        let entry = Entry::new(frame_of(frame), rights_of_core(rights).flags());
        let old = table.insert(self.frames, address_of(page), entry).map_err(|_| MapError::NoMemory)?;
        match translation(old) {
            Some(present) => Err(MapError::Present(present)),
            None => Ok(()),
        }
    }

    fn protect(&mut self, vspace: VspaceId, page: VirtPage, rights: pager_core::Rights) -> Option<Translation> {
        const NOTED: Flags = Flags::ACCESSED.union(Flags::DIRTY);
        let flags = rights_of_core(rights).flags();
        let table = &mut self.vspaces[vspace_id(vspace)].table;
        translation(table.exchange(address_of(page), |old| old.with(flags | old.flags() & NOTED)))
    }

    fn unmap(&mut self, vspace: VspaceId, page: VirtPage) -> Option<Translation> {
        translation(self.vspaces[vspace_id(vspace)].table.exchange(address_of(page), |_| Entry::NONE))
    }

    fn next_present(&self, vspace: VspaceId, from: VirtPage, to: VirtPage) -> Option<VirtPage> {
        let end = address_of(VirtPage(to.0.min((crate::vspace::USER_END / PAGE_SIZE) as u64)));
        let from = from.0.min((crate::vspace::USER_END / PAGE_SIZE) as u64);
        let found = self.vspaces[vspace_id(vspace)].table.next_present(address_of(VirtPage(from)), end);
        found.map(page_of)
    }

    #[inline]
    fn givable(&self, server: VspaceId, page: VirtPage) -> Option<Translation> {
        let vspace = &self.vspaces[vspace_id(server)];
        let address = address_of(page);
        match vspace.region_at(address)?.1 {
            Backing::Private | Backing::Shared => translation(vspace.table.get(address)),
            Backing::Physical | Backing::Pager | Backing::Scheme(_) | Backing::Lent => None,
        }
    }

    #[inline]
    fn givable_run(&self, server: VspaceId, page: VirtPage, count: u64) -> u64 {
        let regions = &self.vspaces[vspace_id(server)].regions;
        let (mut at, end) = (page, page.forward(count));
        while at < end {
            match regions.find(address_of(at)) {
                Some((span, Region { backing: Backing::Private | Backing::Shared, .. })) => at = page_of(span.end()),
                _ => break,
            }
        }
        at.min(end).0.saturating_sub(page.0)
    }

    fn share_run(
        &mut self,
        server: VspaceId,
        source: VirtPage,
        needed: pager_core::Rights,
        vspace: VspaceId,
        page: VirtPage,
        rights: pager_core::Rights,
        count: u64,
    ) -> u64 {
        if server == vspace {
            return 0;
        }
        let needed = rights_of_core(needed).flags() & (Flags::PRESENT | Flags::USER | Flags::WRITE);
        let flags = rights_of_core(rights).flags();
        let (server, client) = self.vspaces.pair_mut(vspace_id(server), vspace_id(vspace));
        let (source, target) = (address_of(source), address_of(page));
        client.table.share(self.frames, target, flags, &server.table, source, needed, count as usize) as u64
    }

    #[inline]
    fn absent_around(&self, vspace: VspaceId, page: VirtPage, before: u16, after: u16) -> (u16, u16) {
        let table = &self.vspaces[vspace_id(vspace)].table;
        let (below, above) = table.absent_around(address_of(page), before.into(), after.into());
        (below as u16, above as u16)
    }

    fn allocate(&mut self) -> Option<pager_core::Frame> {
        self.frames.alloc().map(|frame| pager_core::Frame(u64::from(frame.0)))
    }

    fn clear_page(&mut self, frame: pager_core::Frame) {
        physmap::zero(frame_of(frame));
    }

    fn copy_page(&mut self, to: pager_core::Frame, from: pager_core::Frame) {
        physmap::copy(frame_of(to), frame_of(from));
    }

    #[inline]
    fn hold(&mut self, frame: pager_core::Frame) {
        self.frames.retain(frame_of(frame));
    }

    #[inline]
    fn release(&mut self, frame: pager_core::Frame) {
        self.frames.release(frame_of(frame));
    }

    #[inline]
    fn is_shared(&self, frame: pager_core::Frame) -> bool {
        self.frames.refs(frame_of(frame)) > 1
    }
}
