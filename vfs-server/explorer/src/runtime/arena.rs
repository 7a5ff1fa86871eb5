//! The memory of what is explored: one region at a fixed address, which is copied back before each run.
//!
//! Owns: the program's global allocator and its two modes. *Inside* (set-up, tasks, checks) memory
//! comes from the region; *outside* (the explorer's own data) from the system. Where a thing lies is
//! seen from its address, so it may be freed in either mode.
//!
//! Set-up runs once. Its memory is then copied aside, and every run starts from that copy: nothing
//! needs to be dropped, a task that never ended is forgotten with all it held, and every address is
//! the same in every run and every process, so that a schedule means the same everywhere.
//!
//! Two parts: small blocks, and whole pages (folios, large tables), so that what has to be copied
//! stays dense. One thread at a time is inside; [`super::session`] sees to it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr;
use std::sync::Once;

const PAGE: usize = 4096;
/// Where the region begins: far from where Linux puts programs, heaps and libraries.
pub const BASE: usize = 0x1000_0000_0000;
const SMALL_LEN: usize = 256 << 20;
const PAGES_BASE: usize = BASE + (4 << 30);
const PAGES_LEN: usize = 1 << 30;
/// Where the stacks of tasks lie; see [`super::stack`].
pub const STACKS_BASE: usize = BASE + (8 << 30);
const END: usize = BASE + (16 << 30);

/// Blocks of up to this many bytes come in multiples of [`GRAIN`].
const FINE_MAX: usize = 1024;
const GRAIN: usize = 16;
const FINE_CLASSES: usize = FINE_MAX / GRAIN + 1;
/// Blocks that are aligned to their size, a power of two below a page: 32, 64, .., 2048.
const ALIGNED_CLASSES: usize = 12;
/// Frames lie among the first this many pages.
const FRAMES_MAX: usize = 1 << 12;
/// Runs of pages up to this many come from a list of their own.
const RUN_MAX: usize = 256;

/// The allocator's state; it lies at the start of the region, so that it is restored with it.
#[repr(C)]
struct Heap {
    small_top: usize,
    pages_top: usize,
    /// Frames that are handed out, in pages; see [`super::host`].
    frames_out: usize,
    /// Which pages they are, from [`PAGES_BASE`] on.
    frames: [u64; FRAMES_MAX / 64],
    fine: [usize; FINE_CLASSES],
    aligned: [usize; ALIGNED_CLASSES],
    runs: [usize; RUN_MAX + 1],
}

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    /// The task that runs has panicked: its next allocation is the place to leave it.
    static LEAVING: Cell<bool> = const { Cell::new(false) };
}

/// The global allocator of every program that explores.
pub struct Arena;

#[global_allocator]
static ALLOCATOR: Arena = Arena;

/// Whether the region holds `address` (stacks of tasks included).
#[inline]
pub fn holds(address: usize) -> bool {
    (BASE..END).contains(&address)
}

/// Whether this thread allocates inside.
#[inline]
pub fn is_inside() -> bool {
    INSIDE.get()
}

/// From the next allocation inside on, the running task never comes back: [`super::panics`] is told.
pub fn leave_at_next_allocation() {
    LEAVING.set(true);
}

/// The mode before it was changed; comes back when dropped.
pub struct Mode(bool);

impl Mode {
    /// Allocates inside until dropped.
    #[inline]
    pub fn inside() -> Self {
        Self(INSIDE.replace(true))
    }

    /// Allocates outside until dropped.
    #[inline]
    pub fn outside() -> Self {
        Self(INSIDE.replace(false))
    }
}

impl Drop for Mode {
    #[inline]
    fn drop(&mut self) {
        INSIDE.set(self.0);
    }
}

fn heap() -> *mut Heap {
    BASE as *mut Heap
}

/// How a layout is served.
enum Class {
    Fine(usize),
    Aligned(usize),
    Run(usize),
    /// Too large or too strictly aligned.
    Refused,
}

#[inline]
fn class_of(layout: Layout) -> Class {
    let (size, align) = (layout.size(), layout.align());
    if size <= FINE_MAX && align <= GRAIN {
        return Class::Fine(size.div_ceil(GRAIN));
    }
    let rounded = size.max(align).next_power_of_two();
    if rounded < PAGE {
        Class::Aligned(rounded.trailing_zeros() as usize)
    } else if align <= PAGE {
        Class::Run(size.div_ceil(PAGE))
    } else {
        Class::Refused
    }
}

