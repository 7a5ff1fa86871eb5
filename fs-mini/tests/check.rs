//! Every kind of damage is named, by `check` and by the mount that refuses it; a full disk is found
//! at the write, at the fault and at the name that does not fit.

mod common;

use common::*;
use fs_mini::format::*;
use fs_mini::{Problem, mkfs, mount};
use linux::MemoryDisk;
use std::mem::offset_of;
use std::sync::Arc;
use vfs_server::atomic_region::AtomicRegion;
use vfs_server::error::Error;
use vfs_server::fs::*;
use zerocopy::FromBytes;

const BLOCK: usize = 1024;
const BLOCKS: usize = 128;
/// Inodes of the populated disk.
const FILE: usize = 2;
const DIRECTORY: usize = 3;
const BELOW: usize = 4;

fn credentials() -> Credentials {
    Credentials { uid: 7, gid: 8, now: Timestamp::from_ns(1_700_000_000_123_456_789) }
}

/// A file with data and a directory with an empty file in it.
fn populated() -> Vec<u8> {
    let disk = Arc::new(MemoryDisk::new(empty(BLOCK as u32, BLOCKS as u32)));
    let fs = mount(disk.clone(), Access::ReadWrite).unwrap();
    let root = Inode::new(fs.read_inode(fs.root()).unwrap());
    let file = Inode::new(root.operations().create(&root, b"file", FileKind::Regular, 0o644, &credentials()).unwrap());
    file.operations().write_begin(&file, 0, 3000).unwrap();
    file.set_size(3000);
    let Mapping { state: MappingState::Written { device_block }, count: 3, .. } =
        file.operations().map_blocks(&file, 0, 9).unwrap()
    else {
        panic!("three new blocks in a row");
    };
    let mut bytes = pattern(1, 3000);
    bytes.resize(3 * BLOCK, 0);
    platform::block::write(&*disk, device_block * BLOCK as u64 / 512, &bytes).unwrap();
    file.operations().blocks_written(&file, 0, 3, 3000).unwrap();
    let directory = Inode::new(root.operations().mkdir(&root, b"directory", 0o755, &credentials()).unwrap());
    directory.operations().create(&directory, b"below", FileKind::Regular, 0o600, &credentials()).unwrap();
    fs.sync(SyncMode::Wait).unwrap();
    fs.unmount().unwrap();
    disk.content()
}

/// The populated disk with its tables changed.
fn tampered(change: impl FnOnce(&mut [RawBlock], &mut [RawInode])) -> Vec<u8> {
    let disk = Arc::new(MemoryDisk::new(populated()));
    let mut region = AtomicRegion::open(disk.clone(), MAGIC).unwrap();
    let mut bytes = region.contents().to_vec();
    let (geometry, rest) = RawGeometry::read_from_prefix(&bytes).unwrap();
    let at = bytes.len() - rest.len();
    let (blocks, rest) = <[RawBlock]>::mut_from_prefix_with_elems(&mut bytes[at..], BLOCKS).unwrap();
    change(blocks, <[RawInode]>::mut_from_prefix_with_elems(rest, geometry.inodes.get() as usize).unwrap().0);
    region.commit(bytes).unwrap();
    disk.content()
}

/// With one inode changed.
fn inode(ino: usize, change: impl FnOnce(&mut RawInode)) -> Vec<u8> {
    tampered(|_, inodes| change(&mut inodes[ino]))
}

fn rename(ino: usize, name: &str) -> Vec<u8> {
    inode(ino, |raw| {
        raw.name[..name.len()].copy_from_slice(name.as_bytes());
        raw.name_length = name.len() as u8;
    })
}

/// With the geometry changed.
fn geometry(at: usize, value: u32) -> Vec<u8> {
    let disk = Arc::new(MemoryDisk::new(populated()));
    let mut region = AtomicRegion::open(disk.clone(), MAGIC).unwrap();
    let mut bytes = region.contents().to_vec();
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    region.commit(bytes).unwrap();
    disk.content()
}

/// The first block of the file.
fn of_the_file(blocks: &[RawBlock]) -> usize {
    blocks.iter().position(|block| block.ino == FILE as u32).unwrap()
}

