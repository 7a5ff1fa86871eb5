//! The inodes of the file system in memory.

use super::{Body, FakeInode, INLINE_MAX, Node, State};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use vfs_server::fs::*;
use vfs_server::{Error, Result};

impl FakeInode {
    fn change<R>(&self, change: impl FnOnce(&mut State) -> Result<R>) -> Result<R> {
        let _transaction = self.shared.transaction.lock();
        change(&mut self.shared.state.lock())
    }

    fn add(&self, name: &[u8], kind: FileKind, permissions: u16, who: &Credentials, body: Body) -> Result<NewInode> {
        self.change(|state| {
            if state.names(self.ino)?.contains_key(name) {
                return Err(Error::Exists);
            }
            let ino = state.next_ino;
            state.next_ino += 1;
            let attributes = Attributes {
                permissions,
                uid: who.uid,
                gid: who.gid,
                nlink: if kind == FileKind::Directory { 2 } else { 1 },
                mtime: who.now,
                ..Attributes::default()
            };
            let size = if let Body::Link(target) = &body { target.len() as u64 } else { 0 };
            state.inodes.insert(ino, Node { kind, attributes, size, layout: 0, body });
            state.names(self.ino)?.insert(name.into(), ino);
            self.shared.as_new(state, ino)
        })
    }

    fn remove(&self, name: &[u8], victim: &Inode) -> Result<()> {
        self.change(|state| {
            if let Body::Names { names, .. } = &state.node(victim.ino)?.body
                && !names.is_empty()
            {
                return Err(Error::NotEmpty);
            }
            state.names(self.ino)?.remove(name).ok_or(Error::NotFound)?;
            let node = state.node(victim.ino)?;
            node.attributes.nlink = if node.kind == FileKind::Directory { 0 } else { node.attributes.nlink - 1 };
            let nlink = node.attributes.nlink;
            victim.update_attributes(|attributes| attributes.nlink = nlink);
            Ok(())
        })
    }

    /// Allocates what is missing of the blocks that [pos, pos + len) touches: all or nothing.
    fn allocate(state: &mut State, ino: Ino, block_size: u64, pos: u64, len: u64) -> Result<()> {
        let blocks = pos / block_size..(pos + len).div_ceil(block_size);
        let missing: Vec<u64> = match &state.node(ino)?.body {
            Body::Blocks(map) => blocks.filter(|block| !map.contains_key(block)).collect(),
            _ => return Err(Error::Corrupt("allocation for an inline file".into())),
        };
        if missing.len() > state.free.len() {
            return Err(Error::NoSpace);
        }
        for block in missing {
            let Some(device) = state.free.pop() else { return Err(Error::NoSpace) };
            if let Body::Blocks(map) = &mut state.node(ino)?.body {
                map.insert(block, (device, false));
            }
        }
        Ok(())
    }
}

impl FakeInode {
    /// Allocate-first: nothing is given up before there is a block with the contents.
    fn convert(&self, state: &mut State) -> Result<()> {
        let Body::Inline(bytes) = &state.node(self.ino)?.body else { return Ok(()) };
        let mut bytes = bytes.clone();
        let mut map = BTreeMap::new();
        if !bytes.is_empty() {
            let device = state.free.pop().ok_or(Error::NoSpace)?;
            bytes.resize(self.shared.block_size as usize, 0);
            self.shared.disk.write_at(device * u64::from(self.shared.block_size), &bytes);
            map.insert(0, (device, true));
        }
        let node = state.node(self.ino)?;
        node.body = Body::Blocks(map);
        node.layout += 1;
        Ok(())
    }
}

impl InodeOperations for FakeInode {
    fn lookup(&self, _directory: &Inode, name: &[u8]) -> Result<Ino> {
        self.shared.state.lock().names(self.ino)?.get(name).copied().ok_or(Error::NotFound)
    }

    fn parent(&self, _directory: &Inode) -> Result<Ino> {
        match &self.shared.state.lock().node(self.ino)?.body {
            Body::Names { parent, .. } => Ok(*parent),
            _ => Err(Error::NotDirectory),
        }
    }

