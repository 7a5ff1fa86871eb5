//! The file systems that the server knows: adding one is a line here.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use platform::block::BlockDevice;
use vfs_server::fs::{Access, FileSystem};

/// A kind of file system.
struct FileSystemType {
    name: &'static str,
    mount: Mount,
}

type Mount = fn(Arc<dyn BlockDevice>, Access, &[(&str, &str)]) -> Result<Arc<dyn FileSystem>, String>;

const TYPES: &[FileSystemType] = &[
    FileSystemType { name: "ext4", mount: mount_ext4 },
    FileSystemType { name: "mini", mount: mount_mini },
    FileSystemType { name: "bcachefs", mount: mount_bcachefs },
];

/// Mounts the file system on the disk: of the type that `wanted` names, or else of the first.
pub fn mount(
    wanted: Option<&str>,
    device: Arc<dyn BlockDevice>,
    access: Access,
    options: &[(&str, &str)],
) -> Result<Arc<dyn FileSystem>, String> {
    let kind = match wanted {
        None => TYPES.first(),
        Some(name) => TYPES.iter().find(|kind| kind.name == name),
    };
    let kind = kind.ok_or_else(|| {
        let known: Vec<&str> = TYPES.iter().map(|kind| kind.name).collect();
        format!("no such file system: {} (known: {})", wanted.unwrap_or_default(), known.join(", "))
    })?;
    let name = device.name().to_owned();
    (kind.mount)(device, access, options).map_err(|error| format!("cannot mount {name} as {}: {error}", kind.name))
}

fn mount_ext4(
    device: Arc<dyn BlockDevice>,
    access: Access,
    options: &[(&str, &str)],
) -> Result<Arc<dyn FileSystem>, String> {
    let parsed = fs_ext4inline::Options::parse(options.iter().copied()).map_err(|error| format!("{error}"))?;
    fs_ext4inline::mount(device, access, parsed).map_err(|error| format!("{error}"))
}

fn mount_mini(
    device: Arc<dyn BlockDevice>,
    access: Access,
    options: &[(&str, &str)],
) -> Result<Arc<dyn FileSystem>, String> {
    if let Some((name, _)) = options.first() {
        return Err(format!("it has no mount option {name}"));
    }
    fs_mini::mount(device, access).map_err(|error| format!("{error}"))
}

fn mount_bcachefs(
    device: Arc<dyn BlockDevice>,
    access: Access,
    options: &[(&str, &str)],
) -> Result<Arc<dyn FileSystem>, String> {
    if access == Access::ReadOnly {
        return Err("a scratch volume is empty: there is nothing to be read".into());
    }
    let parsed = fs_bcachefs::Options::parse(options.iter().copied()).map_err(|error| format!("{error}"))?;
    fs_bcachefs::mount(device, parsed).map_err(|error| format!("{error}"))
}