#[test]
fn damage_is_named() {
    assert_eq!(problems(populated()), []);
    let corrupt = |what: &str| Problem::Unreadable(Error::Corrupt(what.into()));
    let no_superblock = || corrupt("no superblock of this format with a right checksum that fits the disk");
    let no_tables = || corrupt("the tables do not fit the disk");
    let name = |ino: usize, name: &str| Problem::Name(ino as u32, name.into());
    let first = of_the_file(&tables(&populated())) as u32;
    let mut rotten = populated();
    rotten[10] ^= 1;
    let cases = [
        (rotten, no_superblock()),
        (vec![0; 1 << 17], no_superblock()),
        (populated()[..1 << 14].to_vec(), no_superblock()),
        (populated()[..1 << 16].to_vec(), no_tables()),
        (geometry(offset_of!(RawGeometry, block_size), 1000), no_tables()),
        (geometry(offset_of!(RawGeometry, blocks), 1 << 20), no_tables()),
        (geometry(offset_of!(RawGeometry, blocks), 3), no_tables()),
        (geometry(offset_of!(RawGeometry, inodes), u32::MAX), no_tables()),
        (geometry(offset_of!(RawGeometry, inodes), 1), no_tables()),
        (tampered(|blocks, _| blocks[3].ino.set(FILE as u32)), Problem::Block(3)),
        (tampered(|blocks, _| blocks[of_the_file(blocks) + 1].number.set(0)), Problem::Block(first + 1)),
        (tampered(|blocks, _| blocks[of_the_file(blocks)].ino.set(DIRECTORY as u32)), Problem::Block(first)),
        (tampered(|blocks, _| blocks[of_the_file(blocks)].ino.set(u32::MAX)), Problem::Block(first)),
        (inode(FILE, |raw| raw.kind = 9), Problem::Inode(2)),
        (inode(FILE, |raw| raw.kind = FileKind::Fifo.to_raw()), Problem::Inode(2)),
        (inode(FILE, |raw| raw.size.set(u64::MAX)), Problem::Inode(2)),
        (inode(FILE, |raw| raw.attributes.nlink.set(2)), Problem::Inode(2)),
        (inode(FILE, |raw| raw.name_length = 0), Problem::Inode(2)),
        (inode(DIRECTORY, |raw| raw.size.set(1)), Problem::Inode(3)),
        (inode(0, |raw| raw.kind = 1), Problem::Inode(0)),
        (inode(1, |raw| raw.kind = 1), Problem::Inode(1)),
        (inode(1, |raw| raw.kind = 0), Problem::Inode(1)),
        (inode(1, |raw| raw.parent.set(3)), Problem::Inode(1)),
        (inode(9, |raw| raw.size.set(1)), Problem::Inode(9)),
        (inode(FILE, |raw| raw.parent.set(4000)), name(FILE, "file")),
        (inode(FILE, |raw| raw.parent.set(BELOW as u32)), name(FILE, "file")),
        (inode(DIRECTORY, |raw| raw.parent.set(DIRECTORY as u32)), name(BELOW, "below")),
        (inode(DIRECTORY, |raw| raw.parent.set(DIRECTORY as u32)), name(DIRECTORY, "directory")),
        (rename(BELOW, "be/ow"), name(BELOW, "be/ow")),
        (rename(BELOW, ".."), name(BELOW, "..")),
        (rename(DIRECTORY, "file"), name(DIRECTORY, "file")),
    ];
    for (image, expected) in cases {
        let found = problems(image.clone());
        assert!(found.contains(&expected), "{expected}: {found:?}");
        let refused = mount(Arc::new(MemoryDisk::new(image)), Access::ReadWrite).map(|_| ()).unwrap_err();
        assert!(matches!(refused, Error::Corrupt(_)), "{expected}: {refused}");
    }
}

/// The block table of an image.
fn tables(image: &[u8]) -> Vec<RawBlock> {
    let region = AtomicRegion::open(Arc::new(MemoryDisk::new(image.to_vec())), MAGIC).unwrap();
    let (_, rest) = RawGeometry::read_from_prefix(region.contents()).unwrap();
    <[RawBlock]>::ref_from_prefix_with_elems(rest, BLOCKS).unwrap().0.to_vec()
}

#[test]
fn what_a_power_cut_leaves_is_put_in_order() {
    let orphan = inode(BELOW, |raw| {
        raw.attributes.nlink.set(0);
        raw.name_length = 0;
    });
    let mut tail = populated();
    let at = tail.windows(3000).position(|window| window == pattern(1, 3000)).unwrap();
    tail[at + 3000] = 1;
    for (image, left) in [(orphan, Problem::Orphan(4)), (tail, Problem::Tail(2))] {
        assert_eq!(problems(image.clone()), [left]);
        let disk = RecordingDisk::new(image);
        mount(disk.clone(), Access::ReadOnly).unwrap();
        assert_eq!(disk.now(), 0, "events on a disk that may only be read");
        mount(disk.clone(), Access::ReadWrite).unwrap().sync(SyncMode::Wait).unwrap();
        assert_eq!(problems(disk.content()), []);
        assert!(tree(disk)["/file"] == pattern(1, 3000));
    }
}

