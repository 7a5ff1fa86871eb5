//! Hash tables whose order the host decides.
//!
//! A table that starts from a random seed iterates differently in every process; under the explorer
//! a schedule must mean the same in all of them, and on the microkernel the names in a directory
//! come from strangers. So the seed is the host's.

use crate::host::linked;
use core::hash::BuildHasher;
use foldhash::fast::{FixedState, FoldHasher};

/// A table that starts from the host's seed; made by `HashMap::default()`.
pub type HashMap<K, V> = hashbrown::HashMap<K, V, Seeded>;

/// Makes the hashers of one table.
#[derive(Clone, Debug)]
pub struct Seeded(FixedState);

impl Default for Seeded {
    fn default() -> Self {
        // SAFETY: `set_host!` defined the symbol with this signature.
        Self(FixedState::with_seed(unsafe { linked::__platform_hash_seed() }))
    }
}

impl BuildHasher for Seeded {
    type Hasher = FoldHasher;

    fn build_hasher(&self) -> FoldHasher {
        self.0.build_hasher()
    }
}
