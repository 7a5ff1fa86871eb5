//! What changes names: create, mkdir, symlink, link, unlink, rmdir, rename.
//!
//! The caller holds the inode locks of all directories and victims (see `vfs_server::fs`). An
//! operation either happens whole or, if it fails before its last step, is undone; an I/O error in
//! between may leave an inode with one link too many, never too few.

use alloc::sync::Arc;

use crate::dir;
use crate::error::{Error, Result};
use crate::format::feature::RoCompat;
use crate::format::inode::{I_BLOCK_SIZE, InodeFlags};
use crate::inode::Ext4Inode;
use crate::inode::body::{FileType, InodeBody, TimeField, Timestamp};
use crate::inode::lifetime::{self, Birth};

/// Most links of a file, and of a directory before they are no longer counted.
const LINKS_MAX: u16 = 65000;

/// Where a renamed inode comes from and goes to.
#[allow(missing_docs)]
pub struct Rename<'a> {
    pub inode: &'a Arc<Ext4Inode>,
    pub old_directory: &'a Arc<Ext4Inode>,
    pub old_name: &'a [u8],
    pub new_directory: &'a Arc<Ext4Inode>,
    pub new_name: &'a [u8],
    pub replaced: Option<&'a Arc<Ext4Inode>>,
}

fn check_directory(directory: &Ext4Inode) -> Result<()> {
    directory.volume.check_writable()?;
    if directory.kind != FileType::Directory {
        return Err(Error::NotDirectory);
    }
    let (flags, links) = directory.with_body(|body| (body.flags(), body.raw().i_links_count.get()));
    if flags.contains(InodeFlags::IMMUTABLE) {
        return Err(Error::NotPermitted);
    }
    // Removed while it was open: nothing can be made in it.
    if links == 0 { Err(Error::NotFound) } else { Ok(()) }
}

fn touch(directory: &Ext4Inode, now: Timestamp) -> Result<()> {
    directory.update_body(|body| {
        body.set_time(TimeField::Modify, now);
        body.set_time(TimeField::Change, now);
        Ok(())
    })
}

/// Counts a link to a body up.
fn add_link(inode: &Ext4Inode, body: &mut InodeBody) -> Result<()> {
    let links = body.raw().i_links_count.get();
    let next = match inode.kind {
        // A directory with more subdirectories than can be counted has "1".
        FileType::Directory if links == 1 => 1,
        FileType::Directory if links + 1 >= LINKS_MAX => {
            match inode.volume.geometry.ro_compat.contains(RoCompat::DIR_NLINK) {
                true => 1,
                false => return Err(Error::TooManyLinks),
            }
        }
        _ if links >= LINKS_MAX => return Err(Error::TooManyLinks),
        _ => links + 1,
    };
    body.raw_mut().i_links_count.set(next);
    Ok(())
}

/// Counts a subdirectory of a directory down.
fn drop_subdirectory(body: &mut InodeBody) {
    let links = body.raw().i_links_count.get();
    if links > 2 {
        body.raw_mut().i_links_count.set(links - 1);
    }
}

/// Makes an inode, lets `fill` give it its contents, and names it.
fn make(
    directory: &Arc<Ext4Inode>,
    name: &[u8],
    birth: &Birth,
    fill: impl FnOnce(&Arc<Ext4Inode>) -> Result<()>,
) -> Result<Arc<Ext4Inode>> {
    check_directory(directory)?;
    let inode = lifetime::create(&directory.volume, directory.number, birth)?;
    let named = fill(&inode).and_then(|()| dir::add(directory, name, inode.number, birth.kind));
    if let Err(error) = named {
        lifetime::destroy(&inode, birth.now.seconds)?;
        return Err(error);
    }
    touch(directory, birth.now)?;
    Ok(inode)
}

/// Makes a file without contents: regular, fifo or socket.
pub fn create(directory: &Arc<Ext4Inode>, name: &[u8], birth: &Birth) -> Result<Arc<Ext4Inode>> {
    if !matches!(birth.kind, FileType::Regular | FileType::Fifo | FileType::Socket) {
        return Err(Error::Invalid);
    }
    make(directory, name, birth, |_| Ok(()))
}

