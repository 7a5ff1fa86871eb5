//! MREMAP: a mapping shrinks, grows, or moves.

use super::{Backing, MAP_END, REGIONS_MAX, Region, Vspace};
use crate::arch::cpu::Cpu;
use crate::arch::paging::Entry;
use crate::arch::tlb;
use crate::kernel::Kernel;
use kernel_logic::arena::Id;
use kernel_logic::span::Span;
use syscall::PAGE_SIZE;
use syscall::error::{EEXIST, EFAULT, EINVAL, ENOMEM, EOPNOTSUPP, Error, Result};
use syscall::flag::MremapFlags;

impl Kernel {
    /// Gives the address of the mapping, which now has `new_len` bytes. `new` is where it has to be with
    /// `FIXED` (`FIXED_REPLACE`: even if something is there); otherwise it stays if it can.
    pub fn remap(
        &mut self,
        cpu: &Cpu,
        id: Id<Vspace>,
        old: Span,
        new: usize,
        new_len: usize,
        flags: MremapFlags,
    ) -> Result<usize> {
        let len = super::whole_pages(new_len)?;
        if flags.contains(MremapFlags::KEEP_OLD) {
            return Err(Error::new(EOPNOTSUPP));
        }
        let vspace = &self.vspaces[id];
        let region = match vspace.regions.find(old.base) {
            Some((span, region)) if old.end() <= span.end() => region.clone(),
            _ => return Err(Error::new(EFAULT)),
        };
        if !matches!(region.backing, Backing::Private | Backing::Shared | Backing::Pager) {
            return Err(Error::new(EOPNOTSUPP));
        }
        if vspace.regions.len() + 2 >= REGIONS_MAX {
            return Err(Error::new(ENOMEM));
        }
        let fixed = flags.contains(MremapFlags::FIXED);
        let base = if fixed { new } else { old.base };
        if len < old.len {
            self.unmap_all(cpu, id, Span { base: old.base + len, len: old.len - len });
        }
        let kept = Span { base: old.base, len: len.min(old.len) };
        if base != old.base {
            let target = Span::new(base, len, MAP_END).ok_or(Error::new(EINVAL))?;
            if target.intersection(kept).is_some() {
                return Err(Error::new(EINVAL));
            }
            if self.vspaces[id].regions.overlaps(target) {
                if !flags.contains(MremapFlags::FIXED_REPLACE) {
                    return Err(Error::new(EEXIST));
                }
                self.unmap_all(cpu, id, target);
            }
            self.relocate(id, kept, base, &region)?;
        } else if len > old.len {
            let tail =
                Span::new(old.end(), len - old.len, MAP_END).filter(|&tail| !self.vspaces[id].regions.overlaps(tail));
            if tail.is_none() {
                if fixed {
                    return Err(Error::new(EEXIST));
                }
                let target = self.vspaces[id].place(0, len)?;
                self.relocate(id, kept, target.base, &region)?;
                self.grow(cpu, id, Span { base: target.base, len: kept.len }, len, region)?;
                return Ok(target.base);
            }
        }
        if len > old.len {
            self.grow(cpu, id, Span { base, len: kept.len }, len, region)?;
        }
        Ok(base)
    }

    /// Moves the pages of `from`, which is of one region, to `to`, where nothing is.
    fn relocate(&mut self, id: Id<Vspace>, from: Span, to: usize, region: &Region) -> Result<()> {
        if let Backing::Pager = region.backing {
            self.pager_relocate(id, from, to)?;
        } else {
            let Self { vspaces, frames, .. } = self;
            let vspace = &mut vspaces[id];
            for (page, target) in from.page_addresses().zip((to..).step_by(PAGE_SIZE)) {
                let entry = vspace.table.get(page);
                // The table for the target comes first, so that a page is never in between.
                if entry != Entry::NONE && vspace.table.set(frames, target, entry).is_ok() {
                    vspace.table.exchange(page, |_| Entry::NONE);
                } else if entry != Entry::NONE {
                    return Err(Error::new(ENOMEM));
                }
            }
            tlb::shootdown(vspace.cpus, from.base, from.pages());
        }
        let vspace = &mut self.vspaces[id];
        for (span, region) in vspace.regions.carve(from) {
            vspace.regions.insert(Span { base: span.base - from.base + to, len: span.len }, region);
        }
        Ok(())
    }

    /// Makes the mapping at `now` `len` bytes long; what follows it is free.
    fn grow(&mut self, cpu: &Cpu, id: Id<Vspace>, now: Span, len: usize, region: Region) -> Result<()> {
        let tail = Span { base: now.end(), len: len - now.len };
        if let Backing::Pager = region.backing {
            self.pager_extend(id, now.end(), tail.pages())?;
            self.vspaces[id].regions.insert(tail, region);
            return Ok(());
        }
        let rights = region.rights;
        self.vspaces[id].regions.insert(tail, region);
        self.fill_or_unmap(cpu, id, tail, rights)
    }
}
