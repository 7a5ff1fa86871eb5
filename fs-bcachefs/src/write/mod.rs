//! The buffered write: bytes into folios, by one of three protocols of locks.
//!
//! | module | what |
//! |---|---|
//! | [`pass`] | what the protocols share: some folios, locked together, written, published, unlocked |
//! | [`inode_lock`] | Linux 6.12 and later |
//! | [`lockless`] | Linux 6.9 and 6.10, with its defects |
//! | [`shared_inode_lock`] | ours |
//!
//! What keeps a write from the others, by protocol:
//!
//! | | inode-lock | lockless | shared-inode-lock |
//! |---|---|---|---|
//! | **write within the file** | inode lock | folio locks; inode lock after a restart | inode lock shared and all folio locks |
//! | **append, extend, restart** | inode lock | inode lock, which keeps no lockless writer out | inode lock exclusively |
//! | **truncate** | inode lock | pagecache lock (block) | inode lock |
//! | **page_mkwrite** | folio lock | folio lock | folio lock |
//! | **writeback** | folio lock | folio lock | folio lock |
//! | **reclaim** | folio lock | folio lock | folio lock |

pub mod inode_lock;
pub mod lockless;
pub mod pass;
pub mod shared_inode_lock;

use crate::options::WriteProtocol;
use crate::volume::Volume;
use pass::Pass;
use platform::mutant::{Mutant, mutant};
use vfs_server::file::filemap::Filemap;
use vfs_server::file::iov_iter::{IovIter, Kiocb, Written};
use vfs_server::fs::BytesFrom;

/// Writes bytes of `from` by the protocol of the mount.
pub fn write_iter(volume: &Volume, file: &Filemap<'_>, iocb: &mut Kiocb, from: &mut IovIter<'_>) -> Written {
    let pass = Pass::new(volume, file);
    match volume.options.write {
        WriteProtocol::InodeLock => inode_lock::write(&pass, iocb, from),
        WriteProtocol::Lockless => lockless::write(&pass, iocb, from),
        WriteProtocol::SharedInodeLock => shared_inode_lock::write(&pass, iocb, from),
    }
}

/// Where a protocol wants the client's bytes.
pub fn bytes_from(protocol: WriteProtocol) -> BytesFrom {
    match protocol {
        WriteProtocol::InodeLock | WriteProtocol::Lockless => BytesFrom::Client,
        WriteProtocol::SharedInodeLock if mutant(Mutant::BytesCopiedUnderLocks) => BytesFrom::Client,
        WriteProtocol::SharedInodeLock => BytesFrom::ServerMemory,
    }
}
