//! How processes take turns: counters in memory that they share.
//!
//! Nothing here depends on time, except that a wait is bounded, so that a lost peer is a failure
//! and not a hang.

use crate::{
    errno::Errno,
    harness::Failure,
    sys::{self, Mapping},
};
use alloc::format;

/// Longest that anyone waits for a step.
const LIMIT_NS: u64 = 60_000_000_000;

/// A page of counters, shared with the processes that are forked later.
pub struct Steps(Mapping);

impl Steps {
    /// All counters are 0.
    pub fn new() -> Result<Self, Errno> {
        Mapping::shared_memory(4096).map(Self)
    }

    /// The value of `counter` (0 to 511).
    pub fn value(&self, counter: usize) -> u64 {
        self.0.load_u64(counter * 8)
    }

    /// Sets `counter`, which one process alone writes.
    pub fn set(&self, counter: usize, value: u64) {
        self.0.store_u64(counter * 8, value);
    }

    /// Waits until `counter` is at least `value`.
    pub fn wait(&self, counter: usize, value: u64) -> Result<(), Failure> {
        let start = sys::monotonic_ns();
        while self.value(counter) < value {
            if sys::monotonic_ns() - start > LIMIT_NS {
                return Err(Failure::Failed(format!(
                    "counter {counter} stays at {}, {value} was waited for",
                    self.value(counter)
                )));
            }
            sys::yield_now();
        }
        Ok(())
    }
}
