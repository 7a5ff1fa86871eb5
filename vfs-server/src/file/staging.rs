//! The bytes of one round of a write, in server memory before any lock is taken.
//!
//! Owns: the memory, and how far it is filled. Does not own: where the bytes go (`file::write`), nor
//! its life between two arrivals of a request (`request::progress`).
//!
//! A page of the client's buffer can be missing at any moment, and what was copied by then must not
//! be seen without the rest: a write is atomic to other writes. So a round that is more than one
//! all-or-nothing COPY is collected here first, over as many RETRYs as it takes.

use super::iov_iter::injected;
use crate::error::{Error, Result};
use crate::request::buffer_error;
use alloc::vec::Vec;
use core::fmt;
use pager_abi::PAGE_SIZE;
use platform::client::Request;
use platform::frame::Frames;
use platform::host::CopyError;

/// log2 of the pages of the largest piece.
const PIECE_ORDER_MAX: u8 = 4;

/// Bytes of a client's buffer from `start` on.
pub(crate) struct Staged {
    pieces: Vec<Frames>,
    /// Offset in the client's buffer of the first byte.
    start: usize,
    /// Bytes that it is for.
    len: usize,
    /// Bytes that have come.
    filled: usize,
}

impl Staged {
    /// Room for up to `len` bytes from `start` of the buffer on, less where memory is short; `None`
    /// if there is not even a page.
    pub(crate) fn new(start: usize, len: usize) -> Option<Self> {
        let mut pieces = Vec::new();
        let mut room = 0;
        let mut order_max = PIECE_ORDER_MAX;
        while room < len {
            let pages = (len - room).div_ceil(PAGE_SIZE as usize).next_power_of_two();
            let order = order_max.min(pages.trailing_zeros() as u8);
            match Frames::alloc(order) {
                Some(frames) => {
                    room += frames.len();
                    pieces.push(frames);
                }
                None if order > 0 => order_max = order - 1,
                None => break,
            }
        }
        (room > 0).then(|| Self { pieces, start, len: len.min(room), filled: 0 })
    }

    /// Copies what has not come yet; [`Error::Retry`] with the offset of the buffer that is missing.
    pub(crate) fn fill(&mut self, request: Request) -> Result<()> {
        while self.filled < self.len {
            let (frames, offset) = self.at(self.filled).ok_or(Error::Invalid("the end of a staged round"))?;
            let count = (self.len - self.filled).min(frames.len() - offset);
            let there = injected(count);
            match frames.copy_from_client(offset, there, request, self.start + self.filled) {
                Ok(()) if there < count => {
                    self.filled += there;
                    return Err(Error::Retry(self.start + self.filled));
                }
                Ok(()) => self.filled += count,
                Err(CopyError::NotResident { copied }) => {
                    self.filled += copied.min(count);
                    return Err(buffer_error(CopyError::NotResident { copied: 0 }, self.start + self.filled));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Whether every byte from `offset` of the client's buffer on is here, as far as it goes.
    pub(crate) fn holds(&self, offset: usize) -> bool {
        self.filled == self.len && (self.start..self.end()).contains(&offset)
    }

    /// Whether the byte at `offset` of the client's buffer is or will be among these.
    pub(crate) fn covers(&self, offset: usize) -> bool {
        (self.start..self.end()).contains(&offset)
    }

    /// Offset in the client's buffer past the last byte.
    pub(crate) fn end(&self) -> usize {
        self.start + self.len
    }

    /// Copies `len` bytes from `buffer_offset` of the client's buffer on into `to` at `to_offset`.
    pub(crate) fn copy_to(&self, buffer_offset: usize, to: &Frames, to_offset: usize, len: usize) {
        let mut done = 0;
        while done < len {
            // The caller asks for what `holds` has said yes to.
            let Some((frames, offset)) = self.at(buffer_offset - self.start + done) else { return };
            let count = (len - done).min(frames.len() - offset);
            to.copy_from(to_offset + done, frames, offset, count);
            done += count;
        }
    }

    /// Copies bytes from `buffer_offset` of the client's buffer on into private memory.
    pub(crate) fn copy_out(&self, buffer_offset: usize, to: &mut [u8]) {
        let mut done = 0;
        while done < to.len() {
            let Some((frames, offset)) = self.at(buffer_offset - self.start + done) else { return };
            let count = (to.len() - done).min(frames.len() - offset);
            frames.copy_out(offset, &mut to[done..done + count]);
            done += count;
        }
    }

    /// The piece with byte `at`, and where in it.
    fn at(&self, mut at: usize) -> Option<(&Frames, usize)> {
        for frames in &self.pieces {
            if at < frames.len() {
                return Some((frames, at));
            }
            at -= frames.len();
        }
        None
    }
}

impl fmt::Debug for Staged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes from {} on", self.filled, self.len, self.start)
    }
}
