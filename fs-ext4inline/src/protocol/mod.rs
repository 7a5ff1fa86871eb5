//! How a write to an inline file and a store through a mapping of it come together: six protocols.
//!
//! Owns: the protocols, and what each does at the four places where they differ. Does not own: inline
//! contents as bytes (`inode::inline`), the safe conversion, which all protocols use where no fault is
//! involved (`inode::convert`), nor blocks (`inode::write`).
//!
//! The two actors share no lock that decides: `write` holds the inode lock, a page fault must not take
//! it (a write may be waiting for that very fault). What the file is *in* changes under the writer.
//!
//! | module | place |
//! |---|---|
//! | [`write`] | `write_begin`, `write_settle`, `write_end_inline` |
//! | [`fault`] | making a mapping, the first store through it |
//! | [`destroy_first`] | Linux's conversion: the inline state goes before anything is allocated |
//!
//! | | write | page_mkwrite | read, read fault | truncate |
//! |---|---|---|---|---|
//! | **write** | inode lock | the protocol | folio lock | inode lock |
//! | **page_mkwrite** | the protocol | xattr lock | xattr lock (contents), map lock (where) | invalidate lock |

use vfs_server::mount_option::Choice;

pub mod destroy_first;
pub mod fault;
pub mod write;

/// The protocols, by the names that the option `inline=` has for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InlineProtocol {
    /// Linux 4.12 to 6.18. Two ways into a BUG: a failed conversion puts the inline data back under a
    /// write that was begun for blocks; a successful one takes it from a write that was begun inline.
    MkwriteUnlocked,
    /// The obvious repair, which was tried: faults wait for writes, and writes for faults.
    MkwriteInodeLock,
    /// The repair that was mailed in 2023 and 2025: nothing that is mapped for writing is inline.
    MmapTime,
    /// What Linux does after 6.18: the write obeys what it was begun with, or is done over.
    DecisionTravels,
    /// The design that was preferred on the list in July 2025: nothing is destroyed before nothing can
    /// fail, so that the way from inline to blocks is never gone back.
    AllocateFirst,
    /// Both: allocate first, and the write obeys what it was begun with or is done over.
    #[default]
    Latched,
}

/// When the contents of a file that is mapped for writing leave the inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// When a shared mapping that may become writable is made; `mmap` is a message here, and its
    /// sender holds no lock meanwhile.
    AtMmap,
    /// When a store through the mapping faults.
    AtFault,
}

/// What a fault holds while it converts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultLock {
    /// Nothing that a write holds.
    None,
    /// The inode lock, as a write does.
    InodeLock,
}

/// How a fault converts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conversion {
    /// Clears the inline state, then allocates; puts the inline data back if that fails. A write that
    /// finds the state cleared reserves, and allocates when its bytes are there (delayed allocation).
    DestroyFirst,
    /// Allocates and fills the block, then changes the state in one step.
    AllocateFirst,
}

/// How the end of a write knows where the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteEnd {
    /// It looks at the inode again.
    LooksAgain,
    /// It obeys `write_begin`; with no inline data left for an inline write, the write is done over.
    Obeys,
    /// It obeys `write_begin`, if the layout is the very one that was decided on.
    ObeysGeneration,
}

/// What a protocol is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Steps {
    pub when: When,
    pub fault_lock: FaultLock,
    pub conversion: Conversion,
    pub write_end: WriteEnd,
}

impl InlineProtocol {
    /// All of them, the oldest first.
    pub const ALL: [Self; 6] = [
        Self::MkwriteUnlocked,
        Self::MkwriteInodeLock,
        Self::MmapTime,
        Self::DecisionTravels,
        Self::AllocateFirst,
        Self::Latched,
    ];

    /// The protocols side by side.
    #[rustfmt::skip]
    pub const fn steps(self) -> Steps {
        use {Conversion::*, FaultLock::*, When::*, WriteEnd::*};
        let (when, fault_lock, conversion, write_end) = match self {
            Self::MkwriteUnlocked  => (AtFault, None,      DestroyFirst,  LooksAgain),
            Self::MkwriteInodeLock => (AtFault, InodeLock, DestroyFirst,  LooksAgain),
            Self::MmapTime         => (AtMmap,  None,      AllocateFirst, ObeysGeneration),
            Self::DecisionTravels  => (AtFault, None,      DestroyFirst,  Obeys),
            Self::AllocateFirst    => (AtFault, None,      AllocateFirst, LooksAgain),
            Self::Latched          => (AtFault, None,      AllocateFirst, ObeysGeneration),
        };
        Steps { when, fault_lock, conversion, write_end }
    }

    /// As it is written in an option.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MkwriteUnlocked => "mkwrite-unlocked",
            Self::MkwriteInodeLock => "mkwrite-inode-lock",
            Self::MmapTime => "mmap-time",
            Self::DecisionTravels => "decision-travels",
            Self::AllocateFirst => "allocate-first",
            Self::Latched => "latched",
        }
    }
}

impl Choice for InlineProtocol {
    const OPTION: &'static str = "inline";
    const ALL: &'static [Self] = &Self::ALL;

    fn name(self) -> &'static str {
        self.name()
    }
}
