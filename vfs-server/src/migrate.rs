//! Moves folios to other frames: Linux's `migrate_folio`.
//!
//! Owns: when a folio may move, and in which order. Does not own: the copy in its place
//! (`page_cache`). Whoever moves memory about (compaction, a page that fails) asks for it; here the
//! tests and the explorer do.
//!
//! Under the folio lock: attached, not under writeback, not pinned; then ZAP, so that no client stores to the
//! frames that are left; then the copy takes the folio's place, with its dirty blocks, and the old
//! one is detached. Whoever waits for its lock finds it so and looks the folio up anew.
//!
//! | | read | write, page_mkwrite | fault | truncate | writeback | reclaim |
//! |---|---|---|---|---|---|---|
//! | **migration** | reads the frames that it found: they live as long | folio lock, attached is re-checked | as write; a provide on its way is dropped by the ZAP | folio lock, attached is re-checked | writeback bit | folio lock |

use crate::page_cache::Folio;
use crate::server::Server;
use alloc::sync::Arc;
use alloc::vec::Vec;
use platform::client::{self, ZapWhat};
use platform::{Mutant, mutant, tell};

impl Server {
    /// Moves every folio that may move now; folios that did.
    pub fn migrate_folios(&self) -> usize {
        let turn = 0..self.page_cache.clock_len();
        let folios: Vec<_> = turn.filter_map(|_| self.page_cache.clock_next()).collect();
        folios.iter().filter(|folio| self.try_migrate(folio)).count()
    }

    fn try_migrate(&self, folio: &Arc<Folio>) -> bool {
        if folio.is_needed() {
            return false;
        }
        let Some(locked) = folio.try_lock() else { return false };
        let Some(inode) = locked.inode() else { return false };
        if !locked.is_attached() || locked.is_under_writeback() {
            return false;
        }
        let private = inode.operations().copy_folio_private(&locked);
        if locked.has_private() && private.is_none() {
            return false;
        }
        let Some(frames) = self.page_cache.try_alloc(locked.order()) else { return false };
        if mutant(Mutant::MigrateWithoutZap) {
            locked.clear_mapped();
        }
        if locked.is_mapped() {
            tell!("takes {locked} out of all clients");
            client::zap(inode.mapping.cookie, locked.position(), locked.len() as u64, ZapWhat::Shared);
            locked.clear_mapped();
        }
        let moved = inode.mapping.replace(&self.page_cache, &locked, frames, private);
        if moved {
            self.counters.folios_migrated.inc();
        }
        moved
    }
}
