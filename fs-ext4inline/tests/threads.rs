//! Many threads on one disk, with the lock-order checker on: nothing is lost, nothing is given twice.

mod common;

use std::sync::Arc;
use std::thread;

use common::*;
use fs_ext4inline::Access;
use vfs_server::error::Error;
use vfs_server::fs::*;

const THREADS: u64 = 6;

fn with_disk(test: impl Fn(&Arc<Mounted>)) {
    if !have_e2fsprogs() {
        return;
    }
    for shape in [&["-b", "1024", "-g", "2048", "-O", "inline_data"][..], &["-b", "4096"]] {
        let mounted = Arc::new(Mounted::new(mke2fs(shape, 16), Access::ReadWrite).unwrap());
        test(&mounted);
        Arc::into_inner(mounted).expect("all threads ended").unmount_clean();
    }
}

fn spread(mounted: &Arc<Mounted>, body: impl Fn(&Mounted, u64) + Send + Sync + Copy) {
    thread::scope(|scope| {
        for number in 0..THREADS {
            let mounted = mounted.clone();
            scope.spawn(move || body(&mounted, number));
        }
    });
}

#[test]
fn each_in_a_directory_of_its_own() {
    with_disk(|mounted| {
        spread(mounted, |mounted, thread| {
            let directory = {
                let root = mounted.root();
                let _lock = root.lock.write();
                mounted.mkdir(&root, format!("thread {thread}").as_bytes()).unwrap()
            };
            for round in 0..60_u64 {
                let name = format!("file {round}").into_bytes();
                let _lock = directory.lock.write_key(1);
                let file = mounted.create(&directory, &name).unwrap();
                let length = (round * 311 % 9000) as usize;
                mounted.write(&file, 0, &pattern(thread * 1000 + round, length)).unwrap();
                if round % 3 == 0 {
                    drop(file);
                    mounted.unlink(&directory, &name).unwrap();
                }
            }
            for round in (0..60_u64).filter(|round| round % 3 != 0) {
                let file = mounted.lookup(&directory, format!("file {round}").as_bytes()).unwrap();
                let length = (round * 311 % 9000) as usize;
                assert_eq!(mounted.read(&file).unwrap(), pattern(thread * 1000 + round, length));
            }
        });
    });
}

#[test]
fn all_in_one_directory() {
    with_disk(|mounted| {
        spread(mounted, |mounted, thread| {
            let root = mounted.root();
            for round in 0..60_u64 {
                let name = format!("{thread}'s file {round}").into_bytes();
                let file = {
                    let _lock = root.lock.write();
                    mounted.create(&root, &name).unwrap()
                };
                mounted.write(&file, 0, &pattern(thread + round, 100 + 50 * round as usize)).unwrap();
                if round % 2 == 0 {
                    drop(file);
                    let _lock = root.lock.write();
                    mounted.unlink(&root, &name).unwrap();
                }
            }
        });
        assert_eq!(mounted.names(&mounted.root()).unwrap().len() as u64, 3 + THREADS * 30);
    });
}

#[test]
fn the_last_blocks_go_to_somebody_and_to_nobody_twice() {
    with_disk(|mounted| {
        let root = mounted.root();
        let files: Vec<_> = (0..THREADS).map(|n| mounted.create(&root, format!("f{n}").as_bytes()).unwrap()).collect();
        for round in 0..3 {
            thread::scope(|scope| {
                for (number, file) in files.iter().enumerate() {
                    scope.spawn(move || {
                        let mut position = 0;
                        loop {
                            let bytes = pattern(number as u64, 7000);
                            match mounted.write(file, position, &bytes) {
                                Ok(()) => position += bytes.len() as u64,
                                Err(error) => break assert_eq!(error, Error::NoSpace),
                            }
                        }
                        let contents = mounted.read(file).unwrap();
                        assert!(contents.chunks(7000).all(|part| part == &pattern(number as u64, 7000)[..part.len()]));
                        if round < 2 {
                            mounted.truncate(file, 0).unwrap();
                        }
                    });
                }
            });
        }
    });
}

/// Writers, completions that come late, faults and a reader of attributes on one file.
#[test]
fn one_file_from_all_sides() {
    with_disk(|mounted| {
        let root = mounted.root();
        for round in 0..20_u64 {
            let name = format!("file {round}");
            let file = mounted.create(&root, name.as_bytes()).unwrap();
            mounted.write(&file, 0, &pattern(1, 100)).unwrap();
            thread::scope(|scope| {
                let (file, mounted) = (&file, mounted);
                scope.spawn(move || {
                    for step in 0..20 {
                        let _lock = file.lock.write();
                        mounted.write(file, step * 50, &pattern(step, 60)).unwrap();
                    }
                });
                scope.spawn(move || {
                    for _ in 0..10 {
                        file.operations().page_mkwrite(file, 0, 100).unwrap();
                    }
                });
                scope.spawn(move || {
                    for step in 0..20 {
                        file.operations().map_blocks(file, step, 4).unwrap();
                        file.operations().write_inode(file).unwrap();
                        match file.operations().read_inline(file) {
                            // The first write may or may not have happened yet, but no half of it.
                            Ok(contents) => {
                                let (old, new) = (pattern(1, 100), pattern(0, 60));
                                assert!(contents[..50] == old[..50] || contents[..50] == new[..50]);
                            }
                            Err(error) => assert_eq!(error, Error::Stale),
                        }
                        mounted.fs.sync(SyncMode::Start).unwrap();
                    }
                });
            });
            let mut expected = pattern(1, 100);
            for step in 0..20_usize {
                expected.resize(expected.len().max(step * 50 + 60), 0);
                expected[step * 50..step * 50 + 60].copy_from_slice(&pattern(step as u64, 60));
            }
            assert_eq!(mounted.read(&file).unwrap(), expected);
        }
    });
}
