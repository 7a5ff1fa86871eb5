//! Extended attributes as bytes: walking and rebuilding one area, in an inode or in a block.
//!
//! An area is the bytes that value offsets count from, and the place of its first entry: 0 in an
//! inode (offsets count from behind the magic number), 32 in a block. Which inode and which block is
//! the business of `inode` and `vfs`; inline contents are built on this by `inode::inline`.

use alloc::vec::Vec;

use zerocopy::byteorder::little_endian::U32;
use zerocopy::{FromBytes, IntoBytes};

use crate::checksum::crc32c;
use crate::error::{Corrupt, Result};
use crate::format::xattr::*;

/// One attribute, borrowed from its area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// `e_name_index`, which stands for a prefix.
    pub index: u8,
    /// The name behind the prefix.
    pub name: &'a [u8],
    /// Where the value lies in the area.
    pub value_offset: usize,
    /// The value.
    pub value: &'a [u8],
    /// Where the entry lies in the area.
    pub entry_offset: usize,
    /// `e_hash`.
    pub hash: u32,
}

/// The entries of an area, each checked when it is reached.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    area: &'a [u8],
    next: usize,
    table_end: usize,
}

/// Whole bytes of an entry with a name of `length` bytes.
pub fn entry_len(length: usize) -> usize {
    (XATTR_ENTRY_SIZE + length).next_multiple_of(4)
}

/// Bytes that a value takes.
pub fn value_len(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// Whether the entry table ends at `at`: four zero bytes, or no room for them.
fn is_end(area: &[u8], at: usize) -> bool {
    area.get(at..at + 4).is_none_or(|word| word == [0; 4])
}

impl<'a> Entries<'a> {
    /// Checks that the entry table lies within `area`.
    pub fn new(area: &'a [u8], first: usize) -> Result<Self> {
        let mut at = first;
        while !is_end(area, at) {
            let header = area.get(at..at + XATTR_ENTRY_SIZE).ok_or(Corrupt::XattrEntry)?;
            at += entry_len(header[0] as usize);
            if at > area.len() {
                return Err(Corrupt::XattrEntry.into());
            }
        }
        Ok(Self { area, next: first, table_end: at })
    }

    /// Where the entry table ends, its terminator not counted.
    pub fn table_end(&self) -> usize {
        self.table_end
    }

    fn entry(&self, at: usize) -> Result<Entry<'a>> {
        let (raw, rest) = RawXattrEntry::ref_from_prefix(&self.area[at..]).map_err(|_| Corrupt::XattrEntry)?;
        let name = rest.get(..raw.e_name_len as usize).ok_or(Corrupt::XattrEntry)?;
        if raw.e_value_inum.get() != 0 {
            // The value lies in an inode of its own: feature ea_inode, which is refused at mount.
            return Err(Corrupt::XattrValue.into());
        }
        let size = raw.e_value_size.get() as usize;
        let offset = if size == 0 { 0 } else { raw.e_value_offs.get() as usize };
        let end = offset.checked_add(size).ok_or(Corrupt::XattrValue)?;
        let value = self.area.get(offset..end).ok_or(Corrupt::XattrValue)?;
        if size != 0 && offset < self.table_end + size_of::<u32>() {
            return Err(Corrupt::XattrOverlap.into());
        }
        Ok(Entry {
            index: raw.e_name_index,
            name,
            value_offset: offset,
            value,
            entry_offset: at,
            hash: raw.e_hash.get(),
        })
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.table_end {
            return None;
        }
        let entry = self.entry(self.next);
        // The name's length was checked by `new`.
        self.next += entry_len(self.area[self.next] as usize);
        Some(entry)
    }
}

