//! An inode in use: its bytes, its block map and its locks.
//!
//! | state | lock (class) |
//! |---|---|
//! | inline contents, attributes | `xattr` (`xattr_sem`) |
//! | what the contents are in, and the tree's root | `map` (`i_data_sem`) |
//! | the inode's bytes, and their copy in the table block | `body`, below both |
//!
//! A change of layout (inline to blocks, empty to inline) holds `xattr` and `map` exclusively and
//! counts `layout` up. The root in `map` is the truth for look-ups; every change copies it into
//! `body` and writes `body` to its table block before the locks go.

use alloc::sync::Arc;

use platform::lockdep::{EXTENT_TREE, LockClass, XATTR};
use platform::sync::{Long, Mutex, ReadGuard, RwLock, WriteGuard};

use crate::error::{Corrupt, Error, Result};
use crate::extent::tree::{self, Root, Tree};
use crate::format::inode::InodeFlags;
use crate::inode::body::{FileType, InodeBody};
use crate::volume::Volume;

pub mod attributes;
pub mod body;
pub mod convert;
pub mod indirect;
pub mod inline;
pub mod lifetime;
pub mod map;
pub mod truncate;
pub mod write;

/// An inode's bytes: below orphans, allocator and superblock, above buffers.
static INODE_BODY: LockClass = LockClass::single("inode body", 64);

/// What an inode's contents are in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Nothing, or a short symbolic link or device number in `i_block`.
    None,
    /// The inode itself.
    Inline,
    /// Blocks, by this extent tree.
    Extents(Root),
    /// Blocks, by the direct and indirect block numbers of `i_block`.
    Indirect(Root),
}

/// An inode's block map.
#[derive(Debug)]
pub struct BlockMap {
    /// Where the contents are.
    pub layout: Layout,
    /// Unwritten blocks that writes allocated and that are to be converted.
    pub unwritten: u64,
    /// Free blocks held back for the splits this may need.
    pub promised: u64,
    /// Free blocks held back for a write that allocates at its end (`protocol`).
    pub delayed: u64,
    /// A shared mapping may write: the file never becomes inline (again).
    pub never_inline: bool,
}

/// An inode in use.
pub struct Ext4Inode {
    /// Its file system.
    pub volume: Arc<Volume>,
    /// Its number.
    pub number: u32,
    /// Its checksum seed.
    pub(crate) seed: u32,
    /// Its type.
    pub kind: FileType,
    xattr: RwLock<()>,
    map: RwLock<BlockMap>,
    body: Mutex<InodeBody>,
    /// Counts changes of layout.
    pub(crate) layout_changes: Long,
}

impl Ext4Inode {
    /// Takes an inode into use that the disk says is in use.
    pub fn load(volume: Arc<Volume>, number: u32) -> Result<Arc<Self>> {
        let body = volume.read_body(number)?;
        if body.raw().i_links_count.get() == 0 {
            return Err(Error::Stale);
        }
        if !volume.inode_in_use(number)? {
            return Err(Corrupt::InodeUnused.into());
        }
        Self::new(volume, number, body)
    }

    /// Takes `body` into use after checking what its type and flags promise.
    pub(crate) fn new(volume: Arc<Volume>, number: u32, body: InodeBody) -> Result<Arc<Self>> {
        let kind = body.file_type()?;
        let layout = check_layout(&volume, kind, &body)?;
        let seed = volume.inode_seed(number, &body);
        let map = BlockMap { layout, unwritten: 0, promised: 0, delayed: 0, never_inline: false };
        Ok(Arc::new(Self {
            volume,
            number,
            seed,
            kind,
            xattr: RwLock::new(&XATTR, ()),
            map: RwLock::new(&EXTENT_TREE, map),
            body: Mutex::new(&INODE_BODY, body),
            layout_changes: Long::new(&EXTENT_TREE, 1),
        }))
    }

    pub(crate) fn xattr_read(&self) -> ReadGuard<'_, ()> {
        self.xattr.read_key(self.number as u64)
    }

    pub(crate) fn xattr_write(&self) -> WriteGuard<'_, ()> {
        self.xattr.write_key(self.number as u64)
    }

    pub(crate) fn map_read(&self) -> ReadGuard<'_, BlockMap> {
        self.map.read_key(self.number as u64)
    }

    pub(crate) fn map_write(&self) -> WriteGuard<'_, BlockMap> {
        self.map.write_key(self.number as u64)
    }

    /// Looks at the inode's bytes.
    pub fn with_body<R>(&self, look: impl FnOnce(&InodeBody) -> R) -> R {
        look(&self.body.lock())
    }

    /// Changes the inode's bytes, in memory and in the table block. If `change` fails the bytes are as
    /// they were.
    pub(crate) fn update_body<R>(&self, change: impl FnOnce(&mut InodeBody) -> Result<R>) -> Result<R> {
        let mut body = self.body.lock();
        let result = change(&mut body)?;
        self.volume.write_body(self.number, self.seed, &mut body)?;
        Ok(result)
    }

    /// This inode's extent tree.
    pub(crate) fn tree(&self) -> Tree<'_> {
        Tree::new(&self.volume, self.number, self.seed)
    }

    /// Whether the file system lets this inode have inline contents.
    pub(crate) fn may_be_inline(&self) -> bool {
        use crate::format::feature::Incompat;
        self.volume.geometry.incompat.contains(Incompat::INLINE_DATA)
            && matches!(self.kind, FileType::Regular | FileType::Directory)
    }
}

/// What an inode's contents are in, according to its type and flags.
fn check_layout(volume: &Volume, kind: FileType, body: &InodeBody) -> Result<Layout> {
    let flags = body.flags();
    let size = body.file_size();
    let is_inline = flags.contains(InodeFlags::INLINE_DATA);
    if flags.contains(InodeFlags::EXTENTS) && is_inline {
        return Err(Corrupt::InodeFlags.into());
    }
    if flags.contains(InodeFlags::ENCRYPT) {
        return Err(Error::Unsupported("encrypt"));
    }
    let block_size = volume.geometry.block_size() as u64;
    if body.file_acl() != 0 && !volume.is_data(body.file_acl(), 1) {
        return Err(Corrupt::InodeFileAcl.into());
    }
    if size > tree::BLOCKS_END * block_size {
        return Err(Corrupt::InodeFileSize.into());
    }
    if is_inline {
        use crate::format::feature::Incompat;
        let allowed = matches!(kind, FileType::Regular | FileType::Directory | FileType::Symlink);
        if !allowed || !volume.geometry.incompat.contains(Incompat::INLINE_DATA) {
            return Err(Corrupt::InlineUse.into());
        }
        // Both the attribute's bounds and the size are checked here, and by every access again.
        if size > inline::len(body)? as u64 && kind != FileType::Regular {
            return Err(Corrupt::InlineSize.into());
        }
        return Ok(Layout::Inline);
    }
    match kind {
        FileType::Regular | FileType::Directory => {}
        FileType::Symlink if body.is_fast_symlink(&volume.geometry) => return Ok(Layout::None),
        FileType::Symlink => {}
        _ => return Ok(Layout::None),
    }
    if kind == FileType::Directory && (size == 0 || !size.is_multiple_of(block_size)) {
        return Err(Corrupt::DirectorySize.into());
    }
    let root = *body.block_area();
    if flags.contains(InodeFlags::EXTENTS) {
        tree::check_root(volume, &root)?;
        Ok(Layout::Extents(root))
    } else {
        Ok(Layout::Indirect(root))
    }
}
