//! Birth and death of inodes, and the list of those in between: unlinked but still in use.
//!
//! The orphan list is a chain on the disk, from `s_last_orphan` through `i_dtime` of each orphan, so
//! that whoever recovers the disk frees them; in memory it is [`Volume::orphans`], oldest first.

use alloc::sync::Arc;
use alloc::vec::Vec;

use zerocopy::FromBytes;

use crate::error::{Corrupt, Error, Result};
use crate::extent::tree::empty_root;
use crate::format::inode::{GOOD_OLD_INODE_SIZE, InodeFlags};
use crate::format::xattr::RawXattrHeader;
use crate::inode::Ext4Inode;
use crate::inode::body::{FileType, InodeBody, TimeField, Timestamp};
use crate::volume::{BlockKind, Volume};
use crate::xattr;

/// What a new inode starts with.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Birth {
    pub kind: FileType,
    pub permissions: u16,
    pub uid: u32,
    pub gid: u32,
    pub now: Timestamp,
}

impl FileType {
    /// Type bits of `i_mode`.
    pub fn mode_bits(self) -> u16 {
        use crate::format::inode::*;
        match self {
            Self::Regular => S_IFREG,
            Self::Directory => S_IFDIR,
            Self::Symlink => S_IFLNK,
            Self::CharDevice => S_IFCHR,
            Self::BlockDevice => S_IFBLK,
            Self::Fifo => S_IFIFO,
            Self::Socket => S_IFSOCK,
        }
    }

    /// The type byte of a directory entry.
    pub fn entry_type(self) -> u8 {
        use crate::format::directory::*;
        match self {
            Self::Regular => EXT4_FT_REG_FILE,
            Self::Directory => EXT4_FT_DIR,
            Self::Symlink => EXT4_FT_SYMLINK,
            Self::CharDevice => EXT4_FT_CHRDEV,
            Self::BlockDevice => EXT4_FT_BLKDEV,
            Self::Fifo => EXT4_FT_FIFO,
            Self::Socket => EXT4_FT_SOCK,
        }
    }

    /// The type that a directory entry's byte stands for, if it says.
    pub fn from_entry_type(byte: u8) -> Option<Self> {
        use crate::format::directory::*;
        Some(match byte {
            EXT4_FT_REG_FILE => Self::Regular,
            EXT4_FT_DIR => Self::Directory,
            EXT4_FT_SYMLINK => Self::Symlink,
            EXT4_FT_CHRDEV => Self::CharDevice,
            EXT4_FT_BLKDEV => Self::BlockDevice,
            EXT4_FT_FIFO => Self::Fifo,
            EXT4_FT_SOCK => Self::Socket,
            _ => return None,
        })
    }
}

/// Allocates an inode for a child of the directory `parent` and writes it: empty, one link (a
/// directory's second is counted when it gets its contents).
pub fn create(volume: &Arc<Volume>, parent: u32, birth: &Birth) -> Result<Arc<Ext4Inode>> {
    let number = volume.allocate_inode(parent, birth.kind)?;
    let created = new_body(volume, birth);
    let inode = Ext4Inode::new(volume.clone(), number, created);
    let written = inode.and_then(|inode| inode.update_body(|_| Ok(())).map(|()| inode));
    if written.is_err() {
        volume.free_inode(number, birth.kind)?;
    }
    written
}

fn new_body(volume: &Volume, birth: &Birth) -> InodeBody {
    let geometry = &volume.geometry;
    let mut body = InodeBody::zeroed(geometry);
    let raw = body.raw_mut();
    raw.i_mode.set(birth.kind.mode_bits() | birth.permissions & 0o7777);
    raw.i_links_count.set(1);
    raw.i_generation.set(volume.next_generation.fetch_add(0x9e37_79b9) as u32);
    if geometry.inode_size as usize > GOOD_OLD_INODE_SIZE {
        raw.i_extra_isize.set(geometry.want_extra_isize);
    }
    if matches!(birth.kind, FileType::Regular | FileType::Directory) {
        raw.i_block = empty_root();
        body.set_flags(InodeFlags::EXTENTS);
    }
    if birth.kind == FileType::Directory {
        // A directory of no bytes is none: whoever makes it writes its contents next.
        body.set_file_size(geometry.block_size() as u64);
    }
    body.set_owner(birth.uid, birth.gid);
    for field in [TimeField::Access, TimeField::Change, TimeField::Modify] {
        body.set_time(field, birth.now);
    }
    body.set_creation_time(birth.now);
    body
}

