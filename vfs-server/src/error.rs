//! Why an operation failed.
//!
//! File systems have an error enum of their own, with one kind for each check, and turn it into
//! this one at their edge. errno numbers appear only in [`Error::errno`], which is called where a
//! request or a fault is answered.

use alloc::string::String;
use platform::block::IoError;
use platform::client::CopyError;
use syscall::error as errno;

/// The result of an operation of the server or of a file system.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error("no such file or directory")]
    NotFound,
    #[error("exists already")]
    Exists,
    #[error("not a directory")]
    NotDirectory,
    #[error("is a directory")]
    IsDirectory,
    #[error("directory not empty")]
    NotEmpty,
    #[error("no space left on the device")]
    NoSpace,
    #[error("name too long")]
    NameTooLong,
    #[error("read-only file system")]
    ReadOnly,
    #[error("invalid argument: {0}")]
    Invalid(&'static str),
    #[error("file too large")]
    FileTooBig,
    #[error("too many links")]
    TooManyLinks,
    #[error("too many levels of symbolic links")]
    SymlinkLoop,
    #[error("another file system")]
    CrossDevice,
    #[error("permission denied")]
    Permission,
    /// Not even with other permission bits: only the owner may, or nobody.
    #[error("operation not permitted")]
    NotPermitted,
    #[error("bad descriptor")]
    BadDescriptor,
    /// A kind of file that cannot do this at all (mapping a directory).
    #[error("no such device")]
    NoDevice,
    #[error("no data there")]
    NoData,
    #[error("would block")]
    WouldBlock,
    #[error("no memory")]
    NoMemory,
    #[error("stale inode")]
    Stale,
    #[error("no such request")]
    NoSuchCall,
    #[error("busy")]
    Busy,
    #[error("not supported: {0}")]
    NotSupported(&'static str),
    /// The access lies past the end of the file (Linux: SIGBUS).
    #[error("past the end of the file")]
    PastEnd,
    /// The disk holds something that cannot be; the text names the check.
    #[error("corrupt: {0}")]
    Corrupt(String),
    /// The disk needs something that this file system does not have; the text names it.
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// The server or a file system contradicts itself: it was reported, and nothing is written any more.
    #[error("BUG: {0}")]
    Bug(&'static str),
    #[error("I/O: {0}")]
    Io(IoError),
    /// The client's buffer was not resident at this byte offset: drop every lock, answer RETRY.
    #[error("buffer not resident at {0}")]
    Retry(usize),
    /// No folio is free: drop every lock, wait, start over. No client sees it before a deadline.
    #[error("no folio is free")]
    NoFolio,
    /// The client is gone.
    #[error("cancelled")]
    Cancelled,
}

impl From<IoError> for Error {
    fn from(error: IoError) -> Self {
        Self::Io(error)
    }
}

impl From<CopyError> for Error {
    /// A missing page must be given its offset by whoever knows it; see `request.rs`.
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::NotResident { copied } => Self::Retry(copied),
            CopyError::Cancelled => Self::Cancelled,
            CopyError::BadRange => Self::Invalid("buffer"),
        }
    }
}

impl Error {
    /// The number that a client is told.
    pub fn errno(&self) -> i32 {
        match self {
            Self::NotFound => errno::ENOENT,
            Self::Exists => errno::EEXIST,
            Self::NotDirectory => errno::ENOTDIR,
            Self::IsDirectory => errno::EISDIR,
            Self::NotEmpty => errno::ENOTEMPTY,
            Self::NoSpace => errno::ENOSPC,
            Self::NameTooLong => errno::ENAMETOOLONG,
            Self::ReadOnly => errno::EROFS,
            Self::Invalid(_) => errno::EINVAL,
            Self::FileTooBig => errno::EFBIG,
            Self::TooManyLinks => errno::EMLINK,
            Self::SymlinkLoop => errno::ELOOP,
            Self::CrossDevice => errno::EXDEV,
            Self::Permission => errno::EACCES,
            Self::NotPermitted => errno::EPERM,
            Self::BadDescriptor => errno::EBADF,
            Self::NoDevice => errno::ENODEV,
            Self::NoData => errno::ENXIO,
            Self::WouldBlock => errno::EAGAIN,
            Self::NoMemory | Self::NoFolio => errno::ENOMEM,
            Self::Stale => errno::ESTALE,
            Self::NoSuchCall => errno::ENOSYS,
            Self::Busy => errno::EBUSY,
            Self::NotSupported(_) | Self::Unsupported(_) => errno::EOPNOTSUPP,
            Self::PastEnd => errno::EFAULT,
            Self::Corrupt(_) => errno::EUCLEAN,
            Self::Io(IoError::ReadOnly) => errno::EROFS,
            Self::Io(IoError::NoMemory) => errno::ENOMEM,
            Self::Io(_) | Self::Bug(_) => errno::EIO,
            Self::Retry(_) => errno::EFAULT,
            Self::Cancelled => errno::ECANCELED,
        }
    }
}
