//! Mapped files: loads and stores of clients against read, write, truncate, writeback, reclaim.

mod common;

use common::{Rig, open, pattern, small};
use linux::testing::in_parallel;
use pager_abi::file_verb::FileVerb;
use pager_core::{Rights, Sharing};
use std::sync::atomic::Ordering;
use syscall::error::*;
use syscall::flag::*;

#[test]
fn a_mapping_and_read_and_write_show_one_file() {
    let rig = Rig::default();
    let (client, other) = (rig.client(), rig.client());
    let file = open(&client, "a");
    client.write(file, 0, &pattern(1, 0, 20_000)).unwrap();
    let map = client.map(file, 0, 5, Rights::READ_WRITE, Sharing::Shared).unwrap();
    let seen = other.map(file, 0, 5, Rights::READ, Sharing::Shared).unwrap();
    assert!(client.load(map.address, 20_000).unwrap() == pattern(1, 0, 20_000));
    client.write(file, 5000, b"written").unwrap();
    assert_eq!(client.load(map.address + 5000, 7).unwrap(), b"written");
    client.store(map.address + 9000, b"stored").unwrap();
    assert_eq!(client.read(file, 9000, 6).unwrap(), b"stored");
    assert_eq!(other.load(seen.address + 9000, 6).unwrap(), b"stored");
    client.fsync(file).unwrap();
    let mut model = pattern(1, 0, 20_000);
    model[5000..5007].copy_from_slice(b"written");
    model[9000..9006].copy_from_slice(b"stored");
    assert!(rig.fs.on_disk(&rig.disk, b"a") == model);
    assert_eq!(other.store(seen.address, b"x"), Err(EFAULT));
}

#[test]
fn a_store_after_writeback_is_written_too() {
    let rig = Rig::default();
    let client = rig.client();
    let file = open(&client, "a");
    client.truncate(file, 8192).unwrap();
    let map = client.map(file, 0, 2, Rights::READ_WRITE, Sharing::Shared).unwrap();
    for round in 0..5u8 {
        client.store(map.address + 4096, &[round; 100]).unwrap();
        client.call(file, [FileVerb::Msync as u64, 4096, 4096], 0).unwrap();
        assert_eq!(rig.fs.on_disk(&rig.disk, b"a")[4096..4196], [round; 100]);
    }
    assert!(rig.counter(&client, "mkwrite_faults") >= 5);
}

#[test]
fn one_answer_maps_the_pages_around() {
    let rig = Rig::default();
    let client = rig.client();
    let file = open(&client, "a");
    client.write(file, 0, &pattern(1, 0, 64 * 4096)).unwrap();
    client.fsync(file).unwrap();
    rig.drop_caches(&client);
    let map = client.map(file, 0, 64, Rights::READ, Sharing::Shared).unwrap();
    for page in 0..64 {
        assert_eq!(client.load(map.address + page * 4096, 16).unwrap(), pattern(1, page * 4096, 16));
    }
    let faults = rig.counter(&client, "read_faults");
    assert!(faults <= 8, "{faults} faults for 64 pages");
}

#[test]
fn beyond_the_end_an_access_fails() {
    let rig = Rig::default();
    let client = rig.client();
    let file = open(&client, "a");
    client.write(file, 0, &[9; 5000]).unwrap();
    let map = client.map(file, 0, 4, Rights::READ_WRITE, Sharing::Shared).unwrap();
    assert_eq!(client.load(map.address + 4996, 8).unwrap(), [9, 9, 9, 9, 0, 0, 0, 0]);
    assert_eq!(client.load(map.address + 8192, 1), Err(EFAULT));
    assert_eq!(client.store(map.address + 12_000, &[1]), Err(EFAULT));
    client.truncate(file, 100).unwrap();
    assert_eq!(client.load(map.address + 4096, 1), Err(EFAULT));
    assert_eq!(client.load(map.address + 98, 4).unwrap(), [9, 9, 0, 0]);
}

