//! The memory of a vspace: its bytes as a file, and the commands that change its mappings.

use super::{ProcFile, proc_file};
use crate::arch::cpu::Cpu;
use crate::arch::physmap;
use crate::context::Context;
use crate::kernel::Kernel;
use crate::syscall::Outcome;
use crate::syscall::memory::{map_into, span};
use crate::vspace::user::UserSlice;
use crate::vspace::{Rights, Vspace};
use kernel_logic::arena::Id;
use pager_abi::fault::Access;
use syscall::PAGE_SIZE;
use syscall::data::Map;
use syscall::error::{EBADF, EFAULT, EINVAL, Error};
use syscall::flag::{ADDRSPACE_OP_MMAP, ADDRSPACE_OP_MPROTECT, ADDRSPACE_OP_MUNMAP, ADDRSPACE_OP_TRANSFER, MapFlags};

/// The `ADDRSPACE_OP_*` commands. MMAP and TRANSFER give the address, as in Redox.
pub fn operate(k: &mut Kernel, cpu: &Cpu, id: Id<Context>, vspace: Id<Vspace>, words: &[usize]) -> Outcome {
    match *words {
        [ADDRSPACE_OP_MMAP, fd, offset, address, size, flags] => {
            let flags = MapFlags::from_bits(flags).ok_or(Error::new(EINVAL))?;
            map_into(k, cpu, id, fd, vspace, &Map { offset, size, flags, address })
        }
        [ADDRSPACE_OP_TRANSFER, fd, offset, address, size, flags] => {
            let flags = MapFlags::from_bits(flags).ok_or(Error::new(EINVAL))?;
            let ProcFile::Vspace(source) = proc_file(k, k.description(id, fd)?)? else {
                return Err(Error::new(EBADF).into());
            };
            Ok(k.transfer(cpu, source, vspace, &Map { offset, size, flags, address })?)
        }
        [ADDRSPACE_OP_MUNMAP, address, size] => {
            if let Some(unmapped) = k.unmap(cpu, vspace, span(address, size)?)? {
                k.tell_unmapped(cpu, unmapped);
            }
            Ok(size_of_val(words))
        }
        [ADDRSPACE_OP_MPROTECT, address, size, flags] => {
            let flags = MapFlags::from_bits(flags).ok_or(Error::new(EINVAL))?;
            k.protect(vspace, span(address, size)?, Rights::of(flags))?;
            Ok(size_of_val(words))
        }
        _ => Err(Error::new(EINVAL).into()),
    }
}

impl Kernel {
    /// Between the caller's buffer and anonymous memory of another vspace, page by page.
    pub fn copy_memory(
        &mut self,
        cpu: &Cpu,
        id: Id<Context>,
        vspace: Id<Vspace>,
        offset: usize,
        buffer: UserSlice,
        access: Access,
    ) -> Outcome {
        const COPY_MAX: usize = 64 * 1024;
        let buffer = buffer.first(COPY_MAX);
        let own = if access == Access::Read { Access::Write } else { Access::Read };
        self.prefault(cpu, id, buffer, own)?;
        let mut done = 0;
        while done < buffer.len {
            let at = offset.checked_add(done).ok_or(Error::new(EFAULT))?;
            let len = (256 - at % 256).min(buffer.len - done);
            let part = UserSlice { address: buffer.address + done, len };
            let mut bytes = [0; 256];
            let frame = match self.own_page(vspace, at & !(PAGE_SIZE - 1)) {
                Ok(frame) => frame,
                Err(error) if done == 0 => return Err(error.into()),
                Err(_) => break,
            };
            match access {
                Access::Write => {
                    self.read_user(cpu, id, part, &mut bytes[..len])?;
                    physmap::write(frame, at % PAGE_SIZE, &bytes[..len]);
                }
                Access::Read | Access::Execute => {
                    physmap::read(frame, at % PAGE_SIZE, &mut bytes[..len]);
                    self.write_user(cpu, id, part, &bytes[..len])?;
                }
            }
            done += len;
        }
        Ok(done)
    }
}
