//! Broken disks: mounted or refused with a named error, never a panic or a hang, and never worse for
//! e2fsck afterwards than before.

mod common;

use std::collections::HashSet;
use std::sync::Arc;

use common::*;
use fs_ext4inline::Access;
use vfs_server::error::Error;
use vfs_server::fs::*;

/// Reads whatever can be reached; how many errors there were.
fn read_everything(mounted: &Mounted) -> Vec<Error> {
    let mut errors = Vec::new();
    let mut pending: Vec<(Arc<Inode>, u32)> = match mounted.get(mounted.fs.root()) {
        Ok(root) => vec![(root, 0)],
        Err(error) => return vec![error],
    };
    let mut seen = HashSet::new();
    while let Some((inode, depth)) = pending.pop() {
        if depth > 20 || !seen.insert(inode.ino) {
            continue;
        }
        let operations = inode.operations();
        errors.extend(operations.listxattr(&inode).err());
        match inode.kind {
            FileKind::Directory => match mounted.names(&inode) {
                Ok(names) => {
                    for (name, ino) in names {
                        if name == b"." || name == b".." {
                            continue;
                        }
                        errors.extend(operations.lookup(&inode, &name).err());
                        match mounted.get(ino) {
                            Ok(child) => pending.push((child, depth + 1)),
                            Err(error) => errors.push(error),
                        }
                    }
                }
                Err(error) => errors.push(error),
            },
            FileKind::Regular if inode.size() < 1 << 20 => errors.extend(mounted.read(&inode).err()),
            FileKind::Symlink => errors.extend(operations.readlink(&inode).err()),
            _ => {}
        }
    }
    errors
}

/// Changes whatever can be changed; errors are part of it.
fn change_everything(mounted: &Mounted) -> Vec<Error> {
    let mut errors = Vec::new();
    let Ok(root) = mounted.get(mounted.fs.root()) else { return errors };
    let mut note = |result: Result<(), Error>| errors.extend(result.err());
    for (name, ino) in mounted.names(&root).unwrap_or_default() {
        if name == b"." || name == b".." || name == b"lost+found" {
            continue;
        }
        let Ok(inode) = mounted.get(ino) else { continue };
        match inode.kind {
            FileKind::Regular => {
                note(mounted.write(&inode, inode.size().min(1 << 20), b"more of it"));
                note(mounted.truncate(&inode, 30));
                note(inode.operations().prepare_mmap(&inode));
                note(inode.operations().page_mkwrite(&inode, 0, 30));
                drop(inode);
                note(mounted.rename(&root, &name, &root, b"renamed"));
                note(mounted.unlink(&root, b"renamed"));
            }
            FileKind::Directory => {
                note(mounted.create(&inode, b"a new name in an old directory").map(drop));
                drop(inode);
                note(mounted.rmdir(&root, &name));
            }
            _ => note(mounted.unlink(&root, &name)),
        }
    }
    note(mounted.create(&root, b"new").and_then(|file| mounted.write(&file, 0, &pattern(1, 5000))));
    note(mounted.mkdir(&root, b"new directory").map(drop));
    errors
}

/// Ends a mount in which anything may have failed.
fn end(mounted: Mounted) -> Vec<u8> {
    let disk = mounted.disk.clone();
    mounted.abandon();
    disk.content()
}

/// Lines of e2fsck that report something.
fn findings(said: &str) -> usize {
    said.lines().filter(|line| line.contains('?') || line.contains("differ") || line.contains("wrong")).count()
}

