//! Writeback: dirty sectors get a place under the folio lock; their data arrives later.
//!
//! The server's writeback holds the folio lock and neither the inode lock nor the pagecache lock: it has
//! read the size, and zeroes the tail of the copy that it writes. Here the sector states are looked at
//! and become *allocated*, before the data has arrived. Completion holds no lock.

use crate::error::Result;
use crate::extents::SECTOR_SIZE;
use crate::sectors::SectorStates;
use crate::volume::Volume;
use core::ops::Range;
use platform::mutant::{Mutant, mutant};
use platform::tell;
use vfs_server::error::Result as VfsResult;
use vfs_server::fs::{Ino, Inode, WritebackPlace};
use vfs_server::page_cache::folio::block_bits;
use vfs_server::page_cache::{LockedFolio, PAGE_SHIFT};

/// Where the first of these sectors go. One that is dirty for the page cache and not here has nothing
/// to be written.
pub fn begin(volume: &Volume, ino: Ino, folio: &LockedFolio, sectors: Range<u32>) -> Result<WritebackPlace> {
    let states = SectorStates::of(folio)?;
    let (dirty, count) = states.first_run(sectors.clone());
    if !dirty {
        return Ok(WritebackPlace::Nothing { count: u64::from(count) });
    }
    let first = folio.first_block() + u64::from(sectors.start);
    let place = volume.extents.place(ino, first..first + u64::from(count))?;
    states.submitted(&*volume.extents, sectors.start, &place);
    tell!("sectors {}..{} are allocated, not written yet", first, first + place.sectors);
    Ok(WritebackPlace::Device { device_block: place.device_sector, count: place.sectors })
}

/// The data of sectors from `first` on is on the device; the file has `size` bytes there at least.
pub fn end(volume: &Volume, inode: &Inode, first: u64, count: u64, size: u64) -> VfsResult<()> {
    volume.extents.written(inode.ino, first..first + count);
    if mutant(Mutant::SectorStateClearedLate) {
        states_arrived(inode, first, count);
    }
    if let Ok(node) = volume.nodes().get_mut(inode.ino) {
        // A truncate that came in between waited for this write, and sets the size afterwards.
        node.size = node.size.max(inode.size_to_publish(size));
    }
    Ok(())
}

/// The sector states of folios follow only now.
fn states_arrived(inode: &Inode, first: u64, count: u64) {
    let mut sector = first;
    while sector < first + count {
        let Some(folio) = inode.mapping.find(sector * SECTOR_SIZE >> PAGE_SHIFT) else { return };
        let end = (folio.first_block() + u64::from(folio.blocks())).min(first + count);
        let within = (sector - folio.first_block()) as u32..(end - folio.first_block()) as u32;
        if let Ok(states) = SectorStates::of(&folio) {
            states.arrived(block_bits(within));
        }
        sector = end;
    }
}