/// Looks an attribute up.
pub fn find<'a>(area: &'a [u8], first: usize, index: u8, name: &[u8]) -> Result<Option<Entry<'a>>> {
    for entry in Entries::new(area, first)? {
        let entry = entry?;
        if entry.index == index && entry.name == name {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

/// An attribute that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Attribute {
    pub index: u8,
    pub name: Vec<u8>,
    pub value: Vec<u8>,
    pub hash: u32,
}

/// Copies all attributes of an area.
pub fn collect(area: &[u8], first: usize) -> Result<Vec<Attribute>> {
    Entries::new(area, first)?
        .map(|entry| {
            let Entry { index, name, value, hash, .. } = entry?;
            Ok(Attribute { index, name: name.to_vec(), value: value.to_vec(), hash })
        })
        .collect()
}

/// Bytes that `attributes` take in an area, terminator included.
pub fn needed(attributes: &[Attribute]) -> usize {
    let taken = |attribute: &Attribute| entry_len(attribute.name.len()) + value_len(attribute.value.len());
    attributes.iter().map(taken).sum::<usize>() + size_of::<u32>()
}

/// Writes `attributes` into an empty area that starts with its first entry.
///
/// The caller checked that [`needed`] bytes are there.
pub fn rebuild(area: &mut [u8], attributes: &[Attribute]) {
    area.fill(0);
    let mut at = 0;
    // Values are aligned from the area's start, as offsets are.
    let mut end = area.len() & !3;
    for attribute in attributes {
        let Attribute { index, name, value, hash } = attribute;
        end -= value_len(value.len());
        let raw = RawXattrEntry {
            e_name_len: name.len() as u8,
            e_name_index: *index,
            e_value_offs: (if value.is_empty() { 0 } else { end as u16 }).into(),
            e_value_inum: 0.into(),
            e_value_size: (value.len() as u32).into(),
            e_hash: (*hash).into(),
        };
        area[at..at + XATTR_ENTRY_SIZE].copy_from_slice(raw.as_bytes());
        area[at + XATTR_ENTRY_SIZE..at + XATTR_ENTRY_SIZE + name.len()].copy_from_slice(name);
        area[end..end + value.len()].copy_from_slice(value);
        at += entry_len(name.len());
    }
}

/// The area behind the magic number in an inode's `space`, if there are attributes.
pub fn ibody_area(space: &[u8]) -> Option<&[u8]> {
    let (magic, area) = U32::ref_from_prefix(space).ok()?;
    (magic.get() == EXT4_XATTR_MAGIC).then_some(area)
}

/// Checks the header of an attribute block.
pub fn check_block(bytes: &[u8], checksum_seed: Option<u32>, block: u64) -> Result<()> {
    let (header, _) = RawXattrHeader::ref_from_prefix(bytes).map_err(|_| Corrupt::XattrHeader)?;
    if header.h_magic.get() != EXT4_XATTR_MAGIC {
        return Err(Corrupt::XattrMagic.into());
    }
    if header.h_blocks.get() != 1 || header.h_refcount.get() == 0 {
        return Err(Corrupt::XattrHeader.into());
    }
    if checksum_seed.is_some_and(|seed| block_checksum(bytes, seed, block) != header.h_checksum.get()) {
        return Err(Corrupt::XattrChecksum.into());
    }
    Ok(())
}

/// `h_checksum` as it should be: over the block's number and its bytes, itself taken as zero.
pub fn block_checksum(bytes: &[u8], seed: u32, block: u64) -> u32 {
    const AT: usize = 16;
    let crc = crc32c(seed, &block.to_le_bytes());
    let crc = crc32c(crc, &bytes[..AT]);
    let crc = crc32c(crc, &[0; 4]);
    crc32c(crc, &bytes[AT + 4..])
}

/// The prefix that stands behind an index (`attributes.rst`, "Attribute Name Indices").
pub fn prefix(index: u8) -> Option<&'static [u8]> {
    Some(match index {
        1 => b"user.",
        2 => b"system.posix_acl_access",
        3 => b"system.posix_acl_default",
        4 => b"trusted.",
        6 => b"security.",
        7 => b"system.",
        8 => b"system.richacl",
        _ => return None,
    })
}

/// The whole name of an attribute, if its prefix is known and it is one that users may see.
pub fn full_name(index: u8, name: &[u8]) -> Option<Vec<u8>> {
    if index == EXT4_XATTR_INDEX_SYSTEM && name == INLINE_DATA_NAME {
        return None;
    }
    let mut full = prefix(index)?.to_vec();
    full.extend_from_slice(name);
    Some(full)
}
