//! Frames, page tables and TLBs in software. A frame's number is the address of real memory over 4096.
//!
//! Each client thread runs on a CPU of its own, whose TLB keeps what it has seen until it is flushed:
//! a revoked page stays reachable for it until then. A frame is caught when it is reached after it was
//! given back, by whichever translation.

use pager_core::{Frame, MapError, Mmu, Revoked, Rights, Translation, VirtPage, VspaceId};
use std::alloc::Layout;
use std::collections::BTreeMap;

/// Bytes of a page.
pub const PAGE: usize = 4096;

/// The server's address space: every address of this process is its own memory.
pub const SERVER: VspaceId = VspaceId(0);

/// Entries of a TLB; the oldest goes when there is no room.
const TLB_ENTRIES: usize = 16;

type Entry = ((VspaceId, VirtPage), Translation);

/// Page tables of all clients, the TLB of each CPU, and the frames that the kernel owns.
pub struct Memory {
    tables: BTreeMap<(VspaceId, VirtPage), Translation>,
    tlbs: Vec<Vec<Entry>>,
    /// References to frames of the server's that clients map.
    references: BTreeMap<Frame, u32>,
    /// Frames that the kernel allocated, with their references; freed with the last.
    kernel: BTreeMap<Frame, u32>,
    /// Whether the page at an address is one that the host has handed out to the server.
    is_handed_out: fn(usize) -> bool,
}

impl Memory {
    pub(crate) fn new(is_handed_out: fn(usize) -> bool) -> Self {
        Self {
            tables: BTreeMap::new(),
            tlbs: Vec::new(),
            references: BTreeMap::new(),
            kernel: BTreeMap::new(),
            is_handed_out,
        }
    }

    /// A CPU more; its number.
    pub(crate) fn add_cpu(&mut self) -> usize {
        self.tlbs.push(Vec::with_capacity(TLB_ENTRIES));
        self.tlbs.len() - 1
    }

    /// A page of zeros at `page`, which no file mapping covers.
    pub(crate) fn map_anonymous(&mut self, vspace: VspaceId, page: VirtPage) {
        if self.tables.contains_key(&(vspace, page)) {
            return;
        }
        if let Some(frame) = self.allocate() {
            self.clear_page(frame);
            let rights = Rights::READ_WRITE;
            self.tables.insert((vspace, page), Translation { frame, rights, accessed: false, dirty: false });
        }
    }

    /// One access of a CPU: the memory behind `address` by its TLB, which it fills from the table, or
    /// `None` if the access faults.
    pub(crate) fn reach(&mut self, cpu: usize, vspace: VspaceId, address: u64, needed: Rights) -> Option<*mut u8> {
        let key = (vspace, VirtPage::containing(address));
        let frame = self.translate(cpu, key, needed)?;
        assert!(self.is_alive(frame), "CPU {cpu} reached {frame:?} at {address:#x} after it was given back");
        Some((frame.0 as usize * PAGE + address as usize % PAGE) as *mut u8)
    }

    fn translate(&mut self, cpu: usize, key: (VspaceId, VirtPage), needed: Rights) -> Option<Frame> {
        let tlb = &mut self.tlbs[cpu];
        if let Some(at) = tlb.iter().position(|(of, _)| *of == key) {
            let cached = tlb[at].1;
            // An entry that forbids the access is looked up again, as hardware does before it faults;
            // so is a clean one at the first store, which sets the dirty bit in the table.
            if cached.rights.include(needed) && (cached.dirty || !needed.write) {
                return Some(cached.frame);
            }
            tlb.remove(at);
        }
        let entry = self.tables.get_mut(&key)?;
        if !entry.rights.include(needed) {
            return None;
        }
        entry.accessed = true;
        entry.dirty |= needed.write;
        if tlb.len() == TLB_ENTRIES {
            tlb.remove(0);
        }
        tlb.push((key, *entry));
        Some(entry.frame)
    }

    /// Somebody has a reference to the frame, and the server has not given it back to its host.
    fn is_alive(&self, frame: Frame) -> bool {
        self.kernel.contains_key(&frame)
            || self.references.contains_key(&frame) && (self.is_handed_out)(frame.0 as usize * PAGE)
    }

    /// The CPUs that can still reach something of `revoked` by their TLBs.
    pub(crate) fn stale_cpus(&self, revoked: &Revoked) -> Vec<usize> {
        let is_stale = |tlb: &Vec<Entry>| tlb.iter().any(|(key, _)| revoked.flush.contains(key));
        (0..self.tlbs.len()).filter(|&cpu| is_stale(&self.tlbs[cpu])).collect()
    }

