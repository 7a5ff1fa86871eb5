//! What `stat` tells of an inode, and what changes it.

/// What kind of file an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FileKind {
    Regular,
    Directory,
    Symlink,
    Fifo,
    Socket,
    CharDevice,
    BlockDevice,
}

/// A point in time: seconds since 1970 and nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub struct Timestamp {
    pub seconds: i64,
    pub nanoseconds: u32,
}

impl Timestamp {
    /// So many nanoseconds after 1970.
    pub fn from_ns(ns: i64) -> Self {
        Self { seconds: ns.div_euclid(1_000_000_000), nanoseconds: ns.rem_euclid(1_000_000_000) as u32 }
    }

    /// Nanoseconds since 1970: of years from 1678 to 2262, others become one of these.
    pub fn as_ns(self) -> i64 {
        self.seconds.saturating_mul(1_000_000_000).saturating_add(self.nanoseconds.into())
    }
}

/// What `stat` tells of an inode, apart from its size (which is ordered on its own).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Attributes {
    /// Permission bits, 0o7777.
    pub permissions: u16,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u32,
    pub atime: Timestamp,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
    /// Creation, where the file system knows it.
    pub crtime: Option<Timestamp>,
    /// 512-byte sectors in use.
    pub sectors: u64,
}

/// What `setattr` changes; `None` stays as it is. ctime becomes `now` in every case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct SetAttributes {
    pub permissions: Option<u16>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub atime: Option<Timestamp>,
    pub mtime: Option<Timestamp>,
    pub now: Timestamp,
}

impl Attributes {
    /// Makes the changes.
    pub fn apply(&mut self, change: &SetAttributes) {
        self.permissions = change.permissions.unwrap_or(self.permissions) & 0o7777;
        self.uid = change.uid.unwrap_or(self.uid);
        self.gid = change.gid.unwrap_or(self.gid);
        self.atime = change.atime.unwrap_or(self.atime);
        self.mtime = change.mtime.unwrap_or(self.mtime);
        self.ctime = change.now;
    }
}

/// Who and when, for whatever makes an inode or changes a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Credentials {
    pub uid: u32,
    pub gid: u32,
    pub now: Timestamp,
}
