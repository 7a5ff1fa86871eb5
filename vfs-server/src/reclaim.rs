//! Gives clean folios back when memory is short, and blames requests that are late.
//!
//! Owns: the second chance, the last look before a folio goes. Does not own: the clock
//! (`page_cache`), dirty folios (`writeback` makes them clean).
//!
//! Reclaim waits for no lock: it tries the folio lock, and a folio that is in use stays. Under the
//! lock: clean, not under writeback, not pinned; then ZAP, which tells whether a client used it since; then the
//! look is repeated, for the ZAP took time (dirtying needs the folio lock, so that it holds is an
//! assertion of the protocol).

use crate::page_cache::Folio;
use crate::server::Server;
use alloc::sync::Arc;
use platform::client::{self, ZapWhat};
use platform::tell;
use platform::thread::now_ns;
use platform::waits;
use platform::{Mutant, mutant};

/// Whether a folio that was used since the last turn stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SecondChance {
    Given,
    Denied,
}

/// How long the reclaimer leaves writeback alone when nothing is clean.
const PAUSE_NS: u64 = 5_000_000;

/// How often the reclaimer looks whether memory is short and requests are late, unasked.
const LOOK_NS: u64 = 1_000_000_000;

impl Server {
    /// The body of the reclaim thread.
    pub(crate) fn reclaim_thread(&self) {
        let mut blamed_ns = 0;
        while !self.is_stopping() {
            let deadline = now_ns().saturating_add(LOOK_NS);
            self.page_cache.wait_until_wanted(deadline, || self.is_stopping());
            self.blame_late_waits(&mut blamed_ns);
            if self.is_stopping() {
                return;
            }
            if self.page_cache.is_short() && self.reclaim_turn() == 0 {
                self.writeback.kick();
                let until = now_ns().saturating_add(PAUSE_NS);
                self.reclaim_pause.wait_for_until("clean folios", until, || self.is_stopping().then_some(()));
            }
        }
    }

    /// Logs who waits for whom when a request is late, at most once in a deadline. It is this thread's
    /// because reclaim waits for no lock and so cannot be part of what it reports.
    fn blame_late_waits(&self, blamed_ns: &mut u64) {
        let limit = self.config.blame_deadline_ns;
        let now = now_ns();
        if limit == 0 || now.saturating_sub(*blamed_ns) <= limit {
            return;
        }
        if let Some(report) = waits::overdue(limit) {
            *blamed_ns = now;
            self.counters.missed_deadlines.inc();
            log::error!("a request waits for more than {} ms; who waits for whom:\n{report}", limit / 1_000_000);
        }
    }

    /// Two turns of the clock at most: in the second nobody has a second chance left.
    fn reclaim_turn(&self) -> usize {
        let mut freed = 0;
        for _ in 0..2 * self.page_cache.clock_len() {
            if !self.page_cache.is_short() {
                break;
            }
            let Some(folio) = self.page_cache.clock_next() else { break };
            freed += usize::from(self.try_reclaim(&folio, SecondChance::Given));
        }
        freed
    }

    /// Gives back every folio that can go; pages.
    pub fn drop_caches(&self) -> usize {
        let mut pages = 0;
        for _ in 0..self.page_cache.clock_len() {
            let Some(folio) = self.page_cache.clock_next() else { break };
            if self.try_reclaim(&folio, SecondChance::Denied) {
                pages += folio.pages() as usize;
            }
        }
        pages
    }

    fn try_reclaim(&self, folio: &Arc<Folio>, chance: SecondChance) -> bool {
        let used = folio.take_referenced();
        if used && chance == SecondChance::Given || folio.dirty_blocks() != 0 || is_busy(folio) {
            return false;
        }
        let Some(locked) = folio.try_lock() else { return false };
        let Some(inode) = locked.inode() else { return false };
        let looks_again = !mutant(Mutant::ReclaimTestsDirtyUnlocked);
        if !locked.is_attached() || looks_again && locked.dirty_blocks() != 0 || is_busy(&locked) {
            return false;
        }
        if mutant(Mutant::ReclaimWithoutZap) {
            locked.clear_mapped();
        }
        if locked.is_mapped() {
            tell!("takes {locked} out of all clients");
            let used = client::zap(inode.mapping.cookie, locked.position(), locked.len() as u64, ZapWhat::Shared);
            locked.clear_mapped();
            if used && chance == SecondChance::Given {
                locked.mark_referenced();
                return false;
            }
        }
        if looks_again && locked.dirty_blocks() != 0 {
            debug_assert!(false, "a locked folio became dirty");
            return false;
        }
        let gone = inode.mapping.try_detach(&self.page_cache, &locked);
        if gone {
            self.counters.folios_reclaimed.inc();
        }
        gone
    }
}

/// Whether the disk or a fault still needs the folio.
fn is_busy(folio: &Folio) -> bool {
    if mutant(Mutant::ReclaimForgetsWriteback) { folio.is_pinned() } else { folio.is_needed() }
}
