//! Named faults: each breaks one rule of the code on purpose, so that the explorer can be shown to
//! find it.
//!
//! They exist only with the cargo feature `possible`, which nothing but the explorer's own build turns
//! on; everywhere else [`mutant`] is the constant `false` and the faulty branch is no code at all.
//! `vfsd` and the kernel refuse to compile with [`POSSIBLE`].
//!
//! A crate of its own without dependencies: the kernel's half of the protocol (`pager-core`) has faults
//! too, and knows nothing of the server's seam.
#![no_std]
#![forbid(unsafe_code)]

/// Whether this build can be made faulty.
pub const POSSIBLE: bool = cfg!(feature = "possible");

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
    /// A write that leaves the fast way early trims the page cache to the size that it saw, after it has let go
    /// of the inode lock. (Under the lock it would be harmless: nobody extends the file meanwhile.)
    EarlyExitTrims = "k1-early-exit-trims",
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
    /// The client's bytes are copied under the locks: a missing page leaves half a write behind.
    BytesCopiedUnderLocks = "k10-bytes-copied-under-locks",
    /// Seeks take sectors under writeback for holes.
    SeekForgetsWriteback = "k13-seek-forgets-writeback",
    /// A write of several passes holds the inode lock shared.
    PassesUnderSharedLock = "torn-passes-under-shared-lock",
    /// Reclaim looks at the dirty bit without the folio lock.
    ReclaimTestsDirtyUnlocked = "k15-reclaim-tests-dirty-unlocked",
    /// ZAP does not mark the faults in flight, so that an answer which it has overtaken is mapped.
    NoInFlightMark = "no-in-flight-mark",
    /// A revoked frame is given back before the CPUs have acknowledged that they have forgotten it.
    FrameFreedBeforeAck = "frame-freed-before-ack",
    /// An answer maps a page writable although a WRPROTECT has overtaken it.
    WritableAfterWrprotect = "writable-after-wrprotect",
    /// The tag of a cancelled request names the next one before the server has answered the first.
    TagReusedBeforeAnswer = "tag-reused-before-answer",
    /// Munmap gives back all grants of a cookie, with those that it does not count.
    GrantsNotCounted = "grants-not-counted",
    /// A fault is answered without the invalidate lock.
    FaultWithoutInvalidateLock = "fault-without-invalidate-lock",
    /// A fault does not look whether the folio whose lock it won is still in the mapping.
    FaultWithoutRecheck = "fault-without-recheck",
    /// page_mkwrite dirties the folio and notes that it is mapped after it has unlocked it.
    MkwriteAfterUnlock = "mkwrite-after-unlock",
    /// Truncate drops the folios before it takes them from the clients.
    ZapAfterDrop = "zap-after-drop",
    /// Writeback copies a folio that clients can still store to.
    NoWrprotectBeforeCopy = "no-wrprotect-before-copy",
    /// Reclaim gives a folio back that clients map.
    ReclaimWithoutZap = "reclaim-without-zap",
    /// An append takes its place before it has the inode lock.
    AppendPlaceBeforeLock = "append-place-before-lock",
    /// An extension keeps what clients have stored past the old end.
    StoresPastEndKept = "stores-past-end-kept",
    /// fsync does not wait for a cut that has made dirty folios void and not reached the file system.
    FsyncOvertakesCut = "fsync-overtakes-cut",
    /// A folio is under writeback only after its dirty blocks were taken: a seek between finds a hole.
    WritebackMarkedLate = "writeback-marked-late",
    /// A worker answers each message twice.
    AnsweredTwice = "answered-twice",
    /// fsync does not wait for what somebody else has begun to write.
    FsyncSkipsWriteback = "fsync-skips-writeback",
    /// fsync writes the data, and not the metadata by which it is reached.
    FsyncSkipsCommit = "fsync-skips-commit",
    /// A commit writes over the log before what that repeats is safely in its place.
    LogOverwrittenTooSoon = "log-overwritten-too-soon",
    /// A commit does not wait for its log to be on the disk.
    CommitNotFlushed = "commit-not-flushed",
    /// A rename takes the name that it replaces away in a change of its own.
    RenameInTwoSteps = "rename-in-two-steps",
    /// Truncate frees blocks that are still being written, and does not wait for the end of it.
    TruncateForgetsWriteback = "truncate-forgets-writeback",
    /// Writeback that ends late publishes the size that the file had when its bytes were taken, though it was cut
    /// since.
    LateSizePublished = "late-writeback-resurrects-size",
    /// Truncate leaves what was behind the new end in its last block.
    TailKeptOnCut = "tail-kept-on-cut",
    /// A store's fault makes room for the part of the page that the file had before the folio was locked.
    MkwriteWithStaleSize = "mkwrite-with-stale-size",
    /// Reclaim gives a folio back while its bytes are on the way to the disk.
    ReclaimForgetsWriteback = "reclaim-forgets-writeback",
    /// Migration moves a folio that clients go on to store to.
    MigrateWithoutZap = "migrate-without-zap",
    /// fsync and truncate pass over a folio that was moved while they waited for its lock.
    MovedFolioSkipped = "moved-folio-skipped",
    /// Migration forgets which blocks are dirty.
    MigrateForgetsDirty = "migrate-forgets-dirty",
    /// A fault takes the inode lock, which a write may hold that waits for the fault.
    FaultTakesInodeLock = "fault-takes-inode-lock",
    /// A write waits for a page of its client's buffer with a folio locked: the fault may need that very folio.
    BufferAwaitedUnderFolioLock = "buffer-awaited-under-folio-lock",
    /// Faults have no workers of their own: all may be busy with writes that wait for a fault.
    FaultsFromSharedPool = "faults-from-shared-pool",
    /// An open file looks at the errors of writeback when it begins to sync, not when it was opened.
    ErrorSampledLate = "error-sampled-late",
    /// An error of writeback is forgotten when one open file was told.
    ErrorToldToOne = "error-told-to-one",
    /// Blocks that could not be written stay clean.
    FailedWriteLeftClean = "failed-write-left-clean",
    /// Write-end goes the inline way with the handle that a write that began on blocks never made.
    InlineNullHandle = "inline-null-handle",
    /// A fault clears the inline state before it has a block for the contents.
    InlineDestroyedFirst = "inline-destroyed-first",
    /// Write-end stores into the inode though the file has left it since the write began.
    InlineGenerationIgnored = "inline-generation-ignored",
}

/// Whether `which` is in force.
#[cfg(not(feature = "possible"))]
#[inline(always)]
pub const fn mutant(_which: Mutant) -> bool {
    false
}

/// Makes the code faulty in one way, or sound again; whether this build can be.
#[cfg(not(feature = "possible"))]
pub fn set(which: Option<Mutant>) -> bool {
    which.is_none()
}

#[cfg(feature = "possible")]
pub use possible::{mutant, set};

#[cfg(feature = "possible")]
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

    /// Makes the code faulty in one way, or sound again; whether this build can be.
    pub fn set(which: Option<Mutant>) -> bool {
        IN_FORCE.store(which.map_or(0, |which| which as u32 + 1), Ordering::Relaxed);
        true
    }
}
