//! Reading an inode's extended attributes, in the inode and in its attribute block.

use alloc::sync::Arc;
use alloc::vec::Vec;

use vfs_server::buffer_cache::Buffer;

use crate::error::{Error, Result};
use crate::format::xattr::BLOCK_HEADER_SIZE;
use crate::inode::Ext4Inode;
use crate::volume::BlockKind;
use crate::xattr;

impl Ext4Inode {
    /// The attribute block, checked when it is first read.
    fn attribute_block(&self) -> Result<Option<Arc<Buffer>>> {
        let block = self.with_body(|body| body.file_acl());
        if block == 0 {
            return Ok(None);
        }
        let geometry = &self.volume.geometry;
        let seed = geometry.has_checksums().then_some(geometry.checksum_seed);
        self.volume
            .checked_block(block, BlockKind::Attributes, |bytes| xattr::check_block(bytes, seed, block))
            .map(Some)
    }

    /// Calls `each` with (full name, value) of every attribute that users may see.
    fn for_each_attribute(&self, mut each: impl FnMut(Vec<u8>, &[u8])) -> Result<()> {
        let _xattr = self.xattr_read();
        let mut visit = |area: &[u8], first: usize| -> Result<()> {
            for entry in xattr::Entries::new(area, first)? {
                let entry = entry?;
                if let Some(name) = xattr::full_name(entry.index, entry.name) {
                    each(name, entry.value);
                }
            }
            Ok(())
        };
        self.with_body(|body| xattr::ibody_area(body.xattr_space()).map_or(Ok(()), |area| visit(area, 0)))?;
        match self.attribute_block()? {
            Some(buffer) => buffer.read(|bytes| visit(bytes, BLOCK_HEADER_SIZE)),
            None => Ok(()),
        }
    }

    /// The value of the attribute with this full name.
    pub fn attribute(&self, name: &[u8]) -> Result<Vec<u8>> {
        let mut found = None;
        self.for_each_attribute(|full, value| {
            if full == name {
                found = Some(value.to_vec());
            }
        })?;
        found.ok_or(Error::NoAttribute)
    }

    /// The full names of all attributes.
    pub fn attribute_names(&self) -> Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        self.for_each_attribute(|name, _| names.push(name))?;
        Ok(names)
    }
}
