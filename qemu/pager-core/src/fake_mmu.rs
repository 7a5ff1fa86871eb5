//! A machine in software: page tables, frames, and CPUs whose TLBs stay stale until flushed.
//!
//! Stands beside the [`Mmu`] trait that it fakes. Client accesses are single steps ([`FakeMmu::load`],
//! [`FakeMmu::store`]), so that a test or an explorer can put anything between them. Every misuse that
//! hardware would punish late panics at once: a frame that is freed while a TLB reaches it is found
//! when it is reached, a reference too few or too many when it is released.

use crate::{Frame, MapError, Mmu, Revoked, Rights, Translation, VirtPage, VspaceId};
use alloc::{collections::BTreeMap, vec, vec::Vec};
use pager_abi::{PAGE_SIZE, fault::Access};

/// Words of a page that the fake keeps; the rest of a page is not there.
pub const WORDS: usize = 4;

#[derive(Clone, Debug, Default)]
struct FakeFrame {
    references: u32,
    words: [u64; WORDS],
}

/// An access that the MMU did not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FakeFault {
    /// The page.
    pub page: VirtPage,
    /// What was tried.
    pub access: Access,
}

/// The machine.
#[derive(Clone, Debug)]
pub struct FakeMmu {
    frames: Vec<FakeFrame>,
    tables: BTreeMap<(VspaceId, VirtPage), Translation>,
    /// Memory of servers that they may give away, by page.
    givable: BTreeMap<(VspaceId, VirtPage), ()>,
    tlbs: Vec<BTreeMap<(VspaceId, VirtPage), Translation>>,
    /// Frames that may be in use at a time.
    limit: usize,
}

impl FakeMmu {
    /// A machine with so many CPUs and frames.
    pub fn new(cpus: usize, frames: usize) -> Self {
        Self {
            frames: vec![FakeFrame::default(); frames],
            tables: BTreeMap::new(),
            givable: BTreeMap::new(),
            tlbs: vec![BTreeMap::new(); cpus],
            limit: frames,
        }
    }

    /// Lets the machine run out of memory: at most so many frames are handed out from now on.
    pub fn limit_frames(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Frames with references.
    pub fn frames_in_use(&self) -> usize {
        self.frames.iter().filter(|frame| frame.references > 0).count()
    }

    /// References to `frame`.
    pub fn references(&self, frame: Frame) -> u32 {
        self.frames[frame.0 as usize].references
    }

    /// Gives a server a page of anonymous memory that holds `value` in every word.
    pub fn give_server_page(&mut self, server: VspaceId, page: VirtPage, value: u64) -> Frame {
        let frame = self.allocate().expect("the test has frames enough");
        self.frames[frame.0 as usize].words = [value; WORDS];
        self.map(server, page, frame, Rights::READ_WRITE).expect("the page is free");
        self.givable.insert((server, page), ());
        frame
    }

    /// Gives a process a page that is none of the pager's business.
    pub fn give_anonymous_page(&mut self, vspace: VspaceId, page: VirtPage, rights: Rights) -> Frame {
        let frame = self.allocate().expect("the test has frames enough");
        self.clear_page(frame);
        self.map(vspace, page, frame, rights).expect("the page is free");
        frame
    }

    /// A word of a frame, past all translations.
    pub fn peek(&self, frame: Frame, word: usize) -> u64 {
        self.frames[frame.0 as usize].words[word]
    }

    /// Stores to a word of a frame, past all translations.
    pub fn poke(&mut self, frame: Frame, word: usize, value: u64) {
        self.frames[frame.0 as usize].words[word] = value;
    }

    /// One load of a client: through the CPU's TLB, which it fills from the table.
    pub fn load(&mut self, cpu: usize, vspace: VspaceId, page: VirtPage, word: usize) -> Result<u64, FakeFault> {
        let translation = self.translate(cpu, vspace, page, Access::Read)?;
        let frame = self.reach(translation.frame);
        Ok(frame.words[word])
    }

    /// One store of a client.
    pub fn store(
        &mut self,
        cpu: usize,
        vspace: VspaceId,
        page: VirtPage,
        word: usize,
        value: u64,
    ) -> Result<(), FakeFault> {
        let translation = self.translate(cpu, vspace, page, Access::Write)?;
        self.reach(translation.frame).words[word] = value;
        Ok(())
    }

    fn reach(&mut self, frame: Frame) -> &mut FakeFrame {
        let record = &mut self.frames[frame.0 as usize];
        assert!(record.references > 0, "a CPU reached {frame:?} after it was freed");
        record
    }

    fn translate(
        &mut self,
        cpu: usize,
        vspace: VspaceId,
        page: VirtPage,
        access: Access,
    ) -> Result<Translation, FakeFault> {
        let fault = FakeFault { page, access };
        let cached = self.tlbs[cpu].get(&(vspace, page)).copied();
        // A TLB entry that forbids the access is looked up again, as hardware does before it faults;
        // the same goes for the first store through a clean entry, which sets the dirty bit.
        if let Some(cached) = cached.filter(|cached| cached.rights.allow(access))
            && (access != Access::Write || cached.dirty)
        {
            return Ok(cached);
        }
        self.tlbs[cpu].remove(&(vspace, page));
        let entry = self.tables.get_mut(&(vspace, page)).ok_or(fault)?;
        if !entry.rights.allow(access) {
            return Err(fault);
        }
        entry.accessed = true;
        entry.dirty |= access == Access::Write;
        self.tlbs[cpu].insert((vspace, page), *entry);
        Ok(*entry)
    }

    /// Drops one page from one CPU's TLB.
    pub fn flush_page(&mut self, cpu: usize, vspace: VspaceId, page: VirtPage) {
        self.tlbs[cpu].remove(&(vspace, page));
    }

    /// What a shootdown does on one CPU.
    pub fn flush(&mut self, cpu: usize, revoked: &Revoked) {
        for key in &revoked.flush {
            self.tlbs[cpu].remove(key);
        }
    }

    /// A complete shootdown: every CPU flushes, then the frames are freed.
    pub fn shoot_down(&mut self, revoked: &mut Revoked) {
        for cpu in 0..self.tlbs.len() {
            self.flush(cpu, revoked);
        }
        revoked.release(self);
    }

    /// Copies what a COPY has resolved. The fake keeps [`WORDS`] words a page, so a piece is copied
    /// when it covers its words on both sides at the same place.
    pub fn copy(&mut self, unit: &crate::CopyUnit) {
        for piece in unit.pieces() {
            for word in 0..WORDS as u64 {
                let at = word * 8;
                let inside = at >= piece.from_offset && at + 8 <= piece.from_offset + piece.length;
                if inside && piece.from_offset == piece.to_offset {
                    let value = self.reach(piece.from).words[word as usize];
                    self.reach(piece.to).words[word as usize] = value;
                }
            }
        }
    }
}

impl Mmu for FakeMmu {
    fn translation(&self, vspace: VspaceId, page: VirtPage) -> Option<Translation> {
        self.tables.get(&(vspace, page)).copied()
    }

