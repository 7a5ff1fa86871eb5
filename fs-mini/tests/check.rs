//! Every kind of damage is named, by `check` and by the mount that refuses it; a full disk is found
//! at the write, at the fault and at the name that does not fit.

mod common;

use common::*;
use crc::{CRC_32_ISCSI, Crc};
use fs_mini::format::*;
use fs_mini::{Access, mount};
use linux::MemoryDisk;
use std::sync::Arc;
use vfs_server::error::Error;
use vfs_server::fs::*;
use zerocopy::{FromBytes, IntoBytes};

const BLOCK: usize = 1024;

fn credentials() -> Credentials {
    Credentials { uid: 7, gid: 8, now: Timestamp::from_ns(1_700_000_000_123_456_789) }
}

/// A file with data, one without, a directory with a file in it, a link.
fn populated() -> Vec<u8> {
    let disk = Arc::new(MemoryDisk::new(empty(BLOCK as u32, 128)));
    let fs = mount(disk.clone(), Access::ReadWrite).unwrap();
    let root = Inode::new(fs.read_inode(fs.root()).unwrap());
    let file = Inode::new(root.operations().create(&root, b"file", FileKind::Regular, 0o644, &credentials()).unwrap());
    file.operations().write_begin(&file, 0, 3000).unwrap();
    file.set_size(3000);
    let Mapping { state: MappingState::Unwritten { device_block }, count: 3, .. } =
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
    root.operations().symlink(&root, b"link", b"directory/below", &credentials()).unwrap();
    fs.unmount().unwrap();
    disk.content()
}

/// The metadata of an image: superblock, and where the area is.
fn metadata(image: &[u8]) -> (RawSuperblock, usize, usize) {
    let both = SUPERBLOCKS.map(|at| RawSuperblock::read_from_prefix(&image[at as usize..]).unwrap().0);
    let newest = both[(both[1].sequence > both[0].sequence) as usize];
    let area_len = newest.area_blocks.get() as usize * newest.block_size.get() as usize;
    let start = AREAS as usize + (newest.sequence.get() % 2) as usize * area_len;
    (newest, start, start + newest.length.get() as usize)
}

/// Changes the metadata and makes the checksums right again.
fn tampered(change: impl FnOnce(&mut RawSuperblock, &mut Vec<u8>)) -> Vec<u8> {
    let crc = Crc::<u32>::new(&CRC_32_ISCSI);
    let mut image = populated();
    let (mut superblock, start, end) = metadata(&image);
    let mut area = image[start..end].to_vec();
    change(&mut superblock, &mut area);
    superblock.length.set(area.len() as u32);
    superblock.area_crc.set(crc.checksum(&area));
    superblock.crc.set(crc.checksum(&superblock.as_bytes()[..44]));
    image[start..start + area.len()].copy_from_slice(&area);
    let at = SUPERBLOCKS[(superblock.sequence.get() % 2) as usize] as usize;
    image[at..at + 48].copy_from_slice(superblock.as_bytes());
    image
}

/// Changes one inode.
fn inode(ino: u32, change: impl FnOnce(&mut RawInode)) -> Vec<u8> {
    tampered(|_, area| {
        let at = place_of(area, ino);
        change(RawInode::mut_from_prefix(&mut area[at..]).unwrap().0);
    })
}

fn place_of(area: &[u8], ino: u32) -> usize {
    let mut at = 0;
    loop {
        let raw = RawInode::read_from_prefix(&area[at..]).unwrap().0;
        if raw.ino == ino {
            return at;
        }
        at += 68 + 12 * raw.extents.get() as usize;
        for _ in 0..raw.names.get() {
            at += 6 + RawName::read_from_prefix(&area[at..]).unwrap().0.length.get() as usize;
        }
        at += raw.target.get() as usize;
    }
}

/// Replaces bytes of the area.
fn bytes(old: &[u8], new: &[u8]) -> Vec<u8> {
    tampered(|_, area| {
        let at = area.windows(old.len()).position(|window| window == old).unwrap();
        area[at..at + old.len()].copy_from_slice(new);
    })
}

/// The first extent of the file, which is inode 2.
fn extent(change: impl FnOnce(&mut RawExtent)) -> Vec<u8> {
    tampered(|_, area| {
        let at = place_of(area, 2) + 68;
        change(RawExtent::mut_from_prefix(&mut area[at..]).unwrap().0);
    })
}

