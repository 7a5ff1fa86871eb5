//! Why the pager refused something.

use syscall::error as errno;

/// A refusal; [`PagerError::errno`] is the number that a caller of the kernel sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PagerError {
    /// No mapping of a file there.
    NotMapped,
    /// The mapping, or its maximum protection, forbids it.
    Forbidden,
    /// The client has too many requests outstanding.
    TooManyTags,
    /// No memory for the pager's own records, a page table or a private copy.
    NoMemory,
    /// No request with that tag is in the server's hands.
    NoSuchTag,
    /// The client of that tag is gone.
    Cancelled,
    /// Beyond the buffer of the request, or not a range.
    BadRange,
    /// The pages are taken by another mapping.
    Overlap,
    /// No such socket, or its server is dead.
    ServerDead,
    /// The answer does not fit the question, or gives memory that the server may not give.
    BadAnswer,
}

impl PagerError {
    /// The errno number of the refusal.
    pub fn errno(self) -> i32 {
        match self {
            Self::NotMapped => errno::EFAULT,
            Self::Forbidden => errno::EACCES,
            Self::TooManyTags => errno::EAGAIN,
            Self::NoMemory => errno::ENOMEM,
            Self::NoSuchTag => errno::EBADF,
            Self::Cancelled => errno::ECANCELED,
            Self::BadRange => errno::EINVAL,
            Self::Overlap => errno::EEXIST,
            Self::ServerDead => errno::ENODEV,
            Self::BadAnswer => errno::EIO,
        }
    }
}
