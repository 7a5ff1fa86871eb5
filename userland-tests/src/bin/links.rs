//! Hard and symbolic links: several names of one file, and names that lead elsewhere.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use userland_tests::{model::Model, prelude::*};

userland_tests::test!(run);

fn run() -> Outcome {
    let dir = Scratch::new("links")?;
    dir.create("file")?;
    let neither = [sys::link(&dir.path("file"), &dir.path("hard")), sys::make_symlink(&dir.path("symbolic"), "file")];
    if neither == [Err(Errno::EPERM); 2] {
        return skip("this file system has no links");
    }
    sys::unlink(&dir.path("hard"))?;
    sys::unlink(&dir.path("symbolic"))?;
    hard(&dir)?;
    symbolic(&dir)?;
    loops(&dir)
}

fn hard(dir: &Scratch) -> Outcome {
    let file = dir.create("first")?;
    check_eq!(file.write_at(b"one file", 0)?, 8, "write");
    for number in 0..20 {
        sys::link(&dir.path("first"), &dir.path(&format!("name-{number}")))?;
    }
    check_eq!(file.stat()?.links, 21, "links");
    check_eq!(sys::stat(&dir.path("name-7"))?.inode, file.stat()?.inode, "inode by another name");
    dir.open("name-3")?.write_at(b"ONE", 0)?;
    Model(b"ONE file".to_vec()).compare(&file, 100, "written by another name")?;
    for number in 0..19 {
        sys::unlink(&dir.path(&format!("name-{number}")))?;
    }
    sys::unlink(&dir.path("first"))?;
    check_eq!(file.stat()?.links, 1, "links that are left");
    Model(b"ONE file".to_vec()).compare(&dir.open("name-19")?, 100, "by the last name")?;
    note!("a file with 21 names, and then one");

    sys::make_directory(&dir.path("directory"), 0o755)?;
    let link = |from: &str, to: &str| sys::link(&dir.path(from), &dir.path(to));
    check_eq!(link("nothing", "x"), Err(Errno::ENOENT), "a link to nothing");
    check_eq!(link("name-19", "directory"), Err(Errno::EEXIST), "a link over a name");
    check_eq!(link("directory", "x"), Err(Errno::EPERM), "a hard link to a directory");
    note!("three links that must be refused");
    Ok(())
}

fn symbolic(dir: &Scratch) -> Outcome {
    // Up to 59 bytes live in the inode, longer ones in a block (or in the inline area).
    let longest = (sys::room()?.block_size as usize - 1).min(4000);
    for len in [1, 58, 59, 60, 61, 100, 155, 160, 1000, longest] {
        let (name, target) = (dir.path(&format!("to-{len}")), "t".repeat(len));
        sys::make_symlink(&name, &target)?;
        check!(sys::read_symlink(&name)? == target, "a target of {len} bytes");
        let stat = sys::stat(&name)?;
        check_eq!((stat.kind, stat.size), (Kind::Symlink, len as u64), "a link of {len} bytes");
    }
    sys::drop_caches()?;
    for len in [1, 59, 60, 160, 1000, longest] {
        check!(
            sys::read_symlink(&dir.path(&format!("to-{len}")))? == "t".repeat(len),
            "a target of {len} bytes, again"
        );
    }
    note!("targets of 1 to {longest} bytes");

    check_eq!(dir.create("directory/file")?.write_at(b"here", 0)?, 4, "write");
    sys::make_symlink(&dir.path("way"), "directory")?;
    sys::make_symlink(&dir.path("directory/back"), "../way/file")?;
    Model(b"here".to_vec()).compare(&dir.open("way/file")?, 100, "through a link to a directory")?;
    Model(b"here".to_vec()).compare(&dir.open("way/back")?, 100, "through three links")?;
    check_eq!(sys::stat(&dir.path("way"))?.kind, Kind::Symlink, "the link itself");
    let followed = File::open(&dir.path("way"), Open::READ | Open::DIRECTORY, 0)?.stat()?;
    check_eq!(followed.inode, sys::stat(&dir.path("directory"))?.inode, "where it leads");
    sys::unlink(&dir.path("way"))?;
    check_eq!(dir.open("directory/back").map(|_| ()), Err(Errno::ENOENT), "through a link that is gone");
    check_eq!(sys::stat(&dir.path("directory/file"))?.size, 4, "what it led to");
    note!("links in the middle and at the end of a path");
    Ok(())
}

fn loops(dir: &Scratch) -> Outcome {
    sys::make_symlink(&dir.path("self"), "self")?;
    sys::make_symlink(&dir.path("ping"), "pong")?;
    sys::make_symlink(&dir.path("pong"), "ping")?;
    for name in ["self", "ping", "self/x"] {
        check_eq!(dir.open(name).map(|_| ()), Err(Errno::ELOOP), "open of {name}");
    }
    let how = Open::READ | Open::NO_FOLLOW;
    check_eq!(File::open(&dir.path("self"), how, 0).map(|_| ()), Err(Errno::ELOOP), "a link that is not followed");
    check_eq!(sys::make_symlink(&dir.path("self"), "x"), Err(Errno::EEXIST), "a link over a name");
    check_eq!(sys::make_symlink(&dir.path("none"), ""), Err(Errno::ENOENT), "a link to nothing");
    note!("links that lead to themselves end in ELOOP");
    Ok(())
}
