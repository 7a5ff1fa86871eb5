//! What can go wrong.

use alloc::string::ToString;
use thiserror::Error;
use vfs_server::error::Error as VfsError;

/// Result of this crate.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// Why an operation of this crate failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// No free sector is left to be reserved.
    #[error("no space")]
    NoSpace,
    /// The maps contradict each other.
    #[error("corrupt: {0}")]
    Corrupt(Corrupt),
    /// What was asked for is not written yet.
    #[error("unsupported: {0}")]
    Unsupported(&'static str),
}

/// A contradiction between the extents, the free space and the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[allow(missing_docs)]
pub enum Corrupt {
    #[error("a sector is written that was not reserved")]
    NotReserved,
    #[error("reservations are held by nobody")]
    ReservationLeft,
    #[error("space belongs to two files")]
    UsedTwice,
    #[error("space belongs to nobody")]
    Lost,
    #[error("a folio without sector states")]
    NoSectorStates,
}

impl From<Error> for VfsError {
    fn from(error: Error) -> Self {
        match error {
            Error::NoSpace => Self::NoSpace,
            Error::Corrupt(kind) => Self::Corrupt(kind.to_string()),
            Error::Unsupported(what) => Self::Unsupported(what.to_string()),
        }
    }
}
