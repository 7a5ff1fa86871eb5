//! What a write path of a file system's own is called with: where to write, and the client's bytes.
//!
//! Owns: [`Kiocb`], which lives in the request's progress and so survives RETRY, and [`IovIter`], which
//! copies from the client and never faults. Does not own: the write path.

use crate::error::{Error, Result};
use crate::page_cache::LockedFolio;
use crate::request::buffer_error;
use pager_abi::COPY_ATOMIC;
use platform::client::Request;
use platform::host::{self, CopyError};

/// Where a write stands (Linux: `struct kiocb`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kiocb {
    /// Where the next byte goes, unless the write appends. `write_iter` moves it by what it says it
    /// has written: the rest of the request goes on here.
    pub position: u64,
    /// At the end of the file, wherever that is by then.
    pub append: bool,
    /// What a write that starts over remembers.
    pub restart: Restart,
}

/// What a write that drops its locks to start over remembers, until it has written something for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restart {
    /// It starts over with the inode lock.
    pub need_inode_lock: bool,
    /// The most bytes that an attempt has written.
    pub written2: usize,
    /// Attempts that found the client's buffer missing.
    pub attempts: u32,
}

/// What one call of `write_iter` did.
#[derive(Debug)]
pub struct Written {
    /// Bytes that count as written, from the start of the iterator.
    pub count: usize,
    /// Why not more, if that is not for the locks' sake: [`Error::Retry`] and [`Error::NoFolio`] let
    /// the request go on later, everything else ends it.
    pub error: Option<Error>,
}

/// The bytes of a client's buffer that are still to be written (Linux: `struct iov_iter`).
#[derive(Clone, Copy, Debug)]
pub struct IovIter {
    request: Request,
    offset: usize,
    count: usize,
}

impl IovIter {
    /// `count` bytes of the request's buffer from `offset` on.
    pub(crate) fn new(request: Request, offset: usize, count: usize) -> Self {
        Self { request, offset, count }
    }

    /// Bytes left.
    pub fn count(&self) -> usize {
        self.count
    }

    /// `bytes` were consumed.
    pub fn advance(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.count);
        self.offset += bytes;
        self.count -= bytes;
    }

    /// The last `bytes` that were consumed were not.
    pub fn revert(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.offset);
        self.offset -= bytes;
        self.count += bytes;
    }

    /// Copies the next `len` bytes to `offset` of a locked folio, as far as the client's pages are
    /// there; consumes nothing. The number is smaller than `len` where a page is missing.
    pub fn copy_to_folio(&self, folio: &LockedFolio, offset: usize, len: usize) -> Result<usize> {
        let len = len.min(self.count);
        let there = self.injected(len);
        Self::copied(folio.frames().copy_from_client(offset, there, self.request, self.offset), there)
    }

    /// Copies the next bytes to the server's own memory, likewise.
    pub fn copy_to_memory(&self, to: &mut [u8]) -> Result<usize> {
        let len = to.len().min(self.count);
        let there = self.injected(len);
        let mut at = 0;
        for piece in to[..there].chunks_mut(COPY_ATOMIC) {
            let copied = Self::copied(self.request.copy_in(self.offset + at, piece), piece.len())?;
            at += copied;
            if copied < piece.len() {
                break;
            }
        }
        Ok(at)
    }

    /// The page of the next byte is missing: drop every lock and answer this.
    pub fn retry(&self) -> Error {
        buffer_error(CopyError::NotResident { copied: 0 }, self.offset)
    }

    fn copied(outcome: Result<(), CopyError>, len: usize) -> Result<usize> {
        match outcome {
            Ok(()) => Ok(len),
            Err(CopyError::NotResident { copied }) => Ok(copied.min(len)),
            Err(error) => Err(error.into()),
        }
    }

    /// Fault injection: the second half may be missing.
    fn injected(&self, len: usize) -> usize {
        if host::choose(2, "client buffer") == 0 { len } else { len / 2 }
    }
}
