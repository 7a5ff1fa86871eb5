//! Memory by kind.
//!
//! | open | then |
//! |---|---|
//! | `zeroed` | FMAP: memory of zeros |
//! | `zeroed@wb?phys_contiguous` | FMAP: one run of physical memory, for DMA |
//! | `physical@uncacheable`, `physical@wb` | FMAP with offset = physical address: device memory |
//! | `translation` | CALL with an 8-byte payload: an address goes in, its physical address comes out |

use crate::arch::cpu::Cpu;
use crate::context::Context;
use crate::file::File;
use crate::kernel::Kernel;
use crate::syscall::Outcome;
use crate::vspace::Vspace;
use crate::vspace::map::Caching;
use crate::vspace::user::UserSlice;
use kernel_logic::arena::Id;
use pager_abi::fault::Access;
use syscall::PAGE_SIZE;
use syscall::data::Map;
use syscall::error::{EBADF, EFAULT, EINVAL, ENODEV, ENOENT, Error, Result};

/// A kind of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryFile {
    /// Zeros.
    Zeroed {
        /// In one run of physical memory.
        contiguous: bool,
    },
    /// By physical address.
    Physical(Caching),
    /// Physical addresses of the caller's memory.
    Translation,
}

/// Opens a kind of memory: `name[@caching][?flag]`.
pub fn open(name: &str) -> Result<File> {
    let (name, flags) = name.split_once('?').unwrap_or((name, ""));
    let (name, caching) = name.split_once('@').unwrap_or((name, "wb"));
    let caching = match caching {
        "wb" | "" => Caching::WriteBack,
        "uncacheable" | "device_memory" => Caching::Uncached,
        _ => return Err(Error::new(EINVAL)),
    };
    Ok(File::Memory(match (name, flags) {
        ("zeroed" | "", "") => MemoryFile::Zeroed { contiguous: false },
        ("zeroed" | "", "phys_contiguous") => MemoryFile::Zeroed { contiguous: true },
        ("physical", "") => MemoryFile::Physical(caching),
        ("translation", "") => MemoryFile::Translation,
        _ => return Err(Error::new(ENOENT)),
    }))
}

/// FMAP of a kind of memory.
pub fn map(k: &mut Kernel, cpu: &Cpu, vspace: Id<Vspace>, memory: MemoryFile, map: &Map) -> Result<usize> {
    match memory {
        MemoryFile::Zeroed { contiguous } => k.map_anonymous(cpu, vspace, map, contiguous),
        MemoryFile::Physical(caching) => k.map_physical(cpu, vspace, map, caching),
        MemoryFile::Translation => Err(Error::new(ENODEV)),
    }
}

/// CALL of `translation`.
pub fn call(k: &mut Kernel, cpu: &Cpu, id: Id<Context>, memory: MemoryFile, payload: UserSlice) -> Outcome {
    if memory != MemoryFile::Translation {
        return Err(Error::new(EBADF).into());
    }
    payload.exact(8)?;
    let [address] = k.read_words::<1>(cpu, id, payload.address)?;
    let page = UserSlice::new(address, 1)?.address & !(PAGE_SIZE - 1);
    let vspace = k.contexts[id].vspace.ok_or(Error::new(EFAULT))?;
    let entry = k.vspaces[vspace].allowed(page, Access::Read).ok_or(Error::new(EFAULT))?;
    let physical = entry.frame().address() + (address - page) as u64;
    k.write_user(cpu, id, payload, &physical.to_ne_bytes())?;
    Ok(0)
}
