//! Inode allocation: a file in its directory's group, directories spread over the groups.

use alloc::sync::Arc;

use vfs_server::buffer_cache::Buffer;

use crate::allocation::bitmap;
use crate::checksum::crc32c;
use crate::error::{Corrupt, Error, Result};
use crate::format::group_desc::GroupFlags;
use crate::format::inode::EXT4_ROOT_INO;
use crate::inode::body::FileType;
use crate::volume::Volume;
use crate::volume::group::{self, Group};

impl Volume {
    /// Allocates an inode for a child of the directory `parent`; its number.
    pub(crate) fn allocate_inode(&self, parent: u32, kind: FileType) -> Result<u32> {
        let (parent_group, _) = self.locate_inode(parent)?;
        let groups = self.geometry.groups;
        let start = match kind {
            // A directory at the top begins a tree of its own; deeper ones stay near.
            FileType::Directory if parent == EXT4_ROOT_INO => self.emptiest_group(),
            _ => parent_group,
        };
        for step in 0..groups {
            let number = ((start as u64 + step as u64) % groups as u64) as u32;
            if let Some(index) = self.allocate_in_group(number, kind)? {
                self.free_inodes.fetch_sub(1);
                return Ok(number * self.geometry.inodes_per_group.get() + index + 1);
            }
        }
        Err(Error::NoInodes)
    }

    /// The group with most free inodes, and among those with the fewest directories; looks at 64
    /// groups at most.
    fn emptiest_group(&self) -> u32 {
        let key = |number: u32| {
            let group = self.groups[number as usize].lock_key(number as u64);
            (group.free_inodes, u32::MAX - group.used_dirs, u32::MAX - number)
        };
        (0..self.geometry.groups.min(64)).max_by_key(|&number| key(number)).unwrap_or(0)
    }

    fn allocate_in_group(&self, number: u32, kind: FileType) -> Result<Option<u32>> {
        let mut group = self.groups[number as usize].lock_key(number as u64);
        if group.free_inodes == 0 {
            return Ok(None);
        }
        let per_group = self.geometry.inodes_per_group.get();
        let buffer = self.inode_bitmap(number, &mut group)?;
        let reserved = if number == 0 { self.geometry.first_inode - 1 } else { 0 };
        let from = group.lowest_free_inode.max(reserved);
        let Some(index) = buffer.read(|bytes| bitmap::next_clear(bytes, from, per_group)) else {
            return Ok(None);
        };
        if group.flags.contains(GroupFlags::BLOCK_UNINIT) {
            // A group with inodes in use has a block bitmap.
            self.block_bitmap(number, &mut group)?;
        }
        let covered = group::inode_bitmap_covered(&self.geometry);
        let checksum = &mut group.inode_bitmap_checksum;
        buffer.modify(|bytes| bitmap::flip(bytes, index, 1, checksum, covered));
        group.lowest_free_inode = index + 1;
        group.free_inodes -= 1;
        group.used_dirs += (kind == FileType::Directory) as u32;
        // The table is in use up to this inode at least.
        group.itable_unused = group.itable_unused.min(per_group - index - 1);
        group.dirty = true;
        Ok(Some(index))
    }

    /// Frees inode `number`, whose bytes on the disk say that it is deleted.
    pub(crate) fn free_inode(&self, number: u32, kind: FileType) -> Result<()> {
        let (group_number, index) = self.locate_inode(number)?;
        let mut group = self.groups[group_number as usize].lock_key(group_number as u64);
        let buffer = self.inode_bitmap(group_number, &mut group)?;
        let covered = group::inode_bitmap_covered(&self.geometry);
        let checksum = &mut group.inode_bitmap_checksum;
        buffer.try_modify(|bytes| {
            if !bitmap::is_set(bytes, index) {
                return Err(Error::from(Corrupt::InodeDoubleFree));
            }
            bitmap::flip(bytes, index, 1, checksum, covered);
            Ok(())
        })?;
        group.lowest_free_inode = group.lowest_free_inode.min(index);
        group.free_inodes += 1;
        if kind == FileType::Directory {
            group.used_dirs = group.used_dirs.saturating_sub(1);
        }
        group.dirty = true;
        self.free_inodes.fetch_add(1);
        Ok(())
    }

    /// Whether inode `number` is marked as in use.
    pub(crate) fn inode_in_use(&self, number: u32) -> Result<bool> {
        let (group_number, index) = self.locate_inode(number)?;
        let mut group = self.groups[group_number as usize].lock_key(group_number as u64);
        if group.flags.contains(GroupFlags::INODE_UNINIT) {
            return Ok(false);
        }
        let buffer = self.inode_bitmap(group_number, &mut group)?;
        Ok(buffer.read(|bytes| bitmap::is_set(bytes, index)))
    }

    /// The group's inode bitmap: made if it never was, checked when it is first read.
    fn inode_bitmap(&self, number: u32, group: &mut Group) -> Result<Arc<Buffer>> {
        if let Some(buffer) = &group.inode_bitmap {
            return Ok(buffer.clone());
        }
        let geometry = &self.geometry;
        let bits = geometry.inodes_per_group.get();
        let covered = group::inode_bitmap_covered(geometry);
        let block = self.places[number as usize].inode_bitmap;
        let buffer = if group.flags.contains(GroupFlags::INODE_UNINIT) {
            if group.free_inodes != bits {
                return Err(Corrupt::InodeBitmapCount.into());
            }
            let buffer = self.buffers.get_zeroed(block);
            buffer.modify(|bytes| {
                bitmap::set(bytes, bits, geometry.block_size() as u32 * 8 - bits);
                group.inode_bitmap_checksum = crc32c(geometry.checksum_seed, &bytes[..covered]);
            });
            group.flags.remove(GroupFlags::INODE_UNINIT);
            group.dirty = true;
            buffer
        } else {
            let buffer = self.buffers.get(block)?;
            let descriptor = self.descriptor_bytes(number)?;
            buffer.read(|bytes| {
                let checksum = crc32c(geometry.checksum_seed, &bytes[..covered]);
                if geometry.has_checksums() && !group::inode_bitmap_matches(&descriptor, checksum) {
                    return Err(Corrupt::InodeBitmapChecksum);
                }
                group.inode_bitmap_checksum = checksum;
                match bitmap::count_clear(bytes, bits) == group.free_inodes {
                    true => Ok(()),
                    false => Err(Corrupt::InodeBitmapCount),
                }
            })?;
            buffer
        };
        group.inode_bitmap = Some(buffer.clone());
        Ok(buffer)
    }
}