#[test]
fn stores_past_the_end_do_not_come_back() {
    for block_size in [1024, 4096] {
        let rig = Rig::start(block_size, 4096, small());
        let client = rig.client();
        for (name, grow) in [("write", 0), ("gap", 1), ("truncate", 2)] {
            let file = open(&client, name);
            client.write(file, 0, &[9; 1500]).unwrap();
            let map = client.map(file, 0, 4, Rights::READ_WRITE, Sharing::Shared).unwrap();
            client.store(map.address + 1400, &[7; 2000]).unwrap();
            match grow {
                0 => _ = client.write(file, 1500, &[5; 10]).unwrap(),
                1 => _ = client.write(file, 9000, &[5; 10]).unwrap(),
                _ => client.truncate(file, 9000).unwrap(),
            }
            let all = client.read(file, 0, 20_000).unwrap();
            assert_eq!(all[1399..1500], [vec![9], vec![7; 100]].concat(), "{name}");
            let new = if grow == 0 { 1510 } else { 1500 };
            assert!(all[new..all.len().min(9000)].iter().all(|&byte| byte == 0), "{name}");
            // A store to what the file has grown by is kept, though the page was dirty before.
            client.store(map.address + 1505, &[3; 5]).unwrap();
            client.write(file, 3500, &[4; 4]).unwrap();
            client.store(map.address + 3000, &[3; 5]).unwrap();
            client.fsync(file).unwrap();
            rig.drop_caches(&client);
            assert_eq!(client.read(file, 1505, 5).unwrap(), [3; 5], "{name}");
            assert_eq!(client.read(file, 3000, 5).unwrap(), [3; 5], "{name}");
            assert_eq!(client.read(file, 3500, 4).unwrap(), [4; 4], "{name}");
            client.unmap(map);
        }
    }
}

#[test]
fn private_pages_are_the_clients_own() {
    let rig = Rig::default();
    let client = rig.client();
    let file = open(&client, "a");
    client.write(file, 0, &[1; 8192]).unwrap();
    let map = client.map(file, 0, 2, Rights::READ_WRITE, Sharing::Private).unwrap();
    client.store(map.address, &[2; 10]).unwrap();
    assert_eq!(client.load(map.address, 11).unwrap(), [2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1]);
    assert_eq!(client.read(file, 0, 1).unwrap(), [1]);
    assert_eq!(rig.counter(&client, "mkwrite_faults"), 0);
    rig.drop_caches(&client);
    assert_eq!(client.load(map.address, 1).unwrap(), [2]);
    client.truncate(file, 0).unwrap();
    assert_eq!(client.load(map.address, 1), Err(EFAULT));
}

#[test]
fn a_mapping_needs_the_rights_of_the_open_file() {
    let rig = Rig::default();
    let client = rig.client();
    open(&client, "a");
    let reader = client.open("a", O_RDONLY).unwrap();
    assert_eq!(client.map(reader, 0, 1, Rights::READ_WRITE, Sharing::Shared), Err(EACCES));
    assert!(client.map(reader, 0, 1, Rights::READ_WRITE, Sharing::Private).is_ok());
    let writer = client.open("a", O_WRONLY).unwrap();
    assert_eq!(client.map(writer, 0, 1, Rights::READ, Sharing::Shared), Err(EACCES));
    assert_eq!(client.map(0, 0, 1, Rights::READ, Sharing::Shared), Err(ENODEV));
}

#[test]
fn a_store_without_space_fails_and_changes_nothing() {
    let rig = Rig::default();
    let client = rig.client();
    let file = open(&client, "a");
    client.truncate(file, 8192).unwrap();
    let taken = rig.fs.take_blocks(0);
    let map = client.map(file, 0, 2, Rights::READ_WRITE, Sharing::Shared).unwrap();
    assert_eq!(client.load(map.address, 4).unwrap(), [0; 4]);
    assert_eq!(client.store(map.address, &[1]), Err(ENOSPC));
    assert_eq!(client.load(map.address, 4).unwrap(), [0; 4]);
    rig.fs.give_blocks(taken);
    client.store(map.address, &[1]).unwrap();
    client.fsync(file).unwrap();
    assert_eq!(rig.fs.on_disk(&rig.disk, b"a")[..2], [1, 0]);
}

#[test]
fn a_mapping_outlives_the_name_and_the_descriptor() {
    let rig = Rig::default();
    let client = rig.client();
    let inodes = rig.fs.inodes();
    let file = open(&client, "a");
    client.write(file, 0, &[6; 4096]).unwrap();
    let map = client.map(file, 0, 1, Rights::READ_WRITE, Sharing::Shared).unwrap();
    client.unlink("a", 0).unwrap();
    client.close(file);
    client.store(map.address, &[5]).unwrap();
    assert_eq!(client.load(map.address, 2).unwrap(), [5, 6]);
    assert_eq!(rig.fs.inodes(), inodes + 1);
    client.unmap(map);
    // The orphan goes when a worker next looks.
    common::eventually("the end of the file", || {
        let _ = client.stat(0);
        rig.fs.inodes() == inodes
    });
}

