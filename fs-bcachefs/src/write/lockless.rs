//! `lockless`: no inode lock unless the write appends or extends (7e64c86cdc6c, Linux 6.9 and 6.10;
//! reverted by e3e694094091). Kept with its defects, which are marked by the names of the catalogue.
//!
//! All folios of the range are locked at once. Where that cannot be had, or the client's buffer has a
//! page missing, the write starts over with the inode lock; what it had written by then it remembers,
//! for bytes that were written cannot be unclaimed. Linux brings the missing page in and goes on in the
//! same call; here the request goes round for it, and what is remembered goes along.

use super::pass::{Exclusion, Pass, Passed, Stop, Trim};
use platform::tell;
use vfs_server::file::iov_iter::{IovIter, Kiocb, Restart, Written};

/// How an attempt ended.
enum Attempt {
    /// With this.
    Over(Written),
    /// To be started over, with the inode lock.
    NeedInodeLock,
}

/// Writes without the inode lock; if that does not do, with it.
pub fn write(pass: &Pass<'_>, iocb: &mut Kiocb, from: &mut IovIter<'_>) -> Written {
    let inode = pass.inode();
    let extends = |iocb: &Kiocb| iocb.position + from.count() as u64 > inode.size();
    let mut inode_locked = iocb.restart.need_inode_lock || iocb.append || extends(iocb);
    loop {
        let _inode = inode_locked.then(|| inode.lock.write_key(inode.ino));
        if iocb.append {
            iocb.position = inode.size();
        }
        let _added = inode.mapping.invalidate_lock.add();
        // The size that was looked at before may be another one by now.
        if !inode_locked && iocb.position + from.count() as u64 > inode.size() {
            inode_locked = true;
            continue;
        }
        match attempt(pass, iocb, from, inode_locked) {
            Attempt::Over(written) => return written,
            Attempt::NeedInodeLock => {
                tell!("starts over with the inode lock");
                inode_locked = true;
            }
        }
    }
}

fn attempt(pass: &Pass<'_>, iocb: &mut Kiocb, from: &mut IovIter<'_>, inode_locked: bool) -> Attempt {
    // TORN: a writer that has the inode lock takes several passes, and nothing keeps lockless writers
    // out between them.
    let exclusion = if inode_locked { Exclusion::InodeLock } else { Exclusion::FolioLocks };
    let mut rest = *from;
    let mut written = 0;
    let error = loop {
        if rest.count() == 0 {
            break None;
        }
        // K1: every early exit trims, with or without the inode lock.
        let Passed { copied, stop } =
            pass.run(iocb.position + written as u64, &rest, exclusion, Trim::WhoeverLeavesEarly);
        written += copied;
        rest.advance(copied);
        iocb.restart.written2 = iocb.restart.written2.max(written);
        match stop {
            Stop::Done => {}
            Stop::NeedInodeLock => return Attempt::NeedInodeLock,
            Stop::MissingBuffer if !inode_locked => {
                tell!("a page of the buffer is missing: will start over with the inode lock");
                iocb.restart.need_inode_lock = true;
                return Attempt::Over(Written { count: 0, error: Some(rest.retry()) });
            }
            Stop::MissingBuffer => {
                tell!("a page of the buffer is missing: drops the locks");
                break Some(rest.retry());
            }
            Stop::Failed(error) => break Some(error),
        }
    };
    // K10: what an earlier attempt has written counts, though others may have overwritten it since.
    let count = written.max(iocb.restart.written2);
    if count > written {
        tell!("claims {count} bytes, of which this attempt has written {written}");
    }
    // POS: the position moves by the bytes of this attempt only.
    iocb.position += written as u64;
    if count > 0 {
        iocb.restart = Restart::default();
    }
    Attempt::Over(Written { count, error })
}
