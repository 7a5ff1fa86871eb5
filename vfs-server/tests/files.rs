//! Files through system calls: contents, sizes, names, errors.

mod common;

use common::{Rig, open, pattern};
use pager_abi::file_verb::FileVerb;
use std::sync::atomic::Ordering;
use syscall::error::*;
use syscall::flag::*;

#[test]
fn what_is_written_is_read_back_and_reaches_the_disk() {
    let rig = Rig::default();
    let client = rig.client();
    let file = open(&client, "a");
    let data = pattern(1, 0, 300_001);
    assert_eq!(client.write(file, 0, &data), Ok(data.len()));
    assert_eq!(client.size(file), Ok(data.len() as u64));
    assert!(client.read(file, 0, 400_000).unwrap() == data);
    assert!(client.read(file, 4095, 5000).unwrap() == data[4095..9095]);
    assert_eq!(client.read(file, 300_001, 10), Ok(vec![]));
    client.fsync(file).unwrap();
    assert!(rig.fs.on_disk(&rig.disk, b"a") == data);
    assert!(rig.drop_caches(&client) > 0);
    assert!(client.read(file, 0, 400_000).unwrap() == data);
}

#[test]
fn overwrites_of_parts_of_blocks_keep_the_rest() {
    for block_size in [1024, 4096] {
        let rig = Rig::start(block_size, 4096, common::small());
        let client = rig.client();
        let file = open(&client, "a");
        let mut model = pattern(1, 0, 50_000);
        client.write(file, 0, &model).unwrap();
        client.fsync(file).unwrap();
        rig.drop_caches(&client);
        for (version, offset, len) in [(2, 1, 1), (3, 1023, 2), (4, 4000, 200), (5, 20_000, 9_000), (6, 49_990, 10)] {
            let piece = pattern(version, offset, len);
            client.write(file, offset, &piece).unwrap();
            model[offset as usize..offset as usize + len].copy_from_slice(&piece);
        }
        assert!(client.read(file, 0, 60_000).unwrap() == model);
        client.fsync(file).unwrap();
        assert!(rig.fs.on_disk(&rig.disk, b"a") == model);
    }
}

#[test]
fn holes_read_as_zeros_and_are_found() {
    let rig = Rig::default();
    let client = rig.client();
    let file = open(&client, "a");
    client.write(file, 100_000, b"end").unwrap();
    let all = client.read(file, 0, 200_000).unwrap();
    assert_eq!(all.len(), 100_003);
    assert!(all[..100_000].iter().all(|&byte| byte == 0) && &all[100_000..] == b"end");
    let seek = |verb: FileVerb, at| client.call(file, [verb as u64, at, 0], 0).map(|(offset, _)| offset);
    for _ in 0..2 {
        assert_eq!(seek(FileVerb::SeekHole, 0), Ok(0));
        assert_eq!(seek(FileVerb::SeekData, 0), Ok(98_304));
        assert_eq!(seek(FileVerb::SeekData, 99_999), Ok(99_999));
        assert_eq!(seek(FileVerb::SeekHole, 99_999), Ok(100_003));
        assert_eq!(seek(FileVerb::SeekData, 100_003), Err(ENXIO));
        client.fsync(file).unwrap();
    }
}

#[test]
fn data_under_writeback_is_no_hole() {
    let rig = Rig::default();
    let client = rig.client();
    let file = open(&client, "a");
    client.write(file, 8192, &[1; 100]).unwrap();
    rig.disk.hold_writes.store(true, std::sync::atomic::Ordering::SeqCst);
    let other = client.thread();
    let sync = std::thread::spawn(move || other.fsync(file).unwrap());
    common::eventually("writeback", || rig.counter(&client, "dirty_bytes") == 0);
    assert_eq!(client.call(file, [FileVerb::SeekData as u64, 0, 0], 0).map(|(at, _)| at), Ok(8192));
    rig.disk.hold_writes.store(false, std::sync::atomic::Ordering::SeqCst);
    sync.join().unwrap();
}

