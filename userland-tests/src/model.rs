//! What a file must contain.

use crate::{errno::Errno, harness::Failure, sys::File};
use alloc::{format, vec, vec::Vec};

/// A file's bytes as the operations so far must have left them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model(pub Vec<u8>);

impl Model {
    /// A write of `bytes` at `offset`; the gap before it reads as zeroes.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if !bytes.is_empty() && end > self.0.len() {
            self.0.resize(end, 0);
        }
        if !bytes.is_empty() {
            self.0[offset..end].copy_from_slice(bytes);
        }
    }

    /// A truncation to `size`, which may grow the file.
    pub fn truncate(&mut self, size: usize) {
        self.0.resize(size, 0);
    }

    /// What a read of `len` bytes at `offset` gives.
    pub fn read(&self, offset: usize, len: usize) -> &[u8] {
        let start = offset.min(self.0.len());
        &self.0[start..(offset.saturating_add(len)).min(self.0.len())]
    }

    /// Compares size and every byte with `file`, read in pieces of `piece` bytes.
    pub fn compare(&self, file: &File, piece: usize, what: &str) -> Result<(), Failure> {
        let size = file.stat()?.size;
        if size != self.0.len() as u64 {
            return Err(Failure::Failed(format!("{what}: size {size}, not {}", self.0.len())));
        }
        let mut buf = vec![0xee; piece];
        let mut offset = 0;
        loop {
            let count = file.read_at(&mut buf, offset as u64)?;
            let expected = self.read(offset, piece);
            same_bytes(&buf[..count], expected, &format!("{what}, read of {piece} at {offset}"))?;
            if count < piece {
                return Ok(());
            }
            offset += count;
        }
    }
}

/// Fails with the place of the first difference.
pub fn same_bytes(found: &[u8], expected: &[u8], what: &str) -> Result<(), Failure> {
    if found.len() != expected.len() {
        return Err(Failure::Failed(format!("{what}: {} bytes, not {}", found.len(), expected.len())));
    }
    match found.iter().zip(expected).position(|(a, b)| a != b) {
        None => Ok(()),
        Some(at) => {
            let count = found.iter().zip(expected).filter(|(a, b)| a != b).count();
            let (a, b) = (found[at], expected[at]);
            Err(Failure::Failed(format!("{what}: byte {at} is {a:#04x}, not {b:#04x} ({count} bytes differ)")))
        }
    }
}

/// Bytes that tell which `stamp` and which place in the file they belong to.
pub fn pattern(stamp: u64, offset: usize, len: usize) -> Vec<u8> {
    (offset..offset + len).map(|at| pattern_byte(stamp, at)).collect()
}

/// The byte of [`pattern`] at `at`.
pub fn pattern_byte(stamp: u64, at: usize) -> u8 {
    let mixed = (at as u64).wrapping_add(stamp.wrapping_mul(0x9e37_79b9)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    // Never 0: a zero in the file is a hole or a lost byte.
    (mixed >> 56) as u8 | 1
}

/// Writes all of `bytes` at `offset`, however many calls it takes; a count of 0 is an error.
pub fn write_all(file: &File, mut bytes: &[u8], mut offset: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let count = file.write_at(bytes, offset)?;
        if count == 0 {
            return Err(Errno::EIO);
        }
        bytes = &bytes[count..];
        offset += count as u64;
    }
    Ok(())
}
