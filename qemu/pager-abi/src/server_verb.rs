//! CALL verbs on the root directory of the server: what a shell asks the server about itself.
//!
//! Word 0 of the metadata is the [`ServerVerb`]; text goes into the payload and the result is its
//! length (cut to the payload's size).

/// Word 0 of the metadata of a CALL on the root directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum ServerVerb {
    /// Text: which request or worker waits for which lock, folio or I/O, and who holds it.
    Waits = 0x5356_0001,
    /// Text: counters of the page cache and of the fault messages, one `name value` a line.
    Counters = 0x5356_0002,
    /// Writes everything back, marks the disk clean and detaches it; later requests get `EIO`.
    Unmount = 0x5356_0003,
    /// Drops every clean folio that can be dropped (Linux's `drop_caches`); result: pages dropped.
    DropCaches = 0x5356_0004,
    /// Text: the mount options in force, `name=value` a line.
    MountOptions = 0x5356_0005,
}

impl ServerVerb {
    /// The verb that `raw` stands for, if any.
    pub fn from_raw(raw: u64) -> Option<Self> {
        use ServerVerb::*;
        [Waits, Counters, Unmount, DropCaches, MountOptions].into_iter().find(|&verb| verb as u64 == raw)
    }
}
