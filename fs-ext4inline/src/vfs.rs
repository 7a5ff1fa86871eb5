//! The server's traits on top of this crate's inodes: types and errors are translated here, and the
//! server's copies of size and attributes follow what happened on the disk.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use platform::block::BlockDevice;
use platform::thread::realtime_ns;
use platform::{Mutant, mutant};
use vfs_server::error::Result as VfsResult;
use vfs_server::fs::*;

use crate::dir::{self, Walk};
use crate::error::{Error, Result};
use crate::extent::tree::BLOCKS_END;
use crate::format::inode::EXT4_ROOT_INO;
use crate::inode::Ext4Inode;
use crate::inode::body::{self, FileType, InodeBody, TimeField};
use crate::inode::lifetime::{self, Birth};
use crate::inode::map::RunState;
use crate::namei;
use crate::options::Options;
use crate::protocol::write::{Begun, Destination, InlineOutcome};
use crate::protocol::{Conversion, FaultLock, Steps, WriteEnd};
use crate::volume::Volume;

/// A mounted ext4 file system, as the server sees it.
struct Ext4 {
    volume: Arc<Volume>,
    options: Options,
}

/// An inode, as the server sees it.
struct Operations {
    inode: Arc<Ext4Inode>,
    options: Options,
}

/// Mounts the ext4 file system on `device`. With [`Access::ReadWrite`] the disk is marked as in use.
pub fn mount(device: Arc<dyn BlockDevice>, access: Access, options: Options) -> VfsResult<Arc<dyn FileSystem>> {
    let volume = Arc::new(Volume::open(device, access)?);
    volume.check_root()?;
    if access == Access::ReadWrite {
        volume.mark_in_use(now().seconds)?;
        lifetime::recover_orphans(&volume, to_time(now()))?;
    }
    Ok(Arc::new(Ext4 { volume, options }))
}

fn now() -> Timestamp {
    let now = realtime_ns();
    Timestamp { seconds: (now / 1_000_000_000) as i64, nanoseconds: (now % 1_000_000_000) as u32 }
}

fn to_kind(kind: FileType) -> FileKind {
    match kind {
        FileType::Regular => FileKind::Regular,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        FileType::CharDevice => FileKind::CharDevice,
        FileType::BlockDevice => FileKind::BlockDevice,
        FileType::Fifo => FileKind::Fifo,
        FileType::Socket => FileKind::Socket,
    }
}

fn from_kind(kind: FileKind) -> FileType {
    match kind {
        FileKind::Regular => FileType::Regular,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::CharDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
        FileKind::Fifo => FileType::Fifo,
        FileKind::Socket => FileType::Socket,
    }
}

fn from_time(time: body::Timestamp) -> Timestamp {
    Timestamp { seconds: time.seconds, nanoseconds: time.nanoseconds }
}

fn to_time(time: Timestamp) -> body::Timestamp {
    body::Timestamp { seconds: time.seconds, nanoseconds: time.nanoseconds.min(999_999_999) }
}

fn birth(kind: FileType, permissions: u16, who: &Credentials) -> Birth {
    Birth { kind, permissions, uid: who.uid, gid: who.gid, now: to_time(who.now) }
}

fn new_inode(inode: Arc<Ext4Inode>, options: Options) -> NewInode {
    let (attributes, size, generation) = inode.with_body(|body| {
        let (uid, gid) = body.owner();
        let attributes = Attributes {
            permissions: body.raw().i_mode.get() & 0o7777,
            uid,
            gid,
            nlink: body.raw().i_links_count.get() as u32,
            atime: from_time(body.time(TimeField::Access)),
            mtime: from_time(body.time(TimeField::Modify)),
            ctime: from_time(body.time(TimeField::Change)),
            crtime: body.creation_time().map(from_time),
            sectors: body.sectors(&inode.volume.geometry),
        };
        (attributes, body.file_size(), body.raw().i_generation.get())
    });
    NewInode {
        ino: inode.number as Ino,
        generation,
        kind: to_kind(inode.kind),
        attributes,
        size,
        operations: Box::new(Operations { inode, options }),
    }
}

/// This crate's part of an inode of the server.
fn ours(inode: &Inode) -> Result<&Arc<Ext4Inode>> {
    inode.private::<Operations>().map(|operations| &operations.inode).ok_or(Error::Invalid)
}