#[test]
fn any_bytes_are_refused_or_read() {
    let mut random = Random(99);
    for _ in 0..3000 {
        let image = tampered(|blocks, inodes| {
            for _ in 0..1 + random.below(3) {
                let mut byte = |at: usize, len: usize| {
                    (random.below(at as u64) as usize, random.below(len as u64) as usize, random.below(256) as u8)
                };
                // Where something is, or anywhere.
                let used = [5, inodes.len()][byte(2, 1).0];
                let (ino, at, value) = byte(used, size_of::<RawInode>());
                zerocopy::IntoBytes::as_mut_bytes(&mut inodes[ino])[at % 80] = [0, 1, 0xff, value][byte(4, 1).0];
                let (block, at, value) = byte(blocks.len(), size_of::<RawBlock>());
                zerocopy::IntoBytes::as_mut_bytes(&mut blocks[block])[at] = [0, 1, 0xff, value][byte(4, 1).0];
            }
        });
        let disk = Arc::new(MemoryDisk::new(image));
        if let Ok(fs) = mount(disk.clone(), Access::ReadWrite) {
            fs.sync(SyncMode::Wait).unwrap();
            fs.unmount().unwrap();
            assert_eq!(problems(disk.content()), []);
            tree(disk);
        }
    }
}

#[test]
fn no_file_system_is_made_where_none_fits() {
    for (bytes, block_size) in [(1 << 17, 1000), (1 << 17, 0), (1 << 17, 8192), (1024, 512), (0, 1024)] {
        let refused = mkfs(Arc::new(MemoryDisk::new(vec![0; bytes])), block_size).unwrap_err();
        assert!(matches!(refused, Error::Unsupported(_)), "{bytes} bytes, blocks of {block_size}: {refused}");
    }
}

#[test]
fn a_mount_for_reading_writes_nothing() {
    let image = populated();
    let disk = RecordingDisk::new(image);
    let fs = mount(disk.clone(), Access::ReadOnly).unwrap();
    let root = Inode::new(fs.read_inode(fs.root()).unwrap());
    assert!(fs.read_only());
    root.operations().lookup(&root, b"file").unwrap();
    fs.unmount().unwrap();
    assert!(tree(disk.clone())["/file"] == pattern(1, 3000));
    assert_eq!(disk.now(), 0, "events on the disk");
}

#[test]
fn a_full_disk_is_found_before_anything_changes() {
    let disk = Arc::new(MemoryDisk::new(empty(BLOCK as u32, 64)));
    let fs = mount(disk.clone(), Access::ReadWrite).unwrap();
    let root = Inode::new(fs.read_inode(fs.root()).unwrap());
    let file = Inode::new(root.operations().create(&root, b"file", FileKind::Regular, 0o644, &credentials()).unwrap());
    let free = fs.statfs().unwrap().free;
    let all = free * BLOCK as u64;
    assert_eq!(file.operations().write_begin(&file, 0, all + 1).map(|_| ()), Err(Error::NoSpace));
    assert_eq!(fs.statfs().unwrap().free, free, "all or nothing");
    file.operations().write_begin(&file, 0, all).unwrap();
    assert_eq!(file.operations().page_mkwrite(&file, all, 1), Err(Error::NoSpace));
    // A cut gives the blocks back, at the latest when they are wanted.
    file.set_size(all);
    file.operations().blocks_written(&file, 0, free, all).unwrap();
    file.operations().truncate(&file, 1024, credentials().now).unwrap();
    file.operations().page_mkwrite(&file, all - 1024, 1024).unwrap();
    // Names take room of their own, and are refused when it is gone.
    let mut made = 0_u32;
    let full = loop {
        let name = format!("{made:0>200}");
        match root.operations().create(&root, name.as_bytes(), FileKind::Regular, 0o644, &credentials()) {
            Ok(_) => made += 1,
            Err(error) => break error,
        }
    };
    assert!(full == Error::NoSpace && made > 3, "{made} names, then {full}");
    fs.unmount().unwrap();
    assert_eq!(problems(disk.content()), []);
}
