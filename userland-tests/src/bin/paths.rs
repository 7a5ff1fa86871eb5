//! Deep paths, long names, dots and slashes.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use userland_tests::{model::Model, prelude::*};

userland_tests::test!(run);

const DEPTH: usize = 60;

fn run() -> Outcome {
    let dir = Scratch::new("paths")?;
    let mut path = dir.path("deep");
    sys::make_directory(&path, 0o755)?;
    for level in 0..DEPTH {
        path += &format!("/level-{level}");
        sys::make_directory(&path, 0o755)?;
    }
    let file = File::open(&format!("{path}/file"), Open::READ | Open::WRITE | Open::CREATE, 0o644)?;
    check_eq!(file.write_at(b"bottom", 0)?, 6, "write");
    sys::drop_caches()?;
    let again = File::open(&format!("{path}/file"), Open::READ, 0)?;
    Model(b"bottom".to_vec()).compare(&again, 100, "the file at the bottom")?;
    let up = "../".repeat(DEPTH);
    let found = File::open(&format!("{path}/{up}level-0"), Open::READ | Open::DIRECTORY, 0)?.stat()?;
    check_eq!(found.inode, sys::stat(&dir.path("deep/level-0"))?.inode, "down and up again");
    note!("{DEPTH} levels down, and up again by ..");

    let long = "n".repeat(255);
    check_eq!(dir.create(&long)?.write_at(b"x", 0)?, 1, "write");
    check_eq!(sys::stat(&dir.path(&long))?.size, 1, "a name of 255 bytes");
    let how = Open::WRITE | Open::CREATE;
    let too_long = dir.path(&"n".repeat(256));
    check_eq!(File::open(&too_long, how, 0o644).map(|_| ()), Err(Errno::ENAMETOOLONG), "a name of 256 bytes");
    check_eq!(sys::stat(&too_long).map(|_| ()), Err(Errno::ENAMETOOLONG), "looked up");
    check_eq!(sys::make_directory(&too_long, 0o755), Err(Errno::ENAMETOOLONG), "as a directory");
    let endless = format!("{}x", "a/".repeat(2100));
    check_eq!(sys::stat(&endless).map(|_| ()), Err(Errno::ENAMETOOLONG), "a path of 4201 bytes");
    note!("a name of 255 bytes is the longest");

    for name in ["with space", "ünïcödé", "dot.", ".hidden", "back\\slash", "new\nline", "-", "..."] {
        check_eq!(dir.create(name)?.write_at(name.as_bytes(), 0)?, name.len(), "write");
        Model(name.as_bytes().to_vec()).compare(&dir.open(name)?, 100, name)?;
    }
    // The lists that stay on the disk for others have a name a line.
    sys::unlink(&dir.path("new\nline"))?;
    note!("names with unusual bytes");

    let inode = sys::stat(&dir.path("dot."))?.inode;
    for same in ["./dot.", ".//dot.", "deep/../dot.", "deep/./.././/dot."] {
        check_eq!(sys::stat(&dir.path(same))?.inode, inode, "{same}");
    }
    check_eq!(sys::stat(&dir.path("dot./")).map(|_| ()), Err(Errno::ENOTDIR), "a file with a slash behind it");
    check_eq!(File::open(&dir.path("deep/"), Open::READ | Open::DIRECTORY, 0)?.stat()?.kind, Kind::Directory, "slash");
    note!("dots and slashes");
    Ok(())
}
