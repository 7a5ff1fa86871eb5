//! A copy of a whole vspace (fork), and moving regions between two.

use super::{Backing, MAP_END, Region, Rights, Vspace};
use crate::arch::cpu::Cpu;
use crate::arch::paging::{Entry, Flags};
use crate::arch::tlb;
use crate::kernel::Kernel;
use alloc::vec::Vec;
use kernel_logic::arena::Id;
use kernel_logic::span::Span;
use syscall::error::{EBUSY, EFAULT, EINVAL, ENOMEM, Error, Result};
use syscall::{PAGE_SIZE, data::Map};

impl Kernel {
    /// A vspace with the same contents: private memory is copied (when one side stores), the rest is shared.
    /// Lent buffers are not inherited.
    pub fn fork_vspace(&mut self, cpu: &Cpu, parent: Id<Vspace>) -> Result<Id<Vspace>> {
        let child = Vspace::new(&mut self.frames)?;
        let child = self.vspaces.insert(child).ok_or(Error::new(ENOMEM))?;
        self.vspaces[child].map_min = self.vspaces[parent].map_min;
        let result = self.inherit(parent, child);
        // The parent's private pages lost their right to store.
        self.flush(parent, 0, usize::MAX / PAGE_SIZE);
        match result {
            Ok(()) => Ok(child),
            Err(error) => {
                self.release_vspace(cpu, child);
                Err(error)
            }
        }
    }

    fn inherit(&mut self, parent: Id<Vspace>, child: Id<Vspace>) -> Result<()> {
        let regions: Vec<(Span, Region)> = self.vspaces[parent].regions.iter().cloned().collect();
        for (span, region) in regions {
            let copied = match &region.backing {
                Backing::Lent => continue,
                Backing::Pager => {
                    self.vspaces[child].regions.insert(span, region);
                    continue;
                }
                Backing::Private => true,
                Backing::Scheme(mapping) => {
                    self.sockets[mapping.socket].refs += 1;
                    mapping.private
                }
                Backing::Shared | Backing::Physical => false,
            };
            self.vspaces[child].regions.insert(span, region);
            let Self { vspaces, frames, .. } = self;
            let (parent, child) = vspaces.pair_mut(parent, child);
            let mut full = false;
            parent.table.update(span.base, span.pages(), |address, entry| {
                let entry = if copied { entry.with(entry.flags() - Flags::WRITE) } else { entry };
                let clean = entry.with(entry.flags() - Flags::ACCESSED - Flags::DIRTY);
                full |= child.table.set(frames, address, clean).is_err();
                if !full && !entry.flags().contains(Flags::UNCOUNTED) {
                    frames.retain(entry.frame());
                }
                entry
            });
            if full {
                return Err(Error::new(ENOMEM));
            }
        }
        self.pager_inherit(parent, child)
    }

    /// Moves private memory at `map.offset` of `source` to `map.address` of `target`, with the rights of
    /// `map.flags` (Redox's ADDRSPACE_OP_TRANSFER).
    pub fn transfer(&mut self, cpu: &Cpu, source: Id<Vspace>, target: Id<Vspace>, map: &Map) -> Result<usize> {
        if source == target {
            return Err(Error::new(EBUSY));
        }
        let from = Span::new(map.offset, super::whole_pages(map.size)?, MAP_END).ok_or(Error::new(EINVAL))?;
        let regions = &self.vspaces[source].regions;
        let movable = |region: &Region| matches!(region.backing, Backing::Private);
        if !regions.covers(from) || !regions.overlapping(from).all(|(_, region)| movable(region)) {
            return Err(Error::new(EFAULT));
        }
        let to = self.place_mapping(cpu, target, map)?;
        let rights = Rights::of(map.flags);
        let region = Region { rights, maximum: Rights::all(), backing: Backing::Private };
        self.vspaces[target].regions.insert(to, region);
        self.vspaces[source].regions.carve(from);

        let Self { vspaces, frames, .. } = self;
        let (source, target) = vspaces.pair_mut(source, target);
        let mut full = false;
        source.table.update(from.base, from.pages(), |address, entry| {
            let mut flags = rights.flags();
            if frames.refs(entry.frame()) > 1 {
                flags.remove(Flags::WRITE);
            }
            let moved = Entry::new(entry.frame(), flags);
            if target.table.set(frames, address - from.base + to.base, moved).is_err() {
                // The page is lost with the vspace that is being built; its frame is not.
                frames.release(entry.frame());
                full = true;
            }
            Entry::NONE
        });
        tlb::shootdown(source.cpus, from.base, from.pages());
        if full { Err(Error::new(ENOMEM)) } else { Ok(to.base) }
    }
}