fn try_image(name: &str, image: Vec<u8>) -> String {
    let before = fsck(&image);
    let mut told = String::new();
    match Mounted::new(image.clone(), Access::ReadOnly) {
        Ok(mounted) => {
            let errors = read_everything(&mounted);
            told += &format!("read: {} errors {:?}; ", errors.len(), errors.first());
            assert!(end(mounted) == image, "{name}: a read-only mount wrote");
        }
        Err(error) => told += &format!("refused to read: {error}; "),
    }
    match Mounted::new(image, Access::ReadWrite) {
        Ok(mounted) => {
            let errors = change_everything(&mounted);
            told += &format!("write: {} errors {:?}", errors.len(), errors.first());
            let after = fsck(&end(mounted));
            assert!(
                after.0 & 12 <= before.0 & 12 && findings(&after.1) <= findings(&before.1),
                "{name} got worse ({told}):\n{}\n--- before:\n{}",
                after.1,
                before.1
            );
        }
        Err(error) => told += &format!("refused to write: {error}"),
    }
    told
}

#[test]
fn the_corrupt_reference_images_are_survived() {
    let Some(folder) = shared("corrupt") else {
        skip("the shared corrupt images are not there");
        return;
    };
    if !have_e2fsprogs() {
        return;
    }
    let mut images: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    images.sort();
    for path in images.iter().filter(|path| path.extension().is_some_and(|extension| extension == "xz")) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        println!("{name}: {}", try_image(&name, unxz(path)));
    }
}

/// A disk without checksums, so that damage is met by the checks behind them, with everything on it
/// that has a format.
fn rich_disk(features: &str) -> Vec<u8> {
    let mounted = Mounted::new(mke2fs(&["-b", "1024", "-N", "256", "-O", features], 4), Access::ReadWrite).unwrap();
    let root = mounted.root();
    let sparse = mounted.create(&root, b"extents in blocks").unwrap();
    for block in 0..120 {
        mounted.write(&sparse, block * 2048, b"every other block").unwrap();
    }
    for size in [30_usize, 100, 5000] {
        let file = mounted.create(&root, format!("file of {size}").as_bytes()).unwrap();
        mounted.write(&file, 0, &pattern(1, size)).unwrap();
    }
    for entries in [2, 6, 20, 150] {
        let directory = mounted.mkdir(&root, format!("directory of {entries}").as_bytes()).unwrap();
        for number in 0..entries {
            directory.operations().link(&directory, format!("some name {number}").as_bytes(), &sparse, &who()).unwrap();
        }
    }
    mounted.symlink(&root, b"long link", &[b'l'; 100]).unwrap();
    drop((root, sparse));
    let image = mounted.unmount_clean();
    debugfs_write(&image, "ea_set \"/file of 30\" user.small value\nea_set \"/file of 5000\" user.other value\n")
}

#[test]
fn random_damage_is_survived() {
    if !have_e2fsprogs() {
        return;
    }
    let cases: u64 = std::env::var("DAMAGE_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(400);
    let image = rich_disk("inline_data,^metadata_csum,^uninit_bg,^has_journal,^resize_inode");
    // Where anything but zeros is: damage elsewhere is rarely met.
    let used: Vec<usize> =
        (0..image.len()).filter(|&at| at >= 1024 && image[at & !3..(at & !3) + 4] != [0; 4]).collect();
    for case in 0..cases {
        let random = pattern(case + 1, 64);
        let word = |at: usize| u64::from_le_bytes(random[at..at + 8].try_into().unwrap()) as usize;
        let mut damaged = image.clone();
        for hit in 0..1 + random[0] as usize % 4 {
            let at = used[word(8 + hit * 8) % used.len()];
            // A bit, a byte, or an extreme value.
            match random[40 + hit] % 4 {
                0 => damaged[at] ^= 1 << (random[50 + hit] % 8),
                1 => damaged[at] = random[50 + hit],
                2 => damaged[at] = 0xff,
                _ => damaged[at & !1..(at & !1) + 2].fill(0xff),
            }
        }
        for access in [Access::ReadOnly, Access::ReadWrite] {
            let Ok(mounted) = Mounted::new(damaged.clone(), access) else { continue };
            read_everything(&mounted);
            if access == Access::ReadWrite {
                change_everything(&mounted);
            }
            end(mounted);
        }
    }
}
