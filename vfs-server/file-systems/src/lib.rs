//! The file systems that there are: the one table from which every host takes them.
//!
//! `vfsd` mounts by it, `cargo xtask boot --fs` makes and checks disks by it, the explorer's scenarios run on it. A new
//! file system is one entry here (`cargo xtask new-fs` makes it); hosts name none of them.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use platform::block::BlockDevice;
use vfs_server::fs::{Access, FileSystem};

/// A kind of file system. Errors are for people.
#[derive(Debug)]
pub struct FileSystemType {
    /// As it is named on command lines.
    pub name: &'static str,
    /// Mounts it, with those options that are not the server's.
    pub mount: Mount,
    /// What it brings along for its disks; `None`: other programs make and check them, or nobody does.
    pub tools: Option<Tools>,
}

/// See [`FileSystemType::mount`].
pub type Mount = fn(Arc<dyn BlockDevice>, Access, &[(&str, &str)]) -> Result<Arc<dyn FileSystem>, String>;

/// mkfs and fsck.
#[derive(Debug)]
pub struct Tools {
    /// Makes an empty file system with blocks of so many bytes.
    pub make: fn(Arc<dyn BlockDevice>, u32) -> Result<(), String>,
    /// Everything that is wrong with a disk; nothing is written.
    pub check: fn(Arc<dyn BlockDevice>) -> Vec<String>,
}

/// The entry of a crate that has `mount`, `mkfs` and `check` as fs-mini has them, and no mount options.
macro_rules! like_mini {
    ($name:literal, $krate:ident) => {
        FileSystemType {
            name: $name,
            mount: |device, access, options| match options.first() {
                Some((name, _)) => Err(format!("it has no mount option {name}")),
                None => $krate::mount(device, access).map_err(|error| error.to_string()),
            },
            tools: Some(Tools {
                make: |device, block_size| $krate::mkfs(device, block_size).map_err(|error| error.to_string()),
                check: |device| $krate::check(device).iter().map(ToString::to_string).collect(),
            }),
        }
    };
}

/// All of them. The first one is mounted where none is named.
pub static ALL: &[FileSystemType] = &[
    FileSystemType { name: "ext4", mount: mount_ext4, tools: None },
    FileSystemType { name: "bcachefs", mount: mount_bcachefs, tools: None },
    like_mini!("mini", fs_mini),
];

/// The one with this name; the error lists those that there are.
pub fn find(name: &str) -> Result<&'static FileSystemType, String> {
    let found = ALL.iter().find(|each| each.name == name);
    found.ok_or_else(|| {
        let known: Vec<&str> = ALL.iter().map(|each| each.name).collect();
        format!("no such file system: {name} (known: {})", known.join(", "))
    })
}

fn mount_ext4(
    device: Arc<dyn BlockDevice>,
    access: Access,
    options: &[(&str, &str)],
) -> Result<Arc<dyn FileSystem>, String> {
    let options = fs_ext4inline::Options::parse(options.iter().copied()).map_err(|error| error.to_string())?;
    fs_ext4inline::mount(device, access, options).map_err(|error| error.to_string())
}

fn mount_bcachefs(
    device: Arc<dyn BlockDevice>,
    access: Access,
    options: &[(&str, &str)],
) -> Result<Arc<dyn FileSystem>, String> {
    if access == Access::ReadOnly {
        return Err("a scratch volume is empty: there is nothing to be read".into());
    }
    let options = fs_bcachefs::Options::parse(options.iter().copied()).map_err(|error| error.to_string())?;
    fs_bcachefs::mount(device, options).map_err(|error| error.to_string())
}
