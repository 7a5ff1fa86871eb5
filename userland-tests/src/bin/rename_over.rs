//! rename(): the new name is one file or the other, never neither; the file that was there lives on
//! for who has it open; directories move with all that is in them.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use userland_tests::{
    model::{Model, pattern},
    prelude::*,
};

userland_tests::test!(run);

fn run() -> Outcome {
    let dir = Scratch::new("rename_over")?;
    over_a_file(&dir)?;
    watched(&dir)?;
    directories(&dir)?;
    refused(&dir)
}

fn over_a_file(dir: &Scratch) -> Outcome {
    let (old, new) = (dir.create("target")?, dir.create("source")?);
    check_eq!(old.write_at(&pattern(1, 0, 5000), 0)?, 5000, "write");
    check_eq!(new.write_at(&pattern(2, 0, 50), 0)?, 50, "write");
    let inode = new.stat()?.inode;
    sys::rename(&dir.path("source"), &dir.path("target"))?;
    check_eq!(sys::stat(&dir.path("source")).map(|_| ()), Err(Errno::ENOENT), "the old name");
    check_eq!(sys::stat(&dir.path("target"))?.inode, inode, "the new name's inode");
    check_eq!(old.stat()?.links, 0, "links of the file that was replaced");
    Model(pattern(1, 0, 5000)).compare(&old, 4096, "the replaced file, still open")?;
    Model(pattern(2, 0, 50)).compare(&dir.open("target")?, 4096, "the file at the new name")?;
    check_eq!(old.write_at(b"more", 5000)?, 4, "write to the replaced file");
    drop(old);
    sys::rename(&dir.path("target"), &dir.path("target"))?;
    check_eq!(sys::stat(&dir.path("target"))?.inode, inode, "renamed to itself");
    note!("a file renamed over another that is open");
    Ok(())
}

/// One process renames over a name all the time, another finds a whole file there every time.
fn watched(dir: &Scratch) -> Outcome {
    let write = |name: &str, stamp: u64| -> Outcome {
        let file = dir.create(name)?;
        check_eq!(file.write_at(&pattern(stamp % 2, 0, 700), 0)?, 700, "write");
        Ok(())
    };
    write("watched", 0)?;
    let steps = Steps::new()?;
    let child = in_child(|| {
        for stamp in 1..60 {
            write("next", stamp)?;
            sys::rename(&dir.path("next"), &dir.path("watched"))?;
            steps.set(0, stamp);
        }
        Ok(())
    })?;
    let mut looked = 0;
    while steps.value(0) < 59 && looked < 100_000 {
        let mut buf = vec![0; 800];
        let count = dir.open("watched")?.read_at(&mut buf, 0)?;
        check_eq!(count, 700, "size of what is there");
        check!(buf[..700] == pattern(0, 0, 700) || buf[..700] == pattern(1, 0, 700), "neither the old nor the new");
        looked += 1;
    }
    child.join()?;
    note!("looked {looked} times while a file was replaced 59 times: it was always there, and whole");
    Ok(())
}

fn directories(dir: &Scratch) -> Outcome {
    for name in ["one", "one/sub", "two"] {
        sys::make_directory(&dir.path(name), 0o755)?;
    }
    check_eq!(dir.create("one/sub/file")?.write_at(b"deep", 0)?, 4, "write");
    let links = |name: &str| Ok::<_, Errno>(sys::stat(&dir.path(name))?.links);
    // A file system that does not count the links of directories says 1.
    let counted = links("one")? != 1;
    let expected = |links: u32| if counted { links } else { 1 };
    check_eq!((links("one")?, links("two")?), (expected(3), expected(2)), "links before");
    sys::rename(&dir.path("one/sub"), &dir.path("two/moved"))?;
    check_eq!((links("one")?, links("two")?), (expected(2), expected(3)), "links after");
    Model(b"deep".to_vec()).compare(&dir.open("two/moved/file")?, 100, "a file in the moved directory")?;
    Model(b"deep".to_vec()).compare(&dir.open("two/moved/../moved/file")?, 100, "by way of its new parent")?;
    sys::rename(&dir.path("two/moved"), &dir.path("one"))?;
    check_eq!(links("one")?, expected(2), "a directory renamed over an empty one");
    note!("directories move with their contents, over an empty directory too");
    Ok(())
}

fn refused(dir: &Scratch) -> Outcome {
    let rename = |from: &str, to: &str| sys::rename(&dir.path(from), &dir.path(to));
    sys::make_directory(&dir.path("full"), 0o755)?;
    sys::make_directory(&dir.path("empty"), 0o755)?;
    dir.create("full/file")?;
    check_eq!(rename("nothing", "x"), Err(Errno::ENOENT), "a name that is not there");
    check_eq!(rename("target", "nowhere/x"), Err(Errno::ENOENT), "into a directory that is not there");
    check_eq!(rename("target", "empty"), Err(Errno::EISDIR), "a file over a directory");
    check_eq!(rename("empty", "target"), Err(Errno::ENOTDIR), "a directory over a file");
    check_eq!(rename("empty", "full"), Err(Errno::ENOTEMPTY), "over a directory that is not empty");
    check_eq!(rename("full", "full/inside"), Err(Errno::EINVAL), "a directory into itself");
    check_eq!(rename("target", "target/x"), Err(Errno::ENOTDIR), "into a file");
    note!("seven renames that must be refused");
    Ok(())
}
