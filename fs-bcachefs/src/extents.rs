//! Where the sectors of files are: what the write path needs of an extents btree and an allocator.
//!
//! Owns: the trait. Does not own: the map behind it ([`crate::simple_extents`] has one in memory; the
//! btree of a real bcachefs disk will be another), nor the states of sectors in the page cache
//! ([`crate::sectors`]).
//!
//! Space is promised before it is used: a sector that becomes dirty and has no extent holds a
//! reservation, so that writeback cannot run out of space.

use crate::error::Result;
use core::ops::Range;
use vfs_server::fs::Ino;

/// Bytes of a sector, the unit of everything here.
pub const SECTOR_SIZE: u64 = 512;

/// What a run of sectors of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtentState {
    /// Nothing: reads as zeros.
    Hole,
    /// A place on the device that the data has not reached yet: reads as zeros.
    InFlight {
        /// The first sector on the device.
        device_sector: u64,
    },
    /// Data.
    Written {
        /// The first sector on the device.
        device_sector: u64,
    },
}

/// A run of sectors of a file in one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// What they are.
    pub state: ExtentState,
    /// Sectors, at least one.
    pub sectors: u64,
}

/// A place for sectors that are about to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The first sector on the device.
    pub device_sector: u64,
    /// Sectors, at least one.
    pub sectors: u64,
    /// How many reservations were used up for it: all or none of `sectors`.
    pub reservations: u64,
}

/// Space of a device, in sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// All.
    pub total: u64,
    /// Neither used nor reserved.
    pub free: u64,
}

/// The extents of all files, and the free space. Called under folio locks.
pub trait Extents: Send + Sync {
    /// What the sectors from `first` on are, at most `max` (at least 1) of them.
    fn lookup(&self, ino: Ino, first: u64, max: u64) -> Extent;
    /// Sectors of the file that have a place.
    fn sectors(&self, ino: Ino) -> u64;
    /// Sets sectors of free space aside: all or [`NoSpace`](crate::error::Error::NoSpace).
    fn reserve(&self, sectors: u64) -> Result<()>;
    /// Gives reservations back that were not used up.
    fn release(&self, sectors: u64);
    /// A place for the first of `sectors` (not empty) and as many of the next as fit together: where
    /// they are, or free space, for which they hold reservations. Until
    /// [`Extents::written`] they read as zeros, if they have had no data before.
    fn place(&self, ino: Ino, sectors: Range<u64>) -> Result<Place>;
    /// The data has reached its place.
    fn written(&self, ino: Ino, sectors: Range<u64>);
    /// Frees the places of all sectors from `first` on.
    fn truncate(&self, ino: Ino, first: u64);
    /// How much space there is.
    fn space(&self) -> Space;
    /// Looks for contradictions, when no file is dirty: space that belongs to two files or to none,
    /// reservations that nobody holds.
    fn check(&self) -> Result<()>;
}
