//! Vspaces: a program's virtual memory.
//!
//! Owns: which addresses mean what ([`Region`]) and, through [`crate::arch::paging`], the page
//! tables. Every entry of a table that is not empty holds one reference to its frame, except for
//! device memory. Does not own: file mappings that come by faults: `pager-core` does, and here they
//! are only marked ([`Backing::Pager`]) so that addresses are given out once.
//!
//! | module | what |
//! |---|---|
//! | [`map`] | new regions, and taking them away |
//! | [`fault`] | what happens at a missing page |
//! | [`copy`] | a copy of a whole vspace, and moving regions between two |
//! | [`quarantine`] | the memory of a driver, after its end |
//! | [`remap`] | a region shrinks, grows, moves |
//! | [`user`] | the program's buffers |
//!
//! | | page fault | mmap, munmap, mprotect | fork | lend to a server | ZAP, WRPROTECT |
//! |---|---|---|---|---|---|
//! | decided by | kernel lock | kernel lock | kernel lock | kernel lock | kernel lock |
//! | stale translations | only rights were added: none | shootdown before frames are released | shootdown before return | none before, shootdown at the end | shootdown before return |

pub mod copy;
pub mod fault;
pub mod map;
pub mod quarantine;
pub mod remap;
pub mod user;

use crate::arch::heap;
use crate::arch::paging::{Entry, Flags, PageTable};
use crate::kernel::Kernel;
use crate::scheme::user::Socket;
use kernel_logic::arena::Id;
use kernel_logic::buddy::{Frame, Frames};
use kernel_logic::span::{Cut, Span, SpanMap};
use quarantine::Afterlife;
use syscall::error::{EINVAL, ENOMEM, Error, Result};
use syscall::flag::MapFlags;
use syscall::{KERNEL_METADATA_SIZE, PAGE_SIZE};

/// The first address that is not a program's.
pub const USER_END: usize = 1 << 47;

/// Programs map below this; above it is the block that the first process finds.
///
/// It is never executable, so no `syscall` instruction ends at [`USER_END`].
pub const MAP_END: usize = USER_END - KERNEL_METADATA_SIZE;

/// The most regions of one vspace (of the kernel's own kinds).
pub const REGIONS_MAX: usize = 16 * 1024;

/// The most vspaces.
pub const VSPACES_MAX: usize = 1024;

/// A program's virtual memory.
pub struct Vspace {
    /// The translations.
    pub table: PageTable,
    /// What the addresses mean.
    pub regions: SpanMap<Region>,
    /// A bit for each CPU that has the table loaded.
    pub cpus: u64,
    /// Contexts and descriptors that use it.
    pub refs: u32,
    /// Addresses are given out from here on.
    pub map_min: usize,
}

/// A run of pages of one kind.
#[derive(Clone, Debug)]
pub struct Region {
    /// What a program may do.
    pub rights: Rights,
    /// The most that mprotect may allow.
    pub maximum: Rights,
    /// What is behind it.
    pub backing: Backing,
}

bitflags::bitflags! {
    /// What a program may do to a page.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Rights: u8 {
        /// Loads.
        const READ = 1;
        /// Stores.
        const WRITE = 2;
        /// Instruction fetches.
        const EXECUTE = 4;
    }
}

/// What is behind a region.
#[derive(Clone, Debug)]
pub enum Backing {
    /// Zeros at first; a copy is shared until one side stores.
    Private,
    /// Zeros at first; a copy of the vspace keeps sharing it.
    Shared,
    /// Device memory, or RAM by its physical address: not counted.
    Physical,
    /// A file mapping whose pages come by faults; `pager-core` has the rest.
    Pager,
    /// Pages of a server, mapped all at once (Redox's file mapping).
    Scheme(SchemeMapping),
    /// Another program's buffer, lent until a request is answered.
    Lent,
}

/// What is told to the server when an eager file mapping ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchemeMapping {
    /// The server.
    pub socket: Id<Socket>,
    /// Its number for the file.
    pub number: u64,
    /// Byte offset in the file.
    pub offset: u64,
    /// Stores go to a copy.
    pub private: bool,
}

