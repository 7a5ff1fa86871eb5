//! The kernel's own image as every vspace maps it: instructions cannot be written, constants
//! neither, and data cannot be run.
//!
//! The boot code maps all of the first 2 GiB there without a distinction, and the first 4 GiB one to
//! one; both go here. (The physmap still reaches the image's frames, for data only.)

use super::paging::{Flags, kernel_root};
use super::{instructions, physmap};
use core::cell::UnsafeCell;
use kernel_logic::buddy::Frame;

/// Last-level tables, of 2 MiB each: more than the image takes.
const TABLES: usize = 4;

const PAGE: usize = 4096;

#[repr(C, align(4096))]
struct Table(UnsafeCell<[u64; 512]>);
// SAFETY: written once by the first CPU before others run, read by the hardware only.
unsafe impl Sync for Table {}

static DIRECTORY: Table = Table(UnsafeCell::new([0; 512]));
static LEAVES: [Table; TABLES] = [const { Table(UnsafeCell::new([0; 512])) }; TABLES];

// SAFETY: the linker script and the boot assembly define them; only their addresses are taken.
unsafe extern "C" {
    static text_start: u8;
    static text_end: u8;
    static rodata_end: u8;
    static kernel_end: u8;
    static boot_pdpt_high: [u64; 512];
}

/// Maps the image page by page with the rights of its parts, and nothing else there. Once, on the first CPU, before
/// others run.
///
/// # Panics
/// If the image is larger than the tables for it.
pub fn protect() {
    let code = Flags::PRESENT | Flags::GLOBAL;
    let constants = code | Flags::NO_EXECUTE;
    let data = constants | Flags::WRITE;
    map((&raw const text_start) as usize, (&raw const text_end) as usize, code);
    map((&raw const text_end) as usize, (&raw const rodata_end) as usize, constants);
    map((&raw const rodata_end) as usize, (&raw const kernel_end) as usize, data);
    let below = (Flags::PRESENT | Flags::WRITE).bits();
    for (number, leaf) in LEAVES.iter().enumerate() {
        write(DIRECTORY.address(), number, leaf.address() | below);
    }
    let top = (&raw const boot_pdpt_high) as u64 - physmap::KERNEL_BASE as u64;
    write(top, 510, DIRECTORY.address() | below);
    write(top, 511, 0);
    instructions::flush_global();
}

/// Takes away the one-to-one mapping of low memory, which starting CPUs need. After that each of them flushes what it
/// remembers.
pub fn forget_low_memory() {
    write(kernel_root(), 0, 0);
    instructions::flush_global();
}

impl Table {
    /// Physical.
    fn address(&self) -> u64 {
        self.0.get() as u64 - physmap::KERNEL_BASE as u64
    }
}

fn map(start: usize, end: usize, flags: Flags) {
    for address in (start..end).step_by(PAGE) {
        let paddr = address - physmap::KERNEL_BASE;
        let leaf = LEAVES.get(paddr >> 21).expect("the kernel's image is larger than the tables for it");
        write(leaf.address(), paddr / PAGE % 512, paddr as u64 | flags.bits());
    }
}

fn write(table: u64, index: usize, entry: u64) {
    physmap::write(Frame::containing(table), index * 8, &entry.to_ne_bytes());
}
