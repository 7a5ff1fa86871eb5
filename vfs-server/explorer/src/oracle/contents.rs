//! A file as the specification sees it: a size, and whose bytes are where.
//!
//! Owns what each change does to the contents. What no operation stored reads as zero; there is nothing beyond the
//! size.

use super::history::{Data, Sizing};
use super::stamp::{Stamp, is_zero};
use super::steps::Change;

/// Bytes of a page, the grain of mappings.
pub const PAGE: u64 = 4096;

/// Contents of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Contents {
    /// Bytes.
    pub size: u64,
    /// In ascending order, apart from each other, within the size.
    pieces: Vec<Piece>,
    /// Bytes that came already of an append that comes page by page.
    appended: u64,
}

/// A run of bytes of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Piece {
    start: u64,
    end: u64,
    stamp: Stamp,
    /// Index, in the operation's data, of the byte at `start`.
    index: u64,
}

/// Whether a change is possible at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It took effect.
    Yes,
    /// The specification forbids that it succeeds here.
    Impossible,
}

impl Contents {
    /// Makes a change.
    pub fn apply(&mut self, change: &Change) -> Applied {
        match *change {
            Change::Put { offset, len, data } => self.put(offset, len, data),
            Change::Append { len, data } => self.put(self.size, len, data),
            Change::AppendPage { len, data, last } => {
                let room = (self.size + 1).next_multiple_of(PAGE) - self.size;
                let part = room.min(len - self.appended);
                self.put(self.size, part, Data { index: data.index + self.appended, ..data });
                self.appended = if last { 0 } else { self.appended + part };
            }
            Change::PutWithin { offset, len, data } => {
                let end = (offset + len).min(self.size);
                if offset < end {
                    self.replace(offset, end, Some(data));
                }
            }
            Change::Resize { size } => {
                self.replace(size, u64::MAX, None);
                self.size = size;
            }
            Change::Zero { offset, len, size } => {
                self.replace(offset, offset + len, None);
                if size == Sizing::Grows {
                    self.size = self.size.max(offset + len);
                }
            }
            Change::Grow { size } => self.size = self.size.max(size),
            Change::Store { offset, len, data } => {
                if offset >= self.size.next_multiple_of(PAGE) {
                    return Applied::Impossible;
                }
                // Past the end, in the last page: it may vanish, and the file does not hold it.
                let end = (offset + len).min(self.size);
                if offset < end {
                    self.replace(offset, end, Some(data));
                }
            }
        }
        Applied::Yes
    }

    fn put(&mut self, offset: u64, len: u64, data: Data) {
        if len > 0 {
            self.replace(offset, offset + len, Some(data));
            self.size = self.size.max(offset + len);
        }
    }

    /// What is in `[start, end)` becomes `data`, or zero.
    fn replace(&mut self, start: u64, end: u64, data: Option<Data>) {
        if start >= end {
            return;
        }
        let first = self.pieces.partition_point(|piece| piece.end <= start);
        let past = first + self.pieces[first..].partition_point(|piece| piece.start < end);
        let left = self.pieces[first..past]
            .first()
            .filter(|piece| piece.start < start)
            .map(|piece| Piece { end: start, ..*piece });
        let right = self.pieces[first..past].last().filter(|piece| piece.end > end).map(|piece| piece.from(end));
        let new = data.map(|Data { stamp, index }| Piece { start, end, stamp, index });
        self.pieces.splice(first..past, left.into_iter().chain(new).chain(right));
    }

    /// Whether the bytes from `offset` on are these. What lies beyond the end counts as zero.
    pub fn hold(&self, offset: u64, bytes: &[u8]) -> bool {
        let end = offset + bytes.len() as u64;
        let first = self.pieces.partition_point(|piece| piece.end <= offset);
        let mut at = offset;
        for piece in self.pieces[first..].iter().take_while(|piece| piece.start < end) {
            let piece = piece.from(piece.start.max(offset));
            let until = piece.end.min(end);
            let gap = &bytes[(at - offset) as usize..(piece.start - offset) as usize];
            let held = &bytes[(piece.start - offset) as usize..(until - offset) as usize];
            if !piece.stamp.matches(piece.index, held) || !is_zero(gap) {
                return false;
            }
            at = until;
        }
        is_zero(&bytes[(at - offset) as usize..])
    }

    /// Who stored what is in `[offset, offset + len)`.
    pub fn stamps(&self, offset: u64, len: u64) -> impl Iterator<Item = Stamp> {
        let first = self.pieces.partition_point(|piece| piece.end <= offset);
        self.pieces[first..].iter().take_while(move |piece| piece.start < offset + len).map(|piece| piece.stamp)
    }

    /// Where the data of an operation would begin, if any of it is there.
    pub fn find(&self, stamp: Stamp) -> Option<u64> {
        let piece = self.pieces.iter().find(|piece| piece.stamp == stamp)?;
        piece.start.checked_sub(piece.index)
    }

    /// The contents as bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.size as usize];
        for piece in &self.pieces {
            piece.stamp.fill(piece.index, &mut bytes[piece.start as usize..piece.end as usize]);
        }
        bytes
    }
}

impl Piece {
    /// The part from `start` on.
    fn from(self, start: u64) -> Self {
        Self { start, index: self.index + (start - self.start), ..self }
    }
}
