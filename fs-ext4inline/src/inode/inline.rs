//! Inline contents as bytes (`ifork.rst`, "Inline Data"): the first 60 bytes in `i_block`, the rest
//! in the value of the attribute `system.data`, which is there even when it is empty.
//!
//! The place of the value is found anew on every access: any change of the attributes may move it.
//! Locking is `inode`'s, moving contents to a block `convert`'s.

use alloc::vec::Vec;
use core::ops::Range;

use crate::error::{Corrupt, Error, Result};
use crate::format::inode::I_BLOCK_SIZE;
use crate::format::xattr::{EXT4_XATTR_INDEX_SYSTEM, EXT4_XATTR_MAGIC, IBODY_HEADER_SIZE, INLINE_DATA_NAME};
use crate::inode::body::InodeBody;
use crate::xattr::{self, Attribute};

fn is_inline_data(index: u8, name: &[u8]) -> bool {
    index == EXT4_XATTR_INDEX_SYSTEM && name == INLINE_DATA_NAME
}

/// Where the value of `system.data` lies in the body's attribute space.
fn value_range(body: &InodeBody) -> Result<Range<usize>> {
    let area = xattr::ibody_area(body.xattr_space()).ok_or(Corrupt::InlineAttribute)?;
    let entry = xattr::find(area, 0, EXT4_XATTR_INDEX_SYSTEM, INLINE_DATA_NAME)?.ok_or(Corrupt::InlineAttribute)?;
    let start = IBODY_HEADER_SIZE + entry.value_offset;
    Ok(start..start + entry.value.len())
}

/// The attributes in the inode other than `system.data`.
fn other_attributes(body: &InodeBody) -> Result<Vec<Attribute>> {
    let Some(area) = xattr::ibody_area(body.xattr_space()) else {
        return Ok(Vec::new());
    };
    let mut attributes = xattr::collect(area, 0)?;
    attributes.retain(|attribute| !is_inline_data(attribute.index, &attribute.name));
    Ok(attributes)
}

/// Bytes that inline contents may have at most, other attributes staying; 0 if there is no room at all.
pub fn capacity(body: &InodeBody) -> Result<usize> {
    let room = body.xattr_space().len().saturating_sub(IBODY_HEADER_SIZE) & !3;
    let taken = xattr::needed(&other_attributes(body)?) + xattr::entry_len(INLINE_DATA_NAME.len());
    Ok(match room.checked_sub(taken) {
        Some(rest) => I_BLOCK_SIZE + rest,
        None => 0,
    })
}

/// Bytes that there is room for right now: `i_block` and the value as it is.
pub fn len(body: &InodeBody) -> Result<usize> {
    Ok(I_BLOCK_SIZE + value_range(body)?.len())
}

/// The value of `system.data`.
pub fn value(body: &InodeBody) -> Result<&[u8]> {
    let range = value_range(body)?;
    Ok(&body.xattr_space()[range])
}

/// The value of `system.data`, to be changed in place.
pub fn value_mut(body: &mut InodeBody) -> Result<&mut [u8]> {
    let range = value_range(body)?;
    Ok(&mut body.xattr_space_mut()[range])
}

/// The first `length` bytes of the contents.
pub fn read(body: &InodeBody, length: usize) -> Result<Vec<u8>> {
    let value = value(body)?;
    if length > I_BLOCK_SIZE + value.len() {
        return Err(Corrupt::InlineSize.into());
    }
    let mut contents = Vec::with_capacity(length);
    contents.extend_from_slice(&body.block_area()[..length.min(I_BLOCK_SIZE)]);
    contents.extend_from_slice(&value[..length.saturating_sub(I_BLOCK_SIZE)]);
    Ok(contents)
}

/// The contents that are there. A regular file may be longer than its area: mke2fs leaves a file that
/// is one hole like that, e2fsck calls it clean, and Linux reads zeros from there on.
pub fn contents(body: &InodeBody) -> Result<Vec<u8>> {
    read(body, body.file_size().min(len(body)? as u64) as usize)
}

/// Stores `bytes` at `position`; the room is there (see [`resize`]).
pub fn write(body: &mut InodeBody, position: usize, bytes: &[u8]) -> Result<()> {
    let range = value_range(body)?;
    if position + bytes.len() > I_BLOCK_SIZE + range.len() {
        return Err(Error::Invalid);
    }
    let (low, high) = bytes.split_at(bytes.len().min(I_BLOCK_SIZE.saturating_sub(position)));
    if !low.is_empty() {
        body.raw_mut().i_block[position..position + low.len()].copy_from_slice(low);
    }
    if !high.is_empty() {
        let start = range.start + position.max(I_BLOCK_SIZE) - I_BLOCK_SIZE;
        body.xattr_space_mut()[start..start + high.len()].copy_from_slice(high);
    }
    Ok(())
}

/// Makes room for exactly `length` bytes (60 at least): new bytes are zero, cut ones are gone.
/// Makes `system.data` if it is not there.
pub fn resize(body: &mut InodeBody, length: usize) -> Result<()> {
    let wanted = length.saturating_sub(I_BLOCK_SIZE);
    let mut value = match value_range(body) {
        Ok(range) if range.len() == wanted => return Ok(()),
        Ok(range) => body.xattr_space()[range].to_vec(),
        Err(Error::Corrupt(Corrupt::InlineAttribute)) => Vec::new(),
        Err(error) => return Err(error),
    };
    value.resize(wanted, 0);
    let mut attributes = other_attributes(body)?;
    attributes.push(Attribute { index: EXT4_XATTR_INDEX_SYSTEM, name: INLINE_DATA_NAME.to_vec(), value, hash: 0 });
    store(body, &attributes)
}

/// Zeroes the contents from `length` on: a cut file that grows again reads zeros there.
pub fn zero_tail(body: &mut InodeBody, length: usize) -> Result<()> {
    if length < I_BLOCK_SIZE {
        body.raw_mut().i_block[length..].fill(0);
    }
    let from = length.saturating_sub(I_BLOCK_SIZE);
    if let Some(tail) = value_mut(body)?.get_mut(from..) {
        tail.fill(0);
    }
    Ok(())
}

/// Takes `system.data` away; `i_block` stays.
pub fn remove(body: &mut InodeBody) -> Result<()> {
    let attributes = other_attributes(body)?;
    store(body, &attributes)
}

fn store(body: &mut InodeBody, attributes: &[Attribute]) -> Result<()> {
    let space = body.xattr_space_mut();
    if attributes.is_empty() {
        space.fill(0);
        return Ok(());
    }
    if space.len() < IBODY_HEADER_SIZE + xattr::needed(attributes) {
        return Err(Error::NoSpace);
    }
    let (magic, area) = space.split_at_mut(IBODY_HEADER_SIZE);
    magic.copy_from_slice(&EXT4_XATTR_MAGIC.to_le_bytes());
    xattr::rebuild(area, attributes);
    Ok(())
}
