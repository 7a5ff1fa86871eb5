//! Page tables of 4 levels and 4 KiB pages.
//!
//! Owns: the tables' own frames and the words in them. Does not own: the frames that are mapped, nor
//! the decision to flush ([`super::tlb`]): whoever takes rights away must shoot down before the frame
//! is used otherwise.
//!
//! A table below the top level stays until the whole [`PageTable`] goes, so that a CPU that still
//! walks it never meets a frame of somebody else.

use super::{instructions, physmap};
use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering};
use kernel_logic::buddy::{Frame, Frames};

/// One page's translation.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Entry(u64);

bitflags::bitflags! {
    /// What a translation allows, what it was used for, and what the kernel notes in it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Flags: u64 {
        /// There is a translation.
        const PRESENT = 1 << 0;
        /// Stores.
        const WRITE = 1 << 1;
        /// From a program.
        const USER = 1 << 2;
        /// Write through.
        const WRITE_THROUGH = 1 << 3;
        /// Not cached.
        const UNCACHED = 1 << 4;
        /// Set by the CPU on any use.
        const ACCESSED = 1 << 5;
        /// Set by the CPU on a store.
        const DIRTY = 1 << 6;
        /// Stays when another table is loaded: the kernel's own.
        const GLOBAL = 1 << 8;
        /// Ours: the frame is not counted (device memory).
        const UNCOUNTED = 1 << 11;
        /// No instruction fetches.
        const NO_EXECUTE = 1 << 63;
    }
}

const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

impl Entry {
    /// No translation.
    pub const NONE: Self = Self(0);

    /// A translation to `frame`.
    #[inline]
    pub fn new(frame: Frame, flags: Flags) -> Self {
        Self(frame.address() | flags.bits())
    }

    /// The CPU may use it. (An entry that is not [`Entry::NONE`] and not present keeps a page that
    /// mprotect made inaccessible.)
    #[inline]
    pub fn is_present(self) -> bool {
        self.0 & 1 != 0
    }

    /// What is mapped.
    #[inline]
    pub fn frame(self) -> Frame {
        Frame::containing(self.0 & ADDRESS)
    }

    /// Its flags.
    #[inline]
    pub fn flags(self) -> Flags {
        Flags::from_bits_truncate(self.0)
    }

    /// The same frame with other flags.
    #[inline]
    pub fn with(self, flags: Flags) -> Self {
        Self(self.0 & ADDRESS | flags.bits())
    }
}

/// There was no frame for a table.
#[derive(Debug)]
pub struct OutOfMemory;

/// One vspace's tables.
pub struct PageTable {
    root: Frame,
    /// The last-level table that was looked up last: it stays as long as the whole does.
    last: Cell<LastLeaf>,
}

#[derive(Clone, Copy)]
struct LastLeaf {
    /// Which 2 MiB.
    number: usize,
    table: Frame,
}

const LEAF_SHIFT: u32 = 21;

// SAFETY: the boot assembly defines them, as page tables of this size.
unsafe extern "C" {
    static boot_pml4: [u64; 512];
    static boot_pdpt_low: [u64; 512];
}

/// The page table of the kernel alone (and, while CPUs are being started, of the first 4 GiB one to one).
pub fn kernel_root() -> u64 {
    (&raw const boot_pml4) as u64 - physmap::KERNEL_BASE as u64
}

/// Loads the kernel's own table.
pub fn load_kernel() {
    // SAFETY: it maps the kernel.
    unsafe { instructions::write_cr3(kernel_root()) }
}

/// Extends the physmap from the first 4 GiB to `end`; at boot.
///
/// `tables` gives out zeroed pages for good.
pub fn extend_physmap(end: u64, mut tables: impl FnMut() -> Option<Frame>) {
    for gigabyte in 4..end.div_ceil(1 << 30).min(512) {
        let Some(directory) = tables() else { return };
        for entry in 0..512 {
            let huge = (gigabyte << 30 | entry << 21) | 0x183;
            physmap::write(directory, entry as usize * 8, &huge.to_ne_bytes());
        }
        let pdpt = (&raw const boot_pdpt_low) as usize as u64 - physmap::KERNEL_BASE as u64;
        physmap::write(Frame::containing(pdpt), gigabyte as usize * 8, &(directory.address() | 3).to_ne_bytes());
    }
}

impl PageTable {
    /// Tables that map the kernel only.
    pub fn new(frames: &mut Frames<'_>) -> Option<Self> {
        let root = frames.alloc()?;
        physmap::zero(root);
        physmap::copy_part(root, 2048, Frame::containing(kernel_root()), 2048, 2048);
        Some(Self { root, last: Cell::new(LastLeaf { number: usize::MAX, table: root }) })
    }

    /// Loads it on this CPU.
    #[inline]
    pub fn load(&self) {
        // SAFETY: the upper half is the kernel's own.
        unsafe { instructions::write_cr3(self.root.address()) }
    }

