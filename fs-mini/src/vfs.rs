//! The server's traits: each operation in file-system terms, the only file that names them.
//!
//! Owns: what each operation changes, the server's copies of attributes. Does not own: how anything is
//! kept (`state`, `disk`). Which locks the server holds says `vfs_server::fs`; ours is the state's.

use crate::format::{CLEAN, DIRECTORY, REGULAR, ROOT, RawInode, SYMLINK};
use crate::state::{Node, State};
use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use platform::block::BlockDevice;
use platform::lockdep::EXTENT_TREE;
use platform::sync::Mutex;
use vfs_server::error::{Error, Result};
use vfs_server::fs::*;
use zerocopy::little_endian::{I64, U16, U32};

/// A mounted file system; and one of its inodes.
#[derive(Clone)]
struct Mini {
    state: Arc<Mutex<State>>,
    access: Access,
    block_size: u64,
    ino: u32,
}

/// Mounts the file system on `device`.
pub fn mount(device: Arc<dyn BlockDevice>, access: Access) -> Result<Arc<dyn FileSystem>> {
    let (mut state, problems) = State::load(device).map_err(|problem| Error::Corrupt(problem.to_string()))?;
    if let Some(problem) = problems.first() {
        return Err(Error::Corrupt(problem.to_string()));
    }
    if access == Access::ReadWrite && state.superblock.state != CLEAN {
        state.recover()?;
    }
    let block_size = u64::from(state.superblock.block_size.get());
    Ok(Arc::new(Mini { state: Arc::new(Mutex::new(&EXTENT_TREE, state)), access, block_size, ino: ROOT }))
}

fn to_ns(time: Timestamp) -> I64 {
    I64::new(time.as_ns())
}

fn file_kind(kind: u8) -> FileKind {
    match kind {
        DIRECTORY => FileKind::Directory,
        SYMLINK => FileKind::Symlink,
        _ => FileKind::Regular,
    }
}

impl FileSystem for Mini {
    fn super_block(&self) -> SuperBlock {
        SuperBlock {
            name: "mini",
            block_size: self.block_size as u32,
            root: ROOT.into(),
            access: self.access,
            max_file_size: u64::from(u32::MAX) * self.block_size,
        }
    }

    fn read_inode(&self, ino: Ino) -> Result<NewInode> {
        self.new_inode(&self.state.lock(), ino as u32)
    }

    fn statfs(&self) -> Result<StatFs> {
        let state = self.state.lock();
        let free = (state.free_blocks() + state.freed.len()) as u64;
        let free_inodes = (state.room() / size_of::<RawInode>()) as u64;
        let inodes = state.inodes.len() as u64 + free_inodes;
        Ok(StatFs { blocks: state.busy.len() as u64, free, available: free, inodes, free_inodes })
    }

    fn sync(&self, _mode: SyncMode) -> Result<()> {
        self.state.lock().commit()
    }

    fn unmount(&self) -> Result<()> {
        if self.access == Access::ReadOnly { Ok(()) } else { self.state.lock().close() }
    }
}

impl Mini {
    fn attributes(&self, node: &Node) -> Attributes {
        Attributes {
            permissions: node.raw.permissions.get(),
            uid: node.raw.uid.get(),
            gid: node.raw.gid.get(),
            nlink: node.raw.nlink.get(),
            atime: Timestamp::from_ns(node.raw.atime.get()),
            mtime: Timestamp::from_ns(node.raw.mtime.get()),
            ctime: Timestamp::from_ns(node.raw.ctime.get()),
            crtime: None,
            sectors: node.blocks.len() as u64 * (self.block_size / 512),
        }
    }

    fn new_inode(&self, state: &State, ino: u32) -> Result<NewInode> {
        let node = state.node(ino)?;
        Ok(NewInode {
            ino: ino.into(),
            generation: 0,
            kind: file_kind(node.raw.kind),
            attributes: self.attributes(node),
            size: node.raw.size.get(),
            operations: Box::new(Self { ino, ..self.clone() }),
        })
    }

    /// Changes the state; then link counts and blocks of `inodes` are brought into the server's copies.
    fn change<R>(&self, inodes: &[&Inode], operation: impl FnOnce(&mut State) -> Result<R>) -> Result<R> {
        if self.access == Access::ReadOnly {
            return Err(Error::ReadOnly);
        }
        let mut state = self.state.lock();
        let outcome = operation(&mut state);
        for inode in inodes {
            let fresh = self.attributes(state.node(inode.ino as u32)?);
            inode.update_attributes(|attributes| {
                (attributes.nlink, attributes.sectors) = (fresh.nlink, fresh.sectors);
                attributes.ctime = attributes.ctime.max(fresh.ctime);
                attributes.mtime = attributes.mtime.max(fresh.mtime);
            });
        }
        outcome
    }

