//! Entries of one directory region as bytes: a block without its checksum tail, or one of the two
//! regions of an inline directory. Record lengths tile a region and never leave it.

use alloc::vec::Vec;

use zerocopy::{FromBytes, IntoBytes};

use crate::checksum::{crc32c, crc32c_patched};
use crate::error::{Corrupt, Error, Result};
use crate::format::directory::*;

/// One record of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where it begins in the region.
    pub offset: usize,
    /// Its bytes, name and slack included.
    pub length: usize,
    /// Inode number, 0 if unused.
    pub inode: u32,
    /// `file_type`.
    pub file_type: u8,
    /// The name (empty if unused).
    pub name: &'a [u8],
}

/// Bytes of a record for a name of `length` bytes.
pub fn record_len(length: usize) -> usize {
    (DIR_ENTRY_HEADER + length).next_multiple_of(4)
}

/// The record at `offset`, checked to lie in `region`.
pub fn record(region: &[u8], offset: usize) -> Result<Record<'_>> {
    let (raw, rest) =
        RawDirEntry::ref_from_prefix(region.get(offset..).unwrap_or(&[])).map_err(|_| Corrupt::DirectoryRecLen)?;
    let length = raw.rec_len.get() as usize;
    if length < DIR_ENTRY_HEADER || !length.is_multiple_of(4) || length > region.len() - offset {
        return Err(Corrupt::DirectoryRecLen.into());
    }
    let inode = raw.inode.get();
    let used = DIR_ENTRY_HEADER + raw.name_len as usize;
    if inode != 0 && (used > length || raw.name_len == 0) {
        return Err(Corrupt::DirectoryName.into());
    }
    let name = if inode == 0 { &[][..] } else { &rest[..raw.name_len as usize] };
    Ok(Record { offset, length, inode, file_type: raw.file_type, name })
}

/// All records of a region in order, up to the first error.
pub fn records(region: &[u8]) -> impl Iterator<Item = Result<Record<'_>>> {
    let mut next = 0;
    core::iter::from_fn(move || {
        if next >= region.len() {
            return None;
        }
        let found = record(region, next);
        next = found.as_ref().map_or(region.len(), |record| next + record.length);
        Some(found)
    })
}

/// Checks all records of a region; inode numbers go up to `inodes`.
pub fn check(region: &[u8], inodes: u32) -> Result<()> {
    for record in records(region) {
        let record = record?;
        if record.inode > inodes {
            return Err(Corrupt::DirectoryInode.into());
        }
        if record.name.contains(&b'/') || record.name.contains(&0) {
            return Err(Corrupt::DirectoryName.into());
        }
    }
    Ok(())
}

/// The fields of the record at `offset` that a search needs, without its name: a search looks at many.
struct Fields {
    inode: u32,
    length: usize,
    name_len: usize,
}

#[inline]
fn fields(region: &[u8], offset: usize) -> Result<Fields> {
    let Some(bytes) = region.get(offset..offset + DIR_ENTRY_HEADER) else {
        return Err(Corrupt::DirectoryRecLen.into());
    };
    let mut word = [0; DIR_ENTRY_HEADER];
    word.copy_from_slice(bytes);
    let word = u64::from_le_bytes(word);
    let length = (word >> 32) as u16 as usize;
    if length < DIR_ENTRY_HEADER || length > region.len() - offset {
        return Err(Corrupt::DirectoryRecLen.into());
    }
    Ok(Fields { inode: word as u32, length, name_len: (word >> 48) as u8 as usize })
}

#[inline]
fn is_named(region: &[u8], offset: usize, fields: &Fields, name: &[u8]) -> bool {
    if fields.name_len != name.len() || fields.inode == 0 {
        return false;
    }
    // Names of one length often differ at their end first.
    let start = offset + DIR_ENTRY_HEADER;
    let end = start + name.len();
    region.get(end - 1) == name.last() && region.get(start..end) == Some(name)
}

/// The record of `name`.
pub fn find<'a>(region: &'a [u8], name: &[u8]) -> Result<Option<Record<'a>>> {
    let mut offset = 0;
    while offset < region.len() {
        let fields = fields(region, offset)?;
        if is_named(region, offset, &fields, name) {
            return record(region, offset).map(Some);
        }
        offset += fields.length;
    }
    Ok(None)
}