    fn readdir(
        &self,
        _directory: &Inode,
        from: u64,
        emit: &mut dyn FnMut(DirectoryEntry<'_>) -> ReaddirControl,
    ) -> Result<()> {
        let mut state = self.shared.state.lock();
        let mut all: Vec<(Vec<u8>, Ino)> = vec![(b".".to_vec(), self.ino)];
        if let Body::Names { parent, names } = &state.node(self.ino)?.body {
            all.push((b"..".to_vec(), *parent));
            all.extend(names.iter().map(|(name, &ino)| (name.clone(), ino)));
        }
        for (position, (name, ino)) in all.iter().enumerate().skip(from as usize) {
            let kind = state.inodes.get(ino).map(|node| node.kind);
            let entry = DirectoryEntry { ino: *ino, name, kind, next: position as u64 + 1 };
            if emit(entry) == ReaddirControl::Full {
                break;
            }
        }
        Ok(())
    }

    fn create(&self, _: &Inode, name: &[u8], kind: FileKind, permissions: u16, who: &Credentials) -> Result<NewInode> {
        let inline = self.shared.inline.load(Ordering::SeqCst);
        let body = if inline { Body::Inline(Vec::new()) } else { Body::Blocks(BTreeMap::new()) };
        self.add(name, kind, permissions, who, body)
    }

    fn mkdir(&self, _: &Inode, name: &[u8], permissions: u16, who: &Credentials) -> Result<NewInode> {
        let body = Body::Names { parent: self.ino, names: BTreeMap::new() };
        self.add(name, FileKind::Directory, permissions, who, body)
    }

    fn symlink(&self, _: &Inode, name: &[u8], target: &[u8], who: &Credentials) -> Result<NewInode> {
        self.add(name, FileKind::Symlink, 0o777, who, Body::Link(target.into()))
    }

    fn link(&self, _: &Inode, name: &[u8], target: &Inode, _: &Credentials) -> Result<()> {
        self.change(|state| {
            state.names(self.ino)?.insert(name.into(), target.ino);
            let node = state.node(target.ino)?;
            node.attributes.nlink += 1;
            let nlink = node.attributes.nlink;
            target.update_attributes(|attributes| attributes.nlink = nlink);
            Ok(())
        })
    }

    fn unlink(&self, _: &Inode, name: &[u8], victim: &Inode, _: &Credentials) -> Result<()> {
        self.remove(name, victim)
    }

    fn rmdir(&self, _: &Inode, name: &[u8], victim: &Inode, _: &Credentials) -> Result<()> {
        self.remove(name, victim)
    }

    fn rename(&self, rename: &Rename<'_>, _: &Credentials) -> Result<()> {
        if let Some(replaced) = rename.replaced {
            let target = FakeInode { shared: self.shared.clone(), ino: rename.new_directory.ino };
            target.remove(rename.new_name, replaced)?;
        }
        self.change(|state| {
            state.names(self.ino)?.remove(rename.old_name);
            state.names(rename.new_directory.ino)?.insert(rename.new_name.into(), rename.inode.ino);
            if let Body::Names { parent, .. } = &mut state.node(rename.inode.ino)?.body {
                *parent = rename.new_directory.ino;
            }
            Ok(())
        })
    }

    fn readlink(&self, _: &Inode) -> Result<Vec<u8>> {
        match &self.shared.state.lock().node(self.ino)?.body {
            Body::Link(target) => Ok(target.clone()),
            _ => Err(Error::Invalid("no link")),
        }
    }

    fn setattr(&self, inode: &Inode, change: &SetAttributes) -> Result<()> {
        inode.update_attributes(|attributes| {
            attributes.permissions = change.permissions.unwrap_or(attributes.permissions);
            attributes.uid = change.uid.unwrap_or(attributes.uid);
            attributes.gid = change.gid.unwrap_or(attributes.gid);
            attributes.atime = change.atime.unwrap_or(attributes.atime);
            attributes.mtime = change.mtime.unwrap_or(attributes.mtime);
            attributes.ctime = change.now;
        });
        self.write_inode(inode)
    }

    fn write_inode(&self, inode: &Inode) -> Result<()> {
        let attributes = inode.attributes();
        self.change(|state| {
            state.node(self.ino)?.attributes = attributes;
            Ok(())
        })
    }

    fn evict(&self, inode: &Inode) -> Result<()> {
        self.shared.evicted.fetch_add(1, Ordering::SeqCst);
        if inode.attributes().nlink > 0 {
            return Ok(());
        }
        self.change(|state| {
            if let Some(Node { body: Body::Blocks(map), .. }) = state.inodes.remove(&self.ino) {
                state.free.extend(map.into_values().map(|(device, _)| device));
            }
            Ok(())
        })
    }

    fn map_blocks(&self, _: &Inode, first: u64, max: u64) -> Result<Mapping> {
        let mut state = self.shared.state.lock();
        let map = match &state.node(self.ino)?.body {
            Body::Blocks(map) => map,
            Body::Inline(_) => return Ok(Mapping { first, count: max, state: MappingState::Inline }),
            _ => return Err(Error::Invalid("no file")),
        };
        let at = |block: u64| map.get(&block).copied();
        let mut count = 1;
        let state = match at(first) {
            None => {
                while count < max && at(first + count).is_none() {
                    count += 1;
                }
                MappingState::Hole
            }
            Some((device_block, written)) => {
                while count < max && at(first + count) == Some((device_block + count, written)) {
                    count += 1;
                }
                if written { MappingState::Written { device_block } } else { MappingState::Unwritten { device_block } }
            }
        };
        Ok(Mapping { first, count, state })
    }

    fn read_inline(&self, _: &Inode) -> Result<Vec<u8>> {
        match &self.shared.state.lock().node(self.ino)?.body {
            Body::Inline(bytes) => Ok(bytes.clone()),
            _ => Err(Error::Stale),
        }
    }

    fn write_begin(&self, _: &Inode, pos: u64, len: u64) -> Result<WriteBegun> {
        self.change(|state| {
            let node = state.node(self.ino)?;
            let layout = node.layout;
            if matches!(node.body, Body::Inline(_)) {
                if pos + len <= INLINE_MAX {
                    return Ok(WriteBegun { target: WriteTarget::Inline, layout });
                }
                self.convert(state)?;
            }
            Self::allocate(state, self.ino, u64::from(self.shared.block_size), pos, len)?;
            Ok(WriteBegun { target: WriteTarget::Blocks, layout: state.node(self.ino)?.layout })
        })
    }

    fn write_end_inline(
        &self,
        _: &Inode,
        pos: u64,
        bytes: &[u8],
        new_size: u64,
        begun: WriteBegun,
    ) -> Result<InlineWritten> {
        let mut state = self.shared.state.lock();
        let node = state.node(self.ino)?;
        if node.layout != begun.layout {
            return Ok(InlineWritten::Restart);
        }
        let Body::Inline(stored) = &mut node.body else { return Ok(InlineWritten::Restart) };
        stored.resize(stored.len().max(pos as usize + bytes.len()).max(new_size as usize), 0);
        stored[pos as usize..pos as usize + bytes.len()].copy_from_slice(bytes);
        node.size = new_size;
        Ok(InlineWritten::Stored)
    }

    fn prepare_mmap(&self, _: &Inode) -> Result<()> {
        Ok(())
    }

    fn page_mkwrite(&self, _: &Inode, pos: u64, len: u64) -> Result<()> {
        self.change(|state| {
            self.convert(state)?;
            Self::allocate(state, self.ino, u64::from(self.shared.block_size), pos, len)
        })
    }

    fn blocks_written(&self, _: &Inode, first: u64, count: u64, size: u64) -> Result<()> {
        self.change(|state| {
            let Ok(node) = state.node(self.ino) else { return Ok(()) };
            node.size = node.size.max(size);
            if let Body::Blocks(map) = &mut node.body {
                for block in first..first + count {
                    match map.get_mut(&block) {
                        Some((_, written)) => *written = true,
                        None => return Err(Error::Corrupt(format!("block {block} was written and is no more"))),
                    }
                }
            }
            Ok(())
        })
    }

    fn truncate(&self, _: &Inode, new_size: u64, _: Timestamp) -> Result<()> {
        self.change(|state| {
            let block_size = u64::from(self.shared.block_size);
            if new_size > INLINE_MAX {
                self.convert(state)?;
            }
            let node = state.node(self.ino)?;
            node.size = new_size;
            let mut freed = Vec::new();
            match &mut node.body {
                Body::Inline(bytes) => bytes.resize(new_size as usize, 0),
                Body::Blocks(map) => {
                    let gone = map.split_off(&new_size.div_ceil(block_size));
                    freed.extend(gone.into_values().map(|(device, _)| device));
                }
                _ => return Err(Error::Invalid("no file")),
            }
            state.free.extend(freed);
            Ok(())
        })
    }

    fn fsync(&self, inode: &Inode, _: bool) -> Result<()> {
        self.write_inode(inode)
    }

    fn getxattr(&self, _: &Inode, _: &[u8]) -> Result<Vec<u8>> {
        Err(Error::NoData)
    }

    fn listxattr(&self, _: &Inode) -> Result<Vec<Vec<u8>>> {
        Ok(Vec::new())
    }
}
