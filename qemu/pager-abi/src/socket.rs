//! The CALL verbs that a server uses on its scheme socket.
//!
//! A CALL carries a payload (a buffer) and metadata words; word 0 is the [`Verb`].
//!
//! | verb | metadata after word 0 | payload | result |
//! |---|---|---|---|
//! | `Version` | - | - | [`crate::VERSION`] |
//! | `WrProtect` | cookie, offset, length | - | pages that were writable |
//! | `Zap` | cookie, offset, length, [`ZapWhat`] | - | [`ACCESSED`] if a page was used, else 0 |
//! | `CopyIn` | tag, offset in the client's buffer | server memory to fill | bytes copied |
//! | `CopyOut` | tag, offset in the client's buffer | server memory to read | bytes copied |
//! | `ReplyReceive` | queue mask, answers' address, answers' count | room for one `Sqe` | 64, or 0 |
//! | `FaultIn` | tag, offset in the client's buffer, length | - | 0, when every page of it has been there once |
//! | `Waits` | - | room for text | bytes of text: who waits for whom in the kernel |
//! | `Counters` | - | room for [`Counters`] | bytes filled |
//!
//! `WrProtect` and `Zap` take a length of 0 as "to the end of the object". They return when no CPU
//! can store through (`WrProtect`) or reach (`Zap`) a page of the range by an old translation.
//!
//! `CopyIn` / `CopyOut` never fault: they go by the current translations of the buffer and their
//! rights. Fewer bytes than asked: the page at `offset + result` was not resident; the server drops
//! its locks and answers RETRY. Up to [`crate::COPY_ATOMIC`] bytes are all or nothing. `ECANCELED`:
//! the client is gone; `EBADF`: no such tag; `EINVAL`: beyond the buffer.
//!
//! `FaultIn` is what a server must not do while it holds a lock that a fault worker may want: it waits for the
//! page as the client would. It is there to show why (`copy=faulting`). `EFAULT`: the client may not read there,
//! or is gone.
//!
//! `ReplyReceive` writes the answers, then waits for one `Sqe` of the queues in the mask. With
//! [`NO_WAIT`] and nothing queued the result is 0 ([`NO_WAIT`] and no queue: it only answers). An answer with an unknown tag is counted and
//! skipped: it never keeps the others from being delivered.

/// Word 0 of the metadata of a CALL on a scheme socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Verb {
    /// Is the extension there, and which one?
    Version = 0x5047_0000,
    /// page_mkclean: no CPU can store to the range through an old translation on return.
    WrProtect = 0x5047_0001,
    /// unmap_mapping_range: no CPU can reach the pages of the range on return.
    Zap = 0x5047_0002,
    /// From the client's buffer to the server.
    CopyIn = 0x5047_0003,
    /// From the server to the client's buffer.
    CopyOut = 0x5047_0004,
    /// Answers, then waits for a request.
    ReplyReceive = 0x5047_0005,
    /// Who waits for whom, as text.
    Waits = 0x5047_0006,
    /// The kernel's counters of this socket.
    Counters = 0x5047_0007,
    /// Brings a part of the client's buffer in while the caller waits.
    FaultIn = 0x5047_0008,
}

impl Verb {
    /// The verb that `raw` stands for, if any.
    pub fn from_raw(raw: u64) -> Option<Self> {
        use Verb::*;
        [Version, WrProtect, Zap, CopyIn, CopyOut, ReplyReceive, Waits, Counters, FaultIn]
            .into_iter()
            .find(|&verb| verb as u64 == raw)
    }
}

/// Which pages of a range a `Zap` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum ZapWhat {
    /// The file's own pages: punch, inline conversion, reclaim. Private copies survive.
    Shared = 0,
    /// Private copies too: truncate, which takes whole pages past the new end.
    SharedAndPrivate = 1,
}

impl ZapWhat {
    /// The choice that `raw` stands for, if any.
    pub fn from_raw(raw: u64) -> Option<Self> {
        match raw {
            0 => Some(Self::Shared),
            1 => Some(Self::SharedAndPrivate),
            _ => None,
        }
    }
}

/// Result of `Zap`: a page of the range had its hardware accessed bit set.
pub const ACCESSED: u64 = 1;

/// In a `ReplyReceive` mask: page faults.
pub const QUEUE_FAULT: u64 = 1 << 0;

/// In a `ReplyReceive` mask: everything else.
pub const QUEUE_ORDINARY: u64 = 1 << 1;

/// In a `ReplyReceive` mask: return 0 rather than wait.
pub const NO_WAIT: u64 = 1 << 8;

/// Most answers that one `ReplyReceive` takes.
pub const REPLIES_MAX: usize = 16;

/// The kernel's counters of one socket, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Counters {
    /// Faults delivered for a load or an instruction fetch.
    pub read_faults: u64,
    /// Faults delivered for a store to a page without a translation.
    pub write_faults: u64,
    /// Faults delivered for a store to a page that was mapped read-only (`page_mkwrite`).
    pub mkwrite_faults: u64,
    /// Faults answered by an error.
    pub failed_faults: u64,
    /// Faults sent again because a ZAP overtook their answer.
    pub resent_faults: u64,
    /// Pages mapped by `ProvideMmap`.
    pub pages_provided: u64,
    /// `Zap` calls.
    pub zaps: u64,
    /// `WrProtect` calls.
    pub wrprotects: u64,
    /// TLB shootdowns sent to another CPU.
    pub shootdowns: u64,
    /// `RETRY` answers.
    pub retries: u64,
    /// Private pages copied on write.
    pub private_copies: u64,
    /// Answers refused: unknown tag, or memory that the server may not give.
    pub refused_answers: u64,
}

impl Counters {
    /// Words of the layout: every field is a `u64`, in the order of the declaration.
    pub const WORDS: usize = 12;

    /// The fields in the order of the declaration.
    pub fn to_words(&self) -> [u64; Self::WORDS] {
        [
            self.read_faults,
            self.write_faults,
            self.mkwrite_faults,
            self.failed_faults,
            self.resent_faults,
            self.pages_provided,
            self.zaps,
            self.wrprotects,
            self.shootdowns,
            self.retries,
            self.private_copies,
            self.refused_answers,
        ]
    }

    /// The fields from words in the order of the declaration.
    pub fn from_words(words: [u64; Self::WORDS]) -> Self {
        let [
            read_faults,
            write_faults,
            mkwrite_faults,
            failed_faults,
            resent_faults,
            pages_provided,
            zaps,
            wrprotects,
            shootdowns,
            retries,
            private_copies,
            refused_answers,
        ] = words;
        Self {
            read_faults,
            write_faults,
            mkwrite_faults,
            failed_faults,
            resent_faults,
            pages_provided,
            zaps,
            wrprotects,
            shootdowns,
            retries,
            private_copies,
            refused_answers,
        }
    }
}

const _: () = assert!(size_of::<Counters>() == Counters::WORDS * 8);