#[test]
fn a_cut_file_grows_again_with_zeros() {
    for block_size in [1024, 4096] {
        let rig = Rig::start(block_size, 4096, common::small());
        let client = rig.client();
        let file = open(&client, "a");
        let free = rig.fs.free_blocks();
        client.write(file, 0, &pattern(1, 0, 100_000)).unwrap();
        client.fsync(file).unwrap();
        for drop in [false, true] {
            client.write(file, 0, &pattern(1, 0, 100_000)).unwrap();
            client.fsync(file).unwrap();
            if drop {
                rig.drop_caches(&client);
            }
            client.truncate(file, 10_100).unwrap();
            assert_eq!(client.size(file), Ok(10_100));
            client.truncate(file, 30_000).unwrap();
            let mut expected = pattern(1, 0, 10_100);
            expected.resize(30_000, 0);
            assert!(client.read(file, 0, 100_000).unwrap() == expected);
            client.fsync(file).unwrap();
            assert!(rig.fs.on_disk(&rig.disk, b"a") == expected);
            rig.drop_caches(&client);
            assert!(client.read(file, 0, 100_000).unwrap() == expected);
        }
        client.truncate(file, 0).unwrap();
        assert_eq!(rig.fs.free_blocks(), free);
    }
}

#[test]
fn a_cut_at_a_page_border_inside_a_folio_leaves_nothing_behind() {
    let rig = Rig::default();
    let client = rig.client();
    let file = open(&client, "a");
    for size in [4096, 8192, 61_440, 65_536] {
        client.write(file, 0, &pattern(1, 0, 131_072)).unwrap();
        client.truncate(file, size).unwrap();
        client.truncate(file, 131_072).unwrap();
        let mut expected = pattern(1, 0, size as usize);
        expected.resize(131_072, 0);
        assert!(client.read(file, 0, 200_000).unwrap() == expected, "cut at {size}");
        client.fsync(file).unwrap();
        assert!(rig.fs.on_disk(&rig.disk, b"a") == expected, "cut at {size}");
    }
}

#[test]
fn idle_inodes_go_when_there_are_many() {
    let rig = Rig::start(4096, 8192, vfs_server::Config { idle_inodes: 32, ..common::small() });
    let client = rig.client();
    for n in 0..400u64 {
        let file = open(&client, &format!("f{n}"));
        client.write(file, 0, &pattern(n, 0, 100)).unwrap();
        client.close(file);
    }
    common::eventually("the eviction of idle inodes", || rig.counter(&client, "inodes") < 200);
    for n in 0..400u64 {
        let file = open(&client, &format!("f{n}"));
        assert_eq!(client.read(file, 0, 200).unwrap(), pattern(n, 0, 100), "file {n}");
        client.close(file);
    }
}

#[test]
fn appends_go_to_the_end() {
    let rig = Rig::default();
    let client = rig.client();
    let file = open(&client, "a");
    let mut model = Vec::new();
    for round in 0..200u64 {
        let piece = pattern(round, 0, 1 + (round as usize * 37) % 90);
        assert_eq!(client.append(file, &piece), Ok(piece.len()));
        model.extend(piece);
    }
    assert!(client.read(file, 0, model.len() + 1).unwrap() == model);
}

#[test]
fn names_come_and_go() {
    let rig = Rig::default();
    let client = rig.client();
    let make_directory = O_CREAT | O_EXCL | O_DIRECTORY | O_RDONLY | 0o755;
    let directory = client.open("d", make_directory).unwrap();
    assert_eq!(client.open("d", make_directory), Err(EEXIST));
    let file = open(&client, "d/f");
    client.write(file, 0, b"hello").unwrap();
    assert_eq!(client.open("d/f", O_CREAT | O_EXCL | O_RDWR | 0o600), Err(EEXIST));
    assert_eq!(client.open("d/none", O_RDONLY), Err(ENOENT));
    assert_eq!(client.open("d/f/x", O_RDONLY), Err(ENOTDIR));
    assert_eq!(client.open("d", O_RDWR), Err(EISDIR));
    assert_eq!(client.open("d/f", O_RDONLY | O_DIRECTORY), Err(ENOTDIR));
    assert_eq!(client.open(&"n".repeat(256), O_RDWR | O_CREAT | 0o600), Err(ENAMETOOLONG));
    assert_eq!(client.list(directory).unwrap(), [".", "..", "f"]);
    assert_eq!(client.unlink("d", AT_REMOVEDIR), Err(ENOTEMPTY));
    assert_eq!(client.unlink("d", 0), Err(EISDIR));
    assert_eq!(client.unlink("d/f", AT_REMOVEDIR), Err(ENOTDIR));

    assert_eq!(client.unlink("d/.", AT_REMOVEDIR), Err(EINVAL));
    assert_eq!(client.unlink("d/..", AT_REMOVEDIR), Err(ENOTEMPTY));
    assert_eq!(client.unlink("/", AT_REMOVEDIR), Err(EBUSY));
    assert_eq!(client.link(directory, "x"), Err(EPERM));
    assert_eq!(client.open("d/f", O_RDONLY | O_SYMLINK), Err(EINVAL));

    client.link(file, "g").unwrap();
    assert_eq!(client.stat(file).unwrap().st_nlink, 2);
    client.rename(file, "d/h").unwrap();
    assert_eq!(client.open("d/f", O_RDONLY), Err(ENOENT));
    let again = client.open("/d/../d/./h", O_RDONLY).unwrap();
    assert_eq!(client.read(again, 0, 10), Ok(b"hello".to_vec()));
    assert_eq!(client.write(again, 0, b"x"), Err(EBADF));
    client.unlink("g", 0).unwrap();
    client.unlink("d/h", 0).unwrap();
    client.unlink("d", AT_REMOVEDIR).unwrap();
    assert_eq!(client.list(directory).unwrap(), Vec::<String>::new());
    assert_eq!(client.list(0).unwrap(), [".", ".."]);
}

