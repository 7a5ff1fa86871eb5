//! The write's side: where a write goes, decided at its begin and used at its end.
//!
//! The shape is Linux's. `write_begin` looks at the inode; the server then locks the folio, brings its
//! contents in and asks `write_settle`; bytes for the inode are stored by `write_end_inline`. From
//! begin to end the writer holds the inode lock, and a fault takes no notice of it.

use crate::allocation::blocks::Purpose;
use crate::error::{Error, Result};
use crate::extent::node;
use crate::extent::tree::BLOCKS_END;
use crate::format::inode::{I_BLOCK_SIZE, InodeFlags};
use crate::inode::body::InodeBody;
use crate::inode::{BlockMap, Ext4Inode, Layout, inline};
use crate::protocol::{Conversion, Steps, WriteEnd};
use platform::{Mutant, mutant, tell};

/// Where a write of a file goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Blocks. `write_begin` leaves no journal handle open: there is nothing to log before the blocks
    /// are written back.
    Blocks,
    /// The inode. `write_begin` leaves a journal handle open, in which the inode is logged.
    Inline,
}

/// What `write_begin` decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Where the write goes.
    pub destination: Destination,
    /// The layout count at the decision.
    pub layout: u64,
}

/// Whether an inline write took place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InlineOutcome {
    /// It did.
    Stored,
    /// The layout is another than the one decided on: nothing changed.
    LayoutChanged,
}

/// What `write_begin` finds.
enum Found {
    /// The write fits the inode, which is inline or may become it.
    FitsInode,
    /// The file is inline, and will be too long for it.
    Overflows,
    /// Blocks; `true`: none so far.
    Blocks { none: bool },
}

impl Ext4Inode {
    /// Decides where a write of [pos, pos + len) to a file of `size` bytes goes, and makes everything
    /// ready for it.
    pub fn write_begin(&self, steps: Steps, size: u64, pos: u64, len: u64) -> Result<Begun> {
        self.volume.check_writable()?;
        let end = pos.checked_add(len).ok_or(Error::FileTooBig)?;
        if end > BLOCKS_END * self.block_size() {
            return Err(Error::FileTooBig);
        }
        let (found, layout) = match steps.conversion {
            // Linux looks at a flag, whoever is about to change it.
            Conversion::DestroyFirst => self.look(&self.map_read(), size.max(end))?,
            Conversion::AllocateFirst => {
                let _xattr = self.xattr_read();
                self.look(&self.map_read(), size.max(end))?
            }
        };
        match (found, steps.conversion) {
            (Found::FitsInode, _) => {
                tell!("write_begin of inode {}: inline, with a journal handle", self.number);
                return Ok(Begun { destination: Destination::Inline, layout });
            }
            (Found::Overflows, _) => self.convert_inline()?,
            // Delayed allocation: `write_settle` finds the blocks.
            (Found::Blocks { none: true }, Conversion::DestroyFirst) => {
                tell!("write_begin of inode {}: blocks, held back for its end; no journal handle", self.number);
                let bits = self.volume.geometry.block_bits;
                self.set_delayed(&mut self.map_write(), ((end - 1) >> bits) + 1 - (pos >> bits))?;
                return Ok(Begun { destination: Destination::Blocks, layout });
            }
            (Found::Blocks { .. }, _) => {}
        }
        self.allocate(pos, len)?;
        tell!("write_begin of inode {}: blocks", self.number);
        Ok(Begun { destination: Destination::Blocks, layout: self.layout_changes.load() })
    }

    fn look(&self, map: &BlockMap, end: u64) -> Result<(Found, u64)> {
        let fits = |body: &InodeBody| inline::capacity(body).map(|room| end <= room as u64);
        let found = match &map.layout {
            Layout::Inline if self.with_body(fits)? => Found::FitsInode,
            Layout::Inline => Found::Overflows,
            Layout::Extents(root) if node::count(root) == 0 => {
                match self.may_be_inline() && !map.never_inline && self.with_body(fits)? {
                    true => Found::FitsInode,
                    false => Found::Blocks { none: true },
                }
            }
            _ => Found::Blocks { none: false },
        };
        Ok((found, self.layout_changes.load()))
    }

    /// The folio of [pos, pos + len) is locked, and bytes are about to be stored: where do they go?
    pub fn write_settle(&self, steps: Steps, pos: u64, len: u64, begun: Begun) -> Result<Destination> {
        match (steps.write_end, steps.conversion) {
            (WriteEnd::ObeysGeneration, _) | (WriteEnd::Obeys, Conversion::AllocateFirst) => Ok(begun.destination),
            (WriteEnd::LooksAgain, _) => self.settle_by_inode(pos, len, begun),
            (WriteEnd::Obeys, Conversion::DestroyFirst) => match begun.destination {
                Destination::Inline => Ok(Destination::Inline),
                Destination::Blocks => self.settle_in_blocks(pos, len),
            },
        }
    }

