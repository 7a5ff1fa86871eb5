//! The numbers that the pager speaks of, each with a type of its own.

use pager_abi::{PAGE_SIZE, fault::Access, grant::MaxProtection};

/// An address space: of a client, or of the server. The kernel chooses the number and may use it
/// again after [`crate::Pager::vspace_died`] has returned [`crate::Progress::Done`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VspaceId(pub u32);

/// A scheme socket; the pager chooses the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u32);

/// Whoever waits for an answer: a number of the kernel's (a thread), opaque here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaiterId(pub u64);

/// A page of an address space: its address divided by the page size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VirtPage(pub u64);

/// A page of a file: its byte offset divided by the page size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilePage(pub u64);

/// A page of memory: its physical address divided by the page size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frame(pub u64);

impl VirtPage {
    /// The page that holds `address`.
    pub fn containing(address: u64) -> Self {
        Self(address / PAGE_SIZE)
    }

    /// Address of the page's first byte.
    pub fn address(self) -> u64 {
        self.0 * PAGE_SIZE
    }

    /// `count` pages further on.
    pub fn forward(self, count: u64) -> Self {
        Self(self.0 + count)
    }
}

impl FilePage {
    /// Byte offset of the page's first byte.
    pub fn offset(self) -> u64 {
        self.0 * PAGE_SIZE
    }

    /// `count` pages further on.
    pub fn forward(self, count: u64) -> Self {
        Self(self.0 + count)
    }
}

/// What may be done to a page or a mapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Loads.
    pub read: bool,
    /// Stores.
    pub write: bool,
    /// Instruction fetches.
    pub execute: bool,
}

impl Rights {
    /// Loads only.
    pub const READ: Self = Self { read: true, write: false, execute: false };
    /// Loads and stores.
    pub const READ_WRITE: Self = Self { read: true, write: true, execute: false };

    /// Whether `access` is among them.
    pub fn allow(self, access: Access) -> bool {
        match access {
            Access::Read => self.read,
            Access::Write => self.write,
            Access::Execute => self.execute,
        }
    }

    /// Whether every right of `other` is among them.
    pub fn include(self, other: Self) -> bool {
        (self.read || !other.read) && (self.write || !other.write) && (self.execute || !other.execute)
    }

    /// The rights that both have.
    pub fn and(self, other: Self) -> Self {
        Self { read: self.read && other.read, write: self.write && other.write, execute: self.execute && other.execute }
    }

    /// The same without stores.
    pub fn without_write(self) -> Self {
        Self { write: false, ..self }
    }

    /// Whether nothing at all may be done.
    pub fn none(self) -> bool {
        self == Self::default()
    }
}

impl From<MaxProtection> for Rights {
    fn from(max: MaxProtection) -> Self {
        Self { read: max.read, write: max.write, execute: max.execute }
    }
}

/// What becomes of stores to a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// They change the file (`MAP_SHARED`).
    Shared,
    /// They change a copy of the process's own (`MAP_PRIVATE`).
    Private,
}

/// What an entry of a page table says, with what the CPU has noted in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The memory that it leads to.
    pub frame: Frame,
    /// What user mode may do through it.
    pub rights: Rights,
    /// The CPU has used it (the hardware's accessed bit).
    pub accessed: bool,
    /// The CPU has stored through it (the hardware's dirty bit).
    pub dirty: bool,
}

/// How far a bounded operation got. The caller flushes and frees what was gathered, then calls
/// again with the same arguments until it is `Done`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// Nothing is left to do.
    Done,
    /// Call again, after the flush.
    More,
}
