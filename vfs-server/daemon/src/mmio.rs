//! Device registers, mapped through the kernel's memory scheme.

use core::ptr::NonNull;
use pager_abi::PAGE_SIZE;
use syscall::O_RDWR;
use syscall::data::GlobalSchemes;
use user_rt::kernel_scheme;
use user_rt::memory::{self, Protection, Sharing};

/// Maps `size` bytes of registers at a physical address, for good.
pub fn map(physical: u64, size: usize) -> syscall::Result<NonNull<u8>> {
    let registers = kernel_scheme::open(GlobalSchemes::Memory, "physical@uncacheable", O_RDWR)?;
    let within = (physical % PAGE_SIZE) as usize;
    let len = (within + size).next_multiple_of(PAGE_SIZE as usize);
    let base = physical as usize - within;
    let mapped = memory::map(registers.fd(), base, len, Protection::ReadWrite, Sharing::Shared)?;
    // SAFETY: `within` is less than a page, and the mapping is at least that long.
    Ok(unsafe { mapped.add(within) })
}
