//! What happens when a page is missing, or forbids the access: the first hop of a page fault.
//!
//! | region | nothing mapped | mapped, store forbidden |
//! |---|---|---|
//! | private memory | zeros | copied if somebody else holds the frame, else made writable |
//! | shared memory | zeros | made writable |
//! | private file mapping, eager | fails | copied |
//! | file mapping by faults | [`crate::pager`] | [`crate::pager`] |
//! | device, lent | fails | fails |

use super::{Backing, Rights, Vspace};
use crate::arch::cpu::Cpu;
use crate::arch::paging::{Entry, Flags};
use crate::arch::{physmap, tlb};
use crate::context::{Context, FaultOrigin};
use crate::kernel::Kernel;
use crate::syscall::Stop;
use kernel_logic::arena::Id;
use kernel_logic::buddy::Frame;
use pager_abi::fault::Access;
use syscall::PAGE_SIZE;
use syscall::error::{EFAULT, ENOMEM, Error, Result};

impl Rights {
    /// The right that `access` needs.
    pub fn needed(access: Access) -> Self {
        match access {
            Access::Read => Self::READ,
            Access::Write => Self::WRITE,
            Access::Execute => Self::EXECUTE,
        }
    }
}

impl Kernel {
    /// Makes the access of context `id` at `address` possible, at once (`Ok`) or later ([`Stop::Wait`]: the
    /// context waits for a server), or tells why it cannot be.
    pub fn fault(
        &mut self,
        cpu: &Cpu,
        id: Id<Context>,
        address: usize,
        access: Access,
        origin: FaultOrigin,
    ) -> core::result::Result<(), Stop> {
        let vspace = self.contexts[id].vspace.ok_or(Error::new(EFAULT))?;
        self.fault_in_vspace(cpu, id, vspace, address, access, origin)
    }

    /// The same in vspace `vspace_id`, for which context `id` waits if it must.
    pub fn fault_in_vspace(
        &mut self,
        cpu: &Cpu,
        id: Id<Context>,
        vspace_id: Id<Vspace>,
        address: usize,
        access: Access,
        origin: FaultOrigin,
    ) -> core::result::Result<(), Stop> {
        let (_, region) = self.vspaces[vspace_id].regions.find(address).ok_or(Error::new(EFAULT))?;
        let page = address & !(PAGE_SIZE - 1);
        if let Backing::Pager = region.backing {
            return self.pager_fault(cpu, id, vspace_id, address, access, origin);
        }
        if !region.rights.contains(Rights::needed(access)) {
            return Err(Error::new(EFAULT).into());
        }
        let copied = match &region.backing {
            Backing::Private => true,
            Backing::Scheme(mapping) => mapping.private,
            Backing::Shared | Backing::Physical | Backing::Lent | Backing::Pager => false,
        };
        let zeros = matches!(region.backing, Backing::Private | Backing::Shared);
        let rights = region.rights;
        self.supply(vspace_id, page, rights, access, copied, zeros)?;
        Ok(())
    }

    fn supply(
        &mut self,
        id: Id<Vspace>,
        page: usize,
        rights: Rights,
        access: Access,
        copied: bool,
        zeros: bool,
    ) -> Result<()> {
        let entry = self.vspaces[id].table.get(page);
        if entry == Entry::NONE {
            if !zeros {
                return Err(Error::new(EFAULT));
            }
            let frame = self.frames.alloc().ok_or(Error::new(ENOMEM))?;
            physmap::zero(frame);
            return self.vspaces[id].map_frame(&mut self.frames, page, frame, rights);
        }
        if access == Access::Write && !entry.flags().contains(Flags::WRITE) {
            if copied && self.frames.refs(entry.frame()) > 1 {
                return self.copy_on_write(id, page, rights, entry.frame());
            }
            self.vspaces[id].table.exchange(page, |old| old.with(old.flags() | rights.flags()));
        }
        // Another CPU did it, or this one remembers the entry as it was.
        tlb::flush_current(page, 1);
        Ok(())
    }

    /// Replaces a shared frame by a copy. The old translation goes first and everywhere, so that no CPU reads
    /// the old page after another has stored to the new one.
    fn copy_on_write(&mut self, id: Id<Vspace>, page: usize, rights: Rights, shared: Frame) -> Result<()> {
        let own = self.frames.alloc().ok_or(Error::new(ENOMEM))?;
        let vspace = &mut self.vspaces[id];
        vspace.table.exchange(page, |old| old.with(old.flags() - Flags::PRESENT));
        tlb::shootdown(vspace.cpus, page, 1);
        physmap::copy(own, shared);
        vspace.table.exchange(page, |_| Entry::new(own, rights.flags()));
        self.frames.release(shared);
        Ok(())
    }

    /// The frame of a server's own memory at `page`, which it is about to share: present, and no longer shared
    /// with a copy of the vspace.
    pub fn own_page(&mut self, id: Id<Vspace>, page: usize) -> Result<Frame> {
        let (_, region) = self.vspaces[id].regions.find(page).ok_or(Error::new(EFAULT))?;
        let copied = match region.backing {
            Backing::Private => true,
            Backing::Shared => false,
            _ => return Err(Error::new(EFAULT)),
        };
        let rights = region.rights;
        let access = if rights.contains(Rights::WRITE) { Access::Write } else { Access::Read };
        self.supply(id, page, rights, access, copied, true)?;
        Ok(self.vspaces[id].table.get(page).frame())
    }
}