#[test]
fn directories_move_but_not_into_themselves() {
    let rig = Rig::default();
    let client = rig.client();
    let make = |path: &str| client.open(path, O_CREAT | O_EXCL | O_DIRECTORY | O_RDONLY | 0o755).unwrap();
    let (a, b, c) = (make("a"), make("a/b"), make("c"));
    assert_eq!(client.rename(a, "a/b/x"), Err(EINVAL));
    assert_eq!(client.rename(a, "a/x"), Err(EINVAL));
    open(&client, "a/b/f");
    client.rename(b, "c/b").unwrap();
    assert!(client.open("c/b/f", O_RDONLY).is_ok());
    assert_eq!(client.list(b).unwrap(), [".", "..", "f"]);
    // c holds b: b cannot replace it.
    assert_eq!(client.rename(b, "c"), Err(ENOTEMPTY));
    client.rename(a, "c/a").unwrap();
    assert_eq!(client.open("c/a/../b/f", O_RDONLY).map(|_| ()), Ok(()));
    // An empty directory is replaced.
    let d = make("d");
    client.rename(d, "c/a").unwrap();
    assert_eq!(client.list(c).unwrap(), [".", "..", "a", "b"]);
    let file = open(&client, "f");
    assert_eq!(client.rename(file, "c/a"), Err(EISDIR));
    assert_eq!(client.rename(c, "f"), Err(ENOTDIR));
}

#[test]
fn symbolic_links_are_followed_up_to_a_limit() {
    let rig = Rig::default();
    let client = rig.client();
    let link = |path: &str, target: &str| {
        let link = client.open(path, O_CREAT | O_EXCL | O_SYMLINK | O_WRONLY | 0o777).unwrap();
        client.write(link, 0, target.as_bytes()).unwrap();
        client.close(link);
    };
    client.open("d", O_CREAT | O_DIRECTORY | O_RDONLY | 0o755).unwrap();
    let file = open(&client, "d/f");
    client.write(file, 0, b"text").unwrap();
    link("to_file", "d/f");
    link("to_directory", "/d/");
    link("loop", "loop");
    link("d/up", "../to_directory/f");
    for path in ["to_file", "to_directory/f", "d/up", "to_directory/up"] {
        let found = client.open(path, O_RDONLY).unwrap_or_else(|errno| panic!("{path}: {errno}"));
        assert_eq!(client.read(found, 0, 10), Ok(b"text".to_vec()), "{path}");
    }
    assert_eq!(client.open("loop", O_RDONLY), Err(ELOOP));
    assert_eq!(client.open("to_file", O_RDONLY | O_NOFOLLOW), Err(ELOOP));
    let itself = client.open("to_file", O_RDONLY | O_SYMLINK).unwrap();
    assert_eq!(client.read(itself, 0, 100), Ok(b"d/f".to_vec()));
    link("nowhere", "d/new");
    assert_eq!(client.open("nowhere", O_RDONLY), Err(ENOENT));
    open(&client, "nowhere");
    assert!(client.open("d/new", O_RDONLY).is_ok());
}

