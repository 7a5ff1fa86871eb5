//! ZAP and WRPROTECT: the server takes pages back, or takes the right to store to them.
//!
//! Owns the walk over all mappings of an object, the marks on faults in flight (rule 2), and what
//! has to be flushed and freed afterwards ([`Revoked`]). Does not flush: the caller drops the lock,
//! makes every CPU flush, waits, frees, and calls again while there is [`Progress::More`].

use crate::{
    FilePage, Frame, Mmu, Pager, PagerError, Progress, REVOKE_MAX, SocketId, VirtPage, VspaceId,
    message::{Body, FileRange, State},
    object::ObjectIndex,
    slab::List,
    vspace::Region,
};
use alloc::vec::Vec;
use mutants::{Mutant, mutant};
use pager_abi::{Cookie, PAGE_SIZE, socket::ZapWhat};

/// What a call took away: flush it everywhere, then free it.
#[derive(Default)]
#[must_use]
pub struct Revoked {
    /// Translations that CPUs may still hold.
    pub flush: Vec<(VspaceId, VirtPage)>,
    /// Frames that CPUs may still reach, by these translations or in a [`crate::CopyUnit`] that is
    /// being copied; one reference each.
    pub frames: Vec<Frame>,
}

impl Revoked {
    /// Nothing yet. No memory is taken before something is revoked.
    pub const fn new() -> Self {
        Self { flush: Vec::new(), frames: Vec::new() }
    }

    /// Nothing yet, with room for what one call can revoke: then no call allocates for it.
    pub fn with_room() -> Self {
        Self { flush: Vec::with_capacity(REVOKE_MAX), frames: Vec::with_capacity(REVOKE_MAX) }
    }

    /// Whether there is nothing to flush and nothing to free.
    pub fn is_empty(&self) -> bool {
        self.flush.is_empty() && self.frames.is_empty()
    }

