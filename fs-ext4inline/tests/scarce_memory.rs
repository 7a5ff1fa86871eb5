//! No page of memory is free: metadata is read and written all the same, in memory set aside for it.
//! A program of its own, because the limit is the host's.

mod common;

use common::*;
use fs_ext4inline::Access;
use platform::frame::Frames;
use vfs_server::fs::*;

#[test]
fn metadata_io_needs_no_free_page() {
    if !have_e2fsprogs() {
        return;
    }
    let image = mke2fs(&["-b", "1024", "-O", "inline_data"], 8);
    let mounted = Mounted::new(image, Access::ReadWrite).unwrap();
    let root = mounted.root();
    let small = mounted.create(&root, b"small").unwrap();
    mounted.write(&small, 0, &pattern(1, 100)).unwrap();
    linux::host::set_frame_limit(256);
    let mut hog = Vec::new();
    while let Some(frames) = Frames::alloc(0) {
        hog.push(frames);
    }
    let directory = mounted.mkdir(&root, b"directory").unwrap();
    for number in 0..200 {
        mounted.symlink(&directory, format!("a name of some length {number}").as_bytes(), &[b'x'; 100]).unwrap();
    }
    small.operations().page_mkwrite(&small, 0, 100).unwrap();
    mounted.fs.sync(SyncMode::Wait).unwrap();
    drop(directory);
    let image = mounted.unmount();
    drop(hog);
    assert_fsck_clean(&image);
    let mounted = Mounted::new(image, Access::ReadOnly).unwrap();
    assert_eq!(mounted.read(&mounted.walk("small").unwrap()).unwrap(), pattern(1, 100));
    assert_eq!(mounted.names(&mounted.walk("directory").unwrap()).unwrap().len(), 202);
}
