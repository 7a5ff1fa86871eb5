//! New regions, and taking them away.

use super::{Backing, MAP_END, REGIONS_MAX, Region, Rights, SchemeMapping, Vspace};
use crate::arch::cpu::Cpu;
use crate::arch::paging::{Entry, Flags};
use crate::arch::{heap, physmap, tlb};
use crate::kernel::Kernel;
use kernel_logic::arena::Id;
use kernel_logic::buddy::Frame;
use kernel_logic::span::Span;
use syscall::error::{EACCES, EEXIST, EINVAL, ENOMEM, Error, Result};
use syscall::flag::MapFlags;
use syscall::{PAGE_SIZE, data::Map};

/// How a device's memory is cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// As RAM.
    WriteBack,
    /// Not at all.
    Uncached,
}

/// Whether memory is there at once or at first use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// At once: no fault later, and an error now if there is not enough.
    Eager,
    /// At first use (`MAP_LAZY`).
    Lazy,
}

/// A part of an eager file mapping that is no more.
#[derive(Clone, Copy, Debug)]
pub struct Unmapped {
    /// Of what.
    pub mapping: SchemeMapping,
    /// Bytes.
    pub len: usize,
    /// What could be done to it.
    pub rights: Rights,
}

impl Kernel {
    /// The range that a mapping gets, cleared if it replaces something (`MAP_FIXED`).
    pub fn place_mapping(&mut self, cpu: &Cpu, id: Id<Vspace>, map: &Map) -> Result<Span> {
        let len = super::whole_pages(map.size)?;
        if self.vspaces[id].regions.len() >= REGIONS_MAX || heap::is_short() {
            return Err(Error::new(ENOMEM));
        }
        if !map.flags.contains(MapFlags::MAP_FIXED) {
            return self.vspaces[id].place(map.address, len);
        }
        let span = Span::new(map.address, len, MAP_END).ok_or(Error::new(EINVAL))?;
        if self.vspaces[id].regions.overlaps(span) {
            if map.flags.contains(MapFlags::MAP_FIXED_NOREPLACE) {
                return Err(Error::new(EEXIST));
            }
            if let Some(last) = self.unmap(cpu, id, span)? {
                self.tell_unmapped(cpu, last);
            }
        }
        Ok(span)
    }

    /// Memory of zeros; a run in physical memory too if `contiguous` (and then eager).
    pub fn map_anonymous(&mut self, cpu: &Cpu, id: Id<Vspace>, map: &Map, contiguous: bool) -> Result<usize> {
        let span = self.place_mapping(cpu, id, map)?;
        let rights = Rights::of(map.flags);
        if !map.flags.contains(MapFlags::MAP_LAZY) && span.pages() > self.frames.free_frames() {
            return Err(Error::new(ENOMEM));
        }
        let backing = if map.flags.contains(MapFlags::MAP_SHARED) { Backing::Shared } else { Backing::Private };
        let presence =
            if map.flags.contains(MapFlags::MAP_LAZY) && !contiguous { Presence::Lazy } else { Presence::Eager };
        let region = Region { rights, maximum: Rights::all(), backing };
        self.vspaces[id].regions.insert(span, region);
        let filled = match presence {
            Presence::Eager if contiguous => self.fill_contiguous(id, span, rights),
            Presence::Eager => self.fill(id, span, rights),
            Presence::Lazy => Ok(()),
        };
        if let Err(error) = filled {
            self.unmap_all(cpu, id, span);
            return Err(error);
        }
        Ok(span.base)
    }

    /// Puts zeros into a fresh region; if memory ends, the region is gone again.
    pub fn fill_or_unmap(&mut self, cpu: &Cpu, id: Id<Vspace>, span: Span, rights: Rights) -> Result<()> {
        let filled = self.fill(id, span, rights);
        if filled.is_err() {
            self.unmap_all(cpu, id, span);
        }
        filled
    }