#[test]
fn a_write_from_a_mapping_of_the_same_file() {
    let rig = Rig::default();
    let client = rig.client();
    let file = open(&client, "a");
    client.write(file, 0, &pattern(1, 0, 65_536)).unwrap();
    client.fsync(file).unwrap();
    let map = client.map(file, 0, 16, Rights::READ_WRITE, Sharing::Shared).unwrap();
    rig.drop_caches(&client);
    // The buffer is not resident, overlaps what is written, and ends in it.
    assert_eq!(client.write_memory(file, 100_000, map.address + 1000, 60_000), Ok(60_000));
    assert!(client.read(file, 100_000, 60_000).unwrap() == pattern(1, 1000, 60_000));
}

#[test]
fn an_append_from_pages_that_are_not_there_is_done_once() {
    let rig = Rig::start(4096, 4096, small());
    let client = rig.client();
    let (source, target) = (open(&client, "source"), open(&client, "target"));
    let data = pattern(1, 0, 250_000);
    client.write(source, 0, &data).unwrap();
    let bodies = (0..3).map(|_| {
        let client = rig.client();
        Box::new(move || {
            let map = client.map(source, 0, 62, Rights::READ, Sharing::Shared).unwrap();
            for _ in 0..4 {
                client.call(0, [pager_abi::server_verb::ServerVerb::DropCaches as u64, 0, 0], 0).unwrap();
                assert_eq!(client.append_memory(target, map.address, 250_000), Ok(250_000));
            }
        }) as Box<dyn FnOnce() + Send>
    });
    in_parallel(bodies.collect());
    assert!(rig.counter(&client, "retries") > 0, "the test must make requests go round");
    let all = client.read(target, 0, 4 << 20).unwrap();
    assert_eq!(all.len(), 12 * data.len());
    assert!(all.chunks(data.len()).all(|append| append == data), "two appends are mixed");
}

#[test]
fn reclaim_lets_clients_use_more_than_the_cache_holds() {
    let rig = Rig::start(4096, 4096, small());
    let client = rig.client();
    let file = open(&client, "a");
    let pages = 600u64;
    let map = {
        client.truncate(file, pages * 4096).unwrap();
        client.map(file, 0, pages, Rights::READ_WRITE, Sharing::Shared).unwrap()
    };
    for page in 0..pages {
        client
            .store(map.address + page * 4096 + page, &page.to_le_bytes())
            .unwrap_or_else(|e| panic!("page {page} errno {e} {}", platform::waits::report()));
    }
    for page in (0..pages).rev() {
        assert_eq!(client.load(map.address + page * 4096 + page, 8).unwrap(), page.to_le_bytes(), "page {page}");
    }
    assert!(rig.counter(&client, "folios_reclaimed") > 20);
    assert!(rig.counter(&client, "pages") <= 128);
    client.fsync(file).unwrap();
    let disk = rig.fs.on_disk(&rig.disk, b"a");
    for page in 0..pages as usize {
        assert_eq!(disk[page * 4096 + page..][..8], (page as u64).to_le_bytes());
    }
}

#[test]
fn folios_move_to_other_frames_with_what_clients_stored() {
    let rig = Rig::start(4096, 4096, small());
    let client = rig.client();
    let file = open(&client, "a");
    assert_eq!(client.write(file, 0, &pattern(1, 0, 3 * 4096)), Ok(3 * 4096));
    client.fsync(file).unwrap();
    // A dirty folio that is mapped writable, and clean ones.
    let map = client.map(file, 0, 3, Rights::READ_WRITE, Sharing::Shared).unwrap();
    client.store(map.address + 4096, b"stored").unwrap();
    let mut expected = pattern(1, 0, 3 * 4096);
    expected[4096..4102].copy_from_slice(b"stored");
    assert!(rig.server.migrate_folios() > 0);
    assert_eq!(rig.machine.mapped_pages(), 0, "what has moved is mapped no more");
    assert!(client.load(map.address, 3 * 4096).unwrap() == expected);
    client.store(map.address + 8192, b"again").unwrap();
    expected[8192..8197].copy_from_slice(b"again");
    assert!(client.read(file, 0, 3 * 4096).unwrap() == expected);
    client.fsync(file).unwrap();
    assert!(rig.fs.on_disk(&rig.disk, b"a") == expected);
    client.unmap(map);
    rig.drop_caches(&client);
    assert_eq!(rig.counter(&client, "pages"), 0, "no frame stays behind");
}