    /// The translation of the page at `address`.
    #[inline]
    pub fn get(&self, address: usize) -> Entry {
        match self.existing_leaf(address) {
            Ok(leaf) => read(leaf, address >> 12 & 511),
            Err(_) => Entry::NONE,
        }
    }

    /// Sets the translation of a page of the user half that has none; gives the one that it has.
    #[inline]
    pub fn insert(&mut self, frames: &mut Frames<'_>, address: usize, entry: Entry) -> Result<Entry, OutOfMemory> {
        let leaf = self.leaf(frames, address)?;
        let index = address >> 12 & 511;
        let old = read(leaf, index);
        if !old.is_present() {
            write(leaf, index, entry);
        }
        Ok(old)
    }

    /// Maps what `source` has from `from` on, `count` pages, at `address`: each page there without a translation gets
    /// one with `flags`, and the frame a reference. Ends before the first page of `source` whose translation lacks
    /// one of the `needed` flags, or where memory for a table ends; gives the pages done.
    #[expect(clippy::too_many_arguments, reason = "two places and what is allowed at each")]
    pub fn share(
        &mut self,
        frames: &mut Frames<'_>,
        address: usize,
        flags: Flags,
        source: &Self,
        from: usize,
        needed: Flags,
        count: usize,
    ) -> usize {
        let mut done = 0;
        while done < count {
            let (at, from) = (address + done * 4096, from + done * 4096);
            let Ok(given_leaf) = source.existing_leaf(from) else { return done };
            let Ok(leaf) = self.leaf(frames, at) else { return done };
            let (first, given_first) = (at >> 12 & 511, from >> 12 & 511);
            // As far as both tables reach.
            let run = (count - done).min(512 - first).min(512 - given_first);
            for nth in 0..run {
                let given = read(given_leaf, given_first + nth);
                if !given.flags().contains(needed) {
                    return done + nth;
                }
                if !read(leaf, first + nth).is_present() {
                    write(leaf, first + nth, Entry::new(given.frame(), flags));
                    frames.retain(given.frame());
                }
            }
            done += run;
        }
        done
    }

    /// How many pages directly before and after `address` (page aligned) have no translation, up to so many.
    pub fn absent_around(&self, address: usize, before: usize, after: usize) -> (usize, usize) {
        (self.absent_before(address, before), self.absent_after(address, after))
    }

    fn absent_after(&self, address: usize, limit: usize) -> usize {
        let (mut absent, mut at) = (0, (address & !4095) + 4096);
        while absent < limit {
            match self.existing_leaf(at) {
                Ok(leaf) => {
                    let first = at >> 12 & 511;
                    let count = (512 - first).min(limit - absent);
                    let run = (first..first + count).take_while(|&index| !read(leaf, index).is_present()).count();
                    absent += run;
                    if run < count {
                        return absent;
                    }
                    at += count * 4096;
                }
                // Nothing is mapped below this entry: on to the next one.
                Err(shift) => {
                    let next = (at | ((1 << shift) - 1)) + 1;
                    absent += (next - at) / 4096;
                    at = next;
                }
            }
        }
        limit
    }

    fn absent_before(&self, address: usize, limit: usize) -> usize {
        let (mut absent, mut end) = (0, address & !4095);
        while absent < limit && end > 0 {
            match self.existing_leaf(end - 1) {
                Ok(leaf) => {
                    let last = (end - 1) >> 12 & 511;
                    let count = (last + 1).min(limit - absent);
                    let run = (0..count).take_while(|n| !read(leaf, last - n).is_present()).count();
                    absent += run;
                    if run < count {
                        return absent;
                    }
                    end -= count * 4096;
                }
                Err(shift) => {
                    let start = (end - 1) & !((1 << shift) - 1);
                    absent += (end - start) / 4096;
                    end = start;
                }
            }
        }
        absent.min(limit)
    }

    /// Sets the translation of a page of the user half, and gives the old one.
    pub fn set(&mut self, frames: &mut Frames<'_>, address: usize, entry: Entry) -> Result<Entry, OutOfMemory> {
        let leaf = self.leaf(frames, address)?;
        let index = address >> 12 & 511;
        let old = read(leaf, index);
        write(leaf, index, entry);
        Ok(old)
    }

    /// Changes a translation that has its table, in one step with respect to CPUs that note their use of it;
    /// gives the old one.
    #[inline]
    pub fn exchange(&mut self, address: usize, change: impl Fn(Entry) -> Entry) -> Entry {
        match self.existing_leaf(address) {
            Ok(leaf) => exchange(leaf, address >> 12 & 511, change),
            Err(_) => Entry::NONE,
        }
    }

    /// The first page at or after `address` and before `end` that the CPU may use.
    pub fn next_present(&self, address: usize, end: usize) -> Option<usize> {
        self.next_where(address, end, Entry::is_present)
    }

    /// The first page at or after `address` and before `end` that keeps a frame.
    pub fn next_used(&self, address: usize, end: usize) -> Option<usize> {
        self.next_where(address, end, |entry| entry != Entry::NONE)
    }