/// Brings link count and sectors into the server's copy; of what only operations on names change also
/// the times, and a directory's size.
fn refresh(inode: &Inode) -> Result<()> {
    let part = ours(inode)?;
    let (size, fresh) = part.with_body(|body| {
        let fresh = Attributes {
            nlink: body.raw().i_links_count.get() as u32,
            mtime: from_time(body.time(TimeField::Modify)),
            ctime: from_time(body.time(TimeField::Change)),
            sectors: body.sectors(&part.volume.geometry),
            ..Attributes::default()
        };
        (body.file_size(), fresh)
    });
    let is_directory = part.kind == FileType::Directory;
    inode.update_attributes(|attributes| {
        attributes.nlink = fresh.nlink;
        attributes.sectors = fresh.sectors;
        attributes.ctime = attributes.ctime.max(fresh.ctime);
        if is_directory {
            attributes.mtime = fresh.mtime;
        }
    });
    if is_directory {
        inode.set_size(size);
    }
    Ok(())
}

fn refresh_sectors(inode: &Inode) -> Result<()> {
    let sectors = ours(inode)?.sectors();
    inode.update_attributes(|attributes| attributes.sectors = sectors);
    Ok(())
}

impl FileSystem for Ext4 {
    fn super_block(&self) -> SuperBlock {
        SuperBlock {
            name: "ext4",
            block_size: self.volume.geometry.block_size() as u32,
            root: EXT4_ROOT_INO as Ino,
            access: if self.volume.is_writable() { Access::ReadWrite } else { Access::ReadOnly },
            max_file_size: BLOCKS_END << self.volume.geometry.block_bits,
        }
    }

    fn read_inode(&self, ino: Ino) -> VfsResult<NewInode> {
        let number = u32::try_from(ino).map_err(|_| Error::Corrupt(crate::Corrupt::InodeNumber))?;
        Ok(new_inode(Ext4Inode::load(self.volume.clone(), number)?, self.options))
    }

    fn statfs(&self) -> VfsResult<StatFs> {
        Ok(StatFs {
            blocks: self.volume.geometry.blocks_count,
            free: self.volume.free_block_count(),
            available: self.volume.available_blocks(),
            inodes: self.volume.geometry.inodes_count as u64,
            free_inodes: self.volume.free_inode_count(),
        })
    }

    fn sync(&self, mode: SyncMode) -> VfsResult<()> {
        match mode {
            SyncMode::Start => Ok(self.volume.start_sync(now().seconds)?),
            SyncMode::Wait => Ok(self.volume.sync(now().seconds)?),
        }
    }

    fn unmount(&self) -> VfsResult<()> {
        match self.volume.is_writable() {
            true => Ok(self.volume.mark_clean(now().seconds)?),
            false => Ok(()),
        }
    }

    fn options(&self) -> String {
        format!("inline={}\n", self.options.inline.name())
    }
}

fn to_target(destination: Destination) -> WriteTarget {
    match destination {
        Destination::Blocks => WriteTarget::Blocks,
        Destination::Inline => WriteTarget::Inline,
    }
}

fn from_begun(begun: Begun) -> WriteBegun {
    WriteBegun { target: to_target(begun.destination), layout: begun.layout }
}

fn to_begun(begun: WriteBegun) -> Begun {
    let destination = match begun.target {
        WriteTarget::Blocks => Destination::Blocks,
        WriteTarget::Inline => Destination::Inline,
    };
    Begun { destination, layout: begun.layout }
}

impl Operations {
    fn steps(&self) -> Steps {
        let steps = self.options.inline.steps();
        if mutant(Mutant::InlineNullHandle) {
            return Steps { conversion: Conversion::DestroyFirst, write_end: WriteEnd::LooksAgain, ..steps };
        }
        if mutant(Mutant::InlineDestroyedFirst) {
            return Steps { conversion: Conversion::DestroyFirst, ..steps };
        }
        steps
    }

    fn made(&self, directory: &Inode, made: Result<Arc<Ext4Inode>>) -> VfsResult<NewInode> {
        // Even a failed attempt may have made the directory bigger.
        refresh(directory)?;
        Ok(new_inode(made?, self.options))
    }
}

impl InodeOperations for Operations {
    // --- directories ---------------------------------------------------------------------------

    fn lookup(&self, _directory: &Inode, name: &[u8]) -> VfsResult<Ino> {
        let target = dir::lookup(&self.inode, name)?.ok_or(Error::NotFound)?;
        Ok(target.inode as Ino)
    }

    fn parent(&self, _directory: &Inode) -> VfsResult<Ino> {
        Ok(dir::parent(&self.inode)? as Ino)
    }

