//! Changing a directory: its first contents, new names, gone names, other targets, another parent.
//!
//! The caller holds the directory's inode lock exclusively.

use alloc::sync::Arc;

use vfs_server::buffer_cache::Buffer;

use super::linear::{self, Change, Inserted};
use super::*;
use crate::allocation::blocks::Purpose;

/// Gives a new directory its first contents: `.` and `..`.
pub fn init(directory: &Ext4Inode, parent: u32) -> Result<()> {
    let fits = directory.may_be_inline() && directory.with_body(inline::capacity)? >= I_BLOCK_SIZE;
    if !fits {
        return init_block(directory, parent, |_| Ok(()));
    }
    let _xattr = directory.xattr_write();
    let mut map = directory.map_write();
    directory.update_body(|body| {
        let mut flags = body.flags();
        flags.remove(InodeFlags::EXTENTS);
        flags.insert(InodeFlags::INLINE_DATA);
        body.set_flags(flags);
        let area = &mut body.raw_mut().i_block;
        area[..INLINE_PARENT_LEN].copy_from_slice(&parent.to_le_bytes());
        linear::init(&mut area[INLINE_PARENT_LEN..]);
        body.set_file_size(I_BLOCK_SIZE as u64);
        inline::resize(body, I_BLOCK_SIZE)
    })?;
    map.layout = Layout::Inline;
    Ok(())
}

/// Makes the directory's contents one block with `.`, `..` and what `fill` adds to it.
fn init_block(directory: &Ext4Inode, parent: u32, fill: impl FnOnce(&mut [u8]) -> Result<()>) -> Result<()> {
    let volume = &directory.volume;
    let geometry = &volume.geometry;
    let mut bytes = alloc::vec![0; geometry.block_size()];
    let usable = region_len(directory);
    linear::put_dots(&mut bytes[..usable], directory.number, parent);
    fill(&mut bytes[..usable])?;
    seal_block(directory, &mut bytes);
    // Allocate first: nothing of the inode changes before the block is there and filled.
    let run = volume.allocate_blocks(volume.inode_group_start(directory.number), 1, Purpose::Ordinary)?;
    volume.buffers.get_zeroed(run.start).modify(|to| to.copy_from_slice(&bytes));
    directory.adopt_first_block(run.start, geometry.block_size() as u64).or_else(|error| {
        volume.buffers.forget(run.start);
        volume.free_blocks_of_file(run.start, 1)?;
        Err(error)
    })
}

/// Adds a name; [`Error::Exists`] if it is there.
pub fn add(directory: &Ext4Inode, name: &[u8], inode: u32, kind: FileType) -> Result<()> {
    check_name(name)?;
    if name == b"." || name == b".." {
        return Err(Error::Exists);
    }
    let file_type = kind.entry_type();
    if is_inline(directory)? {
        let _xattr = directory.xattr_write();
        if directory.update_body(|body| add_inline(body, name, inode, file_type))? {
            return Ok(());
        }
        let (low, high) =
            directory.with_body(|body| Ok::<_, Error>((low_region(body).to_vec(), high_region(body)?.to_vec())))?;
        let up = parent(directory)?;
        init_block(directory, up, |region| {
            linear::append_all(&low, region)?;
            linear::append_all(&high, region)
        })?;
    }
    if is_indexed(directory) {
        return htree::insert(directory, name, inode, file_type);
    }
    let blocks = block_count(directory);
    if blocks > 1 && lookup(directory, name)?.is_some() {
        return Err(Error::Exists);
    }
    for block in 0..blocks {
        if insert_into(directory, &*entry_block(directory, block)?, inode, file_type, name)? {
            return drop_stale_index(directory);
        }
    }
    if blocks == 1 && directory.volume.geometry.compat.contains(Compat::DIR_INDEX) {
        htree::make(directory)?;
        return htree::insert(directory, name, inode, file_type);
    }
    let buffer = append(directory)?.1;
    insert_into(directory, &buffer, inode, file_type, name)?;
    drop_stale_index(directory)
}

/// An index flag without the feature dir_index: the index is not kept, so it must go.
fn drop_stale_index(directory: &Ext4Inode) -> Result<()> {
    if !directory.with_body(|body| body.flags().contains(InodeFlags::INDEX)) {
        return Ok(());
    }
    directory.update_body(|body| {
        let flags = body.flags().difference(InodeFlags::INDEX);
        body.set_flags(flags);
        Ok(())
    })
}

/// Adds an entry to an inline directory; `false` if it does not fit.
fn add_inline(body: &mut InodeBody, name: &[u8], inode: u32, file_type: u8) -> Result<bool> {
    if linear::find(high_region(body)?, name)?.is_some() {
        return Err(Error::Exists);
    }
    match linear::insert(&mut body.raw_mut().i_block[INLINE_PARENT_LEN..], inode, file_type, name)? {
        Inserted::Done(_) => return Ok(true),
        Inserted::Exists => return Err(Error::Exists),
        Inserted::Full => {}
    }
    let is_done = |inserted| matches!(inserted, Inserted::Done(_));
    let high = inline::value_mut(body)?;
    let length = high.len();
    if length >= SMALLEST_REGION && is_done(linear::insert(high, inode, file_type, name)?) {
        return Ok(true);
    }
    // The attribute takes all the room there is.
    let room = inline::capacity(body)?.saturating_sub(I_BLOCK_SIZE);
    if room <= length || room < SMALLEST_REGION {
        return Ok(false);
    }
    inline::resize(body, I_BLOCK_SIZE + room)?;
    body.set_file_size((I_BLOCK_SIZE + room) as u64);
    let old = if length < SMALLEST_REGION { 0 } else { length };
    linear::extend(inline::value_mut(body)?, old)?;
    Ok(is_done(linear::insert(inline::value_mut(body)?, inode, file_type, name)?))
}

