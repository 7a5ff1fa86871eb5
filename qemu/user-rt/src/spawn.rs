//! Programs: a new process with an ELF image instead of a copy of this one.
//!
//! The segments and the stack are made in anonymous memory here and moved to the new address space,
//! so that nothing is copied twice and no other process's memory is written to.

use crate::{
    context::{AddressSpace, Context, FileTable},
    descriptor,
    memory::{self, Sharing},
    process::Child,
    start_block, thread,
};
use elf::{ElfBytes, abi, endian::LittleEndian, segment::ProgramHeader};
use pager_abi::PAGE_SIZE;
use syscall::{ENOEXEC, Error, MapFlags, Result};

/// First byte beyond a program's stack.
const STACK_TOP: usize = 0x7000_0000_0000;

/// Bytes of a program's first stack.
const STACK_SIZE: usize = 512 << 10;

/// Programs are linked above this (the first process's image lies below).
const LOWEST_ADDRESS: u64 = 0x40_0000;

const PAGE: usize = PAGE_SIZE as usize;

/// Memory that a program finds filled in, readable and writable.
#[derive(Clone, Copy, Debug)]
pub struct Region<'a> {
    /// Where (page aligned).
    pub address: usize,
    /// With what.
    pub bytes: &'a [u8],
}

/// Starts the ELF program `image` with `args`. It has the descriptors below 64 of this process, and
/// the kernel schemes.
pub fn spawn(image: &[u8], args: &[&str]) -> Result<Child> {
    spawn_with(image, args, &[])
}

/// As [`spawn`], with `regions` besides the program's own memory.
pub fn spawn_with(image: &[u8], args: &[&str], regions: &[Region]) -> Result<Child> {
    let elf = ElfBytes::<LittleEndian>::minimal_parse(image).map_err(|_| Error::new(ENOEXEC))?;
    let segments = elf.segments().ok_or(Error::new(ENOEXEC))?;
    if elf.ehdr.e_machine != abi::EM_X86_64 || elf.ehdr.e_type != abi::ET_EXEC {
        return Err(Error::new(ENOEXEC));
    }

    let own = thread::own_context()?;
    let own_space = AddressSpace::of(own)?;
    let space = own_space.empty_like()?;
    for segment in segments.iter().filter(|segment| segment.p_type == abi::PT_LOAD && segment.p_memsz > 0) {
        load(image, &segment, &own_space, &space)?;
    }
    for region in regions {
        let pages = Pages { start: region.address, size: region.bytes.len().next_multiple_of(PAGE) };
        pages.place(&own_space, &space, region.address, region.bytes, MapFlags::PROT_READ | MapFlags::PROT_WRITE)?;
    }
    let start = start_block::Image::new(STACK_TOP, args);
    if start.bytes.len() > STACK_SIZE / 2 {
        return Err(Error::new(syscall::E2BIG));
    }
    let stack = Pages { start: STACK_TOP - STACK_SIZE, size: STACK_SIZE };
    stack.place(&own_space, &space, start.stack_pointer, &start.bytes, MapFlags::PROT_READ | MapFlags::PROT_WRITE)?;

    let own_table = FileTable::of(own)?;
    // The copy has our descriptors of this moment: those that are managed, this table's among them.
    let table = own_table.copy()?;
    for fd in descriptor::managed() {
        // What is open only since the copy is not in it.
        let _ = table.close(fd);
    }
    let context = Context::new()?;
    context.set_file_table(&table)?;
    context.set_address_space(&space, start.stack_pointer, elf.ehdr.e_entry as usize)?;
    context.set_thread_pointer(start.thread_block)?;
    context.start()?;
    Ok(Child { context })
}

/// Whole pages of the new address space.
struct Pages {
    start: usize,
    size: usize,
}

impl Pages {
    /// Fills them with zeroes and, at `address`, with `bytes`.
    fn place(
        &self,
        own: &AddressSpace,
        space: &AddressSpace,
        address: usize,
        bytes: &[u8],
        rights: MapFlags,
    ) -> Result<()> {
        let source = memory::map_anonymous(self.size, Sharing::Private)?;
        // SAFETY: the region is fresh, and the callers choose pages that hold the bytes.
        unsafe {
            let offset = address - self.start;
            assert!(offset + bytes.len() <= self.size);
            source.add(offset).as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        // SAFETY: nobody else knows of the region.
        let moved = unsafe { space.transfer(own, source.as_ptr() as usize, self.start, self.size, rights) };
        if moved.is_err() {
            // SAFETY: as above; what was not moved is still here.
            unsafe { memory::unmap(source, self.size)? };
        }
        moved
    }
}

/// Puts one segment where it wants to be; its every number is a claim of the file.
fn load(image: &[u8], segment: &ProgramHeader, own: &AddressSpace, space: &AddressSpace) -> Result<()> {
    let refuse = Error::new(ENOEXEC);
    let end = segment.p_vaddr.checked_add(segment.p_memsz).ok_or(refuse)?;
    if segment.p_vaddr < LOWEST_ADDRESS || end > (STACK_TOP - STACK_SIZE) as u64 || segment.p_filesz > segment.p_memsz {
        return Err(refuse);
    }
    let file_end = segment.p_offset.checked_add(segment.p_filesz).ok_or(refuse)?;
    let bytes = image.get(segment.p_offset as usize..file_end as usize).ok_or(refuse)?;
    let start = segment.p_vaddr as usize / PAGE * PAGE;
    let pages = Pages { start, size: (end as usize).next_multiple_of(PAGE) - start };
    let mut rights = MapFlags::empty();
    for (flag, right) in
        [(abi::PF_R, MapFlags::PROT_READ), (abi::PF_W, MapFlags::PROT_WRITE), (abi::PF_X, MapFlags::PROT_EXEC)]
    {
        if segment.p_flags & flag != 0 {
            rights |= right;
        }
    }
    pages.place(own, space, segment.p_vaddr as usize, bytes, rights)
}
