//! Attributes as bytes, little-endian, for disk formats that have no layout of their own for them.

use super::{Attributes, Timestamp};
use zerocopy::little_endian::{I64, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What there is in [`Attributes`], but for the sectors and the time of creation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[allow(missing_docs)]
pub struct RawAttributes {
    pub permissions: U16,
    pub reserved: U16,
    pub uid: U32,
    pub gid: U32,
    pub nlink: U32,
    /// Nanoseconds since 1970, as the next two.
    pub atime: I64,
    pub mtime: I64,
    pub ctime: I64,
}

const _: () = assert!(size_of::<RawAttributes>() == 40);

impl From<&Attributes> for RawAttributes {
    fn from(attributes: &Attributes) -> Self {
        let [uid, gid, nlink] = [attributes.uid, attributes.gid, attributes.nlink].map(U32::new);
        let times = [attributes.atime, attributes.mtime, attributes.ctime];
        let [atime, mtime, ctime] = times.map(|time| I64::new(time.as_ns()));
        let permissions = U16::new(attributes.permissions & 0o7777);
        Self { permissions, reserved: U16::ZERO, uid, gid, nlink, atime, mtime, ctime }
    }
}

impl RawAttributes {
    /// The attributes of an inode that has so many `sectors`.
    pub fn with_sectors(&self, sectors: u64) -> Attributes {
        let [atime, mtime, ctime] = [self.atime, self.mtime, self.ctime].map(|time| Timestamp::from_ns(time.get()));
        let [uid, gid, nlink] = [self.uid, self.gid, self.nlink].map(U32::get);
        Attributes {
            permissions: self.permissions.get() & 0o7777,
            uid,
            gid,
            nlink,
            atime,
            mtime,
            ctime,
            crtime: None,
            sectors,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_come_back_as_they_went() {
        let time = |ns| Timestamp::from_ns(ns);
        let attributes = Attributes {
            permissions: 0o4755,
            uid: 1,
            gid: u32::MAX,
            nlink: 3,
            atime: time(-1),
            mtime: time(1_700_000_000_123_456_789),
            ctime: time(0),
            crtime: None,
            sectors: 9,
        };
        assert_eq!(RawAttributes::from(&attributes).with_sectors(9), attributes);
    }
}