/// The bytes of a block of the class.
fn block_len(class: &Class) -> usize {
    match class {
        Class::Fine(grains) => grains * GRAIN,
        Class::Aligned(log) => 1 << log,
        Class::Run(pages) => pages * PAGE,
        Class::Refused => 0,
    }
}

/// Takes the first block of a list of free blocks, which are linked through their first word.
///
/// # Safety
/// `list` is a list of this heap: each block on it is free and belongs to the region.
#[inline]
unsafe fn pop(list: &mut usize) -> Option<*mut u8> {
    let block = *list;
    if block == 0 {
        return None;
    }
    // SAFETY: a free block of the region holds the address of the next.
    *list = unsafe { *(block as *const usize) };
    Some(block as *mut u8)
}

/// Puts a block on a list.
///
/// # Safety
/// The block belongs to the region, is free, and is as long as the list's blocks.
#[inline]
unsafe fn push(list: &mut usize, block: *mut u8) {
    // SAFETY: the block is ours, and at least a word long.
    unsafe { *block.cast::<usize>() = *list };
    *list = block as usize;
}

/// The next block past everything that was ever allocated; null when the region is full.
fn extend(top: &mut usize, end: usize, len: usize, align: usize) -> *mut u8 {
    let start = top.next_multiple_of(align);
    if start + len > end {
        return ptr::null_mut();
    }
    *top = start + len;
    start as *mut u8
}

// SAFETY: blocks are disjoint pieces of the region, aligned as their class promises; only the thread
// that is inside reaches the heap.
unsafe impl GlobalAlloc for Arena {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !INSIDE.get() {
            // SAFETY: the caller's contract.
            return unsafe { System.alloc(layout) };
        }
        if LEAVING.get() {
            LEAVING.set(false);
            super::panics::leave();
        }
        let class = class_of(layout);
        let len = block_len(&class);
        // SAFETY: inside means that the region is mapped and this thread has it for itself.
        let heap = unsafe { &mut *heap() };
        let small_end = BASE + SMALL_LEN;
        match class {
            Class::Fine(grains) => {
                // SAFETY: the list is this heap's.
                let free = unsafe { pop(&mut heap.fine[grains]) };
                free.unwrap_or_else(|| extend(&mut heap.small_top, small_end, len, GRAIN))
            }
            Class::Aligned(log) => {
                // SAFETY: as above.
                let free = unsafe { pop(&mut heap.aligned[log]) };
                free.unwrap_or_else(|| extend(&mut heap.small_top, small_end, len, len))
            }
            Class::Run(pages) => {
                // SAFETY: as above.
                let free = if pages <= RUN_MAX { unsafe { pop(&mut heap.runs[pages]) } } else { None };
                free.unwrap_or_else(|| extend(&mut heap.pages_top, PAGES_BASE + PAGES_LEN, len, PAGE))
            }
            Class::Refused => ptr::null_mut(),
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !holds(block as usize) {
            // SAFETY: the caller's contract; what is not in the region came from the system.
            return unsafe { System.dealloc(block, layout) };
        }
        // SAFETY: a block of the region exists only while its thread has the region for itself.
        let heap = unsafe { &mut *heap() };
        // SAFETY: the layout is the one that it was allocated with, so the list has its length.
        unsafe {
            match class_of(layout) {
                Class::Fine(grains) => push(&mut heap.fine[grains], block),
                Class::Aligned(log) => push(&mut heap.aligned[log], block),
                Class::Run(pages) if pages <= RUN_MAX => push(&mut heap.runs[pages], block),
                // Longer runs are rare; they come back with the next restore.
                Class::Run(_) | Class::Refused => {}
            }
        }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if !holds(block as usize) && !INSIDE.get() {
            // SAFETY: the caller's contract.
            return unsafe { System.realloc(block, layout, new_size) };
        }
        // SAFETY: the caller says that `new_size` fits a layout of this alignment.
        let new = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        let room = if holds(block as usize) { block_len(&class_of(layout)) } else { layout.size() };
        if holds(block as usize) && block_len(&class_of(new)) == room {
            return block;
        }
        // SAFETY: as above; the blocks do not overlap.
        unsafe {
            let to = self.alloc(new);
            if !to.is_null() {
                ptr::copy_nonoverlapping(block, to, layout.size().min(new_size));
                self.dealloc(block, layout);
            }
            to
        }
    }
}