    /// Makes an inode with a name in this directory.
    fn make(
        &self,
        directory: &Inode,
        name: &[u8],
        kind: u8,
        mode: u16,
        target: &[u8],
        who: &Credentials,
    ) -> Result<NewInode> {
        self.change(&[directory], |state| {
            if state.find(self.ino, name)?.is_some() {
                return Err(Error::Exists);
            }
            let ino = state.next_ino;
            state.insert(self.ino, name, ino, size_of::<RawInode>() + target.len())?;
            state.next_ino += 1;
            let [number, uid, gid, parent] = [ino, who.uid, who.gid, self.ino].map(U32::new);
            let (nlink, permissions, now) = (U32::new(1), U16::new(mode & 0o7777), to_ns(who.now));
            let (size, times) =
                ((target.len() as u64).into(), RawInode { atime: now, mtime: now, ctime: now, ..RawInode::default() });
            let raw = RawInode { ino: number, kind, permissions, nlink, uid, gid, parent, size, ..times };
            state.inodes.insert(ino, Node { raw, target: target.to_vec(), ..Node::default() });
            let subdirectory = i32::from(kind == DIRECTORY);
            state.link(ino, subdirectory, now)?;
            state.link(self.ino, subdirectory, now)?;
            self.new_inode(state, ino)
        })
    }
}

impl State {
    /// Takes one link from an inode that has lost its name in `parent`; a directory goes with its own `.`.
    fn unlink(&mut self, parent: u32, ino: u32, now: I64) -> Result<()> {
        let directory = i32::from(self.node(ino)?.is_directory());
        self.link(ino, -1 - directory, now)?;
        self.link(parent, -directory, now)
    }

    fn must_be_empty(&self, ino: u32) -> Result<()> {
        if self.node(ino)?.names.is_empty() { Ok(()) } else { Err(Error::NotEmpty) }
    }
}

impl InodeOperations for Mini {
    // --- directories ---------------------------------------------------------------------------------

    fn lookup(&self, _directory: &Inode, name: &[u8]) -> Result<Ino> {
        let (_, ino) = self.state.lock().find(self.ino, name)?.ok_or(Error::NotFound)?;
        Ok(ino.into())
    }

    fn parent(&self, _directory: &Inode) -> Result<Ino> {
        Ok(self.state.lock().node(self.ino)?.raw.parent.get().into())
    }