/// Makes a directory.
pub fn mkdir(directory: &Arc<Ext4Inode>, name: &[u8], birth: &Birth) -> Result<Arc<Ext4Inode>> {
    // Counted first: too many subdirectories must be found before anything is made.
    check_directory(directory)?;
    let inode = make(directory, name, birth, |inode| {
        directory.with_body(|body| add_link(directory, &mut body.clone()))?;
        dir::init(inode, directory.number)?;
        inode.update_body(|body| {
            body.raw_mut().i_links_count.set(2);
            Ok(())
        })
    })?;
    directory.update_body(|body| add_link(directory, body))?;
    Ok(inode)
}

/// Makes a symbolic link to `target`.
pub fn symlink(directory: &Arc<Ext4Inode>, name: &[u8], target: &[u8], birth: &Birth) -> Result<Arc<Ext4Inode>> {
    let block_size = directory.volume.geometry.block_size();
    if target.is_empty() {
        return Err(Error::NotFound);
    }
    if target.len() >= block_size {
        return Err(Error::NameTooLong);
    }
    make(directory, name, birth, |inode| {
        if target.len() < I_BLOCK_SIZE {
            return inode.update_body(|body| {
                body.raw_mut().i_block[..target.len()].copy_from_slice(target);
                body.set_file_size(target.len() as u64);
                Ok(())
            });
        }
        let volume = &inode.volume;
        let goal = volume.inode_group_start(inode.number);
        let run = volume.allocate_blocks(goal, 1, crate::allocation::blocks::Purpose::Ordinary)?;
        volume.buffers.get_zeroed(run.start).modify(|bytes| bytes[..target.len()].copy_from_slice(target));
        inode.adopt_first_block(run.start, target.len() as u64).or_else(|error| {
            volume.buffers.forget(run.start);
            volume.free_blocks_of_file(run.start, 1)?;
            Err(error)
        })
    })
}

/// Where a symbolic link points.
pub fn readlink(inode: &Ext4Inode) -> Result<alloc::vec::Vec<u8>> {
    use crate::error::Corrupt;
    use crate::inode::Layout;
    if inode.kind != FileType::Symlink {
        return Err(Error::Invalid);
    }
    let length = inode.disk_size() as usize;
    let layout = inode.map_read().layout.clone();
    let target = match layout {
        Layout::None => inode.with_body(|body| body.block_area().get(..length).map(<[u8]>::to_vec)),
        Layout::Inline => Some(inode.read_inline()?),
        Layout::Extents(_) | Layout::Indirect(_) => {
            let block = inode.data_block(0)?.ok_or(Corrupt::SymlinkLength)?;
            inode.volume.buffers.get(block)?.read(|bytes| bytes.get(..length).map(<[u8]>::to_vec))
        }
    };
    match target {
        Some(target) if !target.is_empty() => Ok(target),
        _ => Err(Corrupt::SymlinkLength.into()),
    }
}

/// Gives `target` another name.
pub fn link(directory: &Arc<Ext4Inode>, name: &[u8], target: &Arc<Ext4Inode>, now: Timestamp) -> Result<()> {
    check_directory(directory)?;
    if target.kind == FileType::Directory {
        return Err(Error::NotPermitted);
    }
    if target.with_body(|body| body.raw().i_links_count.get()) == 0 {
        return Err(Error::NotFound);
    }
    target.update_body(|body| {
        add_link(target, body)?;
        body.set_time(TimeField::Change, now);
        Ok(())
    })?;
    if let Err(error) = dir::add(directory, name, target.number, target.kind) {
        target.update_body(|body| {
            let links = body.raw().i_links_count.get();
            body.raw_mut().i_links_count.set(links - 1);
            Ok(())
        })?;
        return Err(error);
    }
    touch(directory, now)
}