/// Maps the region once a process, and empties the heap. Whatever was inside is gone.
///
/// # Safety
/// Nobody is inside, and nobody will use anything that was allocated there.
pub unsafe fn clear() {
    static MAPPED: Once = Once::new();
    MAPPED.call_once(|| map(BASE, END - BASE));
    // SAFETY: the region is mapped, and the caller says that nobody uses it.
    unsafe {
        heap().write(Heap {
            small_top: BASE + size_of::<Heap>(),
            pages_top: PAGES_BASE,
            frames_out: 0,
            frames: [0; FRAMES_MAX / 64],
            fine: [0; FINE_CLASSES],
            aligned: [0; ALIGNED_CLASSES],
            runs: [0; RUN_MAX + 1],
        });
    }
}

fn map(start: usize, len: usize) {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: a fresh anonymous mapping that replaces nothing.
    let at = unsafe { libc::mmap(start as *mut _, len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    assert!(at as usize == start, "cannot map {len:#x} bytes at {start:#x}: {}", std::io::Error::last_os_error());
}

/// What the region held at some moment.
pub struct Snapshot {
    small: Vec<u8>,
    pages: Vec<u8>,
}

impl Snapshot {
    /// Copies all that was ever allocated inside.
    ///
    /// # Safety
    /// The region was [`clear`]ed by this thread, which is outside.
    pub unsafe fn take() -> Self {
        assert!(!is_inside());
        // SAFETY: the region is mapped and ours.
        let (small_top, pages_top) = unsafe { ((*heap()).small_top, (*heap()).pages_top) };
        // SAFETY: both ranges are mapped; their bytes were initialised by the kernel at least.
        unsafe {
            Self {
                small: std::slice::from_raw_parts(BASE as *const u8, small_top - BASE).to_vec(),
                pages: std::slice::from_raw_parts(PAGES_BASE as *const u8, pages_top - PAGES_BASE).to_vec(),
            }
        }
    }

    /// Makes the region what it was.
    ///
    /// # Safety
    /// As for [`clear`]: nobody holds a reference to anything inside that is used afterwards.
    pub unsafe fn restore(&self) {
        // SAFETY: the ranges were allocated when the snapshot was taken; nobody refers to them.
        unsafe {
            ptr::copy_nonoverlapping(self.small.as_ptr(), BASE as *mut u8, self.small.len());
            ptr::copy_nonoverlapping(self.pages.as_ptr(), PAGES_BASE as *mut u8, self.pages.len());
        }
    }

    /// Bytes that each run starts with copying.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.small.len() + self.pages.len()
    }
}

/// Pages of frames that are handed out inside.
///
/// # Safety
/// The session is this thread's.
pub unsafe fn frames_out() -> usize {
    // SAFETY: the heap is mapped and this thread has it for itself.
    unsafe { (*heap()).frames_out }
}

/// Marks a block of pages as frames, or no more as such; `false`: it lies too far up for frames.
///
/// # Safety
/// The session is this thread's, and the block is one of whole pages that it allocated inside.
pub unsafe fn mark_frames(address: usize, pages: usize, out: bool) -> bool {
    let first = (address - PAGES_BASE) / PAGE;
    if first + pages > FRAMES_MAX {
        return false;
    }
    // SAFETY: as above.
    let heap = unsafe { &mut *heap() };
    for page in first..first + pages {
        if out {
            heap.frames[page / 64] |= 1 << (page % 64);
        } else {
            heap.frames[page / 64] &= !(1 << (page % 64));
        }
    }
    heap.frames_out = if out { heap.frames_out + pages } else { heap.frames_out - pages };
    true
}

/// Whether the page of `address` is a frame that is handed out.
///
/// # Safety
/// The session is this thread's.
pub unsafe fn is_frame(address: usize) -> bool {
    let Some(page) = address.checked_sub(PAGES_BASE).map(|offset| offset / PAGE) else { return false };
    // SAFETY: as above.
    page < FRAMES_MAX && unsafe { (*heap()).frames[page / 64] >> (page % 64) & 1 == 1 }
}