    fn readdir(&self, _: &Inode, from: u64, emit: &mut dyn FnMut(DirectoryEntry<'_>) -> ReaddirControl) -> Result<()> {
        let state = self.state.lock();
        let node = state.node(self.ino)?;
        let dots = [(0, &b"."[..], self.ino), (1, b"..", node.raw.parent.get())];
        let names = node.names.range(from..).map(|(&position, (name, ino))| (position, &name[..], *ino));
        for (position, name, ino) in dots.into_iter().filter(|dot| dot.0 >= from).chain(names) {
            let kind = state.inodes.get(&ino).map(|node| file_kind(node.raw.kind));
            if emit(DirectoryEntry { ino: ino.into(), name, kind, next: position + 1 }) == ReaddirControl::Full {
                break;
            }
        }
        Ok(())
    }

    fn create(&self, directory: &Inode, name: &[u8], kind: FileKind, mode: u16, who: &Credentials) -> Result<NewInode> {
        match kind {
            FileKind::Regular => self.make(directory, name, REGULAR, mode, b"", who),
            _ => Err(Error::NotSupported("this kind of file")),
        }
    }

    fn mkdir(&self, directory: &Inode, name: &[u8], mode: u16, who: &Credentials) -> Result<NewInode> {
        self.make(directory, name, DIRECTORY, mode, b"", who)
    }

    fn symlink(&self, directory: &Inode, name: &[u8], target: &[u8], who: &Credentials) -> Result<NewInode> {
        self.make(directory, name, SYMLINK, 0o777, target, who)
    }

    fn link(&self, directory: &Inode, name: &[u8], target: &Inode, who: &Credentials) -> Result<()> {
        self.change(&[directory, target], |state| {
            state.insert(self.ino, name, target.ino as u32, 0)?;
            state.link(self.ino, 0, to_ns(who.now))?;
            state.link(target.ino as u32, 1, to_ns(who.now))
        })
    }

    fn unlink(&self, directory: &Inode, name: &[u8], victim: &Inode, who: &Credentials) -> Result<()> {
        self.change(&[directory, victim], |state| {
            state.must_be_empty(victim.ino as u32)?;
            state.remove(self.ino, name)?;
            state.unlink(self.ino, victim.ino as u32, to_ns(who.now))
        })
    }

    fn rmdir(&self, directory: &Inode, name: &[u8], victim: &Inode, who: &Credentials) -> Result<()> {
        self.unlink(directory, name, victim, who)
    }

    fn rename(&self, rename: &Rename<'_>, who: &Credentials) -> Result<()> {
        let all = [Some(rename.old_directory), Some(rename.new_directory), Some(rename.inode), rename.replaced];
        let touched: Vec<&Inode> = all.into_iter().flatten().collect();
        self.change(&touched, |state| {
            let (new, ino, now) = (rename.new_directory.ino as u32, rename.inode.ino as u32, to_ns(who.now));
            if let Some(replaced) = rename.replaced {
                state.must_be_empty(replaced.ino as u32)?;
                state.remove(new, rename.new_name)?;
                state.unlink(new, replaced.ino as u32, now)?;
            }
            state.remove(self.ino, rename.old_name)?;
            state.insert(new, rename.new_name, ino, 0)?;
            let subdirectory = i32::from(state.node(ino)?.is_directory());
            state.link(self.ino, -subdirectory, now)?;
            state.link(new, subdirectory, now)?;
            state.node_mut(ino)?.raw.parent = U32::new(new);
            state.link(ino, 0, now)
        })
    }

    fn readlink(&self, _inode: &Inode) -> Result<Vec<u8>> {
        Ok(self.state.lock().node(self.ino)?.target.clone())
    }

    // --- attributes ----------------------------------------------------------------------------------

    fn write_inode(&self, inode: &Inode) -> Result<()> {
        if self.access == Access::ReadOnly {
            return Ok(());
        }
        let attributes = inode.attributes();
        self.change(&[], |state| {
            let raw = &mut state.node_mut(self.ino)?.raw;
            raw.permissions.set(attributes.permissions & 0o7777);
            (raw.uid, raw.gid) = (U32::new(attributes.uid), U32::new(attributes.gid));
            (raw.atime, raw.mtime, raw.ctime) =
                (to_ns(attributes.atime), to_ns(attributes.mtime), to_ns(attributes.ctime));
            Ok(())
        })
    }

    fn evict(&self, inode: &Inode) -> Result<()> {
        match (self.access, inode.attributes().nlink) {
            (Access::ReadWrite, 0) => self.change(&[], |state| state.free_inode(self.ino)),
            _ => self.write_inode(inode),
        }
    }

    // --- the address space ---------------------------------------------------------------------------

    fn map_blocks(&self, _inode: &Inode, first: u64, max: u64) -> Result<Mapping> {
        let (state, count) = self.state.lock().node(self.ino)?.run(first as u32);
        Ok(Mapping { first, count: max.min(count.into()), state })
    }

    fn write_begin(&self, inode: &Inode, pos: u64, len: u64) -> Result<WriteBegun> {
        self.page_mkwrite(inode, pos, len)?;
        Ok(WriteBegun { target: WriteTarget::Blocks, layout: 0 })
    }

    fn page_mkwrite(&self, inode: &Inode, pos: u64, len: u64) -> Result<()> {
        let (first, end) = (pos / self.block_size, (pos + len).div_ceil(self.block_size));
        self.change(&[inode], |state| state.fill_holes(self.ino, first as u32, end as u32))
    }

    fn blocks_written(&self, inode: &Inode, first: u64, count: u64, size: u64) -> Result<()> {
        self.change(&[], |state| {
            state.written(self.ino, first as u32, (first + count) as u32, inode.size_to_publish(size))
        })
    }

    fn truncate(&self, inode: &Inode, new_size: u64, now: Timestamp) -> Result<()> {
        self.change(&[inode], |state| {
            state.cut(self.ino, new_size.div_ceil(self.block_size) as u32)?;
            let raw = &mut state.node_mut(self.ino)?.raw;
            (raw.size, raw.mtime, raw.ctime) = (new_size.into(), to_ns(now), to_ns(now));
            Ok(())
        })
    }

    fn fsync(&self, inode: &Inode, _data_only: bool) -> Result<()> {
        self.write_inode(inode)?;
        self.state.lock().commit()
    }
}
