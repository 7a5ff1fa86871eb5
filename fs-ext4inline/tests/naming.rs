//! Directories, names and symbolic links, on disks of many shapes; e2fsck has the last word each time.

mod common;

use common::*;
use vfs_server::error::Error;
use vfs_server::fs::*;

#[test]
fn directories_grow_through_every_form_and_empty_again() {
    on_every_shape(16, |mounted| {
        let root = mounted.root();
        let directory = mounted.mkdir(&root, b"dir").unwrap();
        let name = |number: u32| format!("a_name_of_some_length_{number}").into_bytes();
        let target = mounted.create(&root, b"target").unwrap();
        let count = 1200_u32;
        for number in 0..count {
            directory.operations().link(&directory, &name(number), &target, &who()).unwrap();
            if number % 100 == 3 || number < 12 {
                for earlier in 0..=number {
                    assert_eq!(mounted.lookup(&directory, &name(earlier)).unwrap().ino, target.ino);
                }
                assert_eq!(mounted.names(&directory).unwrap().len() as u32, number + 3);
            }
        }
        let error = directory.operations().link(&directory, &name(5), &target, &who());
        assert_eq!(error, Err(Error::Exists));
        assert_eq!(target.attributes().nlink, count + 1);
        for number in (0..count).filter(|number| number % 3 != 0) {
            mounted.unlink(&directory, &name(number)).unwrap();
        }
        for number in 0..count {
            let found = mounted.lookup(&directory, &name(number)).map(|inode| inode.ino);
            assert_eq!(found.is_ok(), number % 3 == 0, "{number}: {found:?}");
        }
        assert_eq!(root.operations().rmdir(&root, b"dir", &directory, &who()), Err(Error::NotEmpty));
        for number in (0..count).filter(|number| number % 3 == 0) {
            mounted.unlink(&directory, &name(number)).unwrap();
        }
        drop(directory);
        mounted.rmdir(&root, b"dir").unwrap();
    });
}

#[test]
fn five_thousand_names_in_one_directory() {
    if !have_e2fsprogs() {
        return;
    }
    for shape in [&["-b", "1024", "-N", "6000", "-O", "inline_data"], &["-b", "4096", "-N", "6000", "-O", "large_dir"]]
    {
        let mounted = Mounted::new(mke2fs(shape, 32), Access::ReadWrite).unwrap();
        let directory = mounted.mkdir(&mounted.root(), b"many").unwrap();
        for number in 0..5000 {
            mounted.create(&directory, format!("file number {number}").as_bytes()).unwrap();
        }
        assert_eq!(mounted.names(&directory).unwrap().len(), 5002);
        let image = mounted.unmount_clean();
        assert!(debugfs(&image, "htree_dump /many").contains("Root node dump"));
        let mounted = Mounted::new(image, Access::ReadWrite).unwrap();
        let directory = mounted.walk("many").unwrap();
        for number in 0..5000 {
            mounted.unlink(&directory, format!("file number {number}").as_bytes()).unwrap();
        }
        mounted.rmdir(&mounted.root(), b"many").unwrap();
        mounted.unmount_clean();
    }
}

#[test]
fn names_with_long_and_odd_bytes_survive() {
    on_every_shape(8, |mounted| {
        let root = mounted.root();
        let names: Vec<Vec<u8>> = (1..=255)
            .map(|length| (0..length).map(|at| b"\xff\x80 azAZ09_-.\x01\xc3\xa9"[(at * 7 + length) % 15]).collect())
            .filter(|name: &Vec<u8>| name != b"." && name != b"..")
            .collect();
        for name in &names {
            mounted.symlink(&root, name, b"x").unwrap();
        }
        for name in &names {
            let link = mounted.lookup(&root, name).unwrap();
            assert_eq!(link.operations().readlink(&link).unwrap(), b"x");
        }
        let too_long = [b'n'; 256];
        assert_eq!(mounted.create(&root, &too_long).err(), Some(Error::NameTooLong));
    });
}

#[test]
fn symbolic_links_of_every_length() {
    on_every_shape(8, |mounted| {
        let root = mounted.root();
        let block = mounted.fs.block_size() as usize;
        for length in [1, 58, 59, 60, 61, 100, 255, 1000, block - 1] {
            let target = pattern(3, length).iter().map(|byte| b'a' + byte % 26).collect::<Vec<_>>();
            let name = format!("link{length}");
            let link = mounted.symlink(&root, name.as_bytes(), &target).unwrap();
            assert_eq!(link.operations().readlink(&link).unwrap(), target);
            assert_eq!(link.size(), length as u64);
            if length == 1000 {
                drop(link);
                mounted.unlink(&root, name.as_bytes()).unwrap();
            }
        }
        assert_eq!(mounted.symlink(&root, b"long", &vec![b'x'; block]).err(), Some(Error::NameTooLong));
    });
}

#[test]
fn renames_move_replace_and_keep_parents_right() {
    on_every_shape(8, |mounted| {
        let root = mounted.root();
        let one = mounted.mkdir(&root, b"one").unwrap();
        let two = mounted.mkdir(&root, b"two").unwrap();
        let child = mounted.mkdir(&one, b"child").unwrap();
        for number in 0..60 {
            mounted.create(&child, format!("entry {number}").as_bytes()).unwrap();
        }
        assert_eq!((root.attributes().nlink, one.attributes().nlink), (5, 3));
        mounted.rename(&one, b"child", &two, b"moved").unwrap();
        assert_eq!(child.operations().parent(&child).unwrap(), two.ino);
        assert_eq!((one.attributes().nlink, two.attributes().nlink), (2, 3));
        // Over an empty directory, and not over a full one.
        assert_eq!(mounted.rename(&root, b"one", &two, b"moved"), Err(Error::NotEmpty));
        mounted.rename(&two, b"moved", &root, b"one").unwrap();
        assert_eq!((root.attributes().nlink, two.attributes().nlink), (5, 2));
        assert_eq!(child.operations().parent(&child).unwrap(), root.ino);
        // Files: over another, over itself, over its own other name, within one directory.
        let a = mounted.create(&two, b"a").unwrap();
        let b = mounted.create(&two, b"b").unwrap();
        mounted.write(&b, 0, &pattern(1, 9000)).unwrap();
        mounted.rename(&two, b"a", &two, b"b").unwrap();
        assert_eq!(mounted.lookup(&two, b"b").unwrap().ino, a.ino);
        assert_eq!(mounted.lookup(&two, b"a").err(), Some(Error::NotFound));
        mounted.rename(&two, b"b", &two, b"b").unwrap();
        two.operations().link(&two, b"c", &a, &who()).unwrap();
        mounted.rename(&two, b"b", &two, b"c").unwrap();
        assert_eq!(a.attributes().nlink, 2);
        assert_eq!(mounted.rename(&two, b"b", &root, b"two"), Err(Error::IsDirectory));
        assert_eq!(mounted.rename(&root, b"two", &two, b"b"), Err(Error::NotDirectory));
    });
}