/// What a change of a region overwrote, so that a checksum over it can follow without reading it all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where the change begins.
    pub start: usize,
    /// The bytes that were there.
    pub old: Vec<u8>,
}

impl Change {
    fn of(region: &[u8], start: usize, end: usize) -> Self {
        Self { start, old: region[start..end].to_vec() }
    }
}

/// What came of an insertion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The entry is there.
    Done(Change),
    /// There is no room for it.
    Full,
    /// The region has the name already.
    Exists,
}

/// Writes a record of `length` bytes.
pub fn put(region: &mut [u8], offset: usize, length: usize, inode: u32, file_type: u8, name: &[u8]) {
    let raw =
        RawDirEntry { inode: inode.into(), rec_len: (length as u16).into(), name_len: name.len() as u8, file_type };
    region[offset..offset + DIR_ENTRY_HEADER].copy_from_slice(raw.as_bytes());
    region[offset + DIR_ENTRY_HEADER..offset + DIR_ENTRY_HEADER + name.len()].copy_from_slice(name);
}

fn set_length(region: &mut [u8], offset: usize, length: usize) {
    region[offset + 4..offset + 6].copy_from_slice(&(length as u16).to_le_bytes());
}

/// Makes the region one unused record.
pub fn init(region: &mut [u8]) {
    region.fill(0);
    if !region.is_empty() {
        let length = region.len();
        put(region, 0, length, 0, EXT4_FT_UNKNOWN, &[]);
    }
}

/// Adds an entry that is not there yet where there is room.
pub fn insert(region: &mut [u8], inode: u32, file_type: u8, name: &[u8]) -> Result<Inserted> {
    let needed = record_len(name.len());
    let mut room: Option<(usize, usize, usize)> = None;
    let mut offset = 0;
    while offset < region.len() {
        let fields = fields(region, offset)?;
        if is_named(region, offset, &fields, name) {
            return Ok(Inserted::Exists);
        }
        let used = if fields.inode == 0 { 0 } else { record_len(fields.name_len) };
        if room.is_none() && fields.length >= used + needed {
            room = Some((offset, used, fields.length));
        }
        offset += fields.length;
    }
    let Some((offset, used, length)) = room else { return Ok(Inserted::Full) };
    let change = Change::of(region, offset, offset + used + DIR_ENTRY_HEADER + name.len());
    if used > 0 {
        set_length(region, offset, used);
    }
    put(region, offset + used, length - used, inode, file_type, name);
    Ok(Inserted::Done(change))
}

/// Removes the entry of `name`, which is inode `inode`; `None` if it is not there.
pub fn remove(region: &mut [u8], name: &[u8], inode: u32) -> Result<Option<Change>> {
    let mut before: Option<(usize, usize)> = None;
    let mut offset = 0;
    while offset < region.len() {
        let fields = fields(region, offset)?;
        let length = fields.length;
        if fields.inode == inode && is_named(region, offset, &fields, name) {
            return Ok(Some(match before {
                Some((start, before_length)) => {
                    let change = Change::of(region, start, start + DIR_ENTRY_HEADER);
                    set_length(region, start, before_length + length);
                    change
                }
                None => {
                    let change = Change::of(region, offset, offset + DIR_ENTRY_HEADER);
                    region[offset..offset + 4].fill(0);
                    change
                }
            }));
        }
        before = Some((offset, length));
        offset += length;
    }
    Ok(None)
}

/// Lets the entry of `name` name another inode; `None` if it is not there.
pub fn replace(region: &mut [u8], name: &[u8], inode: u32, file_type: u8) -> Result<Option<Change>> {
    let Some(record) = find(region, name)? else { return Ok(None) };
    let offset = record.offset;
    let change = Change::of(region, offset, offset + DIR_ENTRY_HEADER);
    region[offset..offset + 4].copy_from_slice(&inode.to_le_bytes());
    region[offset + 7] = file_type;
    Ok(Some(change))
}

