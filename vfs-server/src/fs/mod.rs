//! What a file system implements, named after Linux's operation tables.
//!
//! Owns: the traits and the values that pass through them. Does not own: the generic code that
//! calls them (`inode`, `page_cache`, `file`, `writeback`), nor any file system's logic.
//!
//! A file system that uses the generic write path (ext4) never sees a folio: it says where blocks are
//! ([`InodeOperations::map_blocks`]), hands inline bytes over, and is told what was written. One with
//! a write path of its own (bcachefs) implements [`FileOperations`] over
//! [`Filemap`](crate::file::filemap::Filemap) and keeps state with each folio; its part is the last
//! section of [`InodeOperations`]. Neither sees a client.
//!
//! Which lock the caller holds, by operation (`inode` = the inode lock of the file or directory):
//!
//! | operation | inode lock | invalidate lock | folio locks |
//! |---|---|---|---|
//! | lookup, readdir, readlink | shared | - | - |
//! | create, mkdir, symlink, link, unlink, rmdir | exclusive on the directory (victim / target too) | - | - |
//! | rename | rename lock if two directories, both directories exclusive, victim exclusive | - | - |
//! | setattr | exclusive | - | - |
//! | truncate | exclusive | exclusive | - |
//! | write_begin | exclusive (or the write protocol's) | - | - |
//! | write_settle, write_end_inline | the same | - | the folio |
//! | prepare_mmap | exclusive | - | - |
//! | page_mkwrite | **none**, or exclusive ([`MkwriteLock`]) | shared | none (called before the folio is locked) |
//! | map_blocks(Read), read_inline | any or none | any | may hold the folio |
//! | blocks_written | none | none | none (an I/O completion thread) |
//! | write_iter, llseek | **none**: the file system's own protocol | - | - |
//! | folio_mkwrite | none | add | the folio |
//! | dirty_folio, invalidate_folio, writeback_begin | any | any | the folio |
//! | writeback_failed | none | none | none |
//! | write_inode, evict | none; nobody else uses the inode (evict) | - | - |

mod attributes;
pub mod raw_attributes;

pub use crate::file::iov_iter::BytesFrom;
pub use crate::inode::Inode;
pub use attributes::{Attributes, Credentials, FileKind, SetAttributes, Timestamp};

use crate::error::{Error, Result};
use crate::file::filemap::Filemap;
use crate::file::iov_iter::{IovIter, Kiocb, Written};
use crate::page_cache::{Folio, FolioPrivate, InvalidateLockKind, LockedFolio};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::any::Any;
use core::ops::Range;

/// An inode's number on its file system.
pub type Ino = u64;

/// What a store's fault takes before it asks the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MkwriteLock {
    /// No lock that a write holds: the write may wait for this fault.
    None,
    /// The inode lock. It deadlocks where a write waits for a fault with its locks held.
    Inode,
}

/// An inode as a file system gives it to the inode cache.
pub struct NewInode {
    /// Its number.
    pub ino: Ino,
    /// Distinguishes two files that had the same number.
    pub generation: u32,
    /// Its kind; never changes.
    pub kind: FileKind,
    /// Its attributes.
    pub attributes: Attributes,
    /// Its size in bytes.
    pub size: u64,
    /// The file system's own part.
    pub operations: Box<dyn InodeOperations>,
}

/// One name of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryEntry<'a> {
    /// Its inode.
    pub ino: Ino,
    /// The name's bytes: no `/`, no NUL, not empty. `.` and `..` are entries too.
    pub name: &'a [u8],
    /// The inode's kind, where the directory tells.
    pub kind: Option<FileKind>,
    /// Where reading goes on after this entry.
    pub next: u64,
}

/// Whether `readdir` shall give another entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReaddirControl {
    /// Go on.
    Continue,
    /// This one did not fit: stop, it is not taken.
    Full,
}

/// The first position that [`emit_dots`] leaves free.
pub const AFTER_DOTS: u64 = 2;

