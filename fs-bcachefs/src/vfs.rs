//! The server's traits on top of a volume.

use crate::error::Error as OwnError;
use crate::extents::{ExtentState, SECTOR_SIZE};
use crate::options::{Options, VolumeKind};
use crate::sectors::SectorStates;
use crate::simple_extents::SimpleExtents;
use crate::volume::{Body, Names, Nodes, ROOT, Volume};
use crate::{fault, seek, write, writeback};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use platform::block::BlockDevice;
use vfs_server::error::{Error, Result};
use vfs_server::file::filemap::Filemap;
use vfs_server::file::iov_iter::{IovIter, Kiocb, Written};
use vfs_server::fs::*;
use vfs_server::page_cache::{Folio, FolioPrivate, InvalidateLockKind, LockedFolio};

/// A mounted volume, as the server sees it.
struct Bcachefs {
    volume: Arc<Volume>,
}

/// An inode, as the server sees it.
struct Operations {
    volume: Arc<Volume>,
    ino: Ino,
}

/// Mounts a volume on `device`. Only scratch volumes can be mounted yet: whatever the device holds is
/// written over, and so that has to be said ([`VolumeKind::Scratch`]).
pub fn mount(device: Arc<dyn BlockDevice>, options: Options) -> Result<Arc<dyn FileSystem>> {
    if options.volume != VolumeKind::Scratch {
        return Err(OwnError::Unsupported("the disk format of bcachefs (volume=scratch overwrites the disk)").into());
    }
    if device.read_only() {
        return Err(Error::ReadOnly);
    }
    let sectors = device.sectors() * platform::block::SECTOR_SIZE / SECTOR_SIZE;
    let volume = Volume::new(Box::new(SimpleExtents::new(sectors)), options);
    Ok(Arc::new(Bcachefs { volume }))
}

impl FileSystem for Bcachefs {
    fn super_block(&self) -> SuperBlock {
        SuperBlock {
            name: "bcachefs",
            block_size: SECTOR_SIZE as u32,
            root: ROOT,
            access: Access::ReadWrite,
            max_file_size: 1 << 60,
        }
    }

    fn invalidate_lock(&self) -> InvalidateLockKind {
        InvalidateLockKind::TwoState
    }

    fn read_inode(&self, ino: Ino) -> Result<NewInode> {
        let sectors = self.volume.extents.sectors(ino);
        new_inode(&self.volume, &self.volume.nodes(), ino, sectors)
    }

    fn statfs(&self) -> Result<StatFs> {
        let space = self.volume.extents.space();
        let inodes = self.volume.nodes().count();
        let free_inodes = space.free;
        Ok(StatFs {
            blocks: space.total,
            free: space.free,
            available: space.free,
            inodes: inodes + free_inodes,
            free_inodes,
        })
    }

    fn sync(&self, _mode: SyncMode) -> Result<()> {
        Ok(())
    }

    fn unmount(&self) -> Result<()> {
        Ok(self.volume.extents.check()?)
    }

    fn options(&self) -> String {
        let Options { write, folios_at_once, volume } = self.volume.options;
        let volume = match volume {
            VolumeKind::Disk => "disk",
            VolumeKind::Scratch => "scratch",
        };
        format!("write={}\nfolios={folios_at_once}\nvolume={volume}\n", write.name())
    }
}

fn new_inode(volume: &Arc<Volume>, nodes: &Nodes, ino: Ino, sectors: u64) -> Result<NewInode> {
    let node = nodes.get(ino)?;
    let attributes = Attributes { sectors, ..node.attributes };
    let operations = Box::new(Operations { volume: volume.clone(), ino });
    Ok(NewInode { ino, generation: 0, kind: node.kind, attributes, size: node.size, operations })
}

impl Operations {
    fn make(
        &self,
        directory: &Inode,
        name: &[u8],
        kind: FileKind,
        permissions: u16,
        who: &Credentials,
        body: Body,
    ) -> Result<NewInode> {
        let mut nodes = self.volume.nodes();
        let ino = nodes.make(self.ino, name, kind, permissions, who, body)?;
        refresh(&nodes, directory)?;
        new_inode(&self.volume, &nodes, ino, 0)
    }

    fn remove(&self, directory: &Inode, name: &[u8], victim: &Inode, who: &Credentials) -> Result<()> {
        let mut nodes = self.volume.nodes();
        nodes.remove(self.ino, name, victim.ino, who.now)?;
        refresh(&nodes, directory)?;
        refresh(&nodes, victim)
    }