/// Takes a name that is gone already off the count of `victim`; with the last one it is an orphan.
fn drop_name(victim: &Arc<Ext4Inode>, now: Timestamp) -> Result<()> {
    let left = victim.update_body(|body| {
        let links = body.raw().i_links_count.get();
        let left = if victim.kind == FileType::Directory { 0 } else { links.saturating_sub(1) };
        body.raw_mut().i_links_count.set(left);
        body.set_time(TimeField::Change, now);
        if left == 0 && victim.kind == FileType::Directory {
            body.set_time(TimeField::Modify, now);
        }
        Ok(left)
    })?;
    if left == 0 { lifetime::add_orphan(victim) } else { Ok(()) }
}

/// Removes the name of a file.
pub fn unlink(directory: &Arc<Ext4Inode>, name: &[u8], victim: &Arc<Ext4Inode>, now: Timestamp) -> Result<()> {
    check_directory(directory)?;
    if victim.kind == FileType::Directory {
        return Err(Error::IsDirectory);
    }
    dir::remove(directory, name, victim.number)?;
    touch(directory, now)?;
    drop_name(victim, now)
}

/// Removes an empty directory.
pub fn rmdir(directory: &Arc<Ext4Inode>, name: &[u8], victim: &Arc<Ext4Inode>, now: Timestamp) -> Result<()> {
    check_directory(directory)?;
    if victim.kind != FileType::Directory {
        return Err(Error::NotDirectory);
    }
    if !dir::is_empty(victim)? {
        return Err(Error::NotEmpty);
    }
    dir::remove(directory, name, victim.number)?;
    directory.update_body(|body| {
        drop_subdirectory(body);
        body.set_time(TimeField::Modify, now);
        body.set_time(TimeField::Change, now);
        Ok(())
    })?;
    drop_name(victim, now)
}

/// Moves a name, over another inode's if there is one.
pub fn rename(rename: &Rename<'_>, now: Timestamp) -> Result<()> {
    let Rename { inode, old_directory, old_name, new_directory, new_name, replaced } = *rename;
    check_directory(old_directory)?;
    check_directory(new_directory)?;
    let is_directory = inode.kind == FileType::Directory;
    let moves_up = is_directory && old_directory.number != new_directory.number;
    if let Some(replaced) = replaced {
        if replaced.number == inode.number {
            // Two names of one file: POSIX has both stay.
            return Ok(());
        }
        match (is_directory, replaced.kind == FileType::Directory) {
            (true, false) => return Err(Error::NotDirectory),
            (false, true) => return Err(Error::IsDirectory),
            (true, true) if !dir::is_empty(replaced)? => return Err(Error::NotEmpty),
            _ => {}
        }
        dir::replace(new_directory, new_name, inode.number, inode.kind)?;
    } else {
        if moves_up {
            new_directory.with_body(|body| add_link(new_directory, &mut body.clone()))?;
        }
        dir::add(new_directory, new_name, inode.number, inode.kind)?;
    }
    if let Err(error) = dir::remove(old_directory, old_name, inode.number) {
        match replaced {
            Some(replaced) => dir::replace(new_directory, new_name, replaced.number, replaced.kind)?,
            None => dir::remove(new_directory, new_name, inode.number)?,
        }
        return Err(error);
    }
    if moves_up {
        dir::set_parent(inode, new_directory.number)?;
        old_directory.update_body(|body| {
            drop_subdirectory(body);
            Ok(())
        })?;
        new_directory.update_body(|body| add_link(new_directory, body))?;
    }
    if let Some(replaced) = replaced {
        if replaced.kind == FileType::Directory {
            new_directory.update_body(|body| {
                drop_subdirectory(body);
                Ok(())
            })?;
        }
        drop_name(replaced, now)?;
    }
    touch(old_directory, now)?;
    if old_directory.number != new_directory.number {
        touch(new_directory, now)?;
    }
    inode.update_body(|body| {
        body.set_time(TimeField::Change, now);
        Ok(())
    })
}
