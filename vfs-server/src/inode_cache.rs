//! The inodes in use: one object an inode number, found by number and by cookie.
//!
//! Owns: reading an inode once, keeping it while somebody has it or a client maps it, and the end
//! of one that nobody has. Does not own: what an inode is (`inode`) and its folios (`page_cache`).
//!
//! An `Arc<Inode>` outside the table is a use. Nothing happens when the last one is dropped, for
//! that may be under any lock; [`InodeCache::reap`] looks for unlinked inodes without a user when
//! a request has ended, with no lock held.
//!
//! | | get | insert | reap |
//! |---|---|---|---|
//! | **get** | table lock, waits while busy | table lock | table lock: in use is not reaped |
//! | **insert** | | never the same number twice | waits while the number's old inode is busy |
//! | **reap** | | | a busy slot belongs to one task |

use crate::error::Result;
use crate::fs::{FileSystem, Ino, Inode, NewInode};
use crate::page_cache::{AddressSpace, Mark};
use alloc::sync::Arc;
use alloc::vec::Vec;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use pager_abi::Cookie;
use platform::lockdep::{TABLE, assert_none_held};
use platform::sync::{Mutex, WaitQueue};

/// Inodes without a user that are kept for the next one.
const UNUSED_MAX: usize = 4096;

enum Slot {
    /// Being read from the disk, or on its way out.
    Busy,
    Present(Arc<Inode>),
}

struct Table {
    slots: HashMap<Ino, Slot>,
    /// Inodes that clients map, and how many grants they have.
    mapped: HashMap<Cookie, (Arc<Inode>, u64)>,
    /// Unlinked inodes that may be without a user now.
    orphans: Vec<Ino>,
    next_cookie: u64,
}

/// The inodes of one mounted file system.
pub struct InodeCache {
    fs: Arc<dyn FileSystem>,
    /// log2 of the bytes of a block.
    block_shift: u8,
    table: Mutex<Table>,
    /// Woken when a busy slot is busy no more.
    settled: WaitQueue,
}

impl InodeCache {
    /// Without any inode.
    pub fn new(fs: Arc<dyn FileSystem>) -> Self {
        let table = Table { slots: HashMap::new(), mapped: HashMap::new(), orphans: Vec::new(), next_cookie: 1 };
        Self {
            block_shift: fs.block_size().trailing_zeros() as u8,
            fs,
            table: Mutex::new(&TABLE, table),
            settled: WaitQueue::new(),
        }
    }

    /// The inode of that number, read from the disk if it is not in use (Linux: `iget`).
    pub fn get(&self, ino: Ino) -> Result<Arc<Inode>> {
        let found = self.settled.wait_for("an inode that is read or evicted", || {
            let mut table = self.table.lock();
            match table.slots.entry(ino) {
                Entry::Occupied(slot) => match slot.get() {
                    Slot::Present(inode) => Some(Some(inode.clone())),
                    Slot::Busy => None,
                },
                Entry::Vacant(slot) => {
                    slot.insert(Slot::Busy);
                    Some(None)
                }
            }
        });
        if let Some(inode) = found {
            return Ok(inode);
        }
        let read = self.fs.read_inode(ino);
        let mut table = self.table.lock();
        let outcome = match read {
            Ok(new) => Ok(table.make_present(new, self.block_shift)),
            Err(error) => {
                table.slots.remove(&ino);
                Err(error)
            }
        };
        drop(table);
        self.settled.wake_all();
        outcome
    }

    /// Takes in an inode that was just made.
    pub fn insert(&self, new: NewInode) -> Arc<Inode> {
        let ino = new.ino;
        // Its number may be that of an inode whose eviction has freed it and is about to end.
        self.settled.wait_until("an inode that is evicted", || !self.table.lock().slots.contains_key(&ino));
        self.table.lock().make_present(new, self.block_shift)
    }

    /// The inode if it is in memory already.
    pub fn peek(&self, ino: Ino) -> Option<Arc<Inode>> {
        match self.table.lock().slots.get(&ino)? {
            Slot::Present(inode) => Some(inode.clone()),
            Slot::Busy => None,
        }
    }

    /// A client maps the inode: it stays in use until the grant is given back.
    pub fn open_grant(&self, inode: &Arc<Inode>) -> Cookie {
        let mut table = self.table.lock();
        table.mapped.entry(inode.mapping.cookie).or_insert_with(|| (inode.clone(), 0)).1 += 1;
        inode.mapping.cookie
    }

    /// Takes `count` grants back; the kernel may not give back more than it got.
    pub fn end_grants(&self, cookie: Cookie, count: u64) {
        let mut table = self.table.lock();
        let Some((inode, grants)) = table.mapped.get_mut(&cookie) else {
            drop(table);
            log::error!("grants of unknown cookie {} given back", cookie.0);
            return;
        };
        *grants = grants.saturating_sub(count);
        if *grants == 0 {
            let ino = inode.ino;
            table.mapped.remove(&cookie);
            table.orphans.push(ino);
        }
    }

