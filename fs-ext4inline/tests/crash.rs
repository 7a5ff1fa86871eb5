//! What is on the disk in between: after every synced operation e2fsck finds no fault but the mark of
//! use, and after a power cut what was synced is there.

mod common;

use common::*;
use fs_ext4inline::Access;
use vfs_server::error::Result;
use vfs_server::fs::*;

/// What mke2fs makes where its own defaults are not held back: an orphan file, which we leave empty
/// (the list in the superblock serves as well), and a checksum seed of its own.
const NEWER_DEFAULTS: &[&str] = &["-b", "1024", "-O", "inline_data,orphan_file,metadata_csum_seed"];

/// The image as a power cut right after a sync would leave it.
fn synced(mounted: &Mounted) -> Vec<u8> {
    mounted.fs.sync(SyncMode::Wait).unwrap();
    mounted.disk.content()
}

#[test]
fn the_disk_is_consistent_after_every_synced_operation() {
    if !have_e2fsprogs() {
        return;
    }
    type Step = (&'static str, fn(&Mounted) -> Result<()>);
    let steps: &[Step] = &[
        ("create", |m| m.create(&m.root(), b"file").map(drop)),
        ("inline write", |m| m.write(&m.walk("file")?, 0, &pattern(1, 100))),
        ("overflow", |m| m.write(&m.walk("file")?, 90, &pattern(2, 5000))),
        ("sparse write", |m| m.write(&m.walk("file")?, 1 << 20, &pattern(3, 500))),
        ("truncate", |m| m.truncate(&m.walk("file")?, 4000)),
        ("extend", |m| m.truncate(&m.walk("file")?, 100_000)),
        ("mkdir", |m| m.mkdir(&m.root(), b"directory").map(drop)),
        ("inline entries", |m| (0..5).try_for_each(|n| m.create(&m.walk("directory")?, &[b'a' + n; 9]).map(drop))),
        ("a block", |m| (0..20).try_for_each(|n| m.create(&m.walk("directory")?, &[b'a' + n; 30]).map(drop))),
        ("an index", |m| (0..26).try_for_each(|n| m.create(&m.walk("directory")?, &[b'a' + n; 99]).map(drop))),
        ("symlink", |m| m.symlink(&m.root(), b"link", &[b'x'; 200]).map(drop)),
        ("link", |m| {
            let (root, file) = (m.root(), m.walk("file")?);
            root.operations().link(&root, b"other name", &file, &who())
        }),
        ("rename", |m| m.rename(&m.root(), b"file", &m.walk("directory")?, b"moved")),
        ("rename over", |m| m.rename(&m.root(), b"other name", &m.walk("directory")?, &[b'a'; 9])),
        ("rename a directory", |m| {
            m.mkdir(&m.root(), b"second")?;
            m.rename(&m.root(), b"directory", &m.walk("second")?, b"below")
        }),
        ("map", |m| {
            let small = m.create(&m.root(), b"small")?;
            m.write(&small, 0, &pattern(5, 77))?;
            small.operations().page_mkwrite(&small, 0, 77)
        }),
        ("setattr", |m| {
            let small = m.walk("small")?;
            let change = SetAttributes { permissions: Some(0o600), now: who().now, ..SetAttributes::default() };
            small.operations().setattr(&small, &change)
        }),
        ("unlink", |m| m.unlink(&m.root(), b"small")),
        ("unlink the link", |m| m.unlink(&m.root(), b"link")),
        ("empty", |m| {
            let below = m.walk("second/below")?;
            for (name, _) in m.names(&below)? {
                if name != b"." && name != b".." {
                    m.unlink(&below, &name)?;
                }
            }
            Ok(())
        }),
        ("rmdir", |m| m.rmdir(&m.walk("second")?, b"below")),
    ];
    for shape in [&["-b", "1024", "-O", "inline_data"][..], &["-b", "4096", "-I", "512"], NEWER_DEFAULTS] {
        let mounted = Mounted::new(mke2fs(shape, 8), Access::ReadWrite).unwrap();
        for (what, step) in steps {
            step(&mounted).unwrap_or_else(|error| panic!("{what}: {error}"));
            let (status, said) = fsck(&synced(&mounted));
            assert_eq!(status, 0, "after {what}:\n{said}");
        }
        mounted.unmount_clean();
    }
}

#[test]
fn what_was_fsynced_survives_a_power_cut_and_e2fsck() {
    if !have_e2fsprogs() {
        return;
    }
    for shape in [&["-b", "1024", "-O", "inline_data"], NEWER_DEFAULTS] {
        power_cut_with_an_orphan(shape);
    }
}

fn power_cut_with_an_orphan(shape: &[&str]) {
    let mounted = Mounted::new(mke2fs(shape, 8), Access::ReadWrite).unwrap();
    let root = mounted.root();
    for (name, size) in [(&b"inline"[..], 90), (b"blocks", 30_000)] {
        let file = mounted.create(&root, name).unwrap();
        mounted.write(&file, 0, &pattern(size as u64, size)).unwrap();
        file.operations().fsync(&file, false).unwrap();
    }
    let open = mounted.create(&root, b"open").unwrap();
    mounted.write(&open, 0, &pattern(3, 30_000)).unwrap();
    root.operations().unlink(&root, b"open", &open, &who()).unwrap();
    open.operations().fsync(&open, false).unwrap();
    // Not synced any more.
    let late = mounted.create(&root, b"late").unwrap();
    mounted.write(&late, 0, &pattern(4, 30_000)).unwrap();

    let scratch = Scratch::new(&mounted.disk.content());
    let repaired = tool("e2fsck").arg("-fy").arg(&scratch.0).output().unwrap();
    assert!(matches!(repaired.status.code(), Some(0 | 1)), "{repaired:?}");
    let after = Mounted::new(std::fs::read(&scratch.0).unwrap(), Access::ReadWrite).unwrap();
    for (name, size) in [("inline", 90), ("blocks", 30_000)] {
        assert_eq!(after.read(&after.walk(name).unwrap()).unwrap(), pattern(size as u64, size));
    }
    // The open file without a name was freed, whatever else was lost.
    assert!(after.walk("open").is_err());
    assert!(after.fs.statfs().unwrap().free >= mounted.fs.statfs().unwrap().free);
    after.unmount_clean();
}

#[test]
fn reading_writes_nothing_but_the_mark_of_use() {
    if !have_e2fsprogs() {
        return;
    }
    let mounted = Mounted::new(mke2fs(&["-b", "1024", "-O", "inline_data"], 8), Access::ReadWrite).unwrap();
    for number in 0..10 {
        let file = mounted.create(&mounted.root(), format!("f{number}").as_bytes()).unwrap();
        mounted.write(&file, 0, &pattern(number, 500 * number as usize)).unwrap();
    }
    let image = mounted.unmount_clean();
    let mounted = Mounted::new(image.clone(), Access::ReadWrite).unwrap();
    for number in 0..10 {
        let file = mounted.walk(&format!("f{number}")).unwrap();
        assert_eq!(mounted.read(&file).unwrap(), pattern(number, 500 * number as usize));
        mounted.put(file).unwrap();
    }
    let after = mounted.unmount();
    // The superblock alone tells of the mount.
    assert!(image[..1024] == after[..1024] && image[2048..] == after[2048..]);
    assert_fsck_clean(&after);
}