#[test]
fn a_host_with_less_memory_than_promised_is_waited_for() {
    let rig = Rig::start(4096, 4096, small());
    let client = rig.client();
    let file = open(&client, "a");
    client.truncate(file, 300 * 4096).unwrap();
    let map = client.map(file, 0, 300, Rights::READ_WRITE, Sharing::Shared).unwrap();
    let (total, free) = platform::frame::Frames::budget();
    linux::host::set_frame_limit(total - free + 40);
    let outcome = (0..300u64).try_for_each(|page| client.store(map.address + page * 4096, &page.to_le_bytes()));
    linux::host::set_frame_limit(total);
    assert_eq!(outcome, Ok(()));
    for page in 0..300u64 {
        assert_eq!(client.load(map.address + page * 4096, 8).unwrap(), page.to_le_bytes());
    }
}

#[test]
fn a_large_write_and_read_go_round_the_small_cache() {
    let rig = Rig::start(4096, 4096, small());
    let client = rig.client();
    let file = open(&client, "a");
    let data = pattern(4, 0, 3 << 20);
    assert_eq!(client.write(file, 0, &data), Ok(data.len()));
    assert!(client.read(file, 0, 4 << 20).unwrap() == data);
    client.fsync(file).unwrap();
    assert!(rig.fs.on_disk(&rig.disk, b"a") == data);
}

#[test]
fn a_failed_write_is_told_once_to_each_open_file_and_tried_again() {
    let rig = Rig::default();
    let client = rig.client();
    let (file, other) = (open(&client, "a"), open(&client, "a"));
    client.write(file, 0, &[1; 4096]).unwrap();
    rig.disk.fail_writes.store(true, Ordering::SeqCst);
    assert_eq!(client.fsync(file), Err(EIO));
    rig.disk.fail_writes.store(false, Ordering::SeqCst);
    assert_eq!(client.fsync(file), Ok(()));
    assert_eq!(client.fsync(other), Err(EIO));
    assert_eq!(client.fsync(other), Ok(()));
    assert_eq!(client.read(file, 0, 2).unwrap(), [1, 1]);
    assert_eq!(rig.fs.on_disk(&rig.disk, b"a"), [1; 4096]);
    let late = open(&client, "a");
    assert_eq!(client.fsync(late), Ok(()));
}

#[test]
fn a_failed_read_fails_the_access_and_not_the_next() {
    let rig = Rig::default();
    let client = rig.client();
    let file = open(&client, "a");
    client.write(file, 0, &[1; 4096]).unwrap();
    client.fsync(file).unwrap();
    rig.drop_caches(&client);
    rig.disk.fail_reads.store(true, Ordering::SeqCst);
    let map = client.map(file, 0, 1, Rights::READ, Sharing::Shared).unwrap();
    assert_eq!(client.read(file, 0, 1), Err(EIO));
    assert_eq!(client.load(map.address, 1), Err(EIO));
    rig.disk.fail_reads.store(false, Ordering::SeqCst);
    assert_eq!(client.load(map.address, 1).unwrap(), [1]);
    assert_eq!(client.read(file, 0, 1).unwrap(), [1]);
}

#[test]
fn writers_are_delayed_while_the_disk_does_not_keep_up() {
    let rig = Rig::start(4096, 4096, small());
    let client = rig.client();
    let file = open(&client, "a");
    rig.disk.hold_writes.store(true, Ordering::SeqCst);
    let other = client.thread();
    let writer = std::thread::spawn(move || {
        for page in 0..100u64 {
            other.write(file, page * 4096, &[page as u8; 4096]).unwrap();
        }
    });
    common::eventually("a delayed writer", || rig.counter(&client, "throttled") > 0 || writer.is_finished());
    // Others are served meanwhile.
    assert!(client.stat(file).unwrap().st_size > 0);
    rig.disk.hold_writes.store(false, Ordering::SeqCst);
    writer.join().unwrap();
    client.fsync(file).unwrap();
    let disk = rig.fs.on_disk(&rig.disk, b"a");
    assert!((0..100).all(|page| disk[page * 4096] == page as u8));
}

