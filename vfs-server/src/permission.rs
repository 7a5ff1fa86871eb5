//! Who may do what to an inode: the owner, the group, everybody else; user 0 always.

use crate::error::{Error, Result};
use crate::fs::{Credentials, FileKind, Inode};
use bitflags::bitflags;

bitflags! {
    /// What somebody wants to do, as in a mode's three bits.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Want: u16 {
        /// Run a file; look names up in a directory.
        const EXECUTE = 1;
        /// Change a file; change the names of a directory.
        const WRITE = 2;
        /// Read a file; list a directory.
        const READ = 4;
    }
}

/// The sticky bit of a directory: only the owner of a file (or of the directory) removes its name.
const STICKY: u16 = 0o1000;

/// `Permission` unless `who` may do all of `want`.
pub fn check(inode: &Inode, who: &Credentials, want: Want) -> Result<()> {
    let attributes = inode.attributes();
    let shift = match () {
        () if who.uid == 0 => return check_root(inode.kind, attributes.permissions, want),
        () if who.uid == attributes.uid => 6,
        () if who.gid == attributes.gid => 3,
        () => 0,
    };
    if Want::from_bits_truncate(attributes.permissions >> shift).contains(want) {
        Ok(())
    } else {
        Err(Error::Permission)
    }
}

/// User 0 may do all but run a file that nobody may run.
fn check_root(kind: FileKind, permissions: u16, want: Want) -> Result<()> {
    let runs_data = want.contains(Want::EXECUTE) && kind == FileKind::Regular && permissions & 0o111 == 0;
    if runs_data { Err(Error::Permission) } else { Ok(()) }
}

/// `Permission` unless `who` may remove a name of `victim` from `directory`.
pub fn check_remove(directory: &Inode, victim: &Inode, who: &Credentials) -> Result<()> {
    check(directory, who, Want::WRITE | Want::EXECUTE)?;
    let attributes = directory.attributes();
    let sticky = attributes.permissions & STICKY != 0;
    if sticky && ![0, attributes.uid, victim.attributes().uid].contains(&who.uid) {
        return Err(Error::Permission);
    }
    Ok(())
}

/// `Permission` unless `who` owns the inode.
pub fn check_owner(inode: &Inode, who: &Credentials) -> Result<()> {
    if who.uid == 0 || who.uid == inode.attributes().uid { Ok(()) } else { Err(Error::Permission) }
}