    /// As the inode says now, whatever it said to `write_begin`.
    fn settle_by_inode(&self, pos: u64, len: u64, begun: Begun) -> Result<Destination> {
        loop {
            let is_inline = {
                let map = self.map_read();
                let becomes_inline = begun.destination == Destination::Inline && can_become_inline(&map);
                map.layout == Layout::Inline || becomes_inline
            };
            if is_inline {
                tell!("write_end of inode {}: looks again, inline", self.number);
                return Ok(Destination::Inline);
            }
            tell!("write_end of inode {}: looks again, blocks", self.number);
            match self.allocate_delayed(pos, len) {
                // Inline again.
                Err(Error::Stale) => {}
                allocated => return allocated.map(|()| Destination::Blocks),
            }
        }
    }

    /// In blocks, even if the file is inline again.
    fn settle_in_blocks(&self, pos: u64, len: u64) -> Result<Destination> {
        loop {
            self.drop_restored_inline()?;
            match self.allocate_delayed(pos, len) {
                Err(Error::Stale) => {}
                allocated => return allocated.map(|()| Destination::Blocks),
            }
        }
    }

    /// Allocates what `write_begin` held back, or what is missing otherwise.
    fn allocate_delayed(&self, pos: u64, len: u64) -> Result<()> {
        let delayed = self.map_read().delayed;
        let purpose = if delayed > 0 { Purpose::Promised } else { Purpose::Ordinary };
        self.allocate_for(pos, len, purpose)?;
        let bits = self.volume.geometry.block_bits;
        let used = ((pos + len - 1) >> bits) + 1 - (pos >> bits);
        self.set_delayed(&mut self.map_write(), delayed.saturating_sub(used))
    }

    /// Stores `bytes` at `pos` in the inode; the file is `new_size` long afterwards.
    pub fn write_end_inline(
        &self,
        steps: Steps,
        pos: u64,
        bytes: &[u8],
        new_size: u64,
        begun: Begun,
    ) -> Result<InlineOutcome> {
        if begun.destination == Destination::Blocks {
            // Linux dereferences the handle.
            return Err(self.volume.bug("ext4: write_end goes the inline way without a journal handle"));
        }
        let _xattr = self.xattr_write();
        let mut map = self.map_write();
        let becomes_inline = can_become_inline(&map);
        let is_stale = map.layout != Layout::Inline && !becomes_inline;
        match (steps.write_end, steps.conversion) {
            _ if mutant(Mutant::InlineGenerationIgnored) => {}
            (WriteEnd::LooksAgain, Conversion::DestroyFirst) if is_stale => {
                // Linux: BUG_ON(!ext4_has_inline_data(inode)).
                return Err(self.volume.bug("ext4: the inline data is gone under write_end"));
            }
            (WriteEnd::ObeysGeneration, _) if self.layout_changes.load() != begun.layout => {
                tell!("write_end of inode {}: the layout is another, start over", self.number);
                return Ok(InlineOutcome::LayoutChanged);
            }
            _ if is_stale => {
                tell!("write_end of inode {}: the inline data is gone, start over", self.number);
                return Ok(InlineOutcome::LayoutChanged);
            }
            _ => {}
        }
        self.update_body(|body| {
            if new_size > inline::capacity(body)? as u64 {
                return Err(Error::Invalid);
            }
            if becomes_inline {
                body.raw_mut().i_block.fill(0);
                let mut flags = body.flags();
                flags.remove(InodeFlags::EXTENTS);
                flags.insert(InodeFlags::INLINE_DATA);
                body.set_flags(flags);
            }
            inline::resize(body, (new_size as usize).max(I_BLOCK_SIZE))?;
            inline::write(body, pos as usize, bytes)?;
            body.set_file_size(new_size);
            Ok(())
        })?;
        if becomes_inline {
            map.layout = Layout::Inline;
            self.layout_changes.fetch_add(1);
        }
        tell!("write_end of inode {}: {} bytes at {pos} are in the inode", self.number, bytes.len());
        Ok(InlineOutcome::Stored)
    }
}

/// Whether the file has no contents yet, and may have them in the inode.
fn can_become_inline(map: &BlockMap) -> bool {
    matches!(&map.layout, Layout::Extents(root) if node::count(root) == 0) && !map.never_inline
}
