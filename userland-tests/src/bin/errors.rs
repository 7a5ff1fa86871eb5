//! Every call that must be refused is, with the error that POSIX names.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use userland_tests::prelude::*;

userland_tests::test!(run);

fn run() -> Outcome {
    let dir = Scratch::new("errors")?;
    let file = dir.create("file")?;
    check_eq!(file.write_at(&[1; 100], 0)?, 100, "write");
    sys::make_directory(&dir.path("directory"), 0o755)?;
    sys::make_directory(&dir.path("full"), 0o755)?;
    dir.create("full/file")?;
    opening(&dir)?;
    names(&dir)?;
    data(&dir, &file)?;
    check_eq!(file.stat()?.size, 100, "the file after all that");
    Ok(())
}

fn opening(dir: &Scratch) -> Outcome {
    let open = |name: &str, how: Open| File::open(&dir.path(name), how, 0o644).map(|_| ());
    let create = Open::WRITE | Open::CREATE;
    check_eq!(open("nothing", Open::READ), Err(Errno::ENOENT), "open of nothing");
    check_eq!(open("nothing/file", create), Err(Errno::ENOENT), "create in a directory that is not there");
    check_eq!(open("file/x", Open::READ), Err(Errno::ENOTDIR), "open of a name in a file");
    check_eq!(open("file/x", create), Err(Errno::ENOTDIR), "create in a file");
    check_eq!(open("file", create | Open::EXCLUSIVE), Err(Errno::EEXIST), "exclusive create");
    check_eq!(open("directory", Open::WRITE), Err(Errno::EISDIR), "a directory for writing");
    check_eq!(open("directory", create), Err(Errno::EISDIR), "a directory, created");
    check_eq!(open("file", Open::READ | Open::DIRECTORY), Err(Errno::ENOTDIR), "a file as a directory");
    note!("eight ways to open that must be refused");
    Ok(())
}

fn names(dir: &Scratch) -> Outcome {
    let path = |name: &str| dir.path(name);
    check_eq!(sys::unlink(&path("nothing")), Err(Errno::ENOENT), "unlink of nothing");
    check_eq!(sys::unlink(&path("directory")), Err(Errno::EISDIR), "unlink of a directory");
    check_eq!(sys::unlink(&path("file/x")), Err(Errno::ENOTDIR), "unlink in a file");
    check_eq!(sys::remove_directory(&path("nothing")), Err(Errno::ENOENT), "rmdir of nothing");
    check_eq!(sys::remove_directory(&path("file")), Err(Errno::ENOTDIR), "rmdir of a file");
    check_eq!(sys::remove_directory(&path("full")), Err(Errno::ENOTEMPTY), "rmdir of a full directory");
    check_eq!(sys::remove_directory(&path("full/.")), Err(Errno::EINVAL), "rmdir of .");
    check_eq!(sys::remove_directory(&path("full/..")), Err(Errno::ENOTEMPTY), "rmdir of ..");
    check_eq!(sys::make_directory(&path("file"), 0o755), Err(Errno::EEXIST), "mkdir over a file");
    check_eq!(sys::make_directory(&path("directory"), 0o755), Err(Errno::EEXIST), "mkdir over a directory");
    check_eq!(sys::make_directory(&path("nothing/x"), 0o755), Err(Errno::ENOENT), "mkdir in nothing");
    check_eq!(sys::read_symlink(&path("file")).map(|_| ()), Err(Errno::EINVAL), "readlink of a file");
    sys::remove_directory(&path("directory"))?;
    check_eq!(sys::stat(&path("directory")).map(|_| ()), Err(Errno::ENOENT), "a removed directory");
    note!("twelve operations on names that must be refused");
    Ok(())
}

fn data(dir: &Scratch, file: &File) -> Outcome {
    let mut buf = [0; 10];
    let reader = File::open(&dir.path("file"), Open::READ, 0)?;
    let writer = File::open(&dir.path("file"), Open::WRITE, 0)?;
    check_eq!(reader.write_at(b"x", 0), Err(Errno::EBADF), "write to a file that is open for reading");
    check_eq!(writer.read_at(&mut buf, 0), Err(Errno::EBADF), "read of a file that is open for writing");
    check_eq!(reader.truncate(0), Err(Errno::EINVAL), "truncate of a file that is open for reading");
    check_eq!(file.seek(-1, Whence::Start), Err(Errno::EINVAL), "seek before the start");
    check_eq!(file.seek(-101, Whence::End), Err(Errno::EINVAL), "seek before the start from the end");
    check_eq!(file.seek(-100, Whence::End)?, 0, "seek to the start from the end");
    check_eq!(file.seek(7, Whence::Current)?, 7, "seek from the position");
    check_eq!(file.read_at(&mut buf, 1 << 40)?, 0, "read far behind the end");
    check_eq!(file.read_at(&mut buf, 95)?, 5, "read over the end");
    check_eq!(file.read_at(&mut [], 0)?, 0, "read of nothing");
    check_eq!(file.write_at(&[], 1000)?, 0, "write of nothing");
    check_eq!(file.truncate(u64::MAX >> 1), Err(Errno::EFBIG), "truncate beyond the largest file");
    check!(file.write_at(b"x", (i64::MAX as u64) - 4).is_err(), "write beyond the largest file");
    let directory = File::open(&dir.path("full"), Open::READ | Open::DIRECTORY, 0)?;
    check_eq!(directory.read_at(&mut buf, 0), Err(Errno::EISDIR), "read of a directory");
    let map = Mapping::new(&directory, 0, 4096, Protection::Read, Sharing::Shared);
    check_eq!(map.map(|_| ()), Err(Errno::ENODEV), "mmap of a directory");
    note!("reads, writes, seeks and truncations at and beyond every limit");
    Ok(())
}