/// Frees an inode without links that nobody uses, and all that it has.
pub fn destroy(inode: &Arc<Ext4Inode>, now_seconds: i64) -> Result<()> {
    // Whatever fails on the way, the promise and the place in the list must not stay behind.
    let freed = inode.cut_blocks(0).and_then(|()| release_attribute_block(inode));
    inode.drop_promise();
    if freed.is_err() {
        // It stays an orphan on the disk, for e2fsck.
        inode.volume.orphans.lock().retain(|orphan| !Arc::ptr_eq(orphan, inode));
        return freed;
    }
    remove_orphan(inode)?;
    inode.update_body(|body| {
        body.set_file_size(0);
        let raw = body.raw_mut();
        raw.i_links_count.set(0);
        // Not 0, which would read as "in use", and never a small number, which would read as a chain.
        raw.i_dtime.set((now_seconds as u32).max(inode.volume.geometry.inodes_count + 1));
        Ok(())
    })?;
    inode.volume.free_inode(inode.number, inode.kind)
}

/// Lets go of the attribute block, which inodes with the same attributes may share.
fn release_attribute_block(inode: &Ext4Inode) -> Result<()> {
    let volume = &inode.volume;
    let block = inode.with_body(|body| body.file_acl());
    if block == 0 {
        return Ok(());
    }
    let seed = volume.geometry.has_checksums().then_some(volume.geometry.checksum_seed);
    let buffer = volume.checked_block(block, BlockKind::Attributes, |bytes| xattr::check_block(bytes, seed, block))?;
    let shared = buffer.try_modify(|bytes| {
        let (header, _) = RawXattrHeader::mut_from_prefix(bytes).map_err(|_| Error::from(Corrupt::XattrHeader))?;
        let others = header.h_refcount.get() - 1;
        if others == 0 {
            return Ok::<_, Error>(false);
        }
        header.h_refcount.set(others);
        if let Some(seed) = seed {
            let checksum = xattr::block_checksum(bytes, seed, block);
            let (header, _) = RawXattrHeader::mut_from_prefix(bytes).map_err(|_| Error::from(Corrupt::XattrHeader))?;
            header.h_checksum.set(checksum);
        }
        Ok(true)
    })?;
    let sectors_per_block = 1 << (volume.geometry.block_bits - 9);
    inode.update_body(|body| {
        body.set_file_acl(0);
        let sectors = body.sectors(&volume.geometry).saturating_sub(sectors_per_block);
        body.set_sectors(&volume.geometry, sectors);
        Ok(())
    })?;
    if !shared {
        volume.buffers.forget(block);
        volume.free_blocks_of_file(block, 1)?;
    }
    Ok(())
}

/// Puts an inode that lost its last link at the head of the list.
pub fn add_orphan(inode: &Arc<Ext4Inode>) -> Result<()> {
    let mut orphans = inode.volume.orphans.lock();
    let next = orphans.last().map_or(0, |orphan| orphan.number);
    inode.volume.update_superblock(|raw| raw.s_last_orphan.set(inode.number));
    inode.update_body(|body| {
        body.raw_mut().i_dtime.set(next);
        Ok(())
    })?;
    orphans.push(inode.clone());
    Ok(())
}

fn remove_orphan(inode: &Arc<Ext4Inode>) -> Result<()> {
    let mut orphans = inode.volume.orphans.lock();
    let Some(position) = orphans.iter().position(|orphan| Arc::ptr_eq(orphan, inode)) else {
        return Ok(());
    };
    let next = position.checked_sub(1).map_or(0, |before| orphans[before].number);
    match orphans.get(position + 1) {
        Some(newer) => newer.update_body(|body| {
            body.raw_mut().i_dtime.set(next);
            Ok(())
        })?,
        None => inode.volume.update_superblock(|raw| raw.s_last_orphan.set(next)),
    }
    orphans.remove(position);
    Ok(())
}

/// Frees what an earlier mount left unlinked, and finishes its truncations. For a mount with writing.
pub fn recover_orphans(volume: &Arc<Volume>, now: Timestamp) -> Result<()> {
    let mut next = volume.update_superblock(|raw| raw.s_last_orphan.get());
    let mut numbers: Vec<u32> = Vec::new();
    while next != 0 {
        if numbers.contains(&next) || next < volume.geometry.first_inode || !volume.inode_in_use(next)? {
            return Err(Corrupt::OrphanList.into());
        }
        numbers.push(next);
        let body = volume.read_body(next)?;
        let linked = body.raw().i_links_count.get() != 0;
        next = body.raw().i_dtime.get();
        if linked && next > volume.geometry.inodes_count {
            return Err(Corrupt::OrphanList.into());
        }
    }
    for &number in &numbers {
        let mut body = volume.read_body(number)?;
        body.raw_mut().i_dtime.set(0);
        let linked = body.raw().i_links_count.get() != 0;
        let inode = Ext4Inode::new(volume.clone(), number, body)?;
        if linked {
            inode.cut_blocks(inode.disk_size())?;
            inode.update_body(|_| Ok(()))?;
        } else {
            destroy(&inode, now.seconds)?;
        }
    }
    volume.update_superblock(|raw| raw.s_last_orphan.set(0));
    Ok(())
}
