//! Frames and page tables in software. A frame's number is the address of real memory over 4096.

use crate::host;
use pager_core::{Frame, MapError, Mmu, Rights, Translation, VirtPage, VspaceId};
use std::alloc::Layout;
use std::collections::{BTreeMap, HashMap};

/// Bytes of a page.
pub const PAGE: usize = 4096;

/// The server's address space: every address of this process is its own memory.
pub const SERVER: VspaceId = VspaceId(0);

/// Page tables of all clients, and the frames that the kernel owns.
#[derive(Default)]
pub struct Memory {
    tables: BTreeMap<(VspaceId, VirtPage), Translation>,
    /// References to frames of the kernel and to the server's that clients map.
    references: HashMap<Frame, u32>,
    /// Frames that the kernel allocated; freed with the last reference.
    kernel: HashMap<Frame, u32>,
}

impl Memory {
    /// A page of zeros at `page`, which no file mapping covers.
    pub fn map_anonymous(&mut self, vspace: VspaceId, page: VirtPage) {
        if self.tables.contains_key(&(vspace, page)) {
            return;
        }
        if let Some(frame) = self.allocate() {
            self.clear_page(frame);
            let rights = Rights::READ_WRITE;
            self.tables.insert((vspace, page), Translation { frame, rights, accessed: false, dirty: false });
        }
    }

    /// The memory behind `address`, if its translation allows it; notes the use.
    pub fn reach(&mut self, vspace: VspaceId, address: u64, needed: Rights) -> Option<*mut u8> {
        let translation = self.tables.get_mut(&(vspace, VirtPage::containing(address)))?;
        if !translation.rights.include(needed) {
            return None;
        }
        translation.accessed = true;
        translation.dirty |= needed.write;
        Some((translation.frame.0 as usize * PAGE + address as usize % PAGE) as *mut u8)
    }

    /// Translations of clients that lead to the server's pages, for checks at the end of a test.
    pub fn mapped_pages(&self) -> usize {
        self.tables.values().filter(|translation| !self.kernel.contains_key(&translation.frame)).count()
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
        host::is_frame(page.address() as usize).then(|| self.translation(server, page))?
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
