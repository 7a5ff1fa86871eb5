//! The inodes in memory: one object for each inode number, from the first look to the eviction.
//!
//! Owns: the table, the references, the decision that an inode goes. Does not own: what eviction
//! does to the disk ([`InodeOperations::evict`](crate::fs::InodeOperations::evict)), nor dirty data
//! (`writeback`).
//!
//! An [`InodeRef`] keeps its inode. When the last one of an orphan (no links) is dropped, the inode
//! is noted, and [`Server::reap_inodes`] evicts it when the worker holds no lock: eviction starts
//! transactions. Inodes with links stay as idle ones, up to a limit.
//!
//! | | get | drop of the last reference | evict |
//! |---|---|---|---|
//! | **get** | table lock: one reads, the others wait | table lock | waits until it is gone, reads anew |
//! | **evict** | | re-checks for users under the table lock | table lock: one evicts |

use crate::error::{Error, Result};
use crate::fs::{Ino, NewInode};
use crate::inode::Inode;
use crate::page_cache::{AddressSpace, InvalidateLockKind, Mark};
use crate::server::Server;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Deref;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use pager_abi::Cookie;
use platform::HashMap;
use platform::lockdep::{LEAF, TABLE};
use platform::sync::{Mutex, WaitQueue, Word};

/// The inodes in memory.
pub struct InodeCache {
    table: Mutex<HashMap<Ino, Entry>>,
    changed: WaitQueue,
    orphans: Arc<Orphans>,
    cookies: AtomicU64,
    /// Number of entries above which idle inodes go; grows when all are busy.
    trim_above: AtomicUsize,
    idle_limit: usize,
    block_shift: u8,
    invalidate_lock: InvalidateLockKind,
}

enum Entry {
    Reading,
    Live(Arc<Inode>),
    Evicting,
}

/// Inodes whose last user left and that may have to be freed.
pub(crate) struct Orphans {
    count: Word,
    list: Mutex<Vec<Ino>>,
}

/// A reference that keeps an inode in use.
pub struct InodeRef {
    inode: Arc<Inode>,
}

impl InodeRef {
    fn new(inode: &Arc<Inode>) -> Self {
        inode.users.fetch_add(1);
        Self { inode: inode.clone() }
    }

    /// The inode, for what outlives the reference without keeping the inode in use.
    pub fn arc(&self) -> &Arc<Inode> {
        &self.inode
    }
}

impl Clone for InodeRef {
    fn clone(&self) -> Self {
        Self::new(&self.inode)
    }
}

impl Deref for InodeRef {
    type Target = Inode;
    fn deref(&self) -> &Inode {
        &self.inode
    }
}

impl Drop for InodeRef {
    fn drop(&mut self) {
        if self.inode.users.fetch_sub(1) == 1
            && self.inode.attributes().nlink == 0
            && let Some(orphans) = &self.inode.orphans
        {
            orphans.add(self.inode.ino);
        }
    }
}

impl Orphans {
    fn new() -> Self {
        Self { count: Word::new(&LEAF, 0), list: Mutex::new(&LEAF, Vec::new()) }
    }

    fn add(&self, ino: Ino) {
        self.list.lock().push(ino);
        self.count.fetch_add(1);
    }

    fn take(&self) -> Vec<Ino> {
        if self.count.load() == 0 {
            return Vec::new();
        }
        let mut list = self.list.lock();
        self.count.store(0);
        core::mem::take(&mut list)
    }
}

impl InodeCache {
    /// An empty table for a file system with blocks of `1 << block_shift` bytes.
    pub(crate) fn new(block_shift: u8, invalidate_lock: InvalidateLockKind, idle_limit: usize) -> Self {
        Self {
            table: Mutex::new(&TABLE, HashMap::default()),
            changed: WaitQueue::new(),
            orphans: Arc::new(Orphans::new()),
            cookies: AtomicU64::new(1),
            trim_above: AtomicUsize::new(idle_limit),
            idle_limit,
            block_shift,
            invalidate_lock,
        }
    }

    /// Inodes in memory.
    pub(crate) fn len(&self) -> usize {
        self.table.lock().len()
    }

    fn make(&self, new: NewInode) -> Arc<Inode> {
        let cookie = Cookie(self.cookies.fetch_add(1, Ordering::Relaxed));
        let mut inode = Inode::with_mapping(new, AddressSpace::new(cookie, self.block_shift, self.invalidate_lock));
        inode.orphans = Some(self.orphans.clone());
        let inode = Arc::new(inode);
        inode.name_locks();
        inode
    }

    /// Looks up; an absent entry is claimed by the caller, who must fill it or remove it.
    fn claim(&self, ino: Ino) -> Option<InodeRef> {
        self.changed.wait_for("an inode that is being read or evicted", || {
            let mut table = self.table.lock();
            match table.get(&ino) {
                Some(Entry::Live(inode)) => Some(Some(InodeRef::new(inode))),
                Some(Entry::Reading | Entry::Evicting) => None,
                None => {
                    table.insert(ino, Entry::Reading);
                    Some(None)
                }
            }
        })
    }

