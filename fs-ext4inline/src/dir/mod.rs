//! Directories: names to inode numbers, in the inode, in a list of blocks, or in a hash tree.
//!
//! The caller holds the directory's inode lock (shared to look, exclusively to change). A directory
//! grows from `i_block` to the attribute area, to one block, and with the second block becomes a hash
//! tree (feature dir_index); it never shrinks. An index that is there is kept right.

use alloc::sync::Arc;
use alloc::vec::Vec;

use vfs_server::buffer_cache::Buffer;

use crate::error::{Corrupt, Error, Result};
use crate::format::directory::EXT4_NAME_LEN;
use crate::format::feature::Compat;
use crate::format::inode::{I_BLOCK_SIZE, InodeFlags};
use crate::inode::body::{FileType, InodeBody};
use crate::inode::{Ext4Inode, Layout, inline};
use crate::volume::BlockKind;

pub use change::{add, init, remove, replace, set_parent};

mod change;
pub mod hash;
pub mod htree;
pub mod linear;

/// Bytes of `i_block` before the entries of an inline directory: the parent's number.
const INLINE_PARENT_LEN: usize = 4;
/// Smallest region that holds an entry.
const SMALLEST_REGION: usize = 12;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its inode's number.
    pub inode: u32,
    /// Its type, if the entry says.
    pub kind: Option<FileType>,
}

/// An entry as [`for_each`] gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its inode's number.
    pub inode: u32,
    /// Its type, if the entry says.
    pub kind: Option<FileType>,
    /// Its name.
    pub name: &'a [u8],
    /// Position of the next entry.
    pub next: u64,
}

/// Whether a walk over a directory goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// To the next entry.
    On,
    /// No further.
    Stop,
}

fn check_name(name: &[u8]) -> Result<()> {
    match name.len() {
        0 => Err(Error::Invalid),
        length if length > EXT4_NAME_LEN => Err(Error::NameTooLong),
        _ => Ok(()),
    }
}

fn is_inline(directory: &Ext4Inode) -> Result<bool> {
    if directory.kind != FileType::Directory {
        return Err(Error::NotDirectory);
    }
    Ok(directory.map_read().layout == Layout::Inline)
}

fn is_indexed(directory: &Ext4Inode) -> bool {
    directory.volume.geometry.compat.contains(Compat::DIR_INDEX)
        && directory.with_body(|body| body.flags().contains(InodeFlags::INDEX))
}

/// Blocks of the directory.
fn block_count(directory: &Ext4Inode) -> u32 {
    (directory.disk_size() >> directory.volume.geometry.block_bits) as u32
}

/// Bytes of a block that entries may use.
fn region_len(directory: &Ext4Inode) -> usize {
    let geometry = &directory.volume.geometry;
    linear::region_len(geometry.block_size(), geometry.has_checksums())
}

/// Block `block` of the directory, which holds entries; checked when it is first read.
fn entry_block(directory: &Ext4Inode, block: u32) -> Result<Arc<Buffer>> {
    let at = directory.data_block(block)?.ok_or(Corrupt::DirectoryHole)?;
    let geometry = &directory.volume.geometry;
    let usable = region_len(directory);
    directory.volume.checked_block(at, BlockKind::Directory(directory.number), |bytes| {
        if geometry.has_checksums() {
            linear::check_tail(bytes, directory.seed)?;
        }
        linear::check(&bytes[..usable], geometry.inodes_count)
    })
}

fn seal_block(directory: &Ext4Inode, bytes: &mut [u8]) {
    if directory.volume.geometry.has_checksums() {
        linear::seal(bytes, directory.seed);
    }
}

/// The entries in `i_block` of an inline directory.
fn low_region(body: &InodeBody) -> &[u8] {
    &body.block_area()[INLINE_PARENT_LEN..]
}

/// The entries in the attribute area of an inline directory.
fn high_region(body: &InodeBody) -> Result<&[u8]> {
    let value = inline::value(body)?;
    Ok(if value.len() < SMALLEST_REGION { &[] } else { value })
}

fn target(directory: &Ext4Inode, record: linear::Record<'_>) -> Result<Target> {
    // Inline regions are checked at every look-up, since nobody remembers that they were.
    if record.inode > directory.volume.geometry.inodes_count {
        return Err(Corrupt::DirectoryInode.into());
    }
    Ok(Target { inode: record.inode, kind: FileType::from_entry_type(record.file_type) })
}

// --- looking ---------------------------------------------------------------------------------