    fn fill(&mut self, id: Id<Vspace>, span: Span, rights: Rights) -> Result<()> {
        for address in span.page_addresses() {
            let frame = self.frames.alloc().ok_or(Error::new(ENOMEM))?;
            physmap::zero(frame);
            self.vspaces[id].map_frame(&mut self.frames, address, frame, rights)?;
        }
        Ok(())
    }

    fn fill_contiguous(&mut self, id: Id<Vspace>, span: Span, rights: Rights) -> Result<()> {
        const RUN_MAX: usize = 1 << (kernel_logic::buddy::ORDERS - 1);
        if span.pages() > RUN_MAX {
            return Err(Error::new(ENOMEM));
        }
        let first = self.frames.alloc_run(span.pages() as u32).ok_or(Error::new(ENOMEM))?;
        let mut result = Ok(());
        for (n, address) in span.page_addresses().enumerate() {
            let frame = first.add(n as u32);
            if result.is_ok() {
                physmap::zero(frame);
                result = self.vspaces[id].map_frame(&mut self.frames, address, frame, rights);
            } else {
                self.frames.release(frame);
            }
        }
        result
    }

    /// Physical memory from `map.offset` on: devices, or RAM that the kernel does not manage.
    pub fn map_physical(&mut self, cpu: &Cpu, id: Id<Vspace>, map: &Map, caching: Caching) -> Result<usize> {
        let first = map.offset as u64;
        let end = first.checked_add(super::whole_pages(map.size)? as u64).ok_or(Error::new(EINVAL))?;
        if !first.is_multiple_of(PAGE_SIZE as u64) || end > 1 << 44 {
            return Err(Error::new(EINVAL));
        }
        // RAM is given out by the frame allocator only.
        if (first..end).step_by(PAGE_SIZE).any(|paddr| self.frames.is_managed(Frame::containing(paddr))) {
            return Err(Error::new(EACCES));
        }
        let span = self.place_mapping(cpu, id, map)?;
        let rights = Rights::of(map.flags);
        let region = Region { rights, maximum: rights | Rights::READ, backing: Backing::Physical };
        self.vspaces[id].regions.insert(span, region);
        let mut flags = rights.flags() | Flags::UNCOUNTED;
        if caching == Caching::Uncached {
            flags |= Flags::UNCACHED | Flags::WRITE_THROUGH;
        }
        for (n, address) in span.page_addresses().enumerate() {
            let frame = Frame::containing(first + (n * PAGE_SIZE) as u64);
            if self.vspaces[id].table.set(&mut self.frames, address, Entry::new(frame, flags)).is_err() {
                self.unmap_all(cpu, id, span);
                return Err(Error::new(ENOMEM));
            }
        }
        Ok(span.base)
    }

    /// FUNMAP: what is mapped in `span` goes, except that lent buffers stay. Gives the last eager file mapping
    /// whose server has to hear of it; the others have been told.
    pub fn unmap(&mut self, cpu: &Cpu, id: Id<Vspace>, span: Span) -> Result<Option<Unmapped>> {
        let lent = |region: &Region| matches!(region.backing, Backing::Lent);
        if span.end() > MAP_END || self.vspaces[id].regions.overlapping(span).any(|(_, region)| lent(region)) {
            return Err(Error::new(EINVAL));
        }
        Ok(self.unmap_parts(cpu, id, span))
    }

    /// As [`Kernel::unmap`], whatever it is.
    pub fn unmap_all(&mut self, cpu: &Cpu, id: Id<Vspace>, span: Span) {
        if let Some(last) = self.unmap_parts(cpu, id, span) {
            self.tell_unmapped(cpu, last);
        }
    }

    fn unmap_parts(&mut self, cpu: &Cpu, id: Id<Vspace>, span: Span) -> Option<Unmapped> {
        let mut last = None;
        for (part, region) in self.vspaces[id].regions.carve(span) {
            match region.backing {
                Backing::Pager => self.pager_unmap(cpu, id, part),
                Backing::Scheme(mapping) => {
                    self.clear(id, part);
                    let unmapped = Unmapped { mapping, len: part.len, rights: region.rights };
                    if let Some(before) = last.replace(unmapped) {
                        self.tell_unmapped(cpu, before);
                    }
                }
                Backing::Private | Backing::Shared | Backing::Physical | Backing::Lent => self.clear(id, part),
            }
        }
        last
    }