    /// Frees the frames. Only after every CPU has flushed (and has ended the copy it was in).
    pub fn release(&mut self, mmu: &mut impl Mmu) {
        self.flush.clear();
        for frame in self.frames.drain(..) {
            mmu.release(frame);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Zap(ZapWhat),
    WrProtect,
}

/// A ZAP or a WRPROTECT under way. Call [`Pager::revoke`] until it is done; it must not be dropped
/// before.
#[derive(Debug)]
pub struct Revocation {
    socket: SocketId,
    cookie: Cookie,
    kind: Kind,
    /// File pages whose shared translations are taken.
    pages: FileRange,
    /// File pages whose private copies are taken: whole pages of the range only.
    whole_pages: FileRange,
    /// Where the next call goes on in the reverse map.
    cursor: Option<(VspaceId, VirtPage)>,
    begun: bool,
    /// A page of the range had been used (the result of ZAP).
    pub accessed: bool,
    /// Pages that were writable (the result of WRPROTECT).
    pub writable: u64,
    /// Pages that had been stored to by the hardware's account.
    pub dirty: u64,
}

impl Revocation {
    /// ZAP of `length` bytes at `offset` (0: to the end). Shared pages are taken when any byte of
    /// them is in the range, private copies when all are.
    pub fn zap(socket: SocketId, cookie: Cookie, offset: u64, length: u64, what: ZapWhat) -> Self {
        Self::new(socket, cookie, offset, length, Kind::Zap(what))
    }

    /// WRPROTECT of `length` bytes at `offset` (0: to the end).
    pub fn write_protect(socket: SocketId, cookie: Cookie, offset: u64, length: u64) -> Self {
        Self::new(socket, cookie, offset, length, Kind::WrProtect)
    }

    fn new(socket: SocketId, cookie: Cookie, offset: u64, length: u64, kind: Kind) -> Self {
        let to_the_end = length == 0;
        let end = if to_the_end { u64::MAX } else { offset.saturating_add(length) };
        let whole_end = if to_the_end { u64::MAX / PAGE_SIZE + 1 } else { end / PAGE_SIZE };
        Self {
            socket,
            cookie,
            kind,
            pages: (FilePage(offset / PAGE_SIZE), FilePage(end.div_ceil(PAGE_SIZE))),
            whole_pages: (FilePage(offset.div_ceil(PAGE_SIZE)), FilePage(whole_end)),
            cursor: None,
            begun: false,
            accessed: false,
            writable: 0,
            dirty: 0,
        }
    }
}

impl Pager {
    /// Takes the next at most [`REVOKE_MAX`] pages of a revocation. A cookie without an object is
    /// done at once: nobody maps it.
    pub fn revoke(
        &mut self,
        mmu: &mut impl Mmu,
        revocation: &mut Revocation,
        revoked: &mut Revoked,
    ) -> Result<Progress, PagerError> {
        let socket = self.live_socket(revocation.socket)?;
        let Some(&object) = socket.objects.get(&revocation.cookie) else { return Ok(Progress::Done) };
        let takes_copies = revocation.kind == Kind::Zap(ZapWhat::SharedAndPrivate);
        if !revocation.begun {
            revocation.begun = true;
            self.objects[object].zapping += u32::from(takes_copies);
            let counters = &mut self.sockets[revocation.socket.0].counters;
            match revocation.kind {
                Kind::Zap(_) => counters.zaps += 1,
                Kind::WrProtect => counters.wrprotects += 1,
            }
            self.mark_in_flight(object, revocation);
        }
        let progress = self.revoke_regions(mmu, object, revocation, revoked);
        if progress == Progress::Done {
            self.objects[object].zapping -= u32::from(takes_copies);
            self.settle_object(object);
        }
        Ok(progress)
    }

    /// Rule 2: marks the delivered faults whose answer could map a page of the range.
    fn mark_in_flight(&mut self, object: ObjectIndex, revocation: &Revocation) {
        let mut next = self.objects[object].faults.first();
        while let Some(index) = next {
            next = List::next_of(&self.messages, index, |message| &message.of_object);
            let message = &mut self.messages[index];
            if message.state != State::Delivered {
                continue;
            }
            let Body::Fault(fault) = &mut message.body else { unreachable!("the object's list holds faults") };
            let window = (
                FilePage(fault.file_page.0 - u64::from(fault.record.before)),
                fault.file_page.forward(u64::from(fault.record.after) + 1),
            );
            let overlap = (window.0.max(revocation.pages.0), window.1.min(revocation.pages.1));
            if overlap.0 >= overlap.1 {
                continue;
            }
            let mark = match revocation.kind {
                Kind::Zap(_) if mutant(Mutant::NoInFlightMark) => continue,
                Kind::Zap(_) => &mut fault.zapped,
                Kind::WrProtect => &mut fault.write_protected,
            };
            *mark = Some(match *mark {
                Some((low, high)) => (low.min(overlap.0), high.max(overlap.1)),
                None => overlap,
            });
        }
    }

    fn revoke_regions(
        &mut self,
        mmu: &mut impl Mmu,
        object: ObjectIndex,
        revocation: &mut Revocation,
        revoked: &mut Revoked,
    ) -> Progress {
        let mut budget = REVOKE_MAX;
        let mut next = revocation.cursor;
        loop {
            let Some((vspace, region)) = self.region_from(object, next) else { return Progress::Done };
            if let Some((from, to)) = region.showing(revocation.pages.0, revocation.pages.1) {
                let from = match next {
                    Some((of, page)) if of == vspace => from.max(page),
                    _ => from,
                };
                // A look at a region costs as much as a page, so that many empty ones end a call too.
                if budget == 0 {
                    revocation.cursor = Some((vspace, from));
                    return Progress::More;
                }
                budget -= 1;
                if let Err(stopped) =
                    self.revoke_pages(mmu, vspace, &region, (from, to), revocation, revoked, &mut budget)
                {
                    revocation.cursor = Some((vspace, stopped));
                    return Progress::More;
                }
            }
            next = Some((vspace, region.end()));
        }
    }

    /// The region of `object` that holds `from` or else the next one in the reverse map.
    fn region_from(&self, object: ObjectIndex, from: Option<(VspaceId, VirtPage)>) -> Option<(VspaceId, Region)> {
        let regions = &self.objects[object].regions;
        let look_up = |&(vspace, start): &(VspaceId, VirtPage)| {
            let space = self.vspace(vspace).expect("the reverse map names address spaces with regions");
            (vspace, space.regions[space.at_or_after(start)])
        };
        let Some(from) = from else { return regions.first().map(look_up) };
        // The one that begins before `from` may reach beyond it.
        let before = regions.range(..from).next_back().map(look_up);
        before
            .filter(|(vspace, region)| *vspace == from.0 && region.end() > from.1)
            .or_else(|| regions.range(from..).next().map(look_up))
    }

    /// Pages `[from, to)` of one region; `Err`: the budget ended at this page.
    #[expect(clippy::too_many_arguments, reason = "one step of a walk, called from one place")]
    fn revoke_pages(
        &mut self,
        mmu: &mut impl Mmu,
        vspace: VspaceId,
        region: &Region,
        (from, to): (VirtPage, VirtPage),
        revocation: &mut Revocation,
        revoked: &mut Revoked,
        budget: &mut usize,
    ) -> Result<(), VirtPage> {
        let copies = &mut self.vspaces[vspace.0 as usize].copies;
        let mut at = from;
        loop {
            // Page after page, whether it has a translation, a private copy, or both.
            let present = mmu.next_present(vspace, at, to);
            let copied = match revocation.kind {
                Kind::Zap(ZapWhat::SharedAndPrivate) => copies.range(at..to).next().map(|(page, _)| *page),
                _ => None,
            };
            let Some(page) = present.into_iter().chain(copied).min() else { return Ok(()) };
            if *budget == 0 {
                return Err(page);
            }
            *budget -= 1;
            at = page.forward(1);

            let is_copy = copies.contains_key(&page);
            if is_copy {
                let file_page = region.file_page(page);
                let whole = revocation.whole_pages.0 <= file_page && file_page < revocation.whole_pages.1;
                if revocation.kind == Kind::Zap(ZapWhat::SharedAndPrivate) && whole {
                    let frame = copies.remove(&page).expect("looked up above");
                    mmu.unmap(vspace, page);
                    revoked.flush.push((vspace, page));
                    revoked.frames.push(frame);
                }
                continue;
            }
            let old = match revocation.kind {
                Kind::Zap(_) => mmu.unmap(vspace, page),
                Kind::WrProtect => {
                    let Some(old) = mmu.translation(vspace, page).filter(|old| old.rights.write) else { continue };
                    mmu.protect(vspace, page, old.rights.without_write())
                }
            };
            let Some(old) = old else { continue };
            revocation.accessed |= old.accessed;
            revocation.writable += u64::from(old.rights.write);
            revocation.dirty += u64::from(old.dirty);
            revoked.flush.push((vspace, page));
            if revocation.kind != Kind::WrProtect {
                if mutant(Mutant::FrameFreedBeforeAck) {
                    mmu.release(old.frame);
                    continue;
                }
                revoked.frames.push(old.frame);
            }
        }
    }
}
