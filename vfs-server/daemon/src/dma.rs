//! DMA for the virtio driver: memory of the frame pool by its physical address.

use crate::frame_pool;
use core::ptr::NonNull;
use pager_abi::PAGE_SIZE;
use platform::host::RawFrames;
use virtio_blk::{BufferDirection, Hal, PhysAddr};

/// The pool as the driver's memory.
pub struct PoolDma;

fn order_of(pages: usize) -> u8 {
    pages.next_power_of_two().trailing_zeros() as u8
}

// SAFETY: the pool gives each frame out once; its chunks stay mapped at one physical address.
unsafe impl Hal for PoolDma {
    fn dma_alloc(pages: usize, _direction: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        // A physical address of 0 tells the driver that there is no memory.
        let none = (0, NonNull::dangling());
        let Some(frames) = frame_pool::alloc(order_of(pages)) else { return none };
        let Some(address) = NonNull::new(frames.address as *mut u8) else { return none };
        let len = PAGE_SIZE as usize * pages;
        // SAFETY: the frames were just allocated and are at least that long.
        unsafe { address.write_bytes(0, len) };
        frame_pool::physical(address, len).map_or(none, |physical| (physical, address))
    }

    unsafe fn dma_dealloc(_physical: PhysAddr, address: NonNull<u8>, pages: usize) -> i32 {
        let frames = RawFrames { address: address.as_ptr() as usize, order: order_of(pages) };
        // SAFETY: the driver gives back what `dma_alloc` gave it.
        unsafe { frame_pool::free(frames) };
        0
    }

    unsafe fn mmio_phys_to_virt(physical: PhysAddr, size: usize) -> NonNull<u8> {
        crate::mmio::map(physical, size).unwrap_or_else(|error| panic!("MMIO at {physical:#x}: {error}"))
    }

    unsafe fn share(buffer: NonNull<[u8]>, _direction: BufferDirection) -> PhysAddr {
        frame_pool::physical(buffer.cast(), buffer.len())
            .unwrap_or_else(|| panic!("a buffer at {buffer:?} that is not of the frame pool"))
    }

    unsafe fn unshare(_physical: PhysAddr, _buffer: NonNull<[u8]>, _direction: BufferDirection) {}
}