    fn map(&mut self, vspace: VspaceId, page: VirtPage, frame: Frame, rights: Rights) -> Result<(), MapError> {
        assert!(self.references(frame) > 0, "mapped {frame:?}, which is free");
        if let Some(present) = self.translation(vspace, page) {
            return Err(MapError::Present(present));
        }
        self.tables.insert((vspace, page), Translation { frame, rights, accessed: false, dirty: false });
        Ok(())
    }

    fn protect(&mut self, vspace: VspaceId, page: VirtPage, rights: Rights) -> Option<Translation> {
        let entry = self.tables.get_mut(&(vspace, page))?;
        let old = *entry;
        entry.rights = rights;
        Some(old)
    }

    fn unmap(&mut self, vspace: VspaceId, page: VirtPage) -> Option<Translation> {
        self.tables.remove(&(vspace, page))
    }

    fn next_present(&self, vspace: VspaceId, from: VirtPage, to: VirtPage) -> Option<VirtPage> {
        if from >= to {
            return None;
        }
        self.tables.range((vspace, from)..(vspace, to)).next().map(|((_, page), _)| *page)
    }

    fn givable(&self, server: VspaceId, page: VirtPage) -> Option<Translation> {
        self.givable.get(&(server, page))?;
        self.translation(server, page)
    }

    fn allocate(&mut self) -> Option<Frame> {
        if self.frames_in_use() >= self.limit {
            return None;
        }
        let free = self.frames.iter().position(|frame| frame.references == 0)?;
        self.frames[free] = FakeFrame { references: 1, words: [0xdead_dead; WORDS] };
        Some(Frame(free as u64))
    }

    fn clear_page(&mut self, frame: Frame) {
        self.reach(frame).words = [0; WORDS];
    }

    fn copy_page(&mut self, to: Frame, from: Frame) {
        let words = self.reach(from).words;
        self.reach(to).words = words;
    }

    fn hold(&mut self, frame: Frame) {
        self.reach(frame).references += 1;
    }

    fn release(&mut self, frame: Frame) {
        self.reach(frame).references -= 1;
    }

    fn is_shared(&self, frame: Frame) -> bool {
        self.references(frame) > 1
    }
}

/// Byte address of a word of a page.
pub fn word_address(page: VirtPage, word: usize) -> u64 {
    page.0 * PAGE_SIZE + word as u64 * 8
}