/// What `name` stands for in `directory`.
pub fn lookup(directory: &Ext4Inode, name: &[u8]) -> Result<Option<Target>> {
    check_name(name)?;
    if is_inline(directory)? {
        let _xattr = directory.xattr_read();
        return directory.with_body(|body| {
            for region in [low_region(body), high_region(body)?] {
                if let Some(record) = linear::find(region, name)? {
                    return target(directory, record).map(Some);
                }
            }
            Ok(None)
        });
    }
    let find = |buffer: &Buffer| {
        let usable = region_len(directory);
        buffer.read(|bytes| match linear::find(&bytes[..usable], name)? {
            Some(record) => target(directory, record).map(Some),
            None => Ok(None),
        })
    };
    if is_indexed(directory) {
        return htree::for_leaves(directory, name, |leaf| find(leaf));
    }
    for block in 0..block_count(directory) {
        if let Some(found) = find(&*entry_block(directory, block)?)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The directory that `..` stands for.
pub fn parent(directory: &Ext4Inode) -> Result<u32> {
    let number = if is_inline(directory)? {
        directory.with_body(|body| word(body.block_area()))
    } else {
        first_block(directory)?.read(|bytes| dotdot(bytes).map(|offset| word(&bytes[offset..])))?
    };
    if number == 0 || number > directory.volume.geometry.inodes_count {
        return Err(Corrupt::DirectoryInode.into());
    }
    Ok(number)
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// The first block, which holds `.` and `..`, and in an indexed directory the root.
fn first_block(directory: &Ext4Inode) -> Result<Arc<Buffer>> {
    match is_indexed(directory) {
        true => htree::root_block(directory),
        false => entry_block(directory, 0),
    }
}

/// Where the record of `..` begins in the first block.
fn dotdot(bytes: &[u8]) -> Result<usize> {
    let dot = linear::record(bytes, 0)?;
    let second = linear::record(bytes, dot.length)?;
    if dot.name != b"." || second.name != b".." {
        return Err(Corrupt::DirectoryDots.into());
    }
    Ok(second.offset)
}

/// Calls `each` for the entries from position `from` on (0: the first), `.` and `..` included.
pub fn for_each(directory: &Ext4Inode, from: u64, mut each: impl FnMut(Entry<'_>) -> Walk) -> Result<()> {
    if is_inline(directory)? {
        return for_each_inline(directory, from, each);
    }
    let geometry = &directory.volume.geometry;
    let block_size = geometry.block_size() as u64;
    let indexed = is_indexed(directory);
    let mut walk = |bytes: &[u8], start: u64| -> Result<Walk> {
        for record in linear::records(bytes) {
            let record = record?;
            let position = start + record.offset as u64;
            if record.inode == 0 || position < from {
                continue;
            }
            let Target { inode, kind } = target(directory, record)?;
            let next = position + record.length as u64;
            if each(Entry { inode, kind, name: record.name, next }) == Walk::Stop {
                return Ok(Walk::Stop);
            }
        }
        Ok(Walk::On)
    };
    let first = u32::try_from(from / block_size).map_err(|_| Error::Invalid)?;
    for block in first..block_count(directory) {
        let start = block as u64 * block_size;
        let stop = match indexed && (block == 0 || htree::is_inner(directory, block)?) {
            true if block == 0 => walk(&root_dots(&*htree::root_block(directory)?)?, start)?,
            true => continue,
            false => {
                let usable = region_len(directory);
                // `each` may take long and lock what it likes: give it a copy.
                let copy = entry_block(directory, block)?.read(|bytes| bytes[..usable].to_vec());
                walk(&copy, start)?
            }
        };
        if stop == Walk::Stop {
            break;
        }
    }
    Ok(())
}

/// `.` and `..` of an index root, without the index that `..` reaches over.
fn root_dots(root: &Buffer) -> Result<Vec<u8>> {
    root.read(|bytes| {
        let offset = dotdot(bytes)?;
        let length = linear::record_len(2);
        let mut dots = bytes[..offset + length].to_vec();
        dots[offset + 4..offset + 6].copy_from_slice(&(length as u16).to_le_bytes());
        Ok(dots)
    })
}

/// Positions: 0 is `.`, 1 is `..`, and an entry's is its offset in the contents (4 at least).
fn for_each_inline(directory: &Ext4Inode, from: u64, mut each: impl FnMut(Entry<'_>) -> Walk) -> Result<()> {
    let body = {
        let _xattr = directory.xattr_read();
        directory.with_body(|body| body.clone())
    };
    let up = parent(directory)?;
    let kind = Some(FileType::Directory);
    let dots = [(0, directory.number, &b"."[..]), (1, up, b"..")];
    for (position, inode, name) in dots {
        if from <= position && each(Entry { inode, kind, name, next: position + 1 }) == Walk::Stop {
            return Ok(());
        }
    }
    for (start, region) in [(INLINE_PARENT_LEN, low_region(&body)), (I_BLOCK_SIZE, high_region(&body)?)] {
        for record in linear::records(region) {
            let record = record?;
            let position = (start + record.offset) as u64;
            if record.inode == 0 || position < from {
                continue;
            }
            let Target { inode, kind } = target(directory, record)?;
            let next = position + record.length as u64;
            if each(Entry { inode, kind, name: record.name, next }) == Walk::Stop {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Whether there is nothing but `.` and `..`.
pub fn is_empty(directory: &Ext4Inode) -> Result<bool> {
    let mut empty = true;
    for_each(directory, 0, |entry| {
        if entry.name == b"." || entry.name == b".." {
            return Walk::On;
        }
        empty = false;
        Walk::Stop
    })?;
    Ok(empty)
}