    fn readdir(
        &self,
        _directory: &Inode,
        from: u64,
        emit: &mut dyn FnMut(DirectoryEntry<'_>) -> ReaddirControl,
    ) -> VfsResult<()> {
        Ok(dir::for_each(&self.inode, from, |entry| {
            let dir::Entry { inode, kind, name, next } = entry;
            match emit(DirectoryEntry { ino: inode as Ino, name, kind: kind.map(to_kind), next }) {
                ReaddirControl::Continue => Walk::On,
                ReaddirControl::Full => Walk::Stop,
            }
        })?)
    }

    fn create(
        &self,
        directory: &Inode,
        name: &[u8],
        kind: FileKind,
        permissions: u16,
        who: &Credentials,
    ) -> VfsResult<NewInode> {
        self.made(directory, namei::create(&self.inode, name, &birth(from_kind(kind), permissions, who)))
    }

    fn mkdir(&self, directory: &Inode, name: &[u8], permissions: u16, who: &Credentials) -> VfsResult<NewInode> {
        self.made(directory, namei::mkdir(&self.inode, name, &birth(FileType::Directory, permissions, who)))
    }

    fn symlink(&self, directory: &Inode, name: &[u8], target: &[u8], who: &Credentials) -> VfsResult<NewInode> {
        self.made(directory, namei::symlink(&self.inode, name, target, &birth(FileType::Symlink, 0o777, who)))
    }

    fn link(&self, directory: &Inode, name: &[u8], target: &Inode, who: &Credentials) -> VfsResult<()> {
        let done = namei::link(&self.inode, name, ours(target)?, to_time(who.now));
        refresh(directory)?;
        refresh(target)?;
        Ok(done?)
    }

    fn unlink(&self, directory: &Inode, name: &[u8], victim: &Inode, who: &Credentials) -> VfsResult<()> {
        let done = namei::unlink(&self.inode, name, ours(victim)?, to_time(who.now));
        refresh(directory)?;
        refresh(victim)?;
        Ok(done?)
    }

    fn rmdir(&self, directory: &Inode, name: &[u8], victim: &Inode, who: &Credentials) -> VfsResult<()> {
        let done = namei::rmdir(&self.inode, name, ours(victim)?, to_time(who.now));
        refresh(directory)?;
        refresh(victim)?;
        Ok(done?)
    }

    fn rename(&self, rename: &Rename<'_>, who: &Credentials) -> VfsResult<()> {
        let done = namei::rename(
            &namei::Rename {
                inode: ours(rename.inode)?,
                old_directory: ours(rename.old_directory)?,
                old_name: rename.old_name,
                new_directory: ours(rename.new_directory)?,
                new_name: rename.new_name,
                replaced: rename.replaced.map(ours).transpose()?,
            },
            to_time(who.now),
        );
        for inode in [rename.inode, rename.old_directory, rename.new_directory].into_iter().chain(rename.replaced) {
            refresh(inode)?;
        }
        Ok(done?)
    }

    fn readlink(&self, _inode: &Inode) -> VfsResult<Vec<u8>> {
        Ok(namei::readlink(&self.inode)?)
    }

    // --- attributes ------------------------------------------------------------------------------

    fn setattr(&self, inode: &Inode, change: &SetAttributes) -> VfsResult<()> {
        self.inode.volume.check_writable()?;
        let attributes = inode.update_attributes(|attributes| {
            attributes.permissions = change.permissions.unwrap_or(attributes.permissions) & 0o7777;
            attributes.uid = change.uid.unwrap_or(attributes.uid);
            attributes.gid = change.gid.unwrap_or(attributes.gid);
            attributes.atime = change.atime.unwrap_or(attributes.atime);
            attributes.mtime = change.mtime.unwrap_or(attributes.mtime);
            attributes.ctime = change.now;
            *attributes
        });
        Ok(self.inode.update_body(|body| {
            store_attributes(body, &attributes);
            Ok(())
        })?)
    }

    fn write_inode(&self, inode: &Inode) -> VfsResult<()> {
        if !self.inode.volume.is_writable() {
            return Ok(());
        }
        let attributes = inode.attributes();
        // Most inodes that are let go of were only looked at: their table block stays clean.
        if self.inode.with_body(|body| has_attributes(body, &attributes)) {
            return Ok(());
        }
        Ok(self.inode.update_body(|body| {
            store_attributes(body, &attributes);
            Ok(())
        })?)
    }

    fn evict(&self, inode: &Inode) -> VfsResult<()> {
        if !self.inode.volume.is_writable() {
            return Ok(());
        }
        if self.inode.with_body(|body| body.raw().i_links_count.get()) == 0 {
            return Ok(lifetime::destroy(&self.inode, now().seconds)?);
        }
        self.inode.drop_promise();
        self.write_inode(inode)
    }

    // --- the address space -------------------------------------------------------------------------

    fn map_blocks(&self, _inode: &Inode, first: u64, max: u64) -> VfsResult<Mapping> {
        let (state, count) = self.inode.map_run(first, max)?;
        let state = match state {
            RunState::Hole => MappingState::Hole,
            RunState::Unwritten(device_block) => MappingState::Unwritten { device_block },
            RunState::Written(device_block) => MappingState::Written { device_block },
            RunState::Inline => MappingState::Inline,
        };
        Ok(Mapping { first, count, state })
    }

    fn read_inline(&self, _inode: &Inode) -> VfsResult<Vec<u8>> {
        Ok(self.inode.read_inline()?)
    }

    fn write_begin(&self, inode: &Inode, pos: u64, len: u64) -> VfsResult<WriteBegun> {
        let begun = self.inode.write_begin(self.steps(), inode.size(), pos, len);
        refresh_sectors(inode)?;
        Ok(from_begun(begun?))
    }

    fn write_settle(&self, inode: &Inode, pos: u64, len: u64, begun: WriteBegun) -> VfsResult<WriteTarget> {
        if self.steps().write_end == WriteEnd::ObeysGeneration {
            return Ok(begun.target);
        }
        let settled = self.inode.write_settle(self.steps(), pos, len, to_begun(begun));
        refresh_sectors(inode)?;
        Ok(to_target(settled?))
    }

    fn write_end_inline(
        &self,
        _inode: &Inode,
        pos: u64,
        bytes: &[u8],
        new_size: u64,
        begun: WriteBegun,
    ) -> VfsResult<InlineWritten> {
        Ok(match self.inode.write_end_inline(self.steps(), pos, bytes, new_size, to_begun(begun))? {
            InlineOutcome::Stored => InlineWritten::Stored,
            InlineOutcome::LayoutChanged => InlineWritten::Restart,
        })
    }

    fn prepare_mmap(&self, inode: &Inode) -> VfsResult<()> {
        if self.inode.kind != FileType::Regular || !self.inode.volume.is_writable() {
            return Ok(());
        }
        let done = self.inode.prepare_mapping(self.steps());
        refresh_sectors(inode)?;
        Ok(done?)
    }

    fn mkwrite_lock(&self) -> MkwriteLock {
        match self.steps().fault_lock {
            FaultLock::None => MkwriteLock::None,
            FaultLock::InodeLock => MkwriteLock::Inode,
        }
    }

    fn page_mkwrite(&self, inode: &Inode, pos: u64, len: u64) -> VfsResult<()> {
        let done = self.inode.page_mkwrite(self.steps(), pos, len);
        refresh_sectors(inode)?;
        Ok(done?)
    }

    fn blocks_written(&self, inode: &Inode, first: u64, count: u64, size: u64) -> VfsResult<()> {
        let done = self.inode.complete_write(first, count, inode.size_to_publish(size));
        refresh_sectors(inode)?;
        Ok(done?)
    }

    fn truncate(&self, inode: &Inode, new_size: u64, now: Timestamp) -> VfsResult<()> {
        let done = self.inode.set_length(new_size, to_time(now));
        refresh_sectors(inode)?;
        done?;
        inode.update_attributes(|attributes| {
            attributes.mtime = now;
            attributes.ctime = now;
        });
        Ok(())
    }

    fn fsync(&self, inode: &Inode, _data_only: bool) -> VfsResult<()> {
        self.write_inode(inode)?;
        // Without a journal, what is needed to reach the file is spread over the metadata: write it all.
        Ok(self.inode.volume.sync(now().seconds)?)
    }

    fn getxattr(&self, _inode: &Inode, name: &[u8]) -> VfsResult<Vec<u8>> {
        Ok(self.inode.attribute(name)?)
    }

    fn listxattr(&self, _inode: &Inode) -> VfsResult<Vec<Vec<u8>>> {
        Ok(self.inode.attribute_names()?)
    }
}

/// Whether the inode's bytes say the same as the server of what the server may change.
fn has_attributes(body: &InodeBody, attributes: &Attributes) -> bool {
    let mut changed = body.clone();
    store_attributes(&mut changed, attributes);
    changed.disk_bytes() == body.disk_bytes()
}

/// Brings what the server may change of the attributes into the inode's bytes.
fn store_attributes(body: &mut InodeBody, attributes: &Attributes) {
    let mode = body.raw().i_mode.get();
    body.raw_mut().i_mode.set(mode & !0o7777 | attributes.permissions & 0o7777);
    body.set_owner(attributes.uid, attributes.gid);
    body.set_time(TimeField::Access, to_time(attributes.atime));
    body.set_time(TimeField::Modify, to_time(attributes.mtime));
    body.set_time(TimeField::Change, to_time(attributes.ctime));
}
