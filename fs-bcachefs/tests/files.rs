//! Files of a scratch volume, through the whole server, by each protocol.

mod common;

use common::{Rig, eventually, open, with_each};
use fs_bcachefs::{Options, WriteProtocol};
use linux::testing::Random;
use pager_abi::file_verb::FileVerb;
use pager_core::{Rights, Sharing};
use std::sync::atomic::Ordering;
use syscall::error::{EEXIST, ENOSPC, ENOTEMPTY, ENXIO};
use syscall::flag::{AT_REMOVEDIR, O_CREAT, O_DIRECTORY, O_EXCL, O_RDWR};
use vfs_server::Config;

#[test]
fn writes_read_back_from_cache_and_disk() {
    with_each(|protocol| {
        let rig = Rig::small(protocol);
        let client = rig.client();
        let file = open(&client, "a");
        let mut model = Vec::new();
        let mut random = Random(7);
        for round in 0..400u64 {
            let at = random.below(200_000) as usize;
            let len = 1 + random.below(if round % 10 == 0 { 90_000 } else { 5000 }) as usize;
            let bytes: Vec<u8> = (0..len).map(|i| (i as u64 * 31 + round) as u8).collect();
            match random.below(10) {
                0 => {
                    client.truncate(file, at as u64).unwrap();
                    model.resize(at, 0);
                }
                1 => {
                    assert_eq!(client.append(file, &bytes), Ok(len));
                    model.extend_from_slice(&bytes);
                }
                2 => client.fsync(file).unwrap(),
                3 => _ = rig.drop_caches(&client),
                _ => {
                    assert_eq!(client.write(file, at as u64, &bytes), Ok(len));
                    model.resize(model.len().max(at + len), 0);
                    model[at..at + len].copy_from_slice(&bytes);
                }
            }
            if round % 8 == 0 {
                assert!(client.read(file, 0, 400_000).unwrap() == model, "round {round}");
            }
        }
        client.fsync(file).unwrap();
        rig.drop_caches(&client);
        assert!(client.read(file, 0, 400_000).unwrap() == model);
        rig.unmount();
    });
}

#[test]
fn stores_through_a_mapping_and_writes_are_one_file() {
    with_each(|protocol| {
        let rig = Rig::small(protocol);
        let client = rig.client();
        let file = open(&client, "a");
        client.truncate(file, 10_000).unwrap();
        let map = client.map(file, 0, 3, Rights::READ_WRITE, Sharing::Shared).unwrap();
        client.store(map.address + 5000, b"stored").unwrap();
        client.write(file, 5003, b"WRITTEN").unwrap();
        assert_eq!(client.load(map.address + 5000, 10).unwrap(), b"stoWRITTEN");
        // Past the end: it vanishes when the file grows.
        client.store(map.address + 10_000, b"gone").unwrap();
        client.append(file, b"appended").unwrap();
        assert_eq!(client.read(file, 9_998, 100).unwrap(), b"\0\0appended");
        client.store(map.address + 10_010, b"gone too").unwrap();
        client.write(file, 20_000, b"x").unwrap();
        assert_eq!(client.read(file, 10_000, 30).unwrap()[..8], *b"appended");
        assert!(client.read(file, 10_008, 9_992).unwrap().iter().all(|&byte| byte == 0));
        client.fsync(file).unwrap();
        rig.drop_caches(&client);
        assert_eq!(client.read(file, 5000, 10).unwrap(), b"stoWRITTEN");
        client.unmap(map);
        rig.unmount();
    });
}

#[test]
fn a_full_volume_refuses_and_goes_on_when_there_is_space_again() {
    with_each(|protocol| {
        let rig = Rig::start(protocol, 64, 4, Config::default());
        let client = rig.client();
        let (a, b) = (open(&client, "a"), open(&client, "b"));
        let mut written = 0;
        let error = loop {
            match client.write(a, written, &[1; 3000]) {
                Ok(count) => written += count as u64,
                Err(errno) => break errno,
            }
        };
        assert_eq!(error, ENOSPC);
        assert!(written > 60 * 512, "{written} bytes fit on 64 sectors");
        assert_eq!(client.write(b, 0, b"x"), Err(ENOSPC));
        let map = client.map(b, 0, 1, Rights::READ_WRITE, Sharing::Shared).unwrap();
        client.truncate(b, 4096).unwrap();
        assert_eq!(client.store(map.address, b"x"), Err(ENOSPC));
        // What has a place already can be written.
        assert_eq!(client.write(a, 100, b"again"), Ok(5));
        client.fsync(a).unwrap();
        assert_eq!(client.write(a, 200, b"and again"), Ok(9));
        client.truncate(a, 1000).unwrap();
        assert_eq!(client.write(b, 0, b"x"), Ok(1));
        client.store(map.address + 1, b"y").unwrap();
        client.fsync(b).unwrap();
        rig.drop_caches(&client);
        assert_eq!(client.read(b, 0, 3).unwrap(), b"xy\0");
        client.unmap(map);
        rig.unmount();
    });
}

