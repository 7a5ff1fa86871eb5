//! Memory for folios and DMA: physically contiguous chunks, taken at start, split by a buddy allocator.
//!
//! The server's memory is eager and resident (rule 5 of the protocol): nothing here is allocated
//! from the kernel after the start. A device reaches a frame by its chunk's physical address.

use alloc::vec::Vec;
use buddy_system_allocator::FrameAllocator;
use core::ptr::NonNull;
use pager_abi::PAGE_SIZE;
use platform::host::RawFrames;
use syscall::data::GlobalSchemes;
use syscall::{CallFlags, O_RDWR};
use user_rt::kernel_scheme;
use user_rt::memory::{self, Protection, Sharing};
use user_rt::sync::Mutex;

/// Bytes of a chunk: contiguous, so that the largest folio and every DMA buffer lies in one.
const CHUNK: usize = 2 << 20;

/// The largest order that is given out: the largest folio's.
const ORDER_MAX: u8 = 4;

/// Bytes of the largest block that is given out. Chunks are cut to multiples of it, so that no such
/// block reaches from one chunk into the next, which is next to it only in virtual memory.
const BLOCK_MAX: usize = PAGE << ORDER_MAX;

/// The orders that the buddy allocator keeps: more than all memory together can merge to, for it
/// loses two buddies of its highest order when it merges them.
const ORDERS: usize = 33;

const PAGE: usize = PAGE_SIZE as usize;

struct Chunk {
    address: usize,
    physical: u64,
}

struct Pool {
    /// Frame numbers are virtual addresses over the page size.
    free: FrameAllocator<ORDERS>,
    /// Sorted by address.
    chunks: Vec<Chunk>,
    total: usize,
    available: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { free: FrameAllocator::new(), chunks: Vec::new(), total: 0, available: 0 });

/// Takes about `pages` pages from the kernel; how many it got.
pub fn fill(pages: usize) -> syscall::Result<usize> {
    let contiguous = kernel_scheme::open(GlobalSchemes::Memory, "zeroed@wb?phys_contiguous", O_RDWR)?;
    let translation = kernel_scheme::open(GlobalSchemes::Memory, "translation", O_RDWR)?;
    let mut taken = 0;
    while taken < pages {
        let address = match memory::map(contiguous.fd(), 0, CHUNK, Protection::ReadWrite, Sharing::Shared) {
            Ok(address) => address.as_ptr() as usize,
            Err(_) if taken > 0 => break,
            Err(error) => return Err(error),
        };
        let mut word = address.to_ne_bytes();
        syscall::call_rw(translation.fd().0, &mut word, CallFlags::empty(), &[])?;
        let (start, end) = (address.next_multiple_of(BLOCK_MAX), (address + CHUNK) / BLOCK_MAX * BLOCK_MAX);
        let usable = (end - start) / PAGE;
        let mut pool = POOL.lock();
        pool.free.add_frame(start / PAGE, end / PAGE);
        pool.chunks.push(Chunk { address, physical: u64::from_ne_bytes(word) });
        pool.chunks.sort_unstable_by_key(|chunk| chunk.address);
        pool.total += usable;
        pool.available += usable;
        taken += usable;
    }
    Ok(taken)
}

/// `4096 << order` bytes, aligned to their size; an order above 4 is never there.
pub fn alloc(order: u8) -> Option<RawFrames> {
    if order > ORDER_MAX {
        return None;
    }
    let pages = 1usize << order;
    let mut pool = POOL.lock();
    let frame = pool.free.alloc(pages)?;
    pool.available -= pages;
    Some(RawFrames { address: frame * PAGE, order })
}

/// # Safety
/// The memory came from [`alloc`], and nothing refers to it any more.
pub unsafe fn free(frames: RawFrames) {
    let pages = 1usize << frames.order;
    let mut pool = POOL.lock();
    pool.free.dealloc(frames.address / PAGE, pages);
    pool.available += pages;
}

/// Pages in all, pages that are free.
pub fn budget() -> (usize, usize) {
    let pool = POOL.lock();
    (pool.total, pool.available)
}

/// The address of pool memory on the bus; `None` if it is not the pool's.
pub fn physical(address: NonNull<u8>, len: usize) -> Option<u64> {
    let address = address.as_ptr() as usize;
    let pool = POOL.lock();
    let after = pool.chunks.partition_point(|chunk| chunk.address <= address);
    let chunk = pool.chunks.get(after.checked_sub(1)?)?;
    let offset = address - chunk.address;
    (offset.checked_add(len)? <= CHUNK).then_some(chunk.physical + offset as u64)
}
