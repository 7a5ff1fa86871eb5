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

impl FileKind {
    /// Every kind at the number that directory entries of Linux's formats have for it, less one.
    const NUMBERED: [Self; 7] =
        [Self::Regular, Self::Directory, Self::CharDevice, Self::BlockDevice, Self::Fifo, Self::Socket, Self::Symlink];

    /// The kind with a number from a disk (ext4's `EXT4_FT_*`); 0 is none.
    pub fn from_raw(number: u8) -> Option<Self> {
        Self::NUMBERED.get(usize::from(number.checked_sub(1)?)).copied()
    }

    /// The number for a disk.
    pub fn to_raw(self) -> u8 {
        // Each kind is in the list.
        1 + Self::NUMBERED.iter().position(|kind| *kind == self).unwrap_or(0) as u8
    }
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
    /// Those of a new inode with one name.
    pub fn new(permissions: u16, who: &Credentials) -> Self {
        let Credentials { uid, gid, now } = *who;
        let permissions = permissions & 0o7777;
        Self { permissions, uid, gid, nlink: 1, atime: now, mtime: now, ctime: now, crtime: None, sectors: 0 }
    }

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

impl Credentials {
    /// Root, now: for what a mkfs makes.
    pub fn of_root() -> Self {
        Self { now: Timestamp::from_ns(platform::thread::realtime_ns() as i64), ..Self::default() }
    }
}
