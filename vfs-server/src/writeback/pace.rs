//! The delay of writers while too much is dirty: their answers are kept back, no thread waits.

use crate::server::Server;
use pager_abi::socket::{NO_WAIT, REPLIES_MAX};
use platform::client;
use syscall::schemev2::Cqe;

impl Server {
    /// The answer of one who dirtied memory: at once, or when less is dirty.
    pub(crate) fn pace_writer(&self, answer: Cqe) -> Option<Cqe> {
        if self.page_cache.dirty_bytes() <= self.dirty_limit() || self.is_stopping() {
            return Some(answer);
        }
        self.counters.throttled.inc();
        self.writeback.delayed.lock().push(answer);
        self.writeback.kick();
        // Writeback may have ended in between.
        self.release_writers(self.page_cache.dirty_bytes() > self.dirty_limit());
        None
    }

    /// Lets the delayed answers go, unless there is still `too_much` dirty.
    pub(super) fn release_writers(&self, too_much: bool) {
        if too_much && !self.is_stopping() {
            return;
        }
        let answers = core::mem::take(&mut *self.writeback.delayed.lock());
        for batch in answers.chunks(REPLIES_MAX) {
            let received = client::receive(NO_WAIT, batch);
            debug_assert!(received.is_none(), "a message of no queue");
        }
    }

    /// Lets all delayed answers go: nothing will be written any more.
    pub(crate) fn release_all_writers(&self) {
        self.release_writers(false);
    }
}
