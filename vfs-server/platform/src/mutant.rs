//! Named faults: each breaks one rule of the code on purpose, so that the explorer can be shown to
//! find it.
//!
//! They exist only with the cargo feature `mutants`, which nothing but the explorer's own build turns
//! on; everywhere else [`mutant`] is the constant `false` and the faulty branch is no code at all.
//! `vfsd` refuses to compile with [`POSSIBLE`].

/// Whether this build can be made faulty.
pub const POSSIBLE: bool = cfg!(feature = "mutants");

macro_rules! mutants {
    ($($(#[$doc:meta])+ $name:ident = $id:literal,)+) => {
        /// A fault. The numbers in the names are those of the catalogue of bcachefs's buffered write.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutant {
            $($(#[$doc])+ $name,)+
        }

        impl Mutant {
            /// Every fault.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// As it is named on a command line.
            pub fn id(self) -> &'static str {
                match self {
                    $(Self::$name => $id,)+
                }
            }
        }
    };
}

mutants! {
    /// A folio is used after its lock was won without looking whether it is still in the mapping.
    NoMappingRecheck = "k2-no-mapping-recheck",
    /// A reservation is given back twice when a write ends early.
    ReservationReleasedTwice = "k3-reservation-released-twice",
    /// The dirty bit is cleared after the bytes were copied for writeback.
    DirtyClearedLate = "k4-dirty-cleared-late",
    /// The size is published after the folio was unlocked.
    SizePublishedAfterUnlock = "k5-size-published-after-unlock",
    /// Sector states are cleared after the folio was unlocked.
    SectorStateClearedLate = "k8-sector-state-cleared-late",
    /// Writeback goes by a size that it read before it locked the folio.
    WritebackWithStaleSize = "k9-writeback-with-stale-size",
    /// Reclaim looks at the dirty bit without the folio lock.
    ReclaimTestsDirtyUnlocked = "k15-reclaim-tests-dirty-unlocked",
    /// Writeback that ends late sets the size on the disk back to what it was before a truncate.
    LateWritebackResurrectsSize = "late-writeback-resurrects-size",
    /// Write-end goes the inline way with the handle that a write that began on blocks never made.
    InlineNullHandle = "inline-null-handle",
}

/// Whether `which` is in force.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn mutant(_which: Mutant) -> bool {
    false
}

#[cfg(feature = "mutants")]
pub use possible::{mutant, set};

#[cfg(feature = "mutants")]
mod possible {
    use super::Mutant;
    use core::sync::atomic::{AtomicU32, Ordering};

    /// The one that is in force, plus one; 0: none.
    static IN_FORCE: AtomicU32 = AtomicU32::new(0);

    /// Whether `which` is in force.
    #[inline]
    pub fn mutant(which: Mutant) -> bool {
        IN_FORCE.load(Ordering::Relaxed) == which as u32 + 1
    }

    /// Makes the code faulty in one way, or sound again.
    pub fn set(which: Option<Mutant>) {
        IN_FORCE.store(which.map_or(0, |which| which as u32 + 1), Ordering::Relaxed);
    }
}
