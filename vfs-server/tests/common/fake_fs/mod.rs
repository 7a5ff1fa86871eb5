//! A file system in memory with data on a disk: a fake beside the traits, honest where the server
//! could go wrong.
//!
//! Honest: blocks are allocated unwritten and converted by `blocks_written`; freed blocks are given
//! to the next who asks; the size that survives an eviction is the one on the disk; small files are
//! inline and converted by allocate-first; every operation that would start a transaction takes a
//! lock of the transaction's rank, so that the lock-order checker sees who calls it with a folio
//! locked. Injectable: a limit of free blocks.

mod inode;

use super::fake_disk::FakeDisk;
use platform::lockdep::{EXTENT_TREE, TRANSACTION_BEFORE_FOLIO};
use platform::sync::{Mutex, MutexGuard};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use vfs_server::fs::*;
use vfs_server::{Error, Result};

const ROOT: Ino = 2;

/// Largest file that lives in its inode.
pub const INLINE_MAX: u64 = 60;

pub struct FakeFs {
    shared: Arc<Shared>,
}

struct Shared {
    block_size: u32,
    disk: Arc<FakeDisk>,
    inline: AtomicBool,
    transaction: Mutex<()>,
    state: Mutex<State>,
    evicted: AtomicU64,
    unmounted: AtomicBool,
}

struct State {
    inodes: HashMap<Ino, Node>,
    free: Vec<u64>,
    next_ino: Ino,
}

struct Node {
    kind: FileKind,
    attributes: Attributes,
    /// On the disk.
    size: u64,
    layout: u64,
    body: Body,
}

enum Body {
    Inline(Vec<u8>),
    /// File block -> device block, and whether it was written.
    Blocks(BTreeMap<u64, (u64, bool)>),
    Names {
        parent: Ino,
        names: BTreeMap<Vec<u8>, Ino>,
    },
    Link(Vec<u8>),
}

struct FakeInode {
    shared: Arc<Shared>,
    ino: Ino,
}

impl FakeFs {
    pub fn new(block_size: u32, disk: Arc<FakeDisk>) -> Arc<Self> {
        let blocks = disk.len() / u64::from(block_size);
        let root = Node {
            kind: FileKind::Directory,
            attributes: Attributes { permissions: 0o755, nlink: 2, ..Attributes::default() },
            size: u64::from(block_size),
            layout: 0,
            body: Body::Names { parent: ROOT, names: BTreeMap::new() },
        };
        let state = State {
            inodes: HashMap::from([(ROOT, root)]),
            // The last freed is used first.
            free: (0..blocks).rev().collect(),
            next_ino: 11,
        };
        Arc::new(Self {
            shared: Arc::new(Shared {
                block_size,
                disk,
                inline: AtomicBool::new(false),
                transaction: Mutex::new(&TRANSACTION_BEFORE_FOLIO, ()),
                state: Mutex::new(&EXTENT_TREE, state),
                evicted: AtomicU64::new(0),
                unmounted: AtomicBool::new(false),
            }),
        })
    }

    /// New files begin in their inodes.
    pub fn use_inline(&self) {
        self.shared.inline.store(true, Ordering::SeqCst);
    }

    pub fn free_blocks(&self) -> usize {
        self.shared.state.lock().free.len()
    }

    /// Takes all but `left` free blocks away; gives them to be put back.
    pub fn take_blocks(&self, left: usize) -> Vec<u64> {
        let mut state = self.shared.state.lock();
        let keep = state.free.len().saturating_sub(left);
        state.free.drain(..keep).collect()
    }

    pub fn give_blocks(&self, blocks: Vec<u64>) {
        self.shared.state.lock().free.extend(blocks);
    }

    /// Nobody changes anything until the guard goes.
    pub fn hold_transactions(&self) -> MutexGuard<'_, ()> {
        self.shared.transaction.lock()
    }

    pub fn evictions(&self) -> u64 {
        self.shared.evicted.load(Ordering::SeqCst)
    }

    pub fn inodes(&self) -> usize {
        self.shared.state.lock().inodes.len()
    }

    pub fn was_unmounted(&self) -> bool {
        self.shared.unmounted.load(Ordering::SeqCst)
    }

    pub fn is_inline(&self, name: &[u8]) -> bool {
        let state = self.shared.state.lock();
        matches!(state.inodes[&state.ino_of(name)].body, Body::Inline(_))
    }

    /// A file of the root as a reader of the bare disk finds it.
    pub fn on_disk(&self, disk: &FakeDisk, name: &[u8]) -> Vec<u8> {
        let state = self.shared.state.lock();
        let node = &state.inodes[&state.ino_of(name)];
        let mut bytes = match &node.body {
            Body::Inline(bytes) => bytes.clone(),
            Body::Blocks(map) => {
                let size = u64::from(self.shared.block_size);
                let mut bytes = vec![0; (node.size.next_multiple_of(size)) as usize];
                for (&block, &(device, written)) in map {
                    let at = (block * size) as usize;
                    if written && at < bytes.len() {
                        bytes[at..at + size as usize].copy_from_slice(&disk.read_at(device * size, size as usize));
                    }
                }
                bytes
            }
            _ => panic!("no file"),
        };
        bytes.resize(node.size as usize, 0);
        bytes
    }
}

impl State {
    fn ino_of(&self, name: &[u8]) -> Ino {
        match &self.inodes[&ROOT].body {
            Body::Names { names, .. } => names[name],
            _ => unreachable!(),
        }
    }

    fn node(&mut self, ino: Ino) -> Result<&mut Node> {
        self.inodes.get_mut(&ino).ok_or(Error::Stale)
    }

    fn names(&mut self, directory: Ino) -> Result<&mut BTreeMap<Vec<u8>, Ino>> {
        match &mut self.node(directory)?.body {
            Body::Names { names, .. } => Ok(names),
            _ => Err(Error::NotDirectory),
        }
    }
}

impl Shared {
    fn as_new(self: &Arc<Self>, state: &State, ino: Ino) -> Result<NewInode> {
        let node = state.inodes.get(&ino).ok_or(Error::Stale)?;
        Ok(NewInode {
            ino,
            generation: 0,
            kind: node.kind,
            attributes: node.attributes,
            size: node.size,
            operations: Box::new(FakeInode { shared: self.clone(), ino }),
        })
    }
}

impl FileSystem for FakeFs {
    fn super_block(&self) -> SuperBlock {
        SuperBlock {
            name: "fake",
            block_size: self.shared.block_size,
            root: ROOT,
            access: Access::ReadWrite,
            max_file_size: 1 << 40,
        }
    }

    fn read_inode(&self, ino: Ino) -> Result<NewInode> {
        self.shared.as_new(&self.shared.state.lock(), ino)
    }
    fn statfs(&self) -> Result<StatFs> {
        let free = self.free_blocks() as u64;
        Ok(StatFs { blocks: 0, free, available: free, inodes: 0, free_inodes: 0 })
    }
    fn sync(&self, _mode: SyncMode) -> Result<()> {
        let _transaction = self.shared.transaction.lock();
        Ok(())
    }
    fn unmount(&self) -> Result<()> {
        self.shared.unmounted.store(true, Ordering::SeqCst);
        Ok(())
    }
    fn options(&self) -> String {
        "fake=yes\n".into()
    }
}
