//! `inode-lock`: the inode lock for the whole write (Linux 6.12 and later).
//!
//! A missing page of the client's buffer cannot be brought in under a lock here, as Linux does it: the
//! locks are dropped, and the rest of the write comes later. Another write in between is seen in parts
//! (the defect that K10 names).

use super::pass::{Exclusion, Pass, Stop, Trim};
use platform::tell;
use vfs_server::file::iov_iter::{IovIter, Kiocb, Written};

/// Writes as much as can be written under one hold of the lock.
pub fn write(pass: &Pass<'_>, iocb: &mut Kiocb, from: &mut IovIter<'_>) -> Written {
    let inode = pass.inode();
    let _inode = inode.lock.write_key(inode.ino);
    let _added = inode.mapping.invalidate_lock.add();
    if iocb.append {
        iocb.position = inode.size();
    }
    let mut count = 0;
    let error = loop {
        if from.count() == 0 {
            break None;
        }
        let passed = pass.run(iocb.position, from, Exclusion::InodeLock, Trim::WhoeverLeavesEarly);
        iocb.position += passed.copied as u64;
        count += passed.copied;
        from.advance(passed.copied);
        match passed.stop {
            Stop::Done => {}
            Stop::MissingBuffer | Stop::NeedInodeLock => {
                tell!("a page of the buffer is missing: drops the locks, {count} bytes are written");
                break Some(from.retry());
            }
            Stop::Failed(error) => break Some(error),
        }
    };
    Written { count, error }
}
