//! What the pager needs from the machine: page tables, frames, and nothing else.
//!
//! Owns no behaviour. The kernel implements [`Mmu`] over its page tables; `fake_mmu` implements it
//! in software. No method flushes a TLB: what has to be flushed is gathered in [`crate::Revoked`]
//! and is flushed by the caller after it has dropped the lock.

use crate::units::{Frame, Rights, Translation, VirtPage, VspaceId};

/// Why a page could not be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// The page has a translation already, and it was left as it is.
    Present(Translation),
    /// No memory for a page table.
    NoMemory,
}

/// Page tables and frames. Every frame that the pager handles is counted: [`Mmu::hold`] adds a
/// reference, [`Mmu::release`] takes one away and frees the frame at the last.
pub trait Mmu {
    /// The entry of `page`, whoever made it (the pager or the kernel); `None` if not present.
    fn translation(&self, vspace: VspaceId, page: VirtPage) -> Option<Translation>;

    /// Makes an entry where there is none. Takes no reference.
    fn map(&mut self, vspace: VspaceId, page: VirtPage, frame: Frame, rights: Rights) -> Result<(), MapError>;

    /// Changes the rights of an entry that is present, and keeps its other bits; returns what the
    /// entry was, atomically with respect to CPUs that set the accessed and dirty bits.
    fn protect(&mut self, vspace: VspaceId, page: VirtPage, rights: Rights) -> Option<Translation>;

    /// Removes an entry and returns what it was, atomically as [`Mmu::protect`] does. Gives back no
    /// reference.
    fn unmap(&mut self, vspace: VspaceId, page: VirtPage) -> Option<Translation>;

    /// The first page of `[from, to)` with an entry. Must skip absent tables as a whole.
    fn next_present(&self, vspace: VspaceId, from: VirtPage, to: VirtPage) -> Option<VirtPage>;

    /// How many pages directly before and directly after `page` have no entry, each counted up to
    /// its limit.
    fn absent_around(&self, vspace: VspaceId, page: VirtPage, before: u16, after: u16) -> (u16, u16) {
        let absent = |page: u64| self.translation(vspace, VirtPage(page)).is_none();
        let below = (1..=u64::from(before)).take_while(|n| page.0 >= *n && absent(page.0 - n)).count();
        let above = (1..=u64::from(after)).take_while(|n| absent(page.0 + n)).count();
        (below as u16, above as u16)
    }

    /// The entry of `page` of a server if the memory is RAM that the server may give away:
    /// anonymous memory of its own. `None` for device memory, for file mappings, for absent pages.
    fn givable(&self, server: VspaceId, page: VirtPage) -> Option<Translation>;

    /// How many of `count` pages from `page` on lie in memory that the server may give away, up to the first
    /// that does not; they need not be present.
    fn givable_run(&self, server: VspaceId, page: VirtPage, count: u64) -> u64 {
        (0..count).take_while(|n| self.givable(server, page.forward(*n)).is_some()).count() as u64
    }

    /// Maps `count` pages of `server` from `source` on at `page` of `vspace`, in order: each page that has no entry
    /// gets one with `rights`, and the frame a reference; the others stay as they are. Ends before the first
    /// page of the server that lacks `needed`, and where memory for a table ends; gives the pages done.
    #[expect(clippy::too_many_arguments, reason = "two places and what is allowed at each")]
    fn share_run(
        &mut self,
        server: VspaceId,
        source: VirtPage,
        needed: Rights,
        vspace: VspaceId,
        page: VirtPage,
        rights: Rights,
        count: u64,
    ) -> u64 {
        for nth in 0..count {
            let given = self.translation(server, source.forward(nth)).filter(|given| given.rights.include(needed));
            let Some(given) = given else { return nth };
            match self.map(vspace, page.forward(nth), given.frame, rights) {
                Ok(()) => self.hold(given.frame),
                Err(MapError::Present(_)) => {}
                Err(MapError::NoMemory) => return nth,
            }
        }
        count
    }

    /// A new frame with one reference, its contents undefined; `None` if memory is out.
    fn allocate(&mut self) -> Option<Frame>;

    /// Fills a page with zeros.
    fn clear_page(&mut self, frame: Frame);

    /// Copies a whole page.
    fn copy_page(&mut self, to: Frame, from: Frame);

    /// Adds a reference.
    fn hold(&mut self, frame: Frame);

    /// Takes a reference away. The frame must be out of every TLB if it is the last.
    fn release(&mut self, frame: Frame);

    /// Whether the frame has more than one reference.
    fn is_shared(&self, frame: Frame) -> bool;
}
