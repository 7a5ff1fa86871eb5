//! Hash trees of directories (`directory.rst`, "Hash Tree Directories"): blocks of entries in the order
//! of their names' hashes, under one root block and up to two levels of index blocks.
//!
//! An index entry is the lowest hash of a block; its lowest bit says that names with the hash before
//! it go on from the block before. Leaves are ordinary blocks of entries (`linear`).

use alloc::sync::Arc;
use alloc::vec::Vec;

use vfs_server::buffer_cache::Buffer;
use zerocopy::{FromBytes, IntoBytes};

use crate::checksum::crc32c;
use crate::dir::change::{append, insert_into};
use crate::dir::hash::{HashKind, Hasher};
use crate::dir::{block_count, entry_block, linear, region_len, seal_block};
use crate::error::{Corrupt, Error, Result};
use crate::format::directory::*;
use crate::format::feature::Incompat;
use crate::format::inode::InodeFlags;
use crate::inode::Ext4Inode;
use crate::volume::BlockKind;

/// Bytes of an index entry.
const DX_ENTRY_SIZE: usize = size_of::<RawDxEntry>();

/// One block of the index on the way to a leaf.
struct Level {
    buffer: Arc<Buffer>,
    /// Where count, limit and entries begin in the block.
    entries: usize,
    position: usize,
}

/// The way from the root to a leaf.
struct Path {
    levels: Vec<Level>,
    /// The leaf's number in the directory.
    leaf: u32,
}

// --- index blocks as bytes -----------------------------------------------------------------------

fn count_limit(bytes: &[u8], entries: usize) -> (usize, usize) {
    let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]) as usize;
    (word(entries + 2), word(entries))
}

fn set_count(bytes: &mut [u8], entries: usize, count: usize) {
    bytes[entries + 2..entries + 4].copy_from_slice(&(count as u16).to_le_bytes());
}

fn dx_entry(bytes: &[u8], entries: usize, position: usize) -> (u32, u32) {
    let at = entries + position * DX_ENTRY_SIZE;
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    // Count and limit lie over the first entry's hash: it is 0.
    (if position == 0 { 0 } else { word(at) }, word(at + 4) & 0x0fff_ffff)
}

fn insert_entry(bytes: &mut [u8], entries: usize, position: usize, hash: u32, block: u32) {
    let (count, _) = count_limit(bytes, entries);
    let at = entries + position * DX_ENTRY_SIZE;
    bytes.copy_within(at..entries + count * DX_ENTRY_SIZE, at + DX_ENTRY_SIZE);
    let raw = RawDxEntry { hash: hash.into(), block: block.into() };
    bytes[at..at + DX_ENTRY_SIZE].copy_from_slice(raw.as_bytes());
    set_count(bytes, entries, count + 1);
}