    fn fill(&self, ino: Ino, new: NewInode) -> InodeRef {
        let inode = self.make(new);
        let reference = InodeRef::new(&inode);
        self.table.lock().insert(ino, Entry::Live(inode));
        self.changed.wake_all();
        reference
    }

    /// Puts the first inode in.
    pub(crate) fn insert_root(&self, new: NewInode) -> InodeRef {
        self.fill(new.ino, new)
    }

    fn remove(&self, ino: Ino) {
        self.table.lock().remove(&ino);
        self.changed.wake_all();
    }

    /// A reference to an inode that somebody remembers, unless it is being evicted.
    pub(crate) fn grab(&self, inode: &Arc<Inode>) -> Option<InodeRef> {
        match self.table.lock().get(&inode.ino) {
            Some(Entry::Live(live)) if Arc::ptr_eq(live, inode) => Some(InodeRef::new(live)),
            _ => None,
        }
    }

    /// Every inode in memory.
    pub(crate) fn all(&self) -> Vec<InodeRef> {
        let table = self.table.lock();
        let live = table.values().filter_map(|entry| match entry {
            Entry::Live(inode) => Some(InodeRef::new(inode)),
            _ => None,
        });
        live.collect()
    }

    /// Claims an unused inode for eviction.
    fn claim_unused(&self, ino: Ino) -> Option<Arc<Inode>> {
        let mut table = self.table.lock();
        let entry = table.get_mut(&ino)?;
        let Entry::Live(inode) = entry else { return None };
        if inode.users.load() != 0 {
            return None;
        }
        let inode = inode.clone();
        *entry = Entry::Evicting;
        Some(inode)
    }

    /// Gives a claimed inode back: it stays.
    fn unclaim(&self, inode: Arc<Inode>) {
        self.table.lock().insert(inode.ino, Entry::Live(inode));
        self.changed.wake_all();
    }

    fn idle(&self, most: usize) -> Vec<Ino> {
        let table = self.table.lock();
        let idle = table.iter().filter_map(|(&ino, entry)| match entry {
            Entry::Live(inode) if inode.users.load() == 0 => Some(ino),
            _ => None,
        });
        idle.take(most).collect()
    }
}

/// Whether an inode can go without losing anything.
fn is_clean(inode: &Inode) -> bool {
    inode.dirty_state.load() == 0 && !inode.mapping.any(Mark::Dirty) && !inode.mapping.any(Mark::Writeback)
}

impl Server {
    /// The inode with this number, read from the disk if it is not in memory.
    pub(crate) fn iget(&self, ino: Ino) -> Result<InodeRef> {
        if let Some(found) = self.inodes.claim(ino) {
            return Ok(found);
        }
        match self.fs.read_inode(ino) {
            Ok(new) if new.ino == ino => Ok(self.inodes.fill(ino, new)),
            Ok(_) => {
                self.inodes.remove(ino);
                Err(Error::Corrupt("an inode has another number than asked for".into()))
            }
            Err(error) => {
                self.inodes.remove(ino);
                Err(error)
            }
        }
    }

    /// Takes over an inode that the file system has just made.
    pub(crate) fn adopt_inode(&self, new: NewInode) -> Result<InodeRef> {
        match self.inodes.claim(new.ino) {
            None => Ok(self.inodes.fill(new.ino, new)),
            // The file system gave out a number that is in use.
            Some(_) => Err(Error::Corrupt("a new inode has the number of one in use".into())),
        }
    }

    /// Evicts orphans whose last user left, and idle inodes above the limit. No lock is held.
    pub(crate) fn reap_inodes(&self) {
        for ino in self.inodes.orphans.take() {
            self.evict(ino, |inode| inode.attributes().nlink == 0);
        }
        let above = self.inodes.trim_above.load(Ordering::Relaxed);
        // The length is looked at only now and then: a table lock for each request is too much.
        if self.counters.requests.get() % 64 == 0 && self.inodes.len() > above {
            self.trim_idle(above);
        }
    }

    fn trim_idle(&self, above: usize) {
        let batch = (self.inodes.idle_limit / 8).max(8);
        let evicted = self.inodes.idle(batch).into_iter().filter(|&ino| self.evict(ino, is_clean)).count();
        let limit = if evicted == 0 { above + batch } else { self.inodes.idle_limit };
        self.inodes.trim_above.store(limit, Ordering::Relaxed);
    }

    /// Evicts every unused inode (after everything was written back).
    pub(crate) fn evict_all_idle(&self) {
        for ino in self.inodes.idle(usize::MAX) {
            self.evict(ino, |_| true);
        }
    }

    /// Evicts an inode if nobody uses it and `also` holds.
    fn evict(&self, ino: Ino, also: impl Fn(&Inode) -> bool) -> bool {
        let Some(inode) = self.inodes.claim_unused(ino) else { return false };
        if !also(&inode) {
            self.inodes.unclaim(inode.clone());
            if !is_clean(&inode) {
                // Writeback may have met it while it was claimed, and left it alone.
                self.note_dirty(&inode);
            }
            return false;
        }
        self.drop_all_folios(&inode);
        if !self.fs.read_only()
            && let Err(error) = inode.operations().evict(&inode)
        {
            log::error!("inode {ino}: eviction failed: {error}");
        }
        self.inodes.remove(ino);
        true
    }
}
