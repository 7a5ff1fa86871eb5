//! What the boot loader tells, by PVH's `hvm_start_info` (Xen's public header `arch-x86/hvm/start_info.h`).

use super::physmap;
use kernel_logic::acpi::Memory;

/// A range of physical addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
}

#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct RawStartInfo {
    magic: u32,
    version: u32,
    flags: u32,
    module_count: u32,
    modules: u64,
    command_line: u64,
    rsdp: u64,
    memory_map: u64,
    memory_map_count: u32,
    reserved: u32,
}
const _: () = assert!(size_of::<RawStartInfo>() == 56);

#[derive(Clone, Copy)]
#[repr(C)]
struct RawModule {
    address: u64,
    len: u64,
    command_line: u64,
    reserved: u64,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct RawMemory {
    address: u64,
    len: u64,
    kind: u32,
    reserved: u32,
}

const MAGIC: u32 = 0x336e_c578;
const RAM: u32 = 1;
/// The most ranges and modules that are looked at.
const MANY: usize = 32;

/// What the boot loader tells.
#[derive(Clone, Copy, Debug)]
pub struct StartInfo {
    /// RAM.
    pub memory: [Option<Range>; MANY],
    /// The boot image (QEMU's `-initrd`).
    pub image: Option<Range>,
    /// Root of the ACPI tables, if told.
    pub rsdp: Option<u64>,
}

impl StartInfo {
    /// Reads it; `None` if it is not one, or too old to tell the memory.
    pub fn read(paddr: u64) -> Option<Self> {
        let raw: RawStartInfo = copy(paddr);
        if raw.magic != MAGIC || raw.version < 1 {
            return None;
        }
        let mut memory = [None; MANY];
        for (index, slot) in memory.iter_mut().enumerate().take(raw.memory_map_count as usize) {
            let entry: RawMemory = copy(raw.memory_map + (index * size_of::<RawMemory>()) as u64);
            let end = entry.address.checked_add(entry.len)?;
            *slot = (entry.kind == RAM).then_some(Range { start: entry.address, end });
        }
        let image = (raw.module_count > 0).then(|| {
            let module: RawModule = copy(raw.modules);
            Range { start: module.address, end: module.address + module.len }
        });
        Some(Self { memory, image, rsdp: Some(raw.rsdp).filter(|&rsdp| rsdp != 0) })
    }

    /// The end of the highest RAM.
    pub fn memory_end(&self) -> u64 {
        self.memory.iter().flatten().map(|range| range.end).max().unwrap_or(0)
    }
}

fn copy<T: Copy>(paddr: u64) -> T {
    // SAFETY: the boot loader's structures lie in the first 4 GiB, which the boot tables map; `T` is plain data.
    unsafe { physmap::pointer(paddr).cast::<T>().read_unaligned() }
}

/// The end of the kernel's image, a physical address.
pub fn kernel_end() -> u64 {
    // SAFETY: the linker script defines it; only its address is taken.
    unsafe extern "C" {
        static kernel_end: u8;
    }
    (&raw const kernel_end) as u64 - physmap::KERNEL_BASE as u64
}

/// Physical memory as the ACPI tables are read from it.
pub struct Firmware;

impl Memory for Firmware {
    fn bytes(&self, paddr: u64, len: usize) -> Option<&[u8]> {
        let end = paddr.checked_add(len as u64)?;
        // SAFETY: the first 4 GiB are mapped since boot; nobody changes firmware tables.
        (end <= 1 << 32 && len <= 1 << 20).then(|| unsafe { physmap::bytes(paddr, len) })
    }
}
