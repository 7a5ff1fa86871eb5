//! How a thread ended, readable by whoever holds its context descriptor.
//!
//! Redox leaves this to its process manager; here `dup_into(context, out, b"exit-status")` opens a
//! file of which a read waits for the end of the context and then gives the four words of
//! [`ExitStatus`]. A thread sets its own exit code by writing [`usize::MAX`] and then the code (two
//! words) to its own context descriptor; Redox's one-word form means code 0.

/// Why a context is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// It ended itself, with this code.
    Exited {
        /// The second word that it wrote to its context; 0 for Redox's one-word form.
        code: u64,
    },
    /// Somebody else ended it.
    Killed,
    /// It touched memory that could not be provided.
    Fault {
        /// Why: the server's errno, or `EFAULT` where nothing is mapped or the rights forbid it.
        errno: i32,
        /// The address that was touched.
        address: u64,
        /// 1 load, 2 store, 4 instruction fetch (as [`crate::fault::Access`]).
        access: u64,
    },
    /// The CPU raised another exception.
    Exception {
        /// The vector (6: invalid opcode, 13: general protection, ..).
        vector: u64,
        /// The instruction's address.
        address: u64,
    },
}

impl ExitStatus {
    /// Words of the record.
    pub const WORDS: usize = 4;

    /// As the file gives it: [kind, errno or code or vector, address, access].
    pub fn to_words(self) -> [u64; Self::WORDS] {
        match self {
            Self::Exited { code } => [0, code, 0, 0],
            Self::Killed => [1, 0, 0, 0],
            Self::Fault { errno, address, access } => [2, errno as u64, address, access],
            Self::Exception { vector, address } => [3, vector, address, 0],
        }
    }

    /// From the words of the file; `None` for a kind that this version does not know.
    pub fn from_words(words: [u64; Self::WORDS]) -> Option<Self> {
        Some(match words {
            [0, code, ..] => Self::Exited { code },
            [1, ..] => Self::Killed,
            [2, errno, address, access] => Self::Fault { errno: errno as i32, address, access },
            [3, vector, address, _] => Self::Exception { vector, address },
            _ => return None,
        })
    }
}
