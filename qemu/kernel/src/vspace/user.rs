//! A program's buffers: ranges that are checked, and copies that cannot fault the kernel.

use super::{Backing, Rights, USER_END, Vspace};
use crate::arch::cpu::Cpu;
use crate::arch::user_copy::{self, Unmapped};
use crate::arch::{paging::Entry, paging::Flags, physmap};
use crate::context::{Context, FaultOrigin};
use crate::kernel::Kernel;
use crate::syscall::Stop;
use kernel_logic::arena::Id;
use pager_abi::fault::Access;
use syscall::PAGE_SIZE;
use syscall::error::{EFAULT, EINVAL, Error, Result};

/// A range that a program names: it lies in the user half, and nothing else is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserSlice {
    /// First address.
    pub address: usize,
    /// Bytes.
    pub len: usize,
}

impl UserSlice {
    /// The range, if it lies in the user half.
    #[inline]
    pub fn new(address: usize, len: usize) -> Result<Self> {
        match address.checked_add(len) {
            Some(end) if end <= USER_END => Ok(Self { address, len }),
            _ => Err(Error::new(EFAULT)),
        }
    }

    /// The first `len` bytes of it.
    pub fn first(self, len: usize) -> Self {
        Self { len: self.len.min(len), ..self }
    }

    /// Exactly `len` bytes.
    pub fn exact(self, len: usize) -> Result<Self> {
        if self.len == len { Ok(self) } else { Err(Error::new(EINVAL)) }
    }
}

/// A page can be missing once for each page of a copy; more often means that it does not get better.
const ATTEMPTS_EXTRA: usize = 8;

impl Kernel {
    /// Copies from the running program `id`, faulting pages in.
    #[inline]
    pub fn read_user(
        &mut self,
        cpu: &Cpu,
        id: Id<Context>,
        from: UserSlice,
        to: &mut [u8],
    ) -> core::result::Result<(), Stop> {
        assert_eq!(from.len, to.len());
        match user_copy::read(from.address, to) {
            Ok(()) => Ok(()),
            Err(fault) => self.retry(cpu, id, from, Access::Read, fault, || user_copy::read(from.address, to)),
        }
    }

    /// Copies to the running program `id`, faulting pages in.
    #[inline]
    pub fn write_user(
        &mut self,
        cpu: &Cpu,
        id: Id<Context>,
        to: UserSlice,
        from: &[u8],
    ) -> core::result::Result<(), Stop> {
        assert_eq!(to.len, from.len());
        match user_copy::write(to.address, from) {
            Ok(()) => Ok(()),
            Err(fault) => self.retry(cpu, id, to, Access::Write, fault, || user_copy::write(to.address, from)),
        }
    }

    /// Reads native words.
    pub fn read_words<const N: usize>(
        &mut self,
        cpu: &Cpu,
        id: Id<Context>,
        address: usize,
    ) -> core::result::Result<[usize; N], Stop> {
        let mut words = [0usize; N];
        let mut bytes = [[0u8; 8]; N];
        let from = UserSlice::new(address, N * 8)?;
        self.read_user(cpu, id, from, bytes.as_flattened_mut())?;
        for (word, bytes) in words.iter_mut().zip(bytes) {
            *word = usize::from_ne_bytes(bytes);
        }
        Ok(words)
    }

    /// Makes sure that `slice` can be used so right now (as far as private and shared memory go; pages of files
    /// may be taken away again).
    #[inline]
    pub fn prefault(
        &mut self,
        cpu: &Cpu,
        id: Id<Context>,
        slice: UserSlice,
        access: Access,
    ) -> core::result::Result<(), Stop> {
        let in_one_page = slice.address % PAGE_SIZE + slice.len <= PAGE_SIZE;
        let there = match access {
            _ if !in_one_page || slice.len == 0 => false,
            Access::Read => user_copy::can_read(slice.address),
            Access::Write => user_copy::can_write(slice.address),
            Access::Execute => false,
        };
        if there { Ok(()) } else { self.prefault_pages(cpu, id, slice, access) }
    }

    fn prefault_pages(
        &mut self,
        cpu: &Cpu,
        id: Id<Context>,
        slice: UserSlice,
        access: Access,
    ) -> core::result::Result<(), Stop> {
        let vspace = self.contexts[id].vspace.ok_or(Error::new(EFAULT))?;
        // Nothing is anywhere: an empty slice's address need not be mapped.
        let end = if slice.len == 0 { 0 } else { slice.address + slice.len };
        let mut page = slice.address & !(PAGE_SIZE - 1);
        while page < end {
            // A page that was faulted in for this call is not waited for twice: RETRY is for that.
            let allowed = match access {
                Access::Read => user_copy::can_read(page),
                Access::Write => user_copy::can_write(page),
                Access::Execute => self.vspaces[vspace].allows(page, access),
            };
            if !allowed && page >= self.contexts[id].prefaulted {
                let faulted = self.fault(cpu, id, page, access, FaultOrigin::SystemCall);
                if !matches!(faulted, Err(Stop::Fail(_))) {
                    self.contexts[id].prefaulted = page + PAGE_SIZE;
                }
                faulted?;
            }
            page += PAGE_SIZE;
        }
        Ok(())
    }

    #[cold]
    fn retry(
        &mut self,
        cpu: &Cpu,
        id: Id<Context>,
        slice: UserSlice,
        access: Access,
        mut fault: Unmapped,
        mut copy: impl FnMut() -> core::result::Result<(), Unmapped>,
    ) -> core::result::Result<(), Stop> {
        for _ in 0..slice.len / PAGE_SIZE + ATTEMPTS_EXTRA {
            self.fault(cpu, id, fault.address, access, FaultOrigin::SystemCall)?;
            match copy() {
                Ok(()) => return Ok(()),
                Err(next) => fault = next,
            }
        }
        Err(Error::new(EFAULT).into())
    }

    /// Copies into another vspace as far as its translations allow, never faulting; gives the bytes done.
    pub fn write_foreign(&mut self, id: Id<Vspace>, address: usize, bytes: &[u8]) -> usize {
        let mut done = 0;
        while done < bytes.len() {
            let at = address + done;
            let len = (PAGE_SIZE - at % PAGE_SIZE).min(bytes.len() - done);
            let Some(entry) = self.vspaces[id].allowed(at & !(PAGE_SIZE - 1), Access::Write) else { break };
            physmap::write(entry.frame(), at % PAGE_SIZE, &bytes[done..done + len]);
            done += len;
        }
        done
    }
}

impl Vspace {
    /// There is a translation of `page` that allows `access`.
    #[inline]
    pub fn allows(&self, page: usize, access: Access) -> bool {
        self.allowed(page, access).is_some()
    }

    /// The translation of `page`, if it allows `access` to the program.
    #[inline]
    pub fn allowed(&self, page: usize, access: Access) -> Option<Entry> {
        let entry = self.table.get(page);
        let flags = entry.flags();
        let allowed = match access {
            Access::Read => true,
            Access::Write => flags.contains(Flags::WRITE),
            Access::Execute => !flags.contains(Flags::NO_EXECUTE),
        };
        (flags.contains(Flags::PRESENT | Flags::USER) && allowed).then_some(entry)
    }

    /// What a program may do at `address`, and what is behind it.
    pub fn region_at(&self, address: usize) -> Option<(Rights, &Backing)> {
        self.regions.find(address).map(|(_, region)| (region.rights, &region.backing))
    }
}
