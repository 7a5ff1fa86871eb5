//! The server's traits: each operation in file-system terms. `vfs_server::fs` says which locks the server holds; the
//! only one here is around the state, below them all.

use crate::check::Problem;
use crate::format::{ROOT, RawInode};
use crate::state::State;
use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::sync::Arc;
use platform::block::{self, BlockDevice};
use platform::lockdep::EXTENT_TREE;
use platform::sync::Mutex;
use vfs_server::error::{Error, Result};
use vfs_server::fs::*;

/// A mounted file system, and one of its inodes.
#[derive(Clone)]
struct Mini {
    state: Arc<Mutex<State>>,
    super_block: SuperBlock,
    ino: u32,
}

/// Mounts the file system on `device`.
pub fn mount(device: Arc<dyn BlockDevice>, access: Access) -> Result<Arc<dyn FileSystem>> {
    let (mut state, problems) = State::load(device)?;
    for problem in problems {
        match problem {
            Problem::Orphan(_) | Problem::Tail(_) if access == Access::ReadOnly => {}
            Problem::Orphan(ino) => state.free_inode(ino),
            Problem::Tail(ino) => {
                let tail = state.clean_tail(ino)?;
                tail.map_or(Ok(()), |(sector, bytes)| block::write(&*state.device, sector, &bytes))?;
            }
            other => return Err(Error::Corrupt(other.to_string())),
        }
    }
    let (block_size, max_file_size) = (state.block_size() as u32, state.block_size() * u64::from(u32::MAX));
    let super_block = SuperBlock { name: "mini", block_size, root: ROOT.into(), access, max_file_size };
    Ok(Arc::new(Mini { state: Arc::new(Mutex::new(&EXTENT_TREE, state)), super_block, ino: ROOT }))
}

impl FileSystem for Mini {
    fn super_block(&self) -> SuperBlock {
        self.super_block
    }

    fn read_inode(&self, ino: Ino) -> Result<NewInode> {
        self.new_inode(&self.state.lock(), ino as u32)
    }

    fn statfs(&self) -> Result<StatFs> {
        let state = self.state.lock();
        let free = (state.free_blocks(0).count() + state.freed.len()) as u64;
        let (inodes, free_inodes) = (state.inodes.len() as u64 - 1, state.free_inodes().count() as u64);
        Ok(StatFs { blocks: state.blocks.len() as u64, free, available: free, inodes, free_inodes })
    }

    fn sync(&self, _mode: SyncMode) -> Result<()> {
        self.state.lock().commit()
    }
}

impl Mini {
    fn new_inode(&self, state: &State, ino: u32) -> Result<NewInode> {
        let raw = state.inodes.get(ino as usize).ok_or(Error::Stale)?;
        Ok(NewInode {
            ino: ino.into(),
            generation: 0,
            kind: raw.kind().ok_or(Error::Stale)?,
            attributes: raw.attributes.with_sectors(state.sectors(ino)),
            size: raw.size.get(),
            operations: Box::new(Self { ino, ..self.clone() }),
        })
    }
}

/// Changes the server's attributes of an inode, and then those in the table.
fn store(state: &mut State, inode: &Inode, change: impl FnOnce(&mut Attributes)) {
    let raw = &mut state.inodes[inode.ino as usize].attributes;
    inode.update_attributes(|attributes| {
        change(attributes);
        *raw = (&*attributes).into();
    });
}

/// The names in a directory have changed.
fn touch(state: &mut State, directory: &Inode, now: Timestamp) {
    store(state, directory, |attributes| (attributes.mtime, attributes.ctime) = (now, now));
}

/// Takes the name of a file, or of an empty directory.
fn remove(state: &mut State, directory: &Inode, victim: &Inode, now: Timestamp) -> Result<()> {
    if state.names(victim.ino as u32).next().is_some() {
        return Err(Error::NotEmpty);
    }
    state.inodes[victim.ino as usize].set_name(0, b"")?;
    store(state, victim, |attributes| (attributes.nlink, attributes.ctime) = (0, now));
    touch(state, directory, now);
    Ok(())
}

impl InodeOperations for Mini {
    fn lookup(&self, _directory: &Inode, name: &[u8]) -> Result<Ino> {
        let state = self.state.lock();
        let found = state.names(self.ino).find(|(_, inode)| inode.name() == name);
        found.map(|(ino, _)| ino.into()).ok_or(Error::NotFound)
    }

    fn parent(&self, _directory: &Inode) -> Result<Ino> {
        Ok(self.state.lock().inodes[self.ino as usize].parent.get().into())
    }

