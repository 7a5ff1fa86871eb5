//! The fault's side: making a mapping, the first store through it.
//!
//! The way of a fault: its folio is brought in and pinned; then, under the invalidate lock, `page_mkwrite`, which
//! fails when there is no block and is followed by dirtying the folio.

use crate::error::Result;
use crate::inode::{Ext4Inode, Layout};
use crate::protocol::{Conversion, Steps, When};

impl Ext4Inode {
    /// A shared mapping that may become writable is being made, under the inode lock. It converts on
    /// *may become*: mprotect sends no message.
    pub fn prepare_mapping(&self, steps: Steps) -> Result<()> {
        match steps.when {
            When::AtMmap => self.leave_inode(Conversion::AllocateFirst),
            When::AtFault => Ok(()),
        }
    }

    /// A store to [pos, pos + len) is about to be allowed: the contents leave the inode, and the range
    /// has blocks. A dirty folio of an inline file must not exist under any protocol.
    pub fn page_mkwrite(&self, steps: Steps, pos: u64, len: u64) -> Result<()> {
        self.volume.check_writable()?;
        self.leave_inode(steps.conversion)?;
        self.allocate(pos, len)
    }

    /// Moves inline contents to a block, and never lets the file be inline again: a client may store
    /// through a mapping at any moment.
    pub fn leave_inode(&self, conversion: Conversion) -> Result<()> {
        {
            let map = self.map_read();
            if map.never_inline && map.layout != Layout::Inline {
                return Ok(());
            }
        }
        match conversion {
            Conversion::AllocateFirst => {
                self.map_write().never_inline = true;
                self.convert_inline()
            }
            Conversion::DestroyFirst => self.convert_destroying(),
        }
    }
}
