//! Linux's conversion: the inline state is cleared, then a block is allocated and filled; if that
//! fails, the inline data is put back.
//!
//! It holds the xattr lock from end to end, but whoever only asks *whether* the file is inline (Linux
//! looks at a flag, here it is the map) takes no notice of that lock. Between the two changes such a
//! reader sees a file without contents; after a failure it sees the inline data again.

use alloc::vec::Vec;

use crate::allocation::blocks::Purpose;
use crate::error::Result;
use crate::extent::tree::{Found, Tally, empty_root};
use crate::extent::{Extent, ExtentState, node};
use crate::format::inode::{I_BLOCK_SIZE, InodeFlags};
use crate::inode::convert::become_extents;
use crate::inode::{BlockMap, Ext4Inode, Layout, inline};
use platform::tell;

impl Ext4Inode {
    /// Moves inline contents to a block, if there are any, destroying first.
    pub(crate) fn convert_destroying(&self) -> Result<()> {
        let _xattr = self.xattr_write();
        let contents = {
            let mut map = self.map_write();
            let was_never = core::mem::replace(&mut map.never_inline, true);
            if map.layout != Layout::Inline {
                return Ok(());
            }
            tell!("inode {}: clears the inline state, {} bytes kept aside", self.number, self.disk_size());
            self.destroy_inline(&mut map).inspect_err(|_| map.never_inline = was_never)?
        };
        self.place_contents(&contents).or_else(|error| {
            tell!("inode {}: {error}", self.number);
            self.restore_inline(&contents)?;
            Err(error)
        })
    }

    /// Clears the inline state: the file has no contents from here on. Gives those that it had.
    fn destroy_inline(&self, map: &mut BlockMap) -> Result<Vec<u8>> {
        self.volume.check_writable()?;
        let contents = self.with_body(inline::contents)?;
        let root = empty_root();
        self.update_body(|body| {
            inline::remove(body)?;
            become_extents(body, &root);
            Ok(())
        })?;
        map.layout = Layout::Extents(root);
        self.layout_changes.fetch_add(1);
        Ok(contents)
    }

    /// Gives the contents a block. A write that has got block 0 meanwhile has dirtied the folio that
    /// holds them all, so that they need no other.
    fn place_contents(&self, contents: &[u8]) -> Result<()> {
        if contents.is_empty() {
            return Ok(());
        }
        let goal = self.volume.inode_group_start(self.number);
        let run = self.volume.allocate_blocks(goal, 1, Purpose::Ordinary)?;
        let placed = self.write_first_block(run.start, contents).and_then(|()| self.map_first_block(run.start));
        if placed != Ok(true) {
            self.volume.free_blocks_of_file(run.start, 1)?;
        }
        placed.map(|_| ())
    }

    /// Makes `block` the file's first; `false` if it has one.
    fn map_first_block(&self, block: u64) -> Result<bool> {
        let mut map = self.map_write();
        let Layout::Extents(root) = &map.layout else { return Ok(false) };
        let mut root = *root;
        if matches!(self.tree().find(&root, 0)?, Found::Extent(_)) {
            return Ok(false);
        }
        let extent = Extent { logical: 0, length: 1, physical: block, state: ExtentState::Written };
        let mut tally = Tally::default();
        self.tree().insert(&mut root, extent, Purpose::Ordinary, &mut tally)?;
        tell!("inode {}: the contents are in block {block} now", self.number);
        self.store_map(&mut map, root, 1 + tally.nodes_allocated, tally.freed, None)?;
        Ok(true)
    }

    /// Puts the inline data back. Where a write has got blocks meanwhile there is no room for it.
    fn restore_inline(&self, contents: &[u8]) -> Result<()> {
        let mut map = self.map_write();
        if !matches!(&map.layout, Layout::Extents(root) if node::count(root) == 0) {
            tell!("inode {}: has blocks meanwhile, the inline data stays gone", self.number);
            return Ok(());
        }
        tell!("inode {}: puts the inline data back", self.number);
        self.update_body(|body| {
            body.raw_mut().i_block.fill(0);
            let mut flags = body.flags();
            flags.remove(InodeFlags::EXTENTS);
            flags.insert(InodeFlags::INLINE_DATA);
            body.set_flags(flags);
            inline::resize(body, contents.len().max(I_BLOCK_SIZE))?;
            inline::write(body, 0, contents)
        })?;
        map.layout = Layout::Inline;
        map.never_inline = false;
        self.layout_changes.fetch_add(1);
        Ok(())
    }

    /// Drops inline data under a write that was begun for blocks, when a failed conversion has put it
    /// back: the folio that is about to be dirtied is taken to hold all of it (Linux does this when it
    /// allocates the delayed block).
    pub(crate) fn drop_restored_inline(&self) -> Result<()> {
        let _xattr = self.xattr_write();
        let mut map = self.map_write();
        match map.layout {
            Layout::Inline => {
                tell!("inode {}: drops the inline data, for it was begun for blocks", self.number);
                self.destroy_inline(&mut map).map(|_| ())
            }
            _ => Ok(()),
        }
    }
}