#[test]
fn an_unlinked_file_lives_as_long_as_it_is_open() {
    let rig = Rig::default();
    let client = rig.client();
    let (free, inodes) = (rig.fs.free_blocks(), rig.fs.inodes());
    let file = open(&client, "a");
    client.write(file, 0, &[7; 20_000]).unwrap();
    client.unlink("a", 0).unwrap();
    assert_eq!(client.open("a", O_RDONLY), Err(ENOENT));
    assert_eq!(client.read(file, 0, 4).unwrap(), [7; 4]);
    client.write(file, 20_000, &[8; 20_000]).unwrap();
    assert_eq!(rig.fs.inodes(), inodes + 1);
    client.close(file);
    common::eventually("the eviction of the file", || rig.fs.inodes() == inodes);
    assert_eq!(rig.fs.free_blocks(), free);
    common::eventually("its folios going", || rig.counter(&client, "pages") == 0);
}

#[test]
fn a_full_disk_gives_a_short_count_and_then_an_error() {
    let rig = Rig::default();
    let client = rig.client();
    let file = open(&client, "a");
    let taken = rig.fs.take_blocks(3);
    assert_eq!(client.write(file, 100, &[1; 100_000]), Ok(3 * 4096 - 100));
    assert_eq!(client.write(file, 3 * 4096, &[1; 1]), Err(ENOSPC));
    assert_eq!(client.size(file), Ok(3 * 4096));
    rig.fs.give_blocks(taken);
    assert_eq!(client.write(file, 3 * 4096, &[1; 1]), Ok(1));
    client.fsync(file).unwrap();
}

#[test]
fn attributes_change() {
    let rig = Rig::default();
    let client = rig.client();
    let file = open(&client, "a");
    let stat = client.stat(file).unwrap();
    assert_eq!((stat.st_mode, stat.st_nlink, stat.st_size), (MODE_FILE | 0o644, 1, 0));
    client.write(file, 0, b"x").unwrap();
    assert!(client.stat(file).unwrap().st_mtime > 1_000_000_000);
    assert_eq!(client.stat(0).unwrap().st_mode & MODE_TYPE, MODE_DIR);
}

#[test]
fn after_the_unmount_everything_is_on_the_disk_and_requests_fail() {
    let rig = Rig::default();
    let client = rig.client();
    let file = open(&client, "a");
    let data = pattern(3, 0, 70_000);
    client.write(file, 0, &data).unwrap();
    client.call(0, [pager_abi::server_verb::ServerVerb::Unmount as u64, 0, 0], 0).unwrap();
    assert!(rig.fs.was_unmounted());
    assert!(rig.fs.on_disk(&rig.disk, b"a") == data);
    assert_eq!(client.read(file, 0, 1), Err(EIO));
    assert_eq!(client.open("a", O_RDONLY), Err(EIO));
    common::eventually("the end of the unmount", || rig.server.is_unmounted());
}

#[test]
fn an_unknown_request_is_refused() {
    let rig = Rig::default();
    let client = rig.client();
    assert_eq!(client.call(0, [12345, 0, 0], 0).map(|_| ()), Err(ENOSYS));
    assert_eq!(client.read(99, 0, 1), Err(EBADF));
}

/// The block with the new end is on its way to the disk for the first time while the file is cut: what
/// it takes there past the end must not come back.
#[test]
fn a_cut_that_meets_the_first_writeback_of_a_block_leaves_zeros_behind() {
    let rig = Rig::default();
    let client = rig.client();
    let file = open(&client, "a");
    rig.disk.hold_writes.store(true, Ordering::SeqCst);
    client.write(file, 0, &[7; 4096]).unwrap();
    let (syncing, cutting) = (client.thread(), client.thread());
    let syncing = std::thread::spawn(move || syncing.fsync(file));
    // Nobody can be asked whether it is under writeback: a cut that comes too early finds it dirty,
    // and the test proves nothing.
    std::thread::sleep(std::time::Duration::from_millis(50));
    let cutting = std::thread::spawn(move || cutting.truncate(file, 100));
    std::thread::sleep(std::time::Duration::from_millis(50));
    rig.disk.hold_writes.store(false, Ordering::SeqCst);
    syncing.join().unwrap().unwrap();
    cutting.join().unwrap().unwrap();
    client.fsync(file).unwrap();
    rig.drop_caches(&client);
    client.truncate(file, 4096).unwrap();
    let seen = client.read(file, 0, 4096).unwrap();
    assert!(seen[..100] == [7; 100] && seen[100..].iter().all(|&byte| byte == 0));
}
