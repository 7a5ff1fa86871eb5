//! The mapping objects that the kernel knows: which inode a cookie means, and how many grants of it
//! are out.
//!
//! Owns: the table of cookies. Does not own: the faults (`fault`). A grant keeps its inode in use,
//! so an unlinked file lives as long as somebody maps it.

use crate::error::{Error, Result};
use crate::fs::FileKind;
use crate::inode_cache::InodeRef;
use crate::open_file::OpenFile;
use crate::server::Server;
use pager_abi::Cookie;
use pager_abi::grant::MaxProtection;
use platform::HashMap;
use platform::lockdep::TABLE;
use platform::sync::RwLock;
use platform::{Mutant, mutant};
use syscall::flag::MapFlags;

/// Cookies with grants.
pub struct Mappings {
    table: RwLock<HashMap<u64, Grants>>,
}

struct Grants {
    inode: InodeRef,
    count: u64,
}

impl Mappings {
    pub(crate) fn new() -> Self {
        Self { table: RwLock::new(&TABLE, HashMap::default()) }
    }

    /// The inode that a cookie means, while there are grants.
    #[inline]
    pub(crate) fn inode(&self, cookie: Cookie) -> Option<InodeRef> {
        self.table.read().get(&cookie.0).map(|grants| grants.inode.clone())
    }

    fn grant(&self, inode: &InodeRef) {
        let mut table = self.table.write();
        let grants = table.entry(inode.mapping.cookie.0).or_insert_with(|| Grants { inode: inode.clone(), count: 0 });
        grants.count += 1;
        inode.mapping.grants.fetch_add(1);
    }

    /// `count` grants came back. More than were given is the kernel's error: all are gone then.
    pub(crate) fn give_back(&self, cookie: Cookie, count: u64) {
        let mut table = self.table.write();
        let Some(grants) = table.get_mut(&cookie.0) else { return };
        let back = if mutant(Mutant::GrantsNotCounted) { grants.count } else { count.min(grants.count) };
        grants.count -= back;
        grants.inode.mapping.grants.fetch_sub(back);
        let gone = if grants.count == 0 { table.remove(&cookie.0) } else { None };
        drop(table);
        drop(gone);
    }

    /// Cookies with grants.
    pub(crate) fn len(&self) -> usize {
        self.table.read().len()
    }

    /// All of them are void: the file system goes.
    pub(crate) fn remove_all(&self) {
        let all = core::mem::take(&mut *self.table.write());
        drop(all);
    }
}

impl Server {
    /// A client maps the file: gives the cookie and what mprotect may ever allow.
    pub(crate) fn mmap_prep(&self, file: &OpenFile, flags: MapFlags) -> Result<(Cookie, MaxProtection)> {
        let inode = &file.inode;
        if inode.kind != FileKind::Regular {
            return Err(Error::NoDevice);
        }
        if !file.readable() {
            return Err(Error::Permission);
        }
        let private = flags.contains(MapFlags::MAP_PRIVATE) && !flags.contains(MapFlags::MAP_SHARED);
        let write = private || (file.writable() && !self.fs.read_only());
        if flags.contains(MapFlags::PROT_WRITE) && !write {
            return Err(Error::Permission);
        }
        if write && !private {
            // The grant is counted under the inode lock: a write that extends the file and finds
            // no grants need not care for stores past the end.
            let _lock = inode.lock.write_key(inode.ino);
            inode.operations().prepare_mmap(inode)?;
            self.mappings.grant(inode);
        } else {
            self.mappings.grant(inode);
        }
        Ok((inode.mapping.cookie, MaxProtection { read: true, write, execute: true }))
    }
}
