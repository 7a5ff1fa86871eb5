//! What can go wrong: one [`Corrupt`] kind for each check of what a disk says, so that a test (and a
//! reader of a log) can name it.

use alloc::string::ToString;
use platform::block::IoError;
use thiserror::Error;

/// Result of this crate.
pub type Result<T> = core::result::Result<T, Error>;

/// Why an operation on the file system failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// The disk contradicts the format.
    #[error("corrupt: {0}")]
    Corrupt(#[from] Corrupt),
    /// The disk uses a feature that this driver does not have; the name is mke2fs's.
    #[error("unsupported feature: {0}")]
    Unsupported(&'static str),
    /// The journal has to be replayed first.
    #[error("needs_recovery: the journal must be replayed first (by e2fsck or Linux)")]
    NeedsRecovery,
    /// The disk was not unmounted cleanly, or errors were noted on it: only reading is safe.
    #[error("not clean: e2fsck must check it before it is written")]
    NotClean,
    /// The block device failed.
    #[error("I/O error: {0}")]
    Io(IoError),
    /// No free block.
    #[error("no free block")]
    NoSpace,
    /// No free inode.
    #[error("no free inode")]
    NoInodes,
    /// No such entry.
    #[error("no such entry")]
    NotFound,
    /// No such extended attribute.
    #[error("no such attribute")]
    NoAttribute,
    /// The entry is there already.
    #[error("entry exists")]
    Exists,
    /// The directory has entries.
    #[error("directory not empty")]
    NotEmpty,
    /// Not a directory.
    #[error("not a directory")]
    NotDirectory,
    /// A directory, where none may be.
    #[error("is a directory")]
    IsDirectory,
    /// The name is empty or too long, or the target of a link is.
    #[error("name too long")]
    NameTooLong,
    /// Too many links to an inode.
    #[error("too many links")]
    TooManyLinks,
    /// Past the largest offset of the format.
    #[error("file too big")]
    FileTooBig,
    /// Mounted read-only.
    #[error("read-only file system")]
    ReadOnly,
    /// The request makes no sense for this inode.
    #[error("invalid argument")]
    Invalid,
    /// The inode was deleted.
    #[error("stale inode")]
    Stale,
    /// The file system contradicts itself: a defect of this code, or of the protocol it was told to use.
    #[error("BUG: {0}")]
    Bug(&'static str),
    /// The inode may not be changed (immutable or append-only flag).
    #[error("operation not permitted on this inode")]
    NotPermitted,
}

/// A contradiction found on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[allow(missing_docs)]
pub enum Corrupt {
    #[error("superblock: bad magic number")]
    SuperMagic,
    #[error("superblock: checksum mismatch")]
    SuperChecksum,
    #[error("superblock: unknown checksum type")]
    SuperChecksumType,
    #[error("superblock: impossible block size")]
    BlockSize,
    #[error("superblock: impossible inode size")]
    InodeSize,
    #[error("superblock: impossible number of blocks in a group")]
    BlocksPerGroup,
    #[error("superblock: impossible number of inodes in a group")]
    InodesPerGroup,
    #[error("superblock: impossible group descriptor size")]
    DescSize,
    #[error("superblock: impossible number of blocks")]
    BlocksCount,
    #[error("superblock: number of inodes does not fit the groups")]
    InodesCount,
    #[error("superblock: impossible first data block")]
    FirstDataBlock,
    #[error("superblock: impossible first inode")]
    FirstInode,
    #[error("superblock: larger than the device")]
    LargerThanDevice,
    #[error("superblock: more free blocks than blocks")]
    FreeBlocksCount,
    #[error("superblock: unknown directory hash version")]
    DefHashVersion,
    #[error("superblock: journal inode number out of range")]
    JournalInode,
    #[error("group descriptor: checksum mismatch")]
    GroupChecksum,
    #[error("group descriptor: block bitmap outside the file system")]
    GroupBlockBitmap,
    #[error("group descriptor: inode bitmap outside the file system")]
    GroupInodeBitmap,
    #[error("group descriptor: inode table outside the file system")]
    GroupInodeTable,
    #[error("group descriptor: counts larger than the group")]
    GroupCounts,
    #[error("block bitmap: checksum mismatch")]
    BlockBitmapChecksum,
    #[error("block bitmap: number of free blocks differs from the descriptor")]
    BlockBitmapCount,
    #[error("block bitmap: a block to be freed is free already")]
    DoubleFree,
    #[error("inode bitmap: checksum mismatch")]
    InodeBitmapChecksum,
    #[error("inode bitmap: number of free inodes differs from the descriptor")]
    InodeBitmapCount,
    #[error("inode bitmap: an inode to be freed is free already")]
    InodeDoubleFree,
    #[error("inode: number out of range")]
    InodeNumber,
    #[error("inode: checksum mismatch")]
    InodeChecksum,
    #[error("inode: extra size does not fit")]
    InodeExtraSize,
    #[error("inode: unknown file type")]
    InodeMode,
    #[error("inode: impossible size")]
    InodeFileSize,
    #[error("inode: not in use but referenced")]
    InodeUnused,
    #[error("inode: attribute block outside the file system")]
    InodeFileAcl,
    #[error("inode: contradicting flags")]
    InodeFlags,
    #[error("root directory is not a directory")]
    RootNotDirectory,
    #[error("extent node: bad magic number")]
    ExtentMagic,
    #[error("extent node: more entries than fit")]
    ExtentEntries,
    #[error("extent node: impossible capacity")]
    ExtentMax,
    #[error("extent node: depth does not follow its parent's")]
    ExtentDepth,
    #[error("extent node: checksum mismatch")]
    ExtentChecksum,
    #[error("extent: zero length or past the last logical block")]
    ExtentLength,
    #[error("extent node: entries out of order")]
    ExtentOrder,
    #[error("extent: blocks outside the file system or over its metadata")]
    ExtentBlocks,
    #[error("extent node: entry outside the range of its parent")]
    ExtentRange,
    #[error("block map: block outside the file system")]
    IndirectBlock,
    #[error("inline data: no system.data attribute")]
    InlineAttribute,
    #[error("inline data: size larger than its room")]
    InlineSize,
    #[error("inline data: unknown use")]
    InlineUse,
    #[error("attributes: bad magic number")]
    XattrMagic,
    #[error("attributes: entry crosses its area")]
    XattrEntry,
    #[error("attributes: value outside its area")]
    XattrValue,
    #[error("attributes: value overlaps the entries")]
    XattrOverlap,
    #[error("attribute block: checksum mismatch")]
    XattrChecksum,
    #[error("attribute block: impossible header")]
    XattrHeader,
    #[error("directory: size is not a number of blocks")]
    DirectorySize,
    #[error("directory: hole")]
    DirectoryHole,
    #[error("directory block: checksum mismatch")]
    DirectoryChecksum,
    #[error("directory entry: impossible record length")]
    DirectoryRecLen,
    #[error("directory entry: name does not fit")]
    DirectoryName,
    #[error("directory entry: inode number out of range")]
    DirectoryInode,
    #[error("directory: . or .. is missing")]
    DirectoryDots,
    #[error("hash tree: impossible root")]
    HtreeRoot,
    #[error("hash tree: unknown hash version")]
    HtreeHash,
    #[error("hash tree: impossible count or limit")]
    HtreeCount,
    #[error("hash tree: block out of range")]
    HtreeBlock,
    #[error("hash tree: too deep")]
    HtreeDepth,
    #[error("hash tree: checksum mismatch")]
    HtreeChecksum,
    #[error("symbolic link: impossible length")]
    SymlinkLength,
    #[error("orphan list: bad inode or cycle")]
    OrphanList,
}

impl From<vfs_server::Error> for Error {
    /// What the buffer cache says: it knows no error but those of the disk.
    fn from(error: vfs_server::Error) -> Self {
        match error {
            vfs_server::Error::Io(cause) => Self::Io(cause),
            vfs_server::Error::NoMemory => Self::Io(IoError::NoMemory),
            _ => Self::Io(IoError::Device),
        }
    }
}

impl From<IoError> for Error {
    fn from(cause: IoError) -> Self {
        Self::Io(cause)
    }
}

impl From<Error> for vfs_server::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Corrupt(kind) => Self::Corrupt(kind.to_string()),
            Error::Unsupported(_) | Error::NeedsRecovery | Error::NotClean => Self::Unsupported(error.to_string()),
            Error::Io(cause) => Self::Io(cause),
            Error::NoSpace | Error::NoInodes => Self::NoSpace,
            Error::NotFound => Self::NotFound,
            Error::NoAttribute => Self::NoData,
            Error::Exists => Self::Exists,
            Error::NotEmpty => Self::NotEmpty,
            Error::NotDirectory => Self::NotDirectory,
            Error::IsDirectory => Self::IsDirectory,
            Error::NameTooLong => Self::NameTooLong,
            Error::TooManyLinks => Self::TooManyLinks,
            Error::FileTooBig => Self::FileTooBig,
            Error::ReadOnly => Self::ReadOnly,
            Error::Invalid => Self::Invalid("not for this inode"),
            Error::Stale => Self::Stale,
            Error::NotPermitted => Self::NotPermitted,
            Error::Bug(what) => Self::Bug(what),
        }
    }
}