#[test]
fn a_failed_write_is_told_and_tried_again() {
    with_each(|protocol| {
        let rig = Rig::small(protocol);
        let client = rig.client();
        let file = open(&client, "a");
        rig.disk.fail_writes.store(true, Ordering::SeqCst);
        client.write(file, 0, &[7; 9000]).unwrap();
        assert!(client.fsync(file).is_err());
        rig.disk.fail_writes.store(false, Ordering::SeqCst);
        client.fsync(file).unwrap();
        rig.drop_caches(&client);
        assert_eq!(client.read(file, 0, 10_000).unwrap(), [7; 9000]);
        let _ = rig.server.unmount();
    });
}

fn seek(client: &guest::Client, file: u64, verb: FileVerb, from: u64) -> Result<u64, i32> {
    client.call(file, [verb as u64, from, 0], 0).map(|(at, _)| at as u64)
}

#[test]
fn seeks_find_data_in_the_cache_and_on_the_disk() {
    with_each(|protocol| {
        let rig = Rig::small(protocol);
        let client = rig.client();
        let file = open(&client, "a");
        client.truncate(file, 100_000).unwrap();
        let look = |from| {
            let data = seek(&client, file, FileVerb::SeekData, from);
            let hole = data.and_then(|at| seek(&client, file, FileVerb::SeekHole, at));
            (data, hole)
        };
        assert_eq!(look(0).0, Err(ENXIO));
        client.write(file, 30_000, &[1; 2000]).unwrap();
        let expected = (Ok(30_000 / 512 * 512), Ok(32_000 / 512 * 512 + 512));
        assert_eq!(look(0), expected);
        client.fsync(file).unwrap();
        assert_eq!(look(0), expected);
        rig.drop_caches(&client);
        assert_eq!(look(0), expected);
        assert_eq!(look(60_000).0, Err(ENXIO));
        assert_eq!(seek(&client, file, FileVerb::SeekHole, 31_000), expected.1);
    });
}

/// K13: what is under writeback is data, and the protocols of Linux take it for a hole.
#[test]
fn data_under_writeback_is_a_hole_for_the_upstream_protocols() {
    with_each(|protocol| {
        let rig = Rig::small(protocol);
        let client = rig.client();
        let file = open(&client, "a");
        rig.disk.hold_writes.store(true, Ordering::SeqCst);
        client.write(file, 0, &[1; 512]).unwrap();
        assert_eq!(seek(&client, file, FileVerb::SeekData, 0), Ok(0));
        let syncing = {
            let client = client.thread();
            std::thread::spawn(move || client.fsync(file))
        };
        let seen = || seek(&client, file, FileVerb::SeekData, 0);
        match protocol {
            WriteProtocol::SharedInodeLock => {
                // The write is held on the device: it is under writeback when its sectors are clean.
                std::thread::sleep(std::time::Duration::from_millis(50));
                assert_eq!(seen(), Ok(0));
            }
            _ => eventually("the hole over data", || seen() == Err(ENXIO)),
        }
        rig.disk.hold_writes.store(false, Ordering::SeqCst);
        syncing.join().unwrap().unwrap();
        assert_eq!(seen(), Ok(0));
    });
}

#[test]
fn names() {
    let rig = Rig::small(WriteProtocol::default());
    let client = rig.client();
    let directory = client.open("d", O_CREAT | O_DIRECTORY | 0o755).unwrap();
    let file = open(&client, "d/a");
    client.write(file, 0, b"bytes").unwrap();
    assert_eq!(client.open("d/a", O_RDWR | O_CREAT | O_EXCL | 0o644), Err(EEXIST));
    client.link(file, "b").unwrap();
    assert_eq!(client.stat(file).unwrap().st_nlink, 2);
    assert_eq!(client.unlink("d", AT_REMOVEDIR), Err(ENOTEMPTY));
    client.unlink("d/a", 0).unwrap();
    assert_eq!(client.list(directory).unwrap(), [".", ".."]);
    client.rename(open(&client, "b"), "d/c").unwrap();
    assert_eq!(client.list(directory).unwrap(), [".", "..", "c"]);
    client.unlink("d/c", 0).unwrap();
    client.unlink("d", AT_REMOVEDIR).unwrap();
    assert_eq!(client.list(0).unwrap(), [".", ".."]);
    // No name is left, and the file is still open.
    client.write(file, 3, b"still").unwrap();
    assert_eq!(client.read(file, 0, 100).unwrap(), b"bytstill");
    client.close(file);
    rig.unmount();
}

#[test]
fn a_disk_is_not_overwritten_without_being_told_to() {
    let disk = common::fake_disk::FakeDisk::new(1 << 20);
    let refused = fs_bcachefs::mount(disk, Options::default()).err().unwrap();
    assert!(refused.to_string().contains("volume=scratch"), "{refused}");
    for bad in [("write", "none"), ("folios", "0"), ("folios", "33"), ("volume", "x"), ("inline", "latched")] {
        assert!(Options::parse([bad]).is_err(), "{bad:?}");
    }
}
