//! What a scenario can be mounted on, each with a small image.

use crate::oracle::POISON;
use platform::block::BlockDevice;
use std::sync::{Arc, OnceLock};
use vfs_server::fs::{Access, FileSystem};

/// A file system with a small disk of it.
pub struct FileSystemKind {
    /// As experiments and reports call it.
    pub name: &'static str,
    /// A fresh disk; called outside the arena, and lives as long as the process.
    pub image: fn() -> &'static [u8],
    /// Mounts it for reading and writing, with the options that are not the server's.
    pub mount: Mount,
    /// Mounts a disk that was in use when the machine stopped, for reading at least; `None`: nothing is promised to survive.
    pub remount: Option<Mount>,
    /// What is wrong with a disk that was unmounted, first of all; where there is such a check.
    pub check: Option<fn(Arc<dyn BlockDevice>) -> Option<String>>,
}

/// See [`FileSystemKind::mount`]; the error is for people.
pub type Mount = fn(Arc<dyn BlockDevice>, &[(&str, &str)]) -> Result<Arc<dyn FileSystem>, String>;

/// ext4 with inline data and metadata checksums, no journal: 256 blocks of 1 KiB, 16 inodes.
pub static EXT4: FileSystemKind =
    FileSystemKind { name: "ext4", image: ext4_image, mount: mount_ext4, remount: Some(remount_ext4), check: None };

/// A file system that brings its own mkfs: 128 blocks of 1 KiB, made when it is mounted.
macro_rules! own {
    ($kind:ident, $name:literal) => {
        #[doc = concat!("The file system ", $name, ", on 128 blocks of 1 KiB.")]
        pub static $kind: FileSystemKind = FileSystemKind {
            name: $name,
            image: blank,
            mount: |device, options| make_and_mount($name, device, options),
            remount: Some(|device, options| mount_own($name, device, options)),
            check: Some(|device| tools($name).and_then(|tools| (tools.check)(device).into_iter().next())),
        };
    };
}

own!(MINI, "mini");

fn tools(name: &str) -> Option<&'static file_systems::Tools> {
    file_systems::find(name).ok()?.tools.as_ref()
}

fn make_and_mount(
    name: &str,
    device: Arc<dyn BlockDevice>,
    options: &[(&str, &str)],
) -> Result<Arc<dyn FileSystem>, String> {
    let tools = tools(name).ok_or_else(|| format!("{name} brings no mkfs"))?;
    (tools.make)(device.clone(), 1024)?;
    mount_own(name, device, options)
}

fn mount_own(
    name: &str,
    device: Arc<dyn BlockDevice>,
    options: &[(&str, &str)],
) -> Result<Arc<dyn FileSystem>, String> {
    (file_systems::find(name)?.mount)(device, Access::ReadWrite, options)
}

fn ext4_image() -> &'static [u8] {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let mut image = unpack(include_bytes!("images/ext4-tiny.packed"));
        poison_free_blocks(&mut image);
        image
    })
}

/// What nobody wrote must never be seen: the free blocks of ext4's first group, by its bitmap.
fn poison_free_blocks(image: &mut [u8]) {
    let word = |at: usize| u32::from_le_bytes([image[at], image[at + 1], image[at + 2], image[at + 3]]) as usize;
    // s_blocks_count_lo, s_first_data_block, s_log_block_size of the superblock; bg_block_bitmap_lo behind it.
    let (blocks, first, block_size) = (word(1024 + 4), word(1024 + 20), 1024 << word(1024 + 24));
    let bitmap = word((first + 1) * block_size) * block_size;
    for nth in 0..blocks - first {
        if image[bitmap + nth / 8] >> (nth % 8) & 1 == 0 {
            image[(first + nth) * block_size..][..block_size].fill(POISON);
        }
    }
}

fn mount_ext4(device: Arc<dyn BlockDevice>, options: &[(&str, &str)]) -> Result<Arc<dyn FileSystem>, String> {
    open_ext4(device, Access::ReadWrite, options)
}

/// Without a journal it may only be looked at before e2fsck has seen it.
fn remount_ext4(device: Arc<dyn BlockDevice>, options: &[(&str, &str)]) -> Result<Arc<dyn FileSystem>, String> {
    open_ext4(device, Access::ReadOnly, options)
}

fn open_ext4(
    device: Arc<dyn BlockDevice>,
    access: Access,
    options: &[(&str, &str)],
) -> Result<Arc<dyn FileSystem>, String> {
    let options = fs_ext4inline::Options::parse(options.iter().copied()).map_err(|error| error.to_string())?;
    fs_ext4inline::mount(device, access, options).map(|fs| fs as Arc<dyn FileSystem>).map_err(|error| error.to_string())
}

/// A scratch volume of bcachefs: 256 sectors.
pub static BCACHEFS: FileSystemKind =
    FileSystemKind { name: "bcachefs", image: blank, mount: mount_bcachefs, remount: None, check: None };

/// A disk of poison: what nobody wrote must never be seen.
fn blank() -> &'static [u8] {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(|| vec![POISON; 128 << 10])
}

fn mount_bcachefs(device: Arc<dyn BlockDevice>, options: &[(&str, &str)]) -> Result<Arc<dyn FileSystem>, String> {
    let options = options.iter().copied().chain([("volume", "scratch")]);
    let options = fs_bcachefs::Options::parse(options).map_err(|error| error.to_string())?;
    fs_bcachefs::mount(device, options).map_err(|error| error.to_string())
}

/// A packed image is its length, then runs of bytes that are not all zero: offset, length, bytes.
/// Numbers have 4 bytes, little-endian. `images/pack.sh` makes them.
pub fn unpack(packed: &[u8]) -> Vec<u8> {
    let number = |at: usize| u32::from_le_bytes([packed[at], packed[at + 1], packed[at + 2], packed[at + 3]]) as usize;
    let mut image = vec![0; number(0)];
    let mut at = 4;
    while at < packed.len() {
        let (offset, len) = (number(at), number(at + 4));
        at += 8;
        image[offset..offset + len].copy_from_slice(&packed[at..at + len]);
        at += len;
    }
    image
}