/// The last entry whose hash is at most `hash`.
fn search(bytes: &[u8], entries: usize, hash: u32) -> usize {
    let (count, _) = count_limit(bytes, entries);
    let (mut low, mut high) = (1, count);
    while low < high {
        let middle = (low + high) / 2;
        match dx_entry(bytes, entries, middle).0 <= hash {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    low - 1
}

/// Entries that a block with the index at `entries` has room for.
fn capacity(block_size: usize, entries: usize, has_checksums: bool) -> usize {
    let tail = if has_checksums { size_of::<RawDxTail>() } else { 0 };
    (block_size - entries - tail) / DX_ENTRY_SIZE
}

/// `dt_checksum`: over what is in use of the block, and the tail with itself taken as zero.
fn checksum(bytes: &[u8], entries: usize, seed: u32) -> u32 {
    let (count, limit) = count_limit(bytes, entries);
    let tail = entries + limit * DX_ENTRY_SIZE;
    let crc = crc32c(seed, &bytes[..entries + count * DX_ENTRY_SIZE]);
    crc32c(crc32c(crc, &bytes[tail..tail + 4]), &[0; 4])
}

fn seal(directory: &Ext4Inode, bytes: &mut [u8], entries: usize) {
    if directory.volume.geometry.has_checksums() {
        let (_, limit) = count_limit(bytes, entries);
        let checksum = checksum(bytes, entries, directory.seed);
        let at = entries + limit * DX_ENTRY_SIZE + 4;
        bytes[at..at + 4].copy_from_slice(&checksum.to_le_bytes());
    }
}

/// Puts the root block's checksum right.
pub(super) fn seal_root(directory: &Ext4Inode, bytes: &mut [u8]) {
    seal(directory, bytes, DX_ROOT_ENTRIES_OFFSET);
}

/// Checks an index block of a directory of `blocks` blocks.
fn check(directory: &Ext4Inode, bytes: &[u8], entries: usize, blocks: u32) -> Result<()> {
    let geometry = &directory.volume.geometry;
    let (count, limit) = count_limit(bytes, entries);
    if limit != capacity(bytes.len(), entries, geometry.has_checksums()) || count == 0 || count > limit {
        return Err(Corrupt::HtreeCount.into());
    }
    let tail = entries + limit * DX_ENTRY_SIZE + 4;
    if geometry.has_checksums() && bytes[tail..tail + 4] != checksum(bytes, entries, directory.seed).to_le_bytes() {
        return Err(Corrupt::HtreeChecksum.into());
    }
    let mut before = 0;
    for position in 0..count {
        let (hash, block) = dx_entry(bytes, entries, position);
        if block == 0 || block >= blocks {
            return Err(Corrupt::HtreeBlock.into());
        }
        if hash < before {
            return Err(Corrupt::HtreeCount.into());
        }
        before = hash;
    }
    Ok(())
}

fn info(bytes: &[u8]) -> &RawDxRootInfo {
    // A block is 1024 bytes at least: this cannot fail.
    RawDxRootInfo::ref_from_prefix(&bytes[DX_ROOT_INFO_OFFSET..]).expect("a block holds a root").0
}

// --- blocks of a directory -------------------------------------------------------------------

/// Most index levels under the root.
fn levels_max(directory: &Ext4Inode) -> usize {
    if directory.volume.geometry.incompat.contains(Incompat::LARGEDIR) { 2 } else { 1 }
}

/// The root block, checked when it is first read.
pub(super) fn root_block(directory: &Ext4Inode) -> Result<Arc<Buffer>> {
    let at = directory.data_block(0)?.ok_or(Corrupt::DirectoryHole)?;
    let blocks = block_count(directory);
    directory.volume.checked_block(at, BlockKind::HtreeRoot(directory.number), |bytes| {
        let info = info(bytes);
        let dot = linear::record(bytes, 0)?;
        let dotdot = linear::record(bytes, linear::record_len(1))?;
        if dot.name != b"." || dot.length != linear::record_len(1) || dotdot.name != b".." {
            return Err(Corrupt::DirectoryDots.into());
        }
        if info.reserved_zero.get() != 0 || info.info_length as usize != size_of::<RawDxRootInfo>() {
            return Err(Corrupt::HtreeRoot.into());
        }
        HashKind::from_version(info.hash_version)?;
        if info.indirect_levels as usize > levels_max(directory) {
            return Err(Corrupt::HtreeDepth.into());
        }
        check(directory, bytes, DX_ROOT_ENTRIES_OFFSET, blocks)
    })
}

fn inner_block(directory: &Ext4Inode, block: u32) -> Result<Arc<Buffer>> {
    let at = directory.data_block(block)?.ok_or(Corrupt::DirectoryHole)?;
    let blocks = block_count(directory);
    directory.volume.checked_block(at, BlockKind::HtreeNode(directory.number), |bytes| {
        if !looks_inner(bytes) {
            return Err(Corrupt::HtreeBlock.into());
        }
        check(directory, bytes, DX_NODE_ENTRIES_OFFSET, blocks)
    })
}

/// An index block begins with one unused entry over all of it.
fn looks_inner(bytes: &[u8]) -> bool {
    bytes[..4] == [0; 4] && u16::from_le_bytes([bytes[4], bytes[5]]) as usize == bytes.len()
}

/// Whether block `block` of an indexed directory holds index entries (or nothing) rather than names.
pub(super) fn is_inner(directory: &Ext4Inode, block: u32) -> Result<bool> {
    let at = directory.data_block(block)?.ok_or(Corrupt::DirectoryHole)?;
    Ok(directory.volume.buffers.get(at)?.read(looks_inner))
}

fn hasher(directory: &Ext4Inode, root: &Buffer) -> Result<Hasher> {
    let version = root.read(|bytes| info(bytes).hash_version);
    Ok(Hasher { kind: HashKind::from_version(version)?, ..directory.volume.geometry.hasher })
}

fn path(directory: &Ext4Inode, root: Arc<Buffer>, hash: u32) -> Result<Path> {
    let depth = root.read(|bytes| info(bytes).indirect_levels) as usize;
    let mut levels = Vec::with_capacity(depth + 1);
    let (mut buffer, mut entries) = (root, DX_ROOT_ENTRIES_OFFSET);
    loop {
        let (position, block) = buffer.read(|bytes| {
            let position = search(bytes, entries, hash);
            (position, dx_entry(bytes, entries, position).1)
        });
        levels.push(Level { buffer, entries, position });
        if levels.len() > depth {
            return Ok(Path { levels, leaf: block });
        }
        (buffer, entries) = (inner_block(directory, block)?, DX_NODE_ENTRIES_OFFSET);
    }
}

/// Goes to the next leaf if names with `hash` go on there.
fn advance(directory: &Ext4Inode, path: &mut Path, hash: u32) -> Result<bool> {
    let depth = path.levels.len();
    let next = (0..depth).rev().find_map(|level| {
        let Level { buffer, entries, position } = &path.levels[level];
        buffer.read(|bytes| {
            let (count, _) = count_limit(bytes, *entries);
            (position + 1 < count).then(|| (level, dx_entry(bytes, *entries, position + 1)))
        })
    });
    let Some((level, (next_hash, mut block))) = next else { return Ok(false) };
    if next_hash != hash | 1 {
        return Ok(false);
    }
    path.levels[level].position += 1;
    path.levels.truncate(level + 1);
    while path.levels.len() < depth {
        let buffer = inner_block(directory, block)?;
        block = buffer.read(|bytes| dx_entry(bytes, DX_NODE_ENTRIES_OFFSET, 0).1);
        path.levels.push(Level { buffer, entries: DX_NODE_ENTRIES_OFFSET, position: 0 });
    }
    path.leaf = block;
    Ok(true)
}

/// Calls `look` for each leaf that may hold `name`, until it finds something.
pub(super) fn for_leaves<R>(
    directory: &Ext4Inode,
    name: &[u8],
    mut look: impl FnMut(&Buffer) -> Result<Option<R>>,
) -> Result<Option<R>> {
    if name == b"." || name == b".." {
        return Ok(None);
    }
    let root = root_block(directory)?;
    let hash = hasher(directory, &root)?.hash(name);
    let mut path = path(directory, root, hash)?;
    // A hash goes on over as many leaves as the directory has at most.
    for _ in 0..block_count(directory) {
        if let Some(found) = look(&*entry_block(directory, path.leaf)?)? {
            return Ok(Some(found));
        }
        if !advance(directory, &mut path, hash)? {
            return Ok(None);
        }
    }
    Err(Corrupt::HtreeBlock.into())
}

// --- growing ---------------------------------------------------------------------------------

/// Makes a hash tree of a directory of one block of entries.
pub(super) fn make(directory: &Ext4Inode) -> Result<()> {
    let geometry = &directory.volume.geometry;
    let first = entry_block(directory, 0)?;
    let usable = region_len(directory);
    let old = first.read(|bytes| bytes[..usable].to_vec());
    let up = super::parent(directory)?;
    let mut entries = Vec::new();
    for record in linear::records(&old) {
        let record = record?;
        if record.inode != 0 && record.name != b"." && record.name != b".." {
            entries.push(record);
        }
    }
    let mut names = alloc::vec![0; usable];
    linear::pack(&mut names, entries.into_iter());
    let (leaf_number, leaf) = append(directory)?;
    leaf.modify(|bytes| {
        bytes[..usable].copy_from_slice(&names);
        seal_block(directory, bytes);
    });
    first.modify(|bytes| {
        bytes.fill(0);
        linear::put_dots(bytes, directory.number, up);
        let info = RawDxRootInfo {
            reserved_zero: 0.into(),
            hash_version: geometry.hasher.kind.version(),
            info_length: size_of::<RawDxRootInfo>() as u8,
            indirect_levels: 0,
            unused_flags: 0,
        };
        bytes[DX_ROOT_INFO_OFFSET..DX_ROOT_ENTRIES_OFFSET].copy_from_slice(info.as_bytes());
        init_entries(directory, bytes, DX_ROOT_ENTRIES_OFFSET, leaf_number);
        seal_root(directory, bytes);
    });
    directory.update_body(|body| {
        let flags = body.flags().union(InodeFlags::INDEX);
        body.set_flags(flags);
        Ok(())
    })
}

/// Writes count, limit and the first entry.
fn init_entries(directory: &Ext4Inode, bytes: &mut [u8], entries: usize, block: u32) {
    let limit = capacity(bytes.len(), entries, directory.volume.geometry.has_checksums());
    bytes[entries..entries + 2].copy_from_slice(&(limit as u16).to_le_bytes());
    set_count(bytes, entries, 1);
    bytes[entries + 4..entries + 8].copy_from_slice(&block.to_le_bytes());
}

/// Adds a name, splitting blocks until its leaf has room; [`Error::Exists`] if it is there.
pub(super) fn insert(directory: &Ext4Inode, name: &[u8], inode: u32, file_type: u8) -> Result<()> {
    let root = root_block(directory)?;
    let hasher = hasher(directory, &root)?;
    let hash = hasher.hash(name);
    // The first leaf is searched by the insertion itself; names with this hash rarely go on.
    let mut further = path(directory, root.clone(), hash)?;
    for _ in 0..block_count(directory) {
        if !advance(directory, &mut further, hash)? {
            break;
        }
        if entry_block(directory, further.leaf)?
            .read(|bytes| linear::find(&bytes[..region_len(directory)], name).map(|found| found.is_some()))?
        {
            return Err(Error::Exists);
        }
    }
    loop {
        let path = path(directory, root.clone(), hash)?;
        let leaf = entry_block(directory, path.leaf)?;
        if insert_into(directory, &leaf, inode, file_type, name)? {
            return Ok(());
        }
        let has_room = |level: &Level| {
            level.buffer.read(|bytes| {
                let (count, limit) = count_limit(bytes, level.entries);
                count < limit
            })
        };
        let lowest = path.levels.len() - 1;
        if has_room(&path.levels[lowest]) {
            split_leaf(directory, &path, &leaf, &hasher)?;
            continue;
        }
        match (0..lowest).rev().find(|&level| has_room(&path.levels[level])) {
            Some(parent) => split_inner(directory, &path, parent)?,
            None if lowest < levels_max(directory) => grow(directory, &root)?,
            None => return Err(Error::NoSpace),
        }
    }
}

/// Moves the upper half (by hash) of a leaf's entries to a new leaf.
fn split_leaf(directory: &Ext4Inode, path: &Path, leaf: &Buffer, hasher: &Hasher) -> Result<()> {
    let usable = region_len(directory);
    let old = leaf.read(|bytes| bytes[..usable].to_vec());
    let mut entries = Vec::new();
    for record in linear::records(&old) {
        let record = record?;
        if record.inode != 0 {
            entries.push((hasher.hash(record.name), record));
        }
    }
    entries.sort_unstable_by_key(|&(hash, record)| (hash, record.offset));
    let total: usize = entries.iter().map(|(_, record)| linear::record_len(record.name.len())).sum();
    let mut kept = 0;
    let mut size = 0;
    while kept + 1 < entries.len() && (kept == 0 || size < total / 2) {
        size += linear::record_len(entries[kept].1.name.len());
        kept += 1;
    }
    if kept == 0 {
        // One entry or none fills a whole block only if records lie.
        return Err(Corrupt::DirectoryRecLen.into());
    }
    let fill = |part: &[(u32, linear::Record<'_>)]| {
        let mut region = alloc::vec![0; usable];
        linear::pack(&mut region, part.iter().map(|&(_, record)| record));
        region
    };
    let (low, high) = (fill(&entries[..kept]), fill(&entries[kept..]));
    let goes_on = (entries[kept - 1].0 == entries[kept].0) as u32;
    let first = entries[kept].0 | goes_on;
    let (number, right) = append(directory)?;
    for (buffer, region) in [(&*right, high), (leaf, low)] {
        buffer.modify(|bytes| {
            bytes[..usable].copy_from_slice(&region);
            seal_block(directory, bytes);
        });
    }
    if let Some(level) = path.levels.last() {
        level.buffer.modify(|bytes| {
            insert_entry(bytes, level.entries, level.position + 1, first, number);
            seal(directory, bytes, level.entries);
        });
    }
    Ok(())
}

/// A new, empty index block at the end of the directory, with the entries of `from` as its own.
fn append_inner(directory: &Ext4Inode, moved: &[(u32, u32)]) -> Result<u32> {
    let (number, buffer) = append(directory)?;
    buffer.modify(|bytes| {
        bytes.fill(0);
        let length = bytes.len();
        linear::put(bytes, 0, length, 0, EXT4_FT_UNKNOWN, &[]);
        init_entries(directory, bytes, DX_NODE_ENTRIES_OFFSET, moved.first().map_or(0, |&(_, block)| block));
        for (position, &(hash, block)) in moved.iter().enumerate().skip(1) {
            insert_entry(bytes, DX_NODE_ENTRIES_OFFSET, position, hash, block);
        }
        seal(directory, bytes, DX_NODE_ENTRIES_OFFSET);
    });
    Ok(number)
}

/// Splits the child of level `parent` on the path in two.
fn split_inner(directory: &Ext4Inode, path: &Path, parent: usize) -> Result<()> {
    let child = &path.levels[parent + 1];
    let moved: Vec<_> = child.buffer.read(|bytes| {
        let (count, _) = count_limit(bytes, child.entries);
        (count / 2..count).map(|position| dx_entry(bytes, child.entries, position)).collect()
    });
    let number = append_inner(directory, &moved)?;
    child.buffer.modify(|bytes| {
        let (count, _) = count_limit(bytes, child.entries);
        set_count(bytes, child.entries, count / 2);
        seal(directory, bytes, child.entries);
    });
    let level = &path.levels[parent];
    level.buffer.modify(|bytes| {
        insert_entry(bytes, level.entries, level.position + 1, moved[0].0, number);
        seal(directory, bytes, level.entries);
    });
    Ok(())
}

/// Moves the root's entries into a new index block below it.
fn grow(directory: &Ext4Inode, root: &Buffer) -> Result<()> {
    let moved: Vec<_> = root.read(|bytes| {
        let (count, _) = count_limit(bytes, DX_ROOT_ENTRIES_OFFSET);
        (0..count).map(|position| dx_entry(bytes, DX_ROOT_ENTRIES_OFFSET, position)).collect()
    });
    let number = append_inner(directory, &moved)?;
    root.modify(|bytes| {
        bytes[DX_ROOT_INFO_OFFSET + 6] += 1;
        init_entries(directory, bytes, DX_ROOT_ENTRIES_OFFSET, number);
        seal_root(directory, bytes);
    });
    Ok(())
}
