//! What happens when an operation of writeback has ended.
//!
//! Owns: the queue of ended operations and the threads that take from it. They hold no folio lock,
//! and each ends one operation. Does not own: where the device calls from (an `end_io` only queues).

use super::batch::Write;
use crate::error::Error;
use crate::server::Server;
use alloc::collections::VecDeque;
use platform::block::IoError;
use platform::sync::{Mutex, WaitQueue};
use platform::{Mutant, mutant, tell};

/// Operations that have ended and wait for a completion thread.
pub(super) struct DoneQueue {
    pub(super) queue: Mutex<VecDeque<Done>>,
    pub(super) arrivals: WaitQueue,
}

pub(super) struct Done {
    pub(super) write: Write,
    pub(super) outcome: Result<(), IoError>,
}

impl Server {
    /// The body of a completion thread.
    pub fn completion_thread(&self) {
        let done = &self.writeback.done;
        loop {
            let next = done.arrivals.wait_for("I/O to complete", || match self.next_done() {
                Some(done) => Some(Some(done)),
                None => self.completions_may_stop().then_some(None),
            });
            match next {
                Some(done) => self.complete(done),
                None => return,
            }
        }
    }

    /// Completes what has ended so far, for a host without a completion thread; operations.
    pub fn complete_pending(&self) -> usize {
        let mut count = 0;
        while let Some(done) = self.next_done() {
            self.complete(done);
            count += 1;
        }
        count
    }

    fn next_done(&self) -> Option<Done> {
        self.writeback.done.queue.lock().pop_front()
    }

    fn complete(&self, done: Done) {
        let Done { write, outcome } = done;
        let inode = &write.inode;
        let end = (write.first + write.count) << inode.mapping.block_shift();
        let start = write.first << inode.mapping.block_shift();
        tell!(
            "[{start},{end}) of inode {} {}",
            inode.ino,
            if outcome.is_ok() { "is on the disk" } else { "could not be written" }
        );
        let outcome = outcome
            .map_err(Error::from)
            .and_then(|()| inode.operations().blocks_written(inode, write.first, write.count, write.reached(end)));
        match outcome {
            Ok(()) => self.counters.blocks_written.add(write.count),
            Err(error) => {
                log::error!("inode {}: writing back {} blocks: {error}", inode.ino, write.count);
                for part in write.parts.iter().filter(|_| !mutant(Mutant::FailedWriteLeftClean)) {
                    self.redirty(inode, &part.end.folio, part.blocks);
                }
                self.record_error(inode, &error);
            }
        }
        self.writeback.give_bounce(write.bounce);
        drop(write.parts);
        self.page_cache.kick_reclaim();
        self.release_writers(self.page_cache.dirty_bytes() > self.dirty_limit());
    }
}
