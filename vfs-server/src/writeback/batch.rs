//! Copies of dirty blocks, collected into operations of the device.
//!
//! Owns: which blocks share an operation, the copy to its bounce buffer, the end of a folio's
//! writeback when the last operation with a part of it is gone. Does not own: what is taken
//! ([`super`]), nor what the end of an operation means (`completion`).

use super::completion::Done;
use crate::inode::Inode;
use crate::page_cache::folio::block_bits;
use crate::page_cache::{Folio, LockedFolio};
use crate::server::Server;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;
use pager_abi::PAGE_SIZE;
use platform::block::{Bio, BioOp, SECTOR_SIZE, Segment};
use platform::frame::Frames;
use platform::{Mutant, mutant};

/// One operation: contiguous blocks of a file to contiguous blocks of the device.
pub(super) struct Write {
    pub(super) inode: Arc<Inode>,
    pub(super) first: u64,
    pub(super) count: u64,
    pub(super) device_block: u64,
    /// The size that the file had when the bytes were taken.
    pub(super) size: u64,
    pub(super) bounce: Arc<Frames>,
    pub(super) parts: Vec<Part>,
}

impl Write {
    /// The size that the file has on the disk at least, now that what ends at byte `end` is there. Not more than that:
    /// a cut waits for the folios that it changes, and for no others.
    pub(super) fn reached(&self, end: u64) -> u64 {
        if mutant(Mutant::LateSizePublished) { self.size } else { self.size.min(end) }
    }
}

/// The blocks of one folio in an operation.
pub(super) struct Part {
    pub(super) end: Arc<EndWriteback>,
    pub(super) blocks: u64,
}

/// Ends the writeback of a folio when the last operation with a part of it is gone.
pub(super) struct EndWriteback {
    pub(super) inode: Arc<Inode>,
    pub(super) folio: Arc<Folio>,
}

impl Drop for EndWriteback {
    fn drop(&mut self) {
        self.inode.mapping.end_writeback(&self.folio);
    }
}

/// Collects copies of dirty blocks into operations.
pub(super) struct Batch<'a> {
    pub(super) server: &'a Server,
    pub(super) inode: &'a Arc<Inode>,
    pub(super) write: Option<Write>,
}

impl Batch<'_> {
    /// Adds copies of blocks of a folio; `valid` bytes of it lie within the file.
    pub(super) fn add(
        &mut self,
        folio: &LockedFolio,
        end: &Arc<EndWriteback>,
        blocks: Range<u32>,
        device_block: u64,
        size: u64,
        valid: usize,
    ) {
        let block_size = folio.block_size();
        let room = ((PAGE_SIZE as usize) << self.server.config.folio_order_max) / block_size;
        let mut at = blocks.start;
        while at < blocks.end {
            let first = folio.first_block() + u64::from(at);
            let device_block = device_block + u64::from(at - blocks.start);
            let fits = self.write.as_ref().is_some_and(|write| {
                write.first + write.count == first
                    && write.device_block + write.count == device_block
                    && (write.count as usize) < room
            });
            if !fits {
                self.submit();
            }
            let write = self.write.get_or_insert_with(|| Write {
                inode: self.inode.clone(),
                first,
                count: 0,
                device_block,
                size,
                bounce: self.server.writeback.take_bounce(),
                parts: Vec::new(),
            });
            let taken = (room - write.count as usize).min((blocks.end - at) as usize);
            let to = write.count as usize * block_size;
            let from = at as usize * block_size;
            let len = taken * block_size;
            write.bounce.copy_from(to, folio.frames(), from, len);
            if valid < from + len {
                let zero = valid.max(from) - from;
                write.bounce.zero(to + zero..to + len);
            }
            write.count += taken as u64;
            write.size = write.size.max(size);
            let run = at..at + taken as u32;
            write.parts.push(Part { end: end.clone(), blocks: block_bits(run.clone()) });
            at = run.end;
        }
    }

    /// Starts the operation that was collected.
    pub(super) fn submit(&mut self) {
        let Some(write) = self.write.take() else { return };
        let block_size = 1u64 << self.inode.mapping.block_shift();
        let segment = Segment { frames: write.bounce.clone(), offset: 0, len: (write.count * block_size) as usize };
        let sector = write.device_block * (block_size / SECTOR_SIZE);
        let done = self.server.writeback.done.clone();
        let end_io = Box::new(move |outcome| {
            done.queue.lock().push_back(Done { write, outcome });
            done.arrivals.wake_all();
        });
        self.server.device.submit(Bio { op: BioOp::Write, sector, segments: vec![segment], end_io });
    }
}