impl Cut for Region {
    fn advance(&mut self, bytes: usize) {
        if let Backing::Scheme(mapping) = &mut self.backing {
            mapping.offset += bytes as u64;
        }
    }
}

impl Rights {
    /// The rights that `flags` ask for.
    pub fn of(flags: MapFlags) -> Self {
        let mut rights = Self::empty();
        rights.set(Self::READ, flags.contains(MapFlags::PROT_READ));
        rights.set(Self::WRITE, flags.contains(MapFlags::PROT_WRITE));
        rights.set(Self::EXECUTE, flags.contains(MapFlags::PROT_EXEC));
        rights
    }

    /// As a translation has them; x86 cannot forbid loads only.
    pub fn flags(self) -> Flags {
        let mut flags = Flags::USER;
        flags.set(Flags::PRESENT, !self.is_empty());
        flags.set(Flags::WRITE, self.contains(Self::WRITE));
        flags.set(Flags::NO_EXECUTE, !self.contains(Self::EXECUTE));
        flags
    }
}

impl Vspace {
    /// An empty one with one reference.
    pub fn new(frames: &mut Frames<'_>) -> Result<Self> {
        if heap::is_short() {
            return Err(Error::new(ENOMEM));
        }
        let table = PageTable::new(frames).ok_or(Error::new(ENOMEM))?;
        Ok(Self { table, regions: SpanMap::default(), cpus: 0, refs: 1, map_min: PAGE_SIZE })
    }

    /// A free range: where it is wanted, or the lowest.
    pub fn place(&self, address: usize, len: usize) -> Result<Span> {
        let hint = Span::new(address, len, MAP_END).filter(|&span| address != 0 && !self.regions.overlaps(span));
        hint.or_else(|| self.regions.find_free(len, self.map_min, MAP_END)).ok_or(Error::new(ENOMEM))
    }

    /// Maps `frame`, whose reference goes to the table. Nothing may be there.
    pub fn map_frame(&mut self, frames: &mut Frames<'_>, address: usize, frame: Frame, rights: Rights) -> Result<()> {
        let entry = Entry::new(frame, rights.flags());
        match self.table.set(frames, address, entry) {
            Ok(old) => {
                debug_assert!(old == Entry::NONE, "{address:#x} was mapped");
                Ok(())
            }
            Err(_) => {
                frames.release(frame);
                Err(Error::new(ENOMEM))
            }
        }
    }
}

impl Kernel {
    /// One holder more.
    pub fn retain_vspace(&mut self, id: Id<Vspace>) {
        self.vspaces[id].refs += 1;
    }

    /// One holder less; the last one takes everything down.
    pub fn release_vspace(&mut self, cpu: &crate::arch::cpu::Cpu, id: Id<Vspace>) {
        let vspace = &mut self.vspaces[id];
        vspace.refs -= 1;
        if vspace.refs > 0 {
            return;
        }
        self.unload(cpu, id);
        debug_assert_eq!(self.vspaces[id].cpus, 0, "a vspace without contexts is loaded");
        self.pager_vspace_died(cpu, id);
        if self.stop_devices(id) == Afterlife::Quarantined {
            // The vspace stays, with its table and every frame in it.
            return;
        }
        self.unmap_all(cpu, id, Span { base: 0, len: USER_END });
        let vspace = self.vspaces.remove(id);
        vspace.table.free(&mut self.frames);
    }

    /// Drops what CPUs may remember of `pages` pages from `base` on.
    pub fn flush(&mut self, id: Id<Vspace>, base: usize, pages: usize) -> bool {
        crate::arch::tlb::shootdown(self.vspaces[id].cpus, base, pages)
    }
}

/// A size in bytes as whole pages.
pub fn whole_pages(len: usize) -> Result<usize> {
    len.checked_next_multiple_of(PAGE_SIZE).filter(|&len| len > 0 && len <= MAP_END).ok_or(Error::new(EINVAL))
}