    /// What a shootdown does on one CPU.
    pub(crate) fn flush(&mut self, cpu: usize, revoked: &Revoked) {
        self.tlbs[cpu].retain(|(key, _)| !revoked.flush.contains(key));
    }

    /// Translations of clients that lead to the server's pages.
    pub(crate) fn mapped_pages(&self) -> usize {
        self.tables.values().filter(|translation| !self.kernel.contains_key(&translation.frame)).count()
    }

    /// A translation, in a table or a TLB, to a frame that was given back: text that names it.
    pub(crate) fn dangling(&self) -> Option<String> {
        let in_tables = self.tables.iter().map(|(key, entry)| (key, entry.frame, "page table"));
        let in_tlbs = self.tlbs.iter().flatten().map(|(key, entry)| (key, entry.frame, "TLB"));
        in_tables.chain(in_tlbs).find(|(_, frame, _)| !self.is_alive(*frame)).map(|((vspace, page), frame, place)| {
            format!("a {place} leads from {vspace:?} {page:?} to {frame:?}, which was given back")
        })
    }
}

fn layout() -> Layout {
    // A page's size and alignment are a valid layout.
    Layout::from_size_align(PAGE, PAGE).unwrap_or_else(|_| unreachable!())
}

fn bytes(frame: Frame) -> *mut u8 {
    (frame.0 as usize * PAGE) as *mut u8
}

impl Mmu for Memory {
    fn translation(&self, vspace: VspaceId, page: VirtPage) -> Option<Translation> {
        if vspace == SERVER {
            return Some(Translation {
                frame: Frame(page.0),
                rights: Rights::READ_WRITE,
                accessed: false,
                dirty: false,
            });
        }
        self.tables.get(&(vspace, page)).copied()
    }

    fn map(&mut self, vspace: VspaceId, page: VirtPage, frame: Frame, rights: Rights) -> Result<(), MapError> {
        if let Some(present) = self.translation(vspace, page) {
            return Err(MapError::Present(present));
        }
        self.tables.insert((vspace, page), Translation { frame, rights, accessed: false, dirty: false });
        Ok(())
    }

    fn protect(&mut self, vspace: VspaceId, page: VirtPage, rights: Rights) -> Option<Translation> {
        let entry = self.tables.get_mut(&(vspace, page))?;
        let before = *entry;
        entry.rights = rights;
        Some(before)
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
        // Memory that the server has given back to its host is not the server's to give.
        (self.is_handed_out)(page.address() as usize).then(|| self.translation(server, page))?
    }

    fn allocate(&mut self) -> Option<Frame> {
        // SAFETY: the layout has a size.
        let memory = unsafe { std::alloc::alloc(layout()) };
        if memory.is_null() {
            return None;
        }
        let frame = Frame((memory as usize / PAGE) as u64);
        self.kernel.insert(frame, 1);
        Some(frame)
    }

    fn clear_page(&mut self, frame: Frame) {
        // SAFETY: a frame is a page of memory that lives while somebody has a reference.
        unsafe { bytes(frame).write_bytes(0, PAGE) }
    }

    fn copy_page(&mut self, to: Frame, from: Frame) {
        // SAFETY: as above; a new page is never the old one.
        unsafe { bytes(to).copy_from_nonoverlapping(bytes(from), PAGE) }
    }

    fn hold(&mut self, frame: Frame) {
        match self.kernel.get_mut(&frame) {
            Some(references) => *references += 1,
            None => *self.references.entry(frame).or_insert(0) += 1,
        }
    }

    fn release(&mut self, frame: Frame) {
        if let Some(references) = self.kernel.get_mut(&frame) {
            *references -= 1;
            if *references == 0 {
                self.kernel.remove(&frame);
                // SAFETY: it came from `allocate`, and this was the last reference.
                unsafe { std::alloc::dealloc(bytes(frame), layout()) }
            }
            return;
        }
        match self.references.get_mut(&frame) {
            Some(1) => _ = self.references.remove(&frame),
            Some(references) => *references -= 1,
            None => panic!("{frame:?} of the server was released more often than held"),
        }
    }

    fn is_shared(&self, frame: Frame) -> bool {
        // A page of the server is always the server's, too.
        self.kernel.get(&frame).is_none_or(|&references| references > 1)
    }
}
