//! Cutting and extending a file.

use alloc::vec::Vec;

use crate::error::{Error, Result};
use crate::extent::tree::{BLOCKS_END, Tally};
use crate::format::inode::I_BLOCK_SIZE;
use crate::inode::body::{TimeField, Timestamp};
use crate::inode::{Ext4Inode, Layout, indirect, inline};

impl Ext4Inode {
    /// Makes the file `size` bytes long: cuts blocks or inline bytes, or adds a hole.
    pub fn set_length(&self, size: u64, now: Timestamp) -> Result<()> {
        self.volume.check_writable()?;
        if size > BLOCKS_END * self.block_size() {
            return Err(Error::FileTooBig);
        }
        if self.set_inline_length(size, now)? {
            return Ok(());
        }
        self.cut_blocks(size)?;
        self.update_body(|body| {
            body.set_file_size(size);
            body.set_time(TimeField::Modify, now);
            body.set_time(TimeField::Change, now);
            Ok(())
        })
    }

    /// Cuts or extends inline contents; `false` if they are not inline, or are no more.
    fn set_inline_length(&self, size: u64, now: Timestamp) -> Result<bool> {
        {
            let _xattr = self.xattr_write();
            let map = self.map_write();
            if map.layout != Layout::Inline {
                return Ok(false);
            }
            let room = self.with_body(inline::capacity)?;
            if size <= room as u64 {
                self.update_body(|body| {
                    inline::zero_tail(body, size as usize)?;
                    inline::resize(body, (size as usize).max(I_BLOCK_SIZE))?;
                    body.set_file_size(size);
                    body.set_time(TimeField::Modify, now);
                    body.set_time(TimeField::Change, now);
                    Ok(())
                })?;
                return Ok(true);
            }
        }
        self.convert_inline()?;
        Ok(false)
    }

    /// Frees all blocks past the first `size` bytes.
    pub(crate) fn cut_blocks(&self, size: u64) -> Result<()> {
        let from = size.div_ceil(self.block_size());
        let mut map = self.map_write();
        let mut tally = Tally::default();
        let mut freed = Vec::new();
        let (root, outcome) = match &map.layout {
            Layout::None | Layout::Inline => return Ok(()),
            Layout::Extents(root) => {
                let mut root = *root;
                let outcome = self.tree().remove(&mut root, from, BLOCKS_END, &mut freed, &mut tally);
                (root, outcome)
            }
            Layout::Indirect(root) if from == 0 => {
                let mut root = *root;
                let outcome = indirect::remove_all(&self.volume, &mut root, &mut freed);
                tally.freed = freed.len() as u64;
                (root, outcome)
            }
            Layout::Indirect(_) if size >= self.disk_size() => return Ok(()),
            Layout::Indirect(_) => return Err(Error::Unsupported("cutting a file without extents")),
        };
        let unwritten = map.unwritten.saturating_sub(tally.unwritten_gone);
        self.set_unwritten(&mut map, unwritten);
        if freed.is_empty() && outcome.is_ok() {
            return Ok(());
        }
        self.store_map(&mut map, root, tally.nodes_allocated, tally.freed, None)?;
        drop(map);
        self.free_runs(&freed)?;
        outcome
    }
}