    fn readdir(&self, _: &Inode, from: u64, emit: &mut dyn FnMut(DirectoryEntry<'_>) -> ReaddirControl) -> Result<()> {
        let state = self.state.lock();
        let parent = state.inodes[self.ino as usize].parent.get();
        if emit_dots(self.ino.into(), parent.into(), from, emit) == ReaddirControl::Full {
            return Ok(());
        }
        // An inode's position is its number, so that it stays while others come and go.
        for (ino, inode) in state.names(self.ino).map(|(ino, inode)| (Ino::from(ino), inode)) {
            let entry = DirectoryEntry { ino, name: inode.name(), kind: inode.kind(), next: ino + AFTER_DOTS + 1 };
            if ino + AFTER_DOTS >= from && emit(entry) == ReaddirControl::Full {
                break;
            }
        }
        Ok(())
    }

    fn create(&self, directory: &Inode, name: &[u8], kind: FileKind, mode: u16, who: &Credentials) -> Result<NewInode> {
        if ![FileKind::Regular, FileKind::Directory].contains(&kind) {
            return Err(Error::NotSupported("this kind of file"));
        }
        let mut state = self.state.lock();
        let ino = state.free_inodes().next().ok_or(Error::NoSpace)?;
        let mut inode = RawInode::new(kind, &Attributes::new(mode, who));
        inode.set_name(self.ino, name)?;
        state.inodes[ino as usize] = inode;
        touch(&mut state, directory, who.now);
        self.new_inode(&state, ino)
    }

    fn unlink(&self, directory: &Inode, _name: &[u8], victim: &Inode, who: &Credentials) -> Result<()> {
        remove(&mut self.state.lock(), directory, victim, who.now)
    }

    fn rename(&self, rename: &Rename<'_>, who: &Credentials) -> Result<()> {
        let mut state = self.state.lock();
        if let Some(replaced) = rename.replaced {
            remove(&mut state, rename.new_directory, replaced, who.now)?;
        }
        let inode = &mut state.inodes[rename.inode.ino as usize];
        inode.set_name(rename.new_directory.ino as u32, rename.new_name)?;
        store(&mut state, rename.inode, |attributes| attributes.ctime = who.now);
        touch(&mut state, rename.old_directory, who.now);
        touch(&mut state, rename.new_directory, who.now);
        Ok(())
    }

    fn write_inode(&self, inode: &Inode) -> Result<()> {
        store(&mut self.state.lock(), inode, |_| ());
        Ok(())
    }

    fn evict(&self, inode: &Inode) -> Result<()> {
        if inode.attributes().nlink > 0 {
            return self.write_inode(inode);
        }
        self.state.lock().free_inode(self.ino);
        Ok(())
    }

    fn map_blocks(&self, _inode: &Inode, first: u64, max: u64) -> Result<Mapping> {
        let (block, count) = self.state.lock().run(self.ino, first as u32, max.min(u32::MAX.into()) as u32);
        let state = block.map_or(MappingState::Hole, |block| MappingState::Written { device_block: block.into() });
        Ok(Mapping { first, count: count.into(), state })
    }

    fn page_mkwrite(&self, inode: &Inode, pos: u64, len: u64) -> Result<()> {
        let mut state = self.state.lock();
        let (first, end) = (pos / state.block_size(), (pos + len).div_ceil(state.block_size()));
        let sectors = state.fill_holes(self.ino, first as u32, end as u32)? * state.sector(1);
        inode.update_attributes(|attributes| attributes.sectors += sectors);
        Ok(())
    }

    fn blocks_written(&self, inode: &Inode, _first: u64, _count: u64, size: u64) -> Result<()> {
        let raw_size = &mut self.state.lock().inodes[self.ino as usize].size;
        raw_size.set(raw_size.get().max(inode.size_to_publish(size)));
        Ok(())
    }

    fn truncate(&self, inode: &Inode, new_size: u64, now: Timestamp) -> Result<()> {
        let mut state = self.state.lock();
        state.cut(self.ino, new_size.div_ceil(self.super_block.block_size.into()) as u32);
        state.inodes[self.ino as usize].size.set(new_size);
        let sectors = state.sectors(self.ino);
        store(&mut state, inode, |new| (new.mtime, new.ctime, new.sectors) = (now, now, sectors));
        Ok(())
    }

    fn fsync(&self, inode: &Inode, _data_only: bool) -> Result<()> {
        self.write_inode(inode)?;
        self.state.lock().commit()
    }
}