/// Lets the region that was `old` bytes long and has grown reach to its end.
pub fn extend(region: &mut [u8], old: usize) -> Result<()> {
    let grown = region.len() - old;
    if grown == 0 {
        return Ok(());
    }
    if old == 0 {
        init(region);
        return Ok(());
    }
    let last = records(&region[..old]).last().ok_or(Corrupt::DirectoryRecLen)??;
    let (offset, length) = (last.offset, last.length);
    set_length(region, offset, length + grown);
    Ok(())
}

/// Fills a region with these entries alone, one behind the other; they fit.
pub fn pack<'a>(region: &mut [u8], entries: impl Iterator<Item = Record<'a>>) {
    init(region);
    let (mut last, mut end) = (None, 0);
    for Record { inode, file_type, name, .. } in entries {
        let length = record_len(name.len());
        put(region, end, length, inode, file_type, name);
        (last, end) = (Some((end, length)), end + length);
    }
    if let Some((start, length)) = last {
        set_length(region, start, length + region.len() - end);
    }
}

/// Copies the entries of `from` to the end of the entries in `to`; there is room.
pub fn append_all(from: &[u8], to: &mut [u8]) -> Result<()> {
    for record in records(from) {
        let record = record?;
        if record.inode != 0 && insert(to, record.inode, record.file_type, record.name)? == Inserted::Full {
            return Err(Error::NoSpace);
        }
    }
    Ok(())
}

// --- blocks ------------------------------------------------------------------------------------

/// The bytes of a block that records tile: all but a checksum tail.
pub fn region_len(block_size: usize, has_checksums: bool) -> usize {
    if has_checksums { block_size - DIR_TAIL_SIZE } else { block_size }
}

/// Checks the tail of a block.
pub fn check_tail(block: &[u8], seed: u32) -> Result<()> {
    let at = block.len() - DIR_TAIL_SIZE;
    let tail = RawDirEntryTail::ref_from_bytes(&block[at..]).map_err(|_| Corrupt::DirectoryChecksum)?;
    let is_tail = tail.det_reserved_zero1.get() == 0
        && tail.det_rec_len.get() as usize == DIR_TAIL_SIZE
        && tail.det_reserved_zero2 == 0
        && tail.det_reserved_ft == EXT4_FT_DIR_CSUM;
    if !is_tail || tail.det_checksum.get() != crc32c(seed, &block[..at]) {
        return Err(Corrupt::DirectoryChecksum.into());
    }
    Ok(())
}

/// Writes the tail of a block.
pub fn seal(block: &mut [u8], seed: u32) {
    let at = block.len() - DIR_TAIL_SIZE;
    let tail = RawDirEntryTail {
        det_reserved_zero1: 0.into(),
        det_rec_len: (DIR_TAIL_SIZE as u16).into(),
        det_reserved_zero2: 0,
        det_reserved_ft: EXT4_FT_DIR_CSUM,
        det_checksum: crc32c(seed, &block[..at]).into(),
    };
    block[at..].copy_from_slice(tail.as_bytes());
}

/// Puts the checksum in the tail of a block right after `change`; it was right before it.
pub fn seal_change(block: &mut [u8], change: Change) {
    let at = block.len() - DIR_TAIL_SIZE;
    let Change { start, old: mut delta } = change;
    let end = start + delta.len();
    delta.iter_mut().zip(&block[start..end]).for_each(|(old, new)| *old ^= new);
    let stored = u32::from_le_bytes([block[at + 8], block[at + 9], block[at + 10], block[at + 11]]);
    let checksum = crc32c_patched(stored, &delta, at - end);
    block[at + 8..].copy_from_slice(&checksum.to_le_bytes());
}

