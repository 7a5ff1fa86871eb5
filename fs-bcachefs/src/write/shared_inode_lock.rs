//! `shared-inode-lock`: within the file a write takes the inode lock shared and all folio locks of its
//! range; to append, to extend, or where the folios cannot be had all at once, the inode lock exclusively.
//!
//! The client's bytes are in the server's memory before any lock is taken: there is no short copy, and
//! so neither a restart that remembers nor a client's page that is waited for under a lock. Only the
//! holder of the exclusive lock cleans up past the end of the file, and only what it has added itself.

use super::pass::{Exclusion, Pass, Stop, Trim};
use platform::mutant::{Mutant, mutant};
use platform::tell;
use vfs_server::error::Error;
use vfs_server::file::iov_iter::{IovIter, Kiocb, Written};

/// Writes all bytes, which are one round.
pub fn write(pass: &Pass<'_>, iocb: &mut Kiocb, from: &mut IovIter<'_>) -> Written {
    let within_file = !iocb.append && iocb.position + from.count() as u64 <= pass.inode().size();
    if within_file && let Some(written) = overwrite(pass, iocb, from) {
        return written;
    }
    exclusively(pass, iocb, from)
}

/// The fast way. `None`: it is not to be had, and nothing was written.
fn overwrite(pass: &Pass<'_>, iocb: &mut Kiocb, from: &mut IovIter<'_>) -> Option<Written> {
    let inode = pass.inode();
    let locked = inode.lock.read_key(inode.ino);
    let added = inode.mapping.invalidate_lock.add();
    // Who holds the inode lock exclusively changes the size, and nobody else.
    if iocb.position + from.count() as u64 > inode.size() {
        return None;
    }
    let passed = pass.run(iocb.position, from, Exclusion::FolioLocks, Trim::OwnFolios);
    match passed.stop {
        Stop::Done if passed.copied == from.count() => {
            iocb.position += passed.copied as u64;
            from.advance(passed.copied);
            Some(Written { count: passed.copied, error: None })
        }
        // A full disk: the slow way writes what there is room for.
        _ => {
            if mutant(Mutant::EarlyExitTrims) {
                let size = inode.size();
                drop((added, locked));
                pass.trim(size);
            }
            None
        }
    }
}

/// The slow way, pass by pass: nobody else writes meanwhile.
fn exclusively(pass: &Pass<'_>, iocb: &mut Kiocb, from: &mut IovIter<'_>) -> Written {
    let inode = pass.inode();
    tell!("takes the inode lock exclusively");
    let shared = mutant(Mutant::PassesUnderSharedLock);
    let _shared = shared.then(|| inode.lock.read_key(inode.ino));
    let _exclusive = (!shared).then(|| inode.lock.write_key(inode.ino));
    if iocb.append {
        iocb.position = inode.size();
    }
    let mut count = 0;
    let mut patience = pass.patience();
    let error = loop {
        if from.count() == 0 {
            break None;
        }
        let added = inode.mapping.invalidate_lock.add();
        let passed = pass.run(iocb.position, from, Exclusion::InodeLock, Trim::OwnFolios);
        drop(added);
        iocb.position += passed.copied as u64;
        count += passed.copied;
        from.advance(passed.copied);
        match passed.stop {
            Stop::Done => {}
            // Others must not see half of the write: the inode lock is kept while it waits for a folio.
            // Nobody who frees one takes it.
            Stop::Failed(Error::NoFolio) if patience.wait() => {}
            Stop::Failed(Error::NoFolio) => break Some(Error::NoMemory),
            Stop::Failed(error) => break Some(error),
            // Its bytes are here, and it has the lock.
            Stop::MissingBuffer | Stop::NeedInodeLock => break Some(from.retry()),
        }
    };
    Written { count, error }
}