/// Gives the entries `.` and `..`, which every directory has at the positions 0 and 1, if they are at `from` or behind
/// it: for a `readdir` whose format does not keep them (Linux: `dir_emit_dots`). `Full`: the reader wants no more.
pub fn emit_dots(
    own: Ino,
    parent: Ino,
    from: u64,
    emit: &mut dyn FnMut(DirectoryEntry<'_>) -> ReaddirControl,
) -> ReaddirControl {
    let kind = Some(FileKind::Directory);
    for (position, ino, name) in [(0, own, &b"."[..]), (1, parent, b"..")] {
        let entry = DirectoryEntry { ino, name, kind, next: position + 1 };
        if position >= from && emit(entry) == ReaddirControl::Full {
            return ReaddirControl::Full;
        }
    }
    ReaddirControl::Continue
}

/// What a run of blocks of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MappingState {
    /// No block: reads as zeros.
    Hole,
    /// Allocated and never written: reads as zeros, is written to this device block.
    Unwritten {
        /// The first block on the device, in blocks of the file system.
        device_block: u64,
    },
    /// Data.
    Written {
        /// The first block on the device, in blocks of the file system.
        device_block: u64,
    },
    /// The contents live in the inode: [`InodeOperations::read_inline`] has them.
    Inline,
}

/// A run of blocks of a file with one state (Linux's `struct iomap`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The first block of the file.
    pub first: u64,
    /// Blocks (at least 1; as many as asked at most).
    pub count: u64,
    /// What they are.
    pub state: MappingState,
}

/// Where a write goes: `write_begin` decides, and the decision travels with the write. Only a file
/// system that is to show what happens otherwise takes it anew, in `write_settle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteTarget {
    /// Blocks, which are allocated (written or unwritten) for the whole range.
    Blocks,
    /// The inode itself: the folio takes the bytes and stays clean, `write_end_inline` stores them.
    Inline,
}

/// `write_begin`'s answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteBegun {
    /// Where the bytes go.
    pub target: WriteTarget,
    /// The inode's layout generation at the decision: an inline conversion changes it, and a
    /// `write_end` that finds another one starts the write over.
    pub layout: u64,
}

/// What `write_end_inline` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InlineWritten {
    /// The bytes are in the inode.
    Stored,
    /// The layout changed since `write_begin`: nothing was stored, start the write over.
    Restart,
}

/// Whether the disk may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It stays as it is: nothing is written, not even the time of the mount.
    ReadOnly,
    /// It is written; what a crash left behind is tidied up first, where the file system can do that.
    ReadWrite,
}

/// A mounted file system's facts, of Linux's `struct super_block`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuperBlock {
    /// "ext4".
    pub name: &'static str,
    /// Bytes of a block: 512 to 4096, a power of two.
    pub block_size: u32,
    /// The root directory.
    pub root: Ino,
    /// Whether it may be written.
    pub access: Access,
    /// Largest file, in bytes.
    pub max_file_size: u64,
}

/// How full a file system is, in blocks of [`FileSystem::block_size`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct StatFs {
    pub blocks: u64,
    pub free: u64,
    /// Free for those who are not root.
    pub available: u64,
    pub inodes: u64,
    pub free_inodes: u64,
}

/// Whether a file system waits for what it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMode {
    /// Start writing.
    Start,
    /// Everything is durable on return: written and flushed.
    Wait,
}

