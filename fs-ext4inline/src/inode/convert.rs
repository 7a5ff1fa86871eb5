//! Reading inline contents, and moving them to a block.
//!
//! A conversion is *allocate first*: the block is allocated and holds the contents on the disk before
//! anything of the inode changes, so that "no space" and I/O errors change nothing. It holds the xattr
//! lock and the map exclusively, and counts the layout up. The other kind, which some protocols have
//! for faults, is `protocol::destroy_first`.

use alloc::vec;
use alloc::vec::Vec;

use platform::block::SECTOR_SIZE;

use crate::allocation::blocks::Purpose;
use crate::error::{Error, Result};
use crate::extent::tree::empty_root;
use crate::extent::{Extent, ExtentState, node};
use crate::format::inode::{I_BLOCK_SIZE, InodeFlags};
use crate::inode::body::InodeBody;
use crate::inode::{Ext4Inode, Layout, inline};

impl Ext4Inode {
    /// The whole contents of an inline inode; [`Error::Stale`] if it is inline no more.
    pub fn read_inline(&self) -> Result<Vec<u8>> {
        let _xattr = self.xattr_read();
        if self.map_read().layout != Layout::Inline {
            return Err(Error::Stale);
        }
        self.with_body(inline::contents)
    }

    /// Moves inline contents to a block, if there are any.
    pub fn convert_inline(&self) -> Result<()> {
        let _xattr = self.xattr_write();
        let mut map = self.map_write();
        if map.layout != Layout::Inline {
            return Ok(());
        }
        self.volume.check_writable()?;
        let contents = self.with_body(inline::contents)?;
        let mut root = empty_root();
        if !contents.is_empty() {
            let goal = self.volume.inode_group_start(self.number);
            let run = self.volume.allocate_blocks(goal, 1, Purpose::Ordinary)?;
            if let Err(error) = self.write_first_block(run.start, &contents) {
                self.volume.free_blocks_of_file(run.start, 1)?;
                return Err(error);
            }
            let extent = Extent { logical: 0, length: 1, physical: run.start, state: ExtentState::Written };
            node::insert_extent(&mut root, 0, extent);
        }
        // Nothing can fail from here on but a disk that lies about `system.data`, which was just read.
        self.update_body(|body| {
            inline::remove(body)?;
            become_extents(body, &root);
            let sectors = if contents.is_empty() { 0 } else { self.block_size() / SECTOR_SIZE };
            let others = body.sectors(&self.volume.geometry);
            body.set_sectors(&self.volume.geometry, others + sectors);
            Ok(())
        })?;
        map.layout = Layout::Extents(root);
        self.layout_changes.fetch_add(1);
        platform::tell!("inode {}: inline no more, {} bytes moved to a block", self.number, contents.len());
        Ok(())
    }

    pub(crate) fn write_first_block(&self, block: u64, contents: &[u8]) -> Result<()> {
        let mut bytes = vec![0; self.block_size() as usize];
        bytes[..contents.len()].copy_from_slice(contents);
        Ok(self.volume.buffers.write_through(block, &mut bytes)?)
    }

    /// Replaces inline contents, or nothing, by one block of the disk that is filled already. The
    /// caller holds the xattr lock.
    pub(crate) fn adopt_first_block(&self, block: u64, size: u64) -> Result<()> {
        let mut map = self.map_write();
        let mut root = empty_root();
        let extent = Extent { logical: 0, length: 1, physical: block, state: ExtentState::Written };
        node::insert_extent(&mut root, 0, extent);
        let was_inline = map.layout == Layout::Inline;
        self.update_body(|body| {
            if was_inline {
                inline::remove(body)?;
            }
            become_extents(body, &root);
            let sectors = body.sectors(&self.volume.geometry) + self.block_size() / SECTOR_SIZE;
            body.set_sectors(&self.volume.geometry, sectors);
            body.set_file_size(size);
            Ok(())
        })?;
        map.layout = Layout::Extents(root);
        self.layout_changes.fetch_add(1);
        Ok(())
    }
}

/// Makes the inode's bytes those of a file with the extent tree `root`.
pub(crate) fn become_extents(body: &mut InodeBody, root: &[u8; I_BLOCK_SIZE]) {
    body.raw_mut().i_block = *root;
    let mut flags = body.flags();
    flags.remove(InodeFlags::INLINE_DATA);
    flags.insert(InodeFlags::EXTENTS);
    body.set_flags(flags);
}