/// Writes `.` and `..` into an empty region; the rest of it belongs to `..`'s record.
pub fn put_dots(region: &mut [u8], this: u32, parent: u32) {
    let dot = record_len(1);
    put(region, 0, dot, this, EXT4_FT_DIR, b".");
    let rest = region.len() - dot;
    put(region, dot, rest, parent, EXT4_FT_DIR, b"..");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(region: &[u8]) -> Vec<(u32, Vec<u8>)> {
        records(region)
            .map(|record| record.unwrap())
            .filter(|record| record.inode != 0)
            .map(|record| (record.inode, record.name.to_vec()))
            .collect()
    }

    #[test]
    fn entries_come_and_go_and_the_room_is_used_again() {
        let mut region = [0_u8; 64];
        init(&mut region);
        for (inode, name) in [(11, &b"one"[..]), (12, b"two"), (13, b"three"), (14, b"four")] {
            assert!(matches!(insert(&mut region, inode, 1, name).unwrap(), Inserted::Done(_)));
        }
        assert_eq!(insert(&mut region, 15, 1, b"much too long").unwrap(), Inserted::Full);
        assert_eq!(insert(&mut region, 15, 1, b"two").unwrap(), Inserted::Exists);
        assert!(remove(&mut region, b"two", 12).unwrap().is_some());
        assert!(remove(&mut region, b"one", 11).unwrap().is_some());
        assert!(remove(&mut region, b"one", 11).unwrap().is_none());
        check(&region, 100).unwrap();
        assert!(matches!(insert(&mut region, 15, 1, b"twelve bytes").unwrap(), Inserted::Done(_)));
        check(&region, 100).unwrap();
        assert_eq!(names(&region).len(), 3);
        assert!(find(&region, b"twelve bytes").unwrap().is_some());
    }

    #[test]
    fn a_checksum_follows_changes() {
        let mut block = [0_u8; 128];
        let usable = 128 - DIR_TAIL_SIZE;
        init(&mut block[..usable]);
        seal(&mut block, 5);
        let mut changed = |change: &dyn Fn(&mut [u8]) -> Change| {
            let change = change(&mut block[..usable]);
            seal_change(&mut block, change);
            check_tail(&block, 5).unwrap();
        };
        let add = |region: &mut [u8], inode, name: &[u8]| match insert(region, inode, 1, name).unwrap() {
            Inserted::Done(change) => change,
            other => panic!("{other:?}"),
        };
        changed(&|region| add(region, 11, b"first"));
        changed(&|region| add(region, 12, b"second"));
        changed(&|region| add(region, 13, b"third"));
        changed(&|region| remove(region, b"second", 12).unwrap().unwrap());
        changed(&|region| replace(region, b"third", 99, 2).unwrap().unwrap());
        changed(&|region| remove(region, b"first", 11).unwrap().unwrap());
        changed(&|region| add(region, 14, b"fourth"));
    }

    #[test]
    fn every_bad_record_is_named() {
        let mut good = [0_u8; 32];
        init(&mut good);
        insert(&mut good, 11, 1, b"name").unwrap();
        let fails = |change: &dyn Fn(&mut [u8; 32]), kind: Corrupt| {
            let mut region = good;
            change(&mut region);
            assert_eq!(check(&region, 100), Err(kind.into()));
        };
        fails(&|region| region[4] = 4, Corrupt::DirectoryRecLen);
        fails(&|region| region[4] = 30, Corrupt::DirectoryRecLen);
        fails(&|region| region[4] = 36, Corrupt::DirectoryRecLen);
        fails(&|region| region[6] = 29, Corrupt::DirectoryName);
        fails(&|region| region[6] = 0, Corrupt::DirectoryName);
        fails(&|region| region[9] = b'/', Corrupt::DirectoryName);
        fails(&|region| region[0] = 101, Corrupt::DirectoryInode);
    }

    #[test]
    fn golden_block_of_a_new_directory() {
        let mut block = [0_u8; 64];
        put_dots(&mut block[..52], 12, 2);
        assert_eq!(block[..12], [12, 0, 0, 0, 12, 0, 1, 2, b'.', 0, 0, 0]);
        assert_eq!(block[12..24], [2, 0, 0, 0, 40, 0, 2, 2, b'.', b'.', 0, 0]);
        seal(&mut block, 7);
        assert_eq!(block[52..60], [0, 0, 0, 0, 12, 0, 0, 0xde]);
        check_tail(&block, 7).unwrap();
        assert_eq!(check_tail(&block, 8), Err(Corrupt::DirectoryChecksum.into()));
    }
}
