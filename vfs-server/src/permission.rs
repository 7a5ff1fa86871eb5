//! Who may do what: the classic permission bits. User 0 may do everything.

use crate::error::{Error, Result};
use crate::fs::{Attributes, Credentials};
use crate::inode::Inode;

/// To read, or to list a directory.
pub const READ: u16 = 4;
/// To write, or to change a directory's names.
pub const WRITE: u16 = 2;
/// To execute, or to search a directory.
pub const EXECUTE: u16 = 1;

/// Whether `who` may do all of `wanted` with the inode.
pub fn check(inode: &Inode, who: &Credentials, wanted: u16) -> Result<()> {
    if who.uid == 0 || granted(&inode.attributes(), who) & wanted == wanted { Ok(()) } else { Err(Error::Permission) }
}

/// Whether `who` may change the inode's attributes.
pub fn check_owner(inode: &Inode, who: &Credentials) -> Result<()> {
    if who.uid == 0 || inode.attributes().uid == who.uid { Ok(()) } else { Err(Error::NotPermitted) }
}

fn granted(attributes: &Attributes, who: &Credentials) -> u16 {
    let class = if attributes.uid == who.uid {
        6
    } else if attributes.gid == who.gid {
        3
    } else {
        0
    };
    attributes.permissions >> class & 7
}
