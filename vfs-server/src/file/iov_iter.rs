//! What a write path of a file system's own is called with: where to write, and the client's bytes.
//!
//! Owns: [`Kiocb`], which lives in the request's progress and so survives RETRY, and [`IovIter`], which
//! copies from the client, or from what was staged of its bytes, and never faults. Does not own: the
//! write path, the staging.

use super::staging::Staged;
use crate::error::{Error, Result};
use crate::page_cache::LockedFolio;
use crate::request::buffer_error;
use pager_abi::PAGE_SIZE;
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

/// Where the bytes of a write are when a write path of a file system's own is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BytesFrom {
    /// In the client's buffer: a page of it may be missing while locks are held.
    Client,
    /// In the server's memory, all of them.
    ServerMemory,
}

/// The bytes of a client's buffer that are still to be written (Linux: `struct iov_iter`).
#[derive(Clone, Copy)]
pub struct IovIter<'a> {
    source: Source<'a>,
    offset: usize,
    count: usize,
}

#[derive(Clone, Copy)]
enum Source<'a> {
    Client(Request),
    Staged(&'a Staged),
}

impl<'a> IovIter<'a> {
    /// `count` bytes of the request's buffer from `offset` on.
    pub(crate) fn of_client(request: Request, offset: usize, count: usize) -> Self {
        Self { source: Source::Client(request), offset, count }
    }

    /// What was staged from `offset` of a request's buffer on.
    pub(crate) fn of_staged(staged: &'a Staged, offset: usize) -> Self {
        Self { source: Source::Staged(staged), offset, count: staged.end() - offset }
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
        match self.source {
            Source::Staged(staged) => {
                folio.change(|frames| staged.copy_to(self.offset, frames, offset, len));
                Ok(len)
            }
            Source::Client(request) => {
                let there = injected(len);
                let mut done = 0;
                while done < there {
                    // A COPY of a page or less is all or nothing: where it stops, no granule is torn.
                    let at = offset + done;
                    let piece = (PAGE_SIZE as usize - at % PAGE_SIZE as usize).min(there - done);
                    let outcome =
                        folio.change(|frames| frames.copy_from_client(at, piece, request, self.offset + done));
                    match copied(outcome, piece) {
                        Ok(count) if count == piece => done += piece,
                        Ok(count) => return Ok(done + count),
                        // What is there already is written.
                        Err(_) if done > 0 => return Ok(done),
                        Err(error) => return Err(error),
                    }
                }
                Ok(there)
            }
        }
    }

    /// The page of the next byte is missing: drop every lock and answer this.
    pub fn retry(&self) -> Error {
        buffer_error(CopyError::NotResident { copied: 0 }, self.offset)
    }
}

fn copied(outcome: Result<(), CopyError>, len: usize) -> Result<usize> {
    match outcome {
        Ok(()) => Ok(len),
        Err(CopyError::NotResident { copied }) => Ok(copied.min(len)),
        Err(error) => Err(error.into()),
    }
}

/// Fault injection: the second half of a client's buffer may be missing.
pub(super) fn injected(len: usize) -> usize {
    if host::choose(2, "client buffer") == 0 { len } else { len / 2 }
}