    /// Takes the translations of `span` out, everywhere, and gives the frames back.
    pub fn clear(&mut self, id: Id<Vspace>, span: Span) {
        // By pieces: each is flushed before its frames are released.
        const PIECE: usize = 512 * PAGE_SIZE;
        let mut freed = alloc::vec::Vec::new();
        let mut base = span.base;
        while base < span.end() {
            let len = PIECE.min(span.end() - base);
            let Some(first) = self.vspaces[id].table.next_used(base, span.end()) else { return };
            if first >= base + len {
                base = first;
                continue;
            }
            let vspace = &mut self.vspaces[id];
            vspace.table.update(base, len / PAGE_SIZE, |_, old| {
                if !old.flags().contains(Flags::UNCOUNTED) {
                    freed.push(old.frame());
                }
                Entry::NONE
            });
            tlb::shootdown(vspace.cpus, base, len / PAGE_SIZE);
            freed.drain(..).for_each(|frame| _ = self.frames.release(frame));
            base += len;
        }
    }

    /// MPROTECT: changes what may be done, within what each region allows at most.
    pub fn protect(&mut self, id: Id<Vspace>, span: Span, rights: Rights) -> Result<()> {
        let regions = &self.vspaces[id].regions;
        if !regions.covers(span) {
            return Err(Error::new(ENOMEM));
        }
        if regions.overlapping(span).any(|(_, region)| !region.maximum.contains(rights)) {
            return Err(Error::new(EACCES));
        }
        for (part, mut region) in self.vspaces[id].regions.carve(span) {
            let backing = region.backing.clone();
            region.rights = rights;
            self.vspaces[id].regions.insert(part, region);
            match backing {
                Backing::Pager => self.pager_protect(id, part, rights)?,
                backing => self.protect_pages(id, part, rights, &backing),
            }
        }
        Ok(())
    }

    fn protect_pages(&mut self, id: Id<Vspace>, span: Span, rights: Rights, backing: &Backing) {
        let copied = match backing {
            Backing::Private => true,
            Backing::Scheme(mapping) => mapping.private,
            _ => false,
        };
        let Self { vspaces, frames, .. } = self;
        let vspace = &mut vspaces[id];
        let keep = Flags::UNCOUNTED | Flags::UNCACHED | Flags::WRITE_THROUGH | Flags::ACCESSED | Flags::DIRTY;
        vspace.table.update(span.base, span.pages(), |_, old| {
            let mut flags = rights.flags() | old.flags() & keep;
            if copied && frames.refs(old.frame()) > 1 {
                flags.remove(Flags::WRITE);
            }
            old.with(flags)
        });
        tlb::shootdown(vspace.cpus, span.base, span.pages());
    }

    /// Shares pages of a server's memory with a client, all at once (Redox's file mapping).
    pub fn map_eager(
        &mut self,
        cpu: &Cpu,
        client: Id<Vspace>,
        map: &Map,
        server: Id<Vspace>,
        source: usize,
        mapping: SchemeMapping,
    ) -> Result<usize> {
        let len = super::whole_pages(map.size)?;
        let source = Span::new(source, len, MAP_END).ok_or(Error::new(EINVAL))?;
        let span = self.place_mapping(cpu, client, map)?;
        let rights = Rights::of(map.flags);
        let region = Region { rights, maximum: Rights::all(), backing: Backing::Scheme(mapping) };
        self.vspaces[client].regions.insert(span, region);
        let mapped = if mapping.private { rights - Rights::WRITE } else { rights };
        for (from, to) in source.page_addresses().zip(span.page_addresses()) {
            let shared = self.own_page(server, from).and_then(|frame| {
                self.frames.retain(frame);
                self.vspaces[client].map_frame(&mut self.frames, to, frame, mapped)
            });
            if let Err(error) = shared {
                self.vspaces[client].regions.carve(span);
                self.clear(client, span);
                return Err(error);
            }
        }
        Ok(span.base)
    }
}
