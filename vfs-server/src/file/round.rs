//! A round of a write: bytes that go into a file under one lock.

use super::staging::Staged;
use crate::error::{Error, Result};
use crate::fs::WriteBegun;
use crate::inode::Inode;
use crate::request::buffer_error;
use alloc::vec;
use alloc::vec::Vec;
use pager_abi::PAGE_SIZE;
use platform::client::Request;

/// A round of a write or what is left of it, under the inode lock.
pub(super) struct Round<'a> {
    pub(super) source: Source<'a>,
    /// Where the round's first byte is in the client's buffer.
    pub(super) buffer_offset: usize,
    /// Where it goes.
    pub(super) position: u64,
    pub(super) len: usize,
}

/// Where a round's bytes are.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    /// In the client's buffer, which may have a page missing: for rounds within one page.
    Client(Request),
    /// In the server's memory, all of them.
    Staged(&'a Staged),
}

impl<'a> Round<'a> {
    /// What follows its first `written` bytes.
    pub(super) fn rest(&self, written: usize) -> Round<'a> {
        Round {
            source: self.source,
            buffer_offset: self.buffer_offset + written,
            position: self.position + written as u64,
            len: self.len - written,
        }
    }

    /// Its first `len` bytes.
    pub(super) fn bytes(&self, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        match self.source {
            Source::Client(request) => request
                .copy_in(self.buffer_offset, &mut bytes)
                .map_err(|error| buffer_error(error, self.buffer_offset))?,
            Source::Staged(staged) => staged.copy_out(self.buffer_offset, &mut bytes),
        }
        Ok(bytes)
    }

    /// Asks the file system where it goes; a round that does not fit the disk becomes one page.
    pub(super) fn begin(&mut self, inode: &Inode) -> Result<WriteBegun> {
        match inode.operations().write_begin(inode, self.position, self.len as u64) {
            Err(Error::NoSpace) if self.len > left_in_page(self.position) => {
                self.len = left_in_page(self.position);
                inode.operations().write_begin(inode, self.position, self.len as u64)
            }
            begun => begun,
        }
    }
}

/// Bytes from `position` to the end of its page.
pub(super) fn left_in_page(position: u64) -> usize {
    (PAGE_SIZE - position % PAGE_SIZE) as usize
}
