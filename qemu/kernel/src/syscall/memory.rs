//! System calls on mappings.

use super::Outcome;
use crate::arch::cpu::Cpu;
use crate::context::Context;
use crate::file::File;
use crate::kernel::Kernel;
use crate::scheme::user::{Mapping, Message, Then};
use crate::scheme::{memory, proc};
use crate::vspace::user::UserSlice;
use crate::vspace::{MAP_END, Rights, Vspace};
use alloc::boxed::Box;
use kernel_logic::arena::Id;
use kernel_logic::span::Span;
use syscall::PAGE_SIZE;
use syscall::data::Map;
use syscall::error::{EBADF, EINVAL, ENODEV, Error, Result};
use syscall::flag::{MapFlags, MremapFlags};
use syscall::schemev2::Opcode;

/// FMAP: of a file, or of memory (descriptor -1).
pub fn map(k: &mut Kernel, cpu: &Cpu, id: Id<Context>, fd: usize, argument: UserSlice) -> Outcome {
    argument.exact(size_of::<Map>())?;
    let [offset, size, flags, address] = k.read_words::<4>(cpu, id, argument.address)?;
    let flags = MapFlags::from_bits(flags).ok_or(Error::new(EINVAL))?;
    let vspace = k.contexts[id].vspace.ok_or(Error::new(EBADF))?;
    map_into(k, cpu, id, fd, vspace, &Map { offset, size, flags, address })
}

/// Maps descriptor `fd` of context `id` into `vspace`, which may be another than its own.
pub fn map_into(k: &mut Kernel, cpu: &Cpu, id: Id<Context>, fd: usize, vspace: Id<Vspace>, map: &Map) -> Outcome {
    if fd == usize::MAX {
        return Ok(k.map_anonymous(cpu, vspace, map, false)?);
    }
    let file = k.description(id, fd)?;
    match k.descriptions[file].file {
        File::Remote { socket, number } => {
            crate::vspace::whole_pages(map.size)?;
            if !map.offset.is_multiple_of(PAGE_SIZE) {
                return Err(Error::new(EINVAL).into());
            }
            // MmapPrep = [number, size, flags, offset].
            let message = Message::new(Opcode::MmapPrep, socket, number, file)
                .with(1, map.size as u64)
                .with(2, map.flags.bits() as u64)
                .with(3, map.offset as u64);
            k.retain_vspace(vspace);
            let map = Map { offset: map.offset, size: map.size, flags: map.flags, address: map.address };
            k.call_server(cpu, id, message, Then::Map(Box::new(Mapping { vspace, map })))
        }
        File::Memory(memory) => Ok(memory::map(k, cpu, vspace, memory, map)?),
        File::Proc(_) => Ok(proc::map(k, cpu, file, vspace, map)?),
        _ => Err(Error::new(ENODEV).into()),
    }
}

/// FUNMAP.
pub fn unmap(k: &mut Kernel, cpu: &Cpu, id: Id<Context>, address: usize, len: usize) -> Outcome {
    let vspace = k.contexts[id].vspace.ok_or(Error::new(EBADF))?;
    match k.unmap(cpu, vspace, span(address, len)?)? {
        // The server of an eager mapping is waited for, as in Redox.
        Some(unmapped) => k.wait_unmapped(cpu, id, unmapped),
        None => Ok(0),
    }
}

/// MPROTECT.
pub fn protect(k: &mut Kernel, id: Id<Context>, address: usize, len: usize, flags: usize) -> Outcome {
    let vspace = k.contexts[id].vspace.ok_or(Error::new(EBADF))?;
    let flags = MapFlags::from_bits(flags).ok_or(Error::new(EINVAL))?;
    k.protect(vspace, span(address, len)?, Rights::of(flags))?;
    Ok(0)
}

/// MREMAP: (old address, old length, new address, new length, flags).
pub fn remap(k: &mut Kernel, cpu: &Cpu, id: Id<Context>, args: [usize; 5]) -> Outcome {
    let [old, old_len, new, new_len, flags] = args;
    let vspace = k.contexts[id].vspace.ok_or(Error::new(EBADF))?;
    let flags = MremapFlags::from_bits(flags).ok_or(Error::new(EINVAL))?;
    Ok(k.remap(cpu, vspace, span(old, old_len)?, new, new_len, flags)?)
}

/// The pages of a range that a program names.
pub fn span(address: usize, len: usize) -> Result<Span> {
    let len = crate::vspace::whole_pages(len)?;
    Span::new(address, len, MAP_END).ok_or(Error::new(EINVAL))
}