    /// The inode that a fault names.
    pub fn find_mapped(&self, cookie: Cookie) -> Option<Arc<Inode>> {
        self.table.lock().mapped.get(&cookie).map(|(inode, _)| inode.clone())
    }

    /// The inode has lost its last link: it ends when nobody uses it any more.
    pub fn orphaned(&self, ino: Ino) {
        self.table.lock().orphans.push(ino);
    }

    /// Somebody let go of the inode: if it has no link left, the next [`InodeCache::reap`] looks at it.
    pub fn released(&self, inode: &Inode) {
        if inode.attributes().nlink == 0 {
            self.orphaned(inode.ino);
        }
    }

    /// Every inode in memory at this moment.
    pub fn all(&self) -> Vec<Arc<Inode>> {
        let table = self.table.lock();
        table.slots.values().filter_map(Slot::present).cloned().collect()
    }

    /// Ends unlinked inodes that nobody uses, and some clean ones if there are too many. With no
    /// lock held; `drop_folios` empties the page cache of one of them.
    pub fn reap(&self, drop_folios: impl Fn(&Arc<Inode>)) {
        {
            let table = self.table.lock();
            if table.orphans.is_empty() && table.slots.len() <= UNUSED_MAX {
                return;
            }
        }
        assert_none_held("the end of an inode");
        while let Some(inode) = self.next_orphan() {
            self.evict(inode, &drop_folios);
        }
        for inode in self.take_surplus() {
            self.evict(inode, &drop_folios);
        }
    }

    /// Ends every inode that nobody uses (unmount); how many are still in use.
    pub fn evict_all(&self, drop_folios: impl Fn(&Arc<Inode>)) -> usize {
        assert_none_held("the end of all inodes");
        let unused: Vec<_> = {
            let mut table = self.table.lock();
            let inos: Vec<Ino> = table.slots.keys().copied().collect();
            inos.into_iter().filter_map(|ino| table.take_unused(ino, |_| true)).collect()
        };
        unused.into_iter().for_each(|inode| self.evict(inode, &drop_folios));
        self.table.lock().slots.len()
    }

    fn next_orphan(&self) -> Option<Arc<Inode>> {
        let mut table = self.table.lock();
        loop {
            let ino = table.orphans.pop()?;
            // One that is still in use comes back by `released`, when its user lets go.
            if let Some(inode) = table.take_unused(ino, |inode| inode.attributes().nlink == 0) {
                return Some(inode);
            }
        }
    }

    fn take_surplus(&self) -> Vec<Arc<Inode>> {
        let mut table = self.table.lock();
        if table.slots.len() <= UNUSED_MAX {
            return Vec::new();
        }
        let inos: Vec<Ino> = table.slots.keys().copied().collect();
        inos.into_iter().filter_map(|ino| table.take_unused(ino, is_clean)).take(UNUSED_MAX / 8).collect()
    }

    /// The slot is busy and this is the only reference.
    fn evict(&self, inode: Arc<Inode>, drop_folios: &impl Fn(&Arc<Inode>)) {
        let ino = inode.ino;
        drop_folios(&inode);
        if let Err(error) = inode.operations().evict(&inode) {
            log::error!("{}: inode {ino} could not be evicted: {error}", self.fs.name());
        }
        drop(inode);
        self.table.lock().slots.remove(&ino);
        self.settled.wake_all();
    }
}

impl Slot {
    fn present(&self) -> Option<&Arc<Inode>> {
        match self {
            Self::Present(inode) => Some(inode),
            Self::Busy => None,
        }
    }
}

impl Table {
    fn make_present(&mut self, new: NewInode, block_shift: u8) -> Arc<Inode> {
        let cookie = Cookie(self.next_cookie);
        self.next_cookie += 1;
        let inode = Arc::new(Inode::with_mapping(new, AddressSpace::new(cookie, block_shift)));
        self.slots.insert(inode.ino, Slot::Present(inode.clone()));
        inode
    }

    /// Takes the inode out, leaving its slot busy, if nobody else has it and `wanted` says so.
    fn take_unused(&mut self, ino: Ino, wanted: impl Fn(&Inode) -> bool) -> Option<Arc<Inode>> {
        let slot = self.slots.get_mut(&ino)?;
        let inode = slot.present()?;
        // The table's own reference is the only one, and new ones come from the table alone.
        if Arc::strong_count(inode) > 1 || !wanted(inode) {
            return None;
        }
        match core::mem::replace(slot, Slot::Busy) {
            Slot::Present(inode) => Some(inode),
            Slot::Busy => None,
        }
    }
}

/// Nothing of the inode is still to be written.
fn is_clean(inode: &Inode) -> bool {
    inode.dirty_state.load() == 0 && !inode.mapping.any(Mark::Dirty) && !inode.mapping.any(Mark::Writeback)
}
