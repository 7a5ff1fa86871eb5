//! page_mkwrite: a page of a shared mapping is about to become dirty.
//!
//! The caller holds the pagecache lock (add) and the folio lock, and has seen that the page lies in the
//! file. No inode lock: a write may hold it while its own buffer is faulted in.

use crate::error::Result;
use crate::sectors::SectorStates;
use crate::volume::Volume;
use core::ops::Range;
use vfs_server::fs::Ino;
use vfs_server::page_cache::LockedFolio;

/// Reserves space for `bytes` of the folio, or refuses the store.
pub fn mkwrite(volume: &Volume, ino: Ino, folio: &LockedFolio, bytes: Range<usize>) -> Result<()> {
    let states = SectorStates::of(folio)?;
    states.load(&*volume.extents, ino, folio);
    states.reserve(&*volume.extents, folio.blocks_touched(bytes))?;
    Ok(())
}