#[test]
fn an_inline_file_is_converted_by_a_store_and_by_growth() {
    let rig = Rig::default();
    rig.fs.use_inline();
    let client = rig.client();
    let file = open(&client, "a");
    client.write(file, 0, b"inline").unwrap();
    assert!(rig.fs.is_inline(b"a"));
    let map = client.map(file, 0, 1, Rights::READ_WRITE, Sharing::Shared).unwrap();
    assert_eq!(client.load(map.address, 8).unwrap(), b"inline\0\0");
    client.write(file, 6, b" file").unwrap();
    assert!(rig.fs.is_inline(b"a"));
    assert_eq!(client.load(map.address, 12).unwrap(), b"inline file\0");

    let taken = rig.fs.take_blocks(0);
    assert_eq!(client.store(map.address, b"I"), Err(ENOSPC));
    assert!(rig.fs.is_inline(b"a"));
    assert_eq!(client.read(file, 0, 20).unwrap(), b"inline file");
    rig.fs.give_blocks(taken);
    client.store(map.address, b"I").unwrap();
    assert!(!rig.fs.is_inline(b"a"));
    assert_eq!(client.read(file, 0, 20).unwrap(), b"Inline file");
    client.write(file, 11, b"!").unwrap();
    client.fsync(file).unwrap();
    assert_eq!(rig.fs.on_disk(&rig.disk, b"a"), b"Inline file!");

    let grown = open(&client, "b");
    client.write(grown, 0, b"short").unwrap();
    client.write(grown, 5, &[b'x'; 200]).unwrap();
    assert!(!rig.fs.is_inline(b"b"));
    assert_eq!(client.read(grown, 0, 6).unwrap(), b"shortx");
}

#[test]
fn inline_writes_against_stores_and_a_full_disk_lose_nothing() {
    let rig = Rig::default();
    rig.fs.use_inline();
    let client = rig.client();
    for round in 0..60 {
        let name = format!("f{round}");
        let file = open(&client, &name);
        client.write(file, 0, &[0; 8]).unwrap();
        let map = client.map(file, 0, 1, Rights::READ_WRITE, Sharing::Shared).unwrap();
        let (writer, storer) = (client.thread(), client.thread());
        let fs = rig.fs.clone();
        in_parallel(vec![
            Box::new(move || (1..=20).for_each(|n| assert_eq!(writer.write(file, 0, &[n]), Ok(1)))),
            Box::new(move || {
                for n in 1..=20 {
                    while storer.store(map.address + 4, &[n]) == Err(ENOSPC) {}
                }
            }),
            Box::new(move || {
                for _ in 0..20 {
                    let taken = fs.take_blocks(0);
                    std::thread::yield_now();
                    fs.give_blocks(taken);
                }
            }),
        ]);
        assert_eq!(client.read(file, 0, 8).unwrap(), [20, 0, 0, 0, 20, 0, 0, 0]);
        client.fsync(file).unwrap();
        assert_eq!(rig.fs.on_disk(&rig.disk, name.as_bytes()), [20, 0, 0, 0, 20, 0, 0, 0]);
        client.unmap(map);
    }
}

#[test]
fn a_page_stays_while_the_file_system_makes_room_for_a_store() {
    let rig = Rig::default();
    let client = rig.client();
    let file = open(&client, "a");
    client.write(file, 0, &pattern(1, 0, 4096)).unwrap();
    client.fsync(file).unwrap();
    let map = client.map(file, 0, 1, Rights::READ_WRITE, Sharing::Shared).unwrap();
    client.load(map.address, 1).unwrap();
    let held = rig.fs.hold_transactions();
    std::thread::scope(|scope| {
        let storing = scope.spawn(|| client.store(map.address, b"stored"));
        common::eventually("the store's fault", || platform::waits::report().contains("transaction"));
        assert_eq!(rig.server.drop_caches(), 0, "reclaim takes a page that is about to become dirty");
        assert_eq!(rig.server.migrate_folios(), 0, "migration moves it");
        drop(held);
        storing.join().unwrap().unwrap();
    });
    client.fsync(file).unwrap();
    // Only while the fault lasted.
    assert_eq!(rig.server.migrate_folios(), 1);
    assert_eq!(rig.server.drop_caches(), 1);
    assert_eq!(client.load(map.address, 6).unwrap(), b"stored");
}
