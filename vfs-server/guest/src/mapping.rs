//! The mappings of a client thread: system calls, loads and stores.
//!
//! Loads and stores go through the TLB of the CPU that the thread runs on, as instructions do, and
//! fault as they do.

use crate::TLB;
use crate::client::{CallResult, Client, demux};
use crate::memory::PAGE;
use pager_abi::Cookie;
use pager_abi::fault::Access;
use pager_abi::grant::lazy_protection;
use pager_core::{FilePage, NewMapping, Origin, Progress, Protect, Rights, Sharing, VirtPage};
use platform::host;
use platform::lockdep::FRAME_BYTES;
use std::sync::atomic::Ordering;
use syscall::error;
use syscall::flag::MapFlags;
use syscall::schemev2::Opcode;

/// A mapped range of a file in a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Address of its first byte.
    pub address: u64,
    /// Pages.
    pub pages: u64,
}

impl Client {
    /// Maps `pages` pages of a file from page `first` on.
    pub fn map(&self, file: u64, first: u64, pages: u64, rights: Rights, sharing: Sharing) -> CallResult<Mapping> {
        let mut flags = match sharing {
            Sharing::Shared => MapFlags::MAP_SHARED,
            Sharing::Private => MapFlags::MAP_PRIVATE,
        };
        flags |= MapFlags::MAP_LAZY;
        for (right, flag) in [
            (rights.read, MapFlags::PROT_READ),
            (rights.write, MapFlags::PROT_WRITE),
            (rights.execute, MapFlags::PROT_EXEC),
        ] {
            flags |= if right { flag } else { MapFlags::empty() };
        }
        let bytes = pages * PAGE as u64;
        let args = [file, bytes, flags.bits() as u64, first * PAGE as u64, 0, 0];
        let cqe = self.request(Opcode::MmapPrep, args, None)?;
        let cookie = Cookie(demux(cqe)? as u64);
        let maximum = lazy_protection(&cqe).ok_or(error::EOPNOTSUPP)?;
        let address = self.process.next_mapping.fetch_add(bytes + PAGE as u64, Ordering::Relaxed);
        let new = NewMapping {
            vspace: self.process.vspace,
            start: VirtPage::containing(address),
            pages,
            file: FilePage(first),
            protection: rights,
            maximum: maximum.into(),
            sharing,
        };
        let mapped = self.machine.change(|pager, _, _| pager.map(self.machine.socket, cookie, &new));
        mapped.map_err(|error| error.errno())?;
        Ok(Mapping { address, pages })
    }

    /// Ends a mapping.
    pub fn unmap(&self, mapping: Mapping) {
        let start = VirtPage::containing(mapping.address);
        loop {
            let vspace = self.process.vspace;
            let progress = self
                .machine
                .change(|pager, memory, revoked| pager.unmap(memory, vspace, start, mapping.pages, revoked));
            match progress {
                Ok(Progress::More) => {}
                Ok(Progress::Done) => return,
                Err(error) => panic!("unmap failed: {error:?}"),
            }
        }
    }

    /// Changes the rights of a mapping, as mprotect does.
    pub fn protect(&self, mapping: Mapping, rights: Rights) -> CallResult<()> {
        let start = VirtPage::containing(mapping.address);
        let mut protect = Protect::new(self.process.vspace, start, mapping.pages, rights);
        loop {
            match self.machine.change(|pager, memory, revoked| pager.protect(memory, &mut protect, revoked)) {
                Ok(Progress::More) => {}
                Ok(Progress::Done) => return Ok(()),
                Err(error) => return Err(error.errno()),
            }
        }
    }

    /// Loads bytes, faulting as instructions would; the error is the errno of the failed access.
    /// A page's part is loaded in one step.
    pub fn load(&self, address: u64, len: usize) -> CallResult<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.access(address, len, Access::Read, |at, memory, count| {
            let piece = &mut bytes[at..at + count];
            // SAFETY: `access` gives memory of that length that stays while it calls us.
            unsafe { memory.copy_to(piece.as_mut_ptr(), count) }
        })?;
        Ok(bytes)
    }

    /// Stores bytes, likewise.
    pub fn store(&self, address: u64, bytes: &[u8]) -> CallResult<()> {
        self.access(address, bytes.len(), Access::Write, |at, memory, count| {
            let piece = &bytes[at..at + count];
            // SAFETY: as in `load`.
            unsafe { memory.copy_from(piece.as_ptr(), count) }
        })
    }

    /// An aligned load of 8 bytes: one step.
    pub fn load_u64(&self, address: u64) -> CallResult<u64> {
        assert!(address.is_multiple_of(8), "a load at {address:#x}");
        let bytes = self.load(address, 8)?;
        Ok(bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)))
    }

    /// An aligned store of 8 bytes: one step.
    pub fn store_u64(&self, address: u64, value: u64) -> CallResult<()> {
        assert!(address.is_multiple_of(8), "a store at {address:#x}");
        self.store(address, &value.to_le_bytes())
    }

    /// Calls `step` with (offset in the range, memory, bytes) for the part in each page, each of them
    /// one step of this CPU: a switch point stands before it, and nothing comes between its
    /// translation and its last byte.
    fn access(
        &self,
        address: u64,
        len: usize,
        access: Access,
        mut step: impl FnMut(usize, *mut u8, usize),
    ) -> CallResult<()> {
        let needed = if access == Access::Write { Rights::READ_WRITE } else { Rights::READ };
        let mut at = 0;
        while at < len {
            let here = address + at as u64;
            host::point(&TLB, self.machine.tlb_object(self.cpu), host::Access::Write);
            let mut memory = self.machine.memory();
            if let Some(bytes) = memory.reach(self.cpu, self.process.vspace, here, needed) {
                let count = (len - at).min(PAGE - here as usize % PAGE);
                let how = if access == Access::Write { host::Access::Write } else { host::Access::Read };
                host::touch(&FRAME_BYTES, bytes as usize & !(PAGE - 1), how);
                step(at, bytes, count);
                at += count;
                continue;
            }
            drop(memory);
            self.fault(here, access, Origin::Instruction)?;
        }
        Ok(())
    }
}