    fn next_where(&self, mut address: usize, end: usize, wanted: impl Fn(Entry) -> bool) -> Option<usize> {
        while address < end {
            match self.existing_leaf(address) {
                Ok(leaf) => {
                    let until = end.min((address | 0x1f_ffff) + 1);
                    while address < until {
                        if wanted(read(leaf, address >> 12 & 511)) {
                            return Some(address);
                        }
                        address += 4096;
                    }
                }
                Err(shift) => address = (address | ((1 << shift) - 1)) + 1,
            }
        }
        None
    }

    /// Changes the translations that there are in `pages` pages from `base` on.
    pub fn update(&mut self, base: usize, pages: usize, mut change: impl FnMut(usize, Entry) -> Entry) {
        let end = base + pages * 4096;
        let mut address = base;
        while address < end {
            match self.existing_leaf(address) {
                Ok(leaf) => {
                    let until = end.min((address | 0x1f_ffff) + 1);
                    while address < until {
                        let index = address >> 12 & 511;
                        let entry = read(leaf, index);
                        if entry != Entry::NONE {
                            let new = change(address, entry);
                            if new != entry {
                                // What the CPU notes in between is lost: only memory that nobody writes
                                // back is changed this way.
                                write(leaf, index, new);
                            }
                        }
                        address += 4096;
                    }
                }
                // Nothing is mapped below this entry: on to the next one.
                Err(shift) => address = (address | ((1 << shift) - 1)) + 1,
            }
        }
    }

    /// Frees the tables. What they map must have been taken out before, and no CPU may have them loaded.
    pub fn free(self, frames: &mut Frames<'_>) {
        free_level(frames, self.root, 3, 256);
    }

    #[inline]
    fn existing_leaf(&self, address: usize) -> Result<Frame, u32> {
        let last = self.last.get();
        if last.number == address >> LEAF_SHIFT { Ok(last.table) } else { self.walk(address) }
    }

    fn walk(&self, address: usize) -> Result<Frame, u32> {
        let mut table = self.root;
        for shift in [39, 30, 21] {
            let entry = read(table, address >> shift & 511);
            if !entry.is_present() {
                return Err(shift);
            }
            table = entry.frame();
        }
        self.last.set(LastLeaf { number: address >> LEAF_SHIFT, table });
        Ok(table)
    }

    #[inline]
    fn leaf(&mut self, frames: &mut Frames<'_>, address: usize) -> Result<Frame, OutOfMemory> {
        let last = self.last.get();
        if last.number == address >> LEAF_SHIFT { Ok(last.table) } else { self.make_leaf(frames, address) }
    }

    fn make_leaf(&mut self, frames: &mut Frames<'_>, address: usize) -> Result<Frame, OutOfMemory> {
        assert!(address < 1 << 47, "{address:#x} is the kernel's");
        let mut table = self.root;
        for shift in [39, 30, 21] {
            let index = address >> shift & 511;
            let entry = read(table, index);
            table = if entry.is_present() {
                entry.frame()
            } else {
                let new = frames.alloc().ok_or(OutOfMemory)?;
                physmap::zero(new);
                write(table, index, Entry::new(new, Flags::PRESENT | Flags::WRITE | Flags::USER));
                new
            };
        }
        self.last.set(LastLeaf { number: address >> LEAF_SHIFT, table });
        Ok(table)
    }
}

fn free_level(frames: &mut Frames<'_>, table: Frame, level: u32, entries: usize) {
    if level > 0 {
        for index in 0..entries {
            let entry = read(table, index);
            if entry.is_present() {
                free_level(frames, entry.frame(), level - 1, 512);
            }
        }
    }
    frames.release(table);
}

#[inline]
fn read(table: Frame, index: usize) -> Entry {
    debug_assert!(index < 512);
    // SAFETY: tables are whole frames of their own, mapped by the physmap; the CPU changes only flag bits.
    Entry(unsafe { physmap::pointer(table.address()).cast::<u64>().add(index).read_volatile() })
}

#[inline]
fn write(table: Frame, index: usize, entry: Entry) {
    debug_assert!(index < 512);
    // SAFETY: as in `read`.
    unsafe { physmap::pointer(table.address()).cast::<u64>().add(index).write_volatile(entry.0) }
}

/// See [`PageTable::exchange`].
#[inline]
fn exchange(table: Frame, index: usize, change: impl Fn(Entry) -> Entry) -> Entry {
    debug_assert!(index < 512);
    let word = physmap::pointer(table.address()).cast::<u64>().wrapping_add(index);
    // SAFETY: as in `read`; the word is aligned.
    let word = unsafe { AtomicU64::from_ptr(word) };
    let mut old = word.load(Ordering::Acquire);
    while let Err(now) = word.compare_exchange_weak(old, change(Entry(old)).0, Ordering::AcqRel, Ordering::Acquire) {
        old = now;
    }
    Entry(old)
}