    fn refresh_sectors(&self, inode: &Inode) {
        let sectors = self.volume.extents.sectors(self.ino);
        inode.update_attributes(|attributes| attributes.sectors = sectors);
    }
}

/// Brings what changes with names into the server's copy.
fn refresh(nodes: &Nodes, inode: &Inode) -> Result<()> {
    let fresh = nodes.get(inode.ino)?.attributes;
    inode.update_attributes(|attributes| {
        attributes.nlink = fresh.nlink;
        attributes.ctime = attributes.ctime.max(fresh.ctime);
        if inode.kind == FileKind::Directory {
            attributes.mtime = fresh.mtime;
        }
    });
    Ok(())
}

impl InodeOperations for Operations {
    // --- directories ---------------------------------------------------------------------------

    fn lookup(&self, _directory: &Inode, name: &[u8]) -> Result<Ino> {
        self.volume.nodes().names(self.ino)?.find(name).ok_or(Error::NotFound)
    }

    fn parent(&self, _directory: &Inode) -> Result<Ino> {
        Ok(self.volume.nodes().names(self.ino)?.parent())
    }

    fn readdir(
        &self,
        _directory: &Inode,
        mut from: u64,
        emit: &mut dyn FnMut(DirectoryEntry<'_>) -> ReaddirControl,
    ) -> Result<()> {
        let nodes = self.volume.nodes();
        let names = nodes.names(self.ino)?;
        while let Some(entry) = names.at(self.ino, from) {
            from = entry.next;
            let kind = nodes.get(entry.ino).ok().map(|node| node.kind);
            let entry = DirectoryEntry { ino: entry.ino, name: &entry.name, kind, next: entry.next };
            if emit(entry) == ReaddirControl::Full {
                break;
            }
        }
        Ok(())
    }

    fn create(
        &self,
        directory: &Inode,
        name: &[u8],
        kind: FileKind,
        permissions: u16,
        who: &Credentials,
    ) -> Result<NewInode> {
        self.make(directory, name, kind, permissions, who, Body::File)
    }

    fn mkdir(&self, directory: &Inode, name: &[u8], permissions: u16, who: &Credentials) -> Result<NewInode> {
        let body = Body::Directory(Names::new(self.ino));
        self.make(directory, name, FileKind::Directory, permissions, who, body)
    }

    fn symlink(&self, directory: &Inode, name: &[u8], target: &[u8], who: &Credentials) -> Result<NewInode> {
        self.make(directory, name, FileKind::Symlink, 0o777, who, Body::Link(target.to_vec()))
    }

    fn link(&self, directory: &Inode, name: &[u8], target: &Inode, who: &Credentials) -> Result<()> {
        let mut nodes = self.volume.nodes();
        nodes.link(self.ino, name, target.ino, who.now)?;
        refresh(&nodes, directory)?;
        refresh(&nodes, target)
    }

    fn unlink(&self, directory: &Inode, name: &[u8], victim: &Inode, who: &Credentials) -> Result<()> {
        self.remove(directory, name, victim, who)
    }

    fn rmdir(&self, directory: &Inode, name: &[u8], victim: &Inode, who: &Credentials) -> Result<()> {
        self.remove(directory, name, victim, who)
    }

    fn rename(&self, rename: &Rename<'_>, who: &Credentials) -> Result<()> {
        let mut nodes = self.volume.nodes();
        let from = (rename.old_directory.ino, rename.old_name);
        let to = (rename.new_directory.ino, rename.new_name);
        nodes.rename(from, to, rename.inode.ino, rename.replaced.map(|replaced| replaced.ino), who.now)?;
        for inode in [rename.inode, rename.old_directory, rename.new_directory].into_iter().chain(rename.replaced) {
            refresh(&nodes, inode)?;
        }
        Ok(())
    }

    fn readlink(&self, _inode: &Inode) -> Result<Vec<u8>> {
        match &self.volume.nodes().get(self.ino)?.body {
            Body::Link(target) => Ok(target.clone()),
            _ => Err(Error::Invalid("not a symbolic link")),
        }
    }

    // --- attributes ------------------------------------------------------------------------------

    fn write_inode(&self, inode: &Inode) -> Result<()> {
        let attributes = inode.attributes();
        let mut nodes = self.volume.nodes();
        let node = nodes.get_mut(self.ino)?;
        // Link counts change with names, under the nodes' own lock.
        node.attributes = Attributes { nlink: node.attributes.nlink, ..attributes };
        Ok(())
    }

    fn evict(&self, inode: &Inode) -> Result<()> {
        if inode.attributes().nlink > 0 {
            return self.write_inode(inode);
        }
        self.volume.extents.truncate(self.ino, 0);
        self.volume.nodes().forget(self.ino);
        Ok(())
    }

    // --- the address space -------------------------------------------------------------------------

    fn map_blocks(&self, _inode: &Inode, first: u64, max: u64) -> Result<Mapping> {
        let extent = self.volume.extents.lookup(self.ino, first, max);
        let state = match extent.state {
            ExtentState::Hole => MappingState::Hole,
            ExtentState::InFlight { device_sector } => MappingState::Unwritten { device_block: device_sector },
            ExtentState::Written { device_sector } => MappingState::Written { device_block: device_sector },
        };
        Ok(Mapping { first, count: extent.sectors, state })
    }

    fn write_begin(&self, _inode: &Inode, _pos: u64, _len: u64) -> Result<WriteBegun> {
        Err(Error::NotSupported("the generic write path"))
    }

    fn page_mkwrite(&self, _inode: &Inode, _pos: u64, _len: u64) -> Result<()> {
        // It reserves under the folio lock: `folio_mkwrite`.
        Ok(())
    }

    fn blocks_written(&self, inode: &Inode, first: u64, count: u64, size: u64) -> Result<()> {
        writeback::end(&self.volume, inode, first, count, size)?;
        self.refresh_sectors(inode);
        Ok(())
    }

    fn truncate(&self, inode: &Inode, new_size: u64, now: Timestamp) -> Result<()> {
        self.volume.extents.truncate(self.ino, new_size.div_ceil(SECTOR_SIZE));
        self.volume.nodes().get_mut(self.ino)?.size = new_size;
        self.refresh_sectors(inode);
        inode.update_attributes(|attributes| {
            attributes.mtime = now;
            attributes.ctime = now;
        });
        Ok(())
    }

    fn fsync(&self, inode: &Inode, _data_only: bool) -> Result<()> {
        self.write_inode(inode)
    }

    // --- its own write path --------------------------------------------------------------------------

    fn file_operations(&self) -> Option<&dyn FileOperations> {
        Some(self)
    }

    fn folio_private(&self) -> Option<FolioPrivate> {
        Some(Box::new(SectorStates::default()))
    }

    fn copy_folio_private(&self, folio: &LockedFolio) -> Option<FolioPrivate> {
        SectorStates::of(folio).ok().map(|states| Box::new(states.copy()) as FolioPrivate)
    }

    fn folio_mkwrite(&self, _inode: &Inode, folio: &LockedFolio, bytes: Range<usize>) -> Result<()> {
        Ok(fault::mkwrite(&self.volume, self.ino, folio, bytes)?)
    }

    fn dirty_folio(&self, _inode: &Inode, folio: &LockedFolio, blocks: u64) {
        if let Ok(states) = SectorStates::of(folio) {
            states.set_dirty(blocks);
        }
    }

    fn invalidate_folio(&self, _inode: &Inode, folio: &LockedFolio, blocks: u64) {
        if let Ok(states) = SectorStates::of(folio) {
            states.invalidate(&*self.volume.extents, blocks);
        }
    }

    fn writeback_begin(&self, _inode: &Inode, folio: &LockedFolio, blocks: Range<u32>) -> Result<WritebackPlace> {
        Ok(writeback::begin(&self.volume, self.ino, folio, blocks)?)
    }

    fn writeback_failed(&self, _inode: &Inode, folio: &Folio, blocks: u64) {
        if let Ok(states) = SectorStates::of(folio) {
            states.set_dirty(blocks);
        }
    }
}

impl FileOperations for Operations {
    fn write_iter(&self, file: &Filemap<'_>, iocb: &mut Kiocb, from: &mut IovIter<'_>) -> Written {
        write::write_iter(&self.volume, file, iocb, from)
    }

    fn bytes(&self) -> BytesFrom {
        write::bytes_from(self.volume.options.write)
    }

    fn llseek(&self, file: &Filemap<'_>, from: u64, what: SeekWhat) -> Result<u64> {
        seek::llseek(&self.volume, file.inode(), from, what)
    }
}