/// A mounted file system: Linux's `super_operations`.
///
/// On one that is [`FileSystem::read_only`] nothing is called that would change it, of this and of [`InodeOperations`].
pub trait FileSystem: Send + Sync {
    /// What there is to know of it.
    fn super_block(&self) -> SuperBlock;
    /// "ext4".
    fn name(&self) -> &'static str {
        self.super_block().name
    }
    /// Bytes of a block.
    fn block_size(&self) -> u32 {
        self.super_block().block_size
    }
    /// The root directory.
    fn root(&self) -> Ino {
        self.super_block().root
    }
    /// Whether it was mounted without the right to write.
    fn read_only(&self) -> bool {
        self.super_block().access == Access::ReadOnly
    }
    /// Largest file, in bytes.
    fn max_file_size(&self) -> u64 {
        self.super_block().max_file_size
    }
    /// The lock between those who add folios to its files and those who take contents away.
    fn invalidate_lock(&self) -> InvalidateLockKind {
        InvalidateLockKind::default()
    }
    /// Reads an inode from the disk (Linux: `iget`). The inode cache calls it once for an inode in
    /// use. An inode that is free on the disk is [`Error::Stale`](crate::Error::Stale).
    fn read_inode(&self, ino: Ino) -> Result<NewInode>;
    /// Free space.
    fn statfs(&self) -> Result<StatFs>;
    /// Writes all metadata of the file system. Data of files was written before.
    fn sync(&self, mode: SyncMode) -> Result<()>;
    /// Everything was written back and synced, no inode is in use: marks the disk clean.
    fn unmount(&self) -> Result<()> {
        Ok(())
    }
    /// The mount options in force, `name=value` a line.
    fn options(&self) -> String {
        String::new()
    }
}

/// The file system's part of an inode: Linux's `inode_operations` and `address_space_operations`.
///
/// `inode` is always the inode that this part belongs to.
pub trait InodeOperations: Any + Send + Sync {
    // --- directories -------------------------------------------------------------------------