#[test]
fn damage_is_named() {
    assert_eq!(problems(populated()), Vec::<String>::new());
    let no_superblock = "there is no superblock with a right checksum that fits the disk";
    let mut both_gone = populated();
    SUPERBLOCKS.iter().for_each(|&at| both_gone[at as usize + 20] ^= 1);
    let mut rotten = populated();
    let (_, start, _) = metadata(&rotten);
    rotten[start + 70] ^= 1;
    let cases = [
        (both_gone, no_superblock.to_string()),
        (vec![0; 1 << 17], no_superblock.into()),
        (populated()[..1 << 16].to_vec(), no_superblock.into()),
        (rotten, "the metadata does not have the superblock's checksum".into()),
        (tampered(|_, area| area.extend([1; 20])), "no inode at byte".into()),
        (inode(2, |raw| raw.names.set(3)), "no inode at byte".into()),
        (extent(|extent| extent.count.set(u32::MAX)), "no inode at byte".into()),
        (inode(4, |raw| raw.ino.set(2)), "inode 2 is there twice".into()),
        (inode(2, |raw| raw.kind = 9), "inode 2 is of kind 9".into()),
        (inode(2, |raw| raw.kind = SYMLINK), "inode 2 is of kind 3".into()),
        (inode(1, |raw| raw.kind = REGULAR), "inode 1 is of kind 1".into()),
        (inode(5, |raw| raw.ino.set(4000)), "inode 4000 is of kind".into()),
        (extent(|extent| extent.start.set(3)), "inode 2 has block 3 of the disk".into()),
        (extent(|extent| extent.start.set(127)), "inode 2 has block 128 of the disk".into()),
        (inode(2, |raw| raw.nlink.set(4)), "inode 2 has 4 links and 1 names".into()),
        (inode(3, |raw| raw.nlink.set(3)), "inode 3 has 3 links and 1 names".into()),
        (inode(3, |raw| raw.parent.set(3)), "directory 3 is not below the root".into()),
        (inode(3, |raw| raw.parent.set(3)), "has \"directory\" for inode 3".into()),
        (bytes(b"below", b"be/ow"), "directory 3 has the name \"be/ow\"".into()),
        (bytes(b"link", b"file"), "directory 1 has the name \"file\", which is no name or there twice".into()),
        (bytes(&[2, 0, 0, 0, 4, 0, b'f'], &[9, 0, 0, 0, 4, 0, b'f']), "has \"file\" for inode 9".into()),
        (bytes(&[2, 0, 0, 0, 4, 0, b'f'], &[1, 0, 0, 0, 4, 0, b'f']), "has \"file\" for inode 1".into()),
    ];
    for (image, expected) in cases {
        let found = problems(image.clone());
        assert!(found.iter().any(|problem| problem.contains(&expected)), "{expected}: {found:?}");
        let refused = mount(Arc::new(MemoryDisk::new(image)), Access::ReadWrite).map(|_| ()).unwrap_err();
        assert!(matches!(refused, Error::Corrupt(_)), "{expected}: {refused}");
    }
}

#[test]
fn what_only_an_unmounted_disk_cannot_have() {
    let orphan = |state: u32| {
        tampered(|superblock, area| {
            superblock.state.set(state);
            let at = place_of(area, 4);
            RawInode::mut_from_prefix(&mut area[at..]).unwrap().0.nlink.set(0);
            let directory = place_of(area, 3);
            RawInode::mut_from_prefix(&mut area[directory..]).unwrap().0.names.set(0);
            area.drain(directory + 68..directory + 68 + 6 + 5);
        })
    };
    assert_eq!(problems(orphan(CLEAN)), ["inode 4 has no name, though the disk was unmounted"]);
    assert_eq!(problems(orphan(0)), Vec::<String>::new());
    let tail = |state: u32| {
        let mut image = tampered(|superblock, _| superblock.state.set(state));
        let bytes = pattern(1, 3000);
        let at = image.windows(3000).position(|window| window == bytes).unwrap();
        image[at + 3000] = 1;
        image
    };
    assert_eq!(problems(tail(CLEAN)), ["inode 2 has bytes behind its end, though the disk was unmounted"]);
    assert_eq!(problems(tail(0)), Vec::<String>::new());
    for image in [orphan(0), tail(0)] {
        let disk = Arc::new(MemoryDisk::new(image));
        mount(disk.clone(), Access::ReadWrite).unwrap().unmount().unwrap();
        assert_eq!(problems(disk.content()), Vec::<String>::new(), "recovered");
    }
}

#[test]
fn any_bytes_are_refused_or_read() {
    let image = populated();
    let (_, start, end) = metadata(&image);
    let mut random = Random(99);
    for _ in 0..3000 {
        let image = tampered(|_, area| {
            for _ in 0..1 + random.below(3) {
                let at = random.below((end - start) as u64) as usize;
                area[at] = [0, 1, 0xff, random.below(256) as u8][random.below(4) as usize];
            }
        });
        let sound = problems(image.clone()).is_empty();
        let disk = Arc::new(MemoryDisk::new(image));
        if mount(disk.clone(), Access::ReadWrite).map(|fs| fs.unmount().unwrap()).is_ok() && sound {
            tree(disk);
        }
    }
}

#[test]
fn a_mount_for_reading_writes_nothing() {
    let image = populated();
    let disk = RecordingDisk::new(image);
    let fs = mount(disk.clone(), Access::ReadOnly).unwrap();
    let root = Inode::new(fs.read_inode(fs.root()).unwrap());
    let refused = root.operations().create(&root, b"x", FileKind::Regular, 0o644, &credentials()).map(|_| ());
    assert_eq!(refused, Err(Error::ReadOnly));
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
    assert_eq!(problems(disk.content()), Vec::<String>::new());
}