/// A new empty block at the end; its number in the directory.
pub(super) fn append(directory: &Ext4Inode) -> Result<(u32, Arc<Buffer>)> {
    let geometry = &directory.volume.geometry;
    let block = block_count(directory);
    let size = (block as u64 + 1) << geometry.block_bits;
    let at = directory.append_block(block, size)?;
    let buffer = directory.volume.buffers.get_zeroed(at);
    let usable = region_len(directory);
    buffer.modify(|bytes| {
        linear::init(&mut bytes[..usable]);
        seal_block(directory, bytes);
    });
    Ok((block, buffer))
}

/// Applies `change` to each region that may hold `name`, until it says that it was there.
fn edit_name(
    directory: &Ext4Inode,
    name: &[u8],
    mut change: impl FnMut(&mut [u8]) -> Result<Option<Change>>,
) -> Result<()> {
    check_name(name)?;
    let found = if is_inline(directory)? {
        let _xattr = directory.xattr_write();
        directory.update_body(|body| {
            if change(&mut body.raw_mut().i_block[INLINE_PARENT_LEN..])?.is_some() {
                return Ok(true);
            }
            let high = inline::value_mut(body)?;
            Ok(high.len() >= SMALLEST_REGION && change(high)?.is_some())
        })?
    } else if is_indexed(directory) {
        htree::for_leaves(directory, name, |leaf| Ok(edit_block(directory, leaf, &mut change)?.then_some(())))?
            .is_some()
    } else {
        let mut found = false;
        for block in 0..block_count(directory) {
            found = edit_block(directory, &*entry_block(directory, block)?, &mut change)?;
            if found {
                break;
            }
        }
        found
    };
    if found { Ok(()) } else { Err(Error::NotFound) }
}

/// Removes `name`, which stands for inode `inode`.
pub fn remove(directory: &Ext4Inode, name: &[u8], inode: u32) -> Result<()> {
    edit_name(directory, name, |region| linear::remove(region, name, inode))
}

/// Lets `name`, which is there, stand for another inode.
pub fn replace(directory: &Ext4Inode, name: &[u8], inode: u32, kind: FileType) -> Result<()> {
    edit_name(directory, name, |region| linear::replace(region, name, inode, kind.entry_type()))
}

/// Lets `..` stand for another directory.
pub fn set_parent(directory: &Ext4Inode, parent: u32) -> Result<()> {
    if is_inline(directory)? {
        let _xattr = directory.xattr_write();
        return directory.update_body(|body| {
            body.raw_mut().i_block[..INLINE_PARENT_LEN].copy_from_slice(&parent.to_le_bytes());
            Ok(())
        });
    }
    let indexed = is_indexed(directory);
    first_block(directory)?.try_modify(|bytes| {
        let offset = dotdot(bytes)?;
        bytes[offset..offset + 4].copy_from_slice(&parent.to_le_bytes());
        match indexed {
            true => htree::seal_root(directory, bytes),
            false => seal_block(directory, bytes),
        }
        Ok(())
    })
}

// --- one block -----------------------------------------------------------------------------------

/// Changes the entries of a block, if `change` finds something to change, and its checksum with them.
fn edit_block(
    directory: &Ext4Inode,
    buffer: &Buffer,
    change: impl FnOnce(&mut [u8]) -> Result<Option<Change>>,
) -> Result<bool> {
    let usable = region_len(directory);
    let has_checksums = directory.volume.geometry.has_checksums();
    // A block that stays as it is must not become dirty: "nothing to do" passes as an error.
    let changed = buffer.try_modify(|bytes| match change(&mut bytes[..usable]) {
        Ok(Some(change)) => {
            if has_checksums {
                linear::seal_change(bytes, change);
            }
            Ok(())
        }
        Ok(None) => Err(None),
        Err(error) => Err(Some(error)),
    });
    match changed {
        Ok(()) => Ok(true),
        Err(None) => Ok(false),
        Err(Some(error)) => Err(error),
    }
}

/// Adds an entry to a block, if it has room and does not have the name.
pub(super) fn insert_into(
    directory: &Ext4Inode,
    buffer: &Buffer,
    inode: u32,
    file_type: u8,
    name: &[u8],
) -> Result<bool> {
    edit_block(directory, buffer, |region| match linear::insert(region, inode, file_type, name)? {
        Inserted::Done(change) => Ok(Some(change)),
        Inserted::Full => Ok(None),
        Inserted::Exists => Err(Error::Exists),
    })
}