    /// The inode that `name` stands for; `NotFound`. Not asked for `.` or `..` by path walks
    /// (they go through [`InodeOperations::parent`]).
    fn lookup(&self, directory: &Inode, name: &[u8]) -> Result<Ino>;
    /// The parent of a directory, as its `..` says.
    fn parent(&self, directory: &Inode) -> Result<Ino>;
    /// Calls `emit` for the entries from position `from` on (0: the start), in an order that stays
    /// the same while the directory does, until it is `Full` or there is no more.
    fn readdir(
        &self,
        directory: &Inode,
        from: u64,
        emit: &mut dyn FnMut(DirectoryEntry<'_>) -> ReaddirControl,
    ) -> Result<()>;
    /// Makes a regular file, fifo or socket. `Exists` if the name does.
    fn create(
        &self,
        directory: &Inode,
        name: &[u8],
        kind: FileKind,
        permissions: u16,
        who: &Credentials,
    ) -> Result<NewInode>;
    /// Makes a directory. Without a method of its own `create` is called for directories too.
    fn mkdir(&self, directory: &Inode, name: &[u8], permissions: u16, who: &Credentials) -> Result<NewInode> {
        self.create(directory, name, FileKind::Directory, permissions, who)
    }
    /// Makes a symbolic link. `NotPermitted` where there are none.
    fn symlink(&self, _directory: &Inode, _name: &[u8], _target: &[u8], _who: &Credentials) -> Result<NewInode> {
        Err(Error::NotPermitted)
    }
    /// Another name for `target` (no directory); counts its links. `NotPermitted` where an inode has one name only.
    fn link(&self, _directory: &Inode, _name: &[u8], _target: &Inode, _who: &Credentials) -> Result<()> {
        Err(Error::NotPermitted)
    }
    /// Removes the name of `victim` (no directory); with the last link it becomes an orphan until
    /// [`InodeOperations::evict`].
    fn unlink(&self, directory: &Inode, name: &[u8], victim: &Inode, who: &Credentials) -> Result<()>;
    /// Removes an empty directory; `NotEmpty`. Without a method of its own `unlink` is called for directories too.
    fn rmdir(&self, directory: &Inode, name: &[u8], victim: &Inode, who: &Credentials) -> Result<()> {
        self.unlink(directory, name, victim, who)
    }
    /// Moves a name; `replaced` is what the new name stood for (same kind rules checked by the
    /// caller, emptiness of a directory by the file system).
    fn rename(&self, rename: &Rename<'_>, who: &Credentials) -> Result<()>;
    /// Where a symbolic link points.
    fn readlink(&self, _inode: &Inode) -> Result<Vec<u8>> {
        Err(Error::Invalid("no symbolic link"))
    }

    // --- attributes --------------------------------------------------------------------------

    /// Changes attributes, here (through [`Inode::update_attributes`]) and on the disk.
    fn setattr(&self, inode: &Inode, change: &SetAttributes) -> Result<()> {
        inode.update_attributes(|attributes| attributes.apply(change));
        self.write_inode(inode)
    }
    /// Writes the inode's size, times and counts to its buffer (Linux: `write_inode`).
    fn write_inode(&self, inode: &Inode) -> Result<()>;
    /// The last user is gone. With no links left its blocks and the inode itself are freed.
    fn evict(&self, inode: &Inode) -> Result<()>;

    // --- the address space ---------------------------------------------------------------------

    /// What the blocks from `first` on are, at most `max` of them; never allocates.
    fn map_blocks(&self, inode: &Inode, first: u64, max: u64) -> Result<Mapping>;
    /// The contents of an inline file (at most [`Inode::size`] bytes), when
    /// [`InodeOperations::map_blocks`] says `Inline`; `Stale` if it is inline no more (ask again).
    fn read_inline(&self, _inode: &Inode) -> Result<Vec<u8>> {
        Err(Error::Stale)
    }
    /// A write of [pos, pos + len) is going to happen (len > 0): decides where it goes, and
    /// allocates (unwritten) what is missing, all of it or an error. Converts an inline file that
    /// the write would overflow: its old contents are then in folio 0 by
    /// [`Inode::populate_inline`] or read from the block. Where no file is inline a write needs what a store
    /// through a mapping needs.
    fn write_begin(&self, inode: &Inode, pos: u64, len: u64) -> Result<WriteBegun> {
        self.page_mkwrite(inode, pos, len)?;
        Ok(WriteBegun { target: WriteTarget::Blocks, layout: 0 })
    }
    /// The folio of [pos, pos + len) is locked and has its contents, the bytes are about to be stored:
    /// the last word on where they go (Linux takes it in `write_end`). Whoever obeys `write_begin`
    /// says what it said. An error ends the write before anything of this piece is stored.
    fn write_settle(&self, _inode: &Inode, _pos: u64, _len: u64, begun: WriteBegun) -> Result<WriteTarget> {
        Ok(begun.target)
    }
    /// Stores bytes of a write that `write_settle` sent inline; `new_size` is the size that the file
    /// has after it (at least the present one).
    fn write_end_inline(
        &self,
        _inode: &Inode,
        _pos: u64,
        _bytes: &[u8],
        _new_size: u64,
        _begun: WriteBegun,
    ) -> Result<InlineWritten> {
        Err(Error::NotSupported("inline data"))
    }
    /// A shared mapping that may become writable is being made (protocol `mmap-time` converts now).
    fn prepare_mmap(&self, _inode: &Inode) -> Result<()> {
        Ok(())
    }
    /// What [`InodeOperations::page_mkwrite`] is called under, beside the invalidate lock.
    fn mkwrite_lock(&self) -> MkwriteLock {
        MkwriteLock::None
    }
    /// A page of a shared mapping is about to become dirty: [pos, pos + len) lies within the file.
    /// Allocates what is missing. A client gets the error of the access. Its folio is there with its
    /// contents and stays, as in Linux.
    fn page_mkwrite(&self, inode: &Inode, pos: u64, len: u64) -> Result<()>;
    /// Data of `count` blocks from `first` on has reached the disk: unwritten ones become written,
    /// and the size on the disk grows to `size` if the write got that far (never past [`Inode::size`]).
    fn blocks_written(&self, inode: &Inode, first: u64, count: u64, size: u64) -> Result<()>;
    /// Cuts or extends to `new_size`: frees blocks past it, stores the size. The caller has zeroed
    /// the tail of the last block in the page cache and dropped the folios past it.
    fn truncate(&self, inode: &Inode, new_size: u64, now: Timestamp) -> Result<()>;
    /// After the file's data is on the disk: writes the metadata that is needed to reach it (all of
    /// the inode unless `data_only`), durable on return.
    fn fsync(&self, inode: &Inode, data_only: bool) -> Result<()>;
    /// An extended attribute's value (name with its prefix, "user.x").
    fn getxattr(&self, _inode: &Inode, _name: &[u8]) -> Result<Vec<u8>> {
        Err(Error::NoData)
    }
    /// The names of all extended attributes, with their prefixes.
    fn listxattr(&self, _inode: &Inode) -> Result<Vec<Vec<u8>>> {
        Ok(Vec::new())
    }

    // --- a file system with a write path of its own --------------------------------------------

    /// What it does by itself instead of the generic code.
    fn file_operations(&self) -> Option<&dyn FileOperations> {
        None
    }
    /// What it keeps of a folio that is being added.
    fn folio_private(&self) -> Option<FolioPrivate> {
        None
    }
    /// A copy of what it keeps of a locked folio that is about to move to other frames; `None`: it keeps
    /// nothing, or the folio must stay.
    fn copy_folio_private(&self, _folio: &LockedFolio) -> Option<FolioPrivate> {
        None
    }
    /// As [`InodeOperations::page_mkwrite`], under the folio lock: `bytes` of the folio are about to
    /// become dirty (of a file system that starts its transactions under folio locks).
    fn folio_mkwrite(&self, _inode: &Inode, _folio: &LockedFolio, _bytes: Range<usize>) -> Result<()> {
        Ok(())
    }
    /// Blocks of a folio became dirty.
    fn dirty_folio(&self, _inode: &Inode, _folio: &LockedFolio, _blocks: u64) {}
    /// The contents of blocks of a folio are void: they lie past the end, or the folio goes.
    fn invalidate_folio(&self, _inode: &Inode, _folio: &LockedFolio, _blocks: u64) {}
    /// Dirty blocks of a folio are going to be written: where to. May answer for the first of them only.
    fn writeback_begin(&self, inode: &Inode, folio: &LockedFolio, blocks: Range<u32>) -> Result<WritebackPlace> {
        let first = folio.first_block() + u64::from(blocks.start);
        let mapping = self.map_blocks(inode, first, blocks.len() as u64)?;
        match mapping.state {
            MappingState::Written { device_block } | MappingState::Unwritten { device_block } => {
                Ok(WritebackPlace::Device { device_block, count: mapping.count })
            }
            _ => Err(Error::Corrupt("a dirty block without a place on the disk".into())),
        }
    }
    /// Blocks of a folio under writeback could not be written and are dirty again.
    fn writeback_failed(&self, _inode: &Inode, _folio: &Folio, _blocks: u64) {}
}

/// Where dirty blocks go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WritebackPlace {
    /// To the device.
    Device {
        /// The first block on the device, in blocks of the file system.
        device_block: u64,
        /// Blocks for which that holds, at least 1.
        count: u64,
    },
    /// Nowhere: the file system has nothing to write there.
    Nothing {
        /// Blocks for which that holds, at least 1.
        count: u64,
    },
}

/// What a seek looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeekWhat {
    /// The next byte that is not data.
    Hole,
    /// The next byte that is.
    Data,
}

/// What a file system does by itself with open files: Linux's `file_operations`.
pub trait FileOperations: Send + Sync {
    /// Writes bytes of `from` at `iocb.position`, or at the end of the file; takes what locks it
    /// needs. How many were written and why no more: the caller, with no lock held, brings the
    /// client's buffer in or waits for memory, and calls again for the rest.
    fn write_iter(&self, file: &Filemap<'_>, iocb: &mut Kiocb, from: &mut IovIter<'_>) -> Written;
    /// Where the bytes shall be when `write_iter` is called.
    fn bytes(&self) -> BytesFrom;
    /// The first hole or data at or after `from`.
    fn llseek(&self, file: &Filemap<'_>, from: u64, what: SeekWhat) -> Result<u64>;
}

/// The arguments of [`InodeOperations::rename`], called on `old_directory`'s operations.
#[allow(missing_docs)]
pub struct Rename<'a> {
    pub old_directory: &'a Inode,
    pub old_name: &'a [u8],
    pub inode: &'a Inode,
    /// May be the same as `old_directory`.
    pub new_directory: &'a Inode,
    pub new_name: &'a [u8],
    pub replaced: Option<&'a Inode>,
}
