//! Counters of the server, for `ServerVerb::Counters`: numbers that order nothing.

use alloc::string::String;
use core::fmt::Write;
use core::sync::atomic::{AtomicU64, Ordering};

/// A number of events.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// `n` more.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Events so far.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What has happened since the mount.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: Counter,)*
        }

        impl Counters {
            /// One `name value` a line.
            pub fn text(&self) -> String {
                let mut text = String::new();
                $(let _ = writeln!(text, "{} {}", stringify!($name), self.$name.get());)*
                text
            }
        }
    };
}

counters! {
    /// Requests taken up.
    requests,
    /// Requests that asked for their buffer to be made resident.
    retries,
    /// Times that a request was found waiting past its deadline.
    missed_deadlines,
    /// Faults of loads and instruction fetches, and of stores to private mappings.
    read_faults,
    /// Faults of stores to shared mappings (`page_mkwrite`).
    mkwrite_faults,
    /// Faults that ended with an error.
    failed_faults,
    /// Pages handed to faults.
    pages_provided,
    /// Reads and faults that found their folio.
    cache_hits,
    /// Reads and faults that did not.
    cache_misses,
    /// Pages read from the disk.
    pages_read,
    /// Blocks written back.
    blocks_written,
    /// Writeback operations that failed.
    write_errors,
    /// Folios given back by reclaim.
    folios_reclaimed,
    /// Folios moved to other frames.
    folios_migrated,
    /// Operations that waited for a free folio.
    memory_waits,
    /// Answers to writers that were delayed because too much was dirty.
    throttled,
    /// Writes that started over because the file's layout changed on the way.
    layout_restarts,
}
