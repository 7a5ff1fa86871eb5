//! The protocols of inline data against stores through mappings, each on the whole stack: what one
//! client does in order is right under all of them, a full disk included; what two do at once is right
//! under the good ones. That the others fail, and how, is the explorer's business.

mod common;

use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use common::*;
use fs_ext4inline::{Access, InlineProtocol, Options, mount};
use linux::MemoryDisk;
use linux::guest::{Client, Machine, Mapping};
use pager_core::{Rights, Sharing};
use syscall::error::{EIO, ENOSPC, EROFS};
use syscall::flag::{O_CREAT, O_RDWR};
use vfs_server::fs::{WriteBegun, WriteTarget};
use vfs_server::{Config, Server};

const GOOD: [InlineProtocol; 3] = [InlineProtocol::MmapTime, InlineProtocol::AllocateFirst, InlineProtocol::Latched];

/// One machine a process at a time.
static MACHINES: Mutex<()> = Mutex::new(());

struct Rig {
    machine: Arc<Machine>,
    server: Arc<Server>,
    disk: Arc<MemoryDisk>,
    _only: MutexGuard<'static, ()>,
}

impl Rig {
    fn new(protocol: InlineProtocol, block_size: &str) -> Self {
        let only = MACHINES.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let disk = Arc::new(MemoryDisk::new(mke2fs(&["-b", block_size, "-O", "inline_data"], 4)));
        let machine = linux::start_machine();
        let fs = mount(disk.clone(), Access::ReadWrite, Options { inline: protocol }).unwrap();
        assert!(fs.options().contains(protocol.name()));
        let server = Server::start(fs, disk.clone(), Config { cache_pages: 256, ..Config::default() }).unwrap();
        server.start_threads().unwrap();
        Self { machine, server, disk, _only: only }
    }

    fn client(&self) -> Client {
        Client::new(&self.machine)
    }

    /// Unmounts; the files on the disk, which e2fsck finds clean.
    fn end(self) -> Mounted {
        self.server.unmount().unwrap();
        self.machine.close();
        let image = self.disk.content();
        assert_fsck_clean(&image);
        Mounted::new(image, Access::ReadOnly).unwrap()
    }
}

fn on_every_protocol(
    protocols: &[InlineProtocol],
    test: impl Fn(&Client, &Rig, InlineProtocol) -> Vec<(String, Vec<u8>)>,
) {
    if !have_e2fsprogs() {
        return;
    }
    for &protocol in protocols {
        for block_size in ["1024", "4096"] {
            println!("inline={} with blocks of {block_size}", protocol.name());
            let rig = Rig::new(protocol, block_size);
            let files = test(&rig.client(), &rig, protocol);
            let mounted = rig.end();
            for (path, contents) in files {
                let inode = mounted.walk(&path).unwrap();
                assert!(mounted.read(&inode).unwrap() == contents, "{path} on the disk");
            }
        }
    }
}

fn open(client: &Client, path: &str) -> u64 {
    client.open(path, O_RDWR | O_CREAT | 0o644).unwrap()
}

fn map(client: &Client, file: u64) -> Result<Mapping, i32> {
    client.map(file, 0, 1, Rights::READ_WRITE, Sharing::Shared)
}

/// Fills the disk to the last block that an ordinary write can get.
fn fill(client: &Client, file: u64) {
    let write_all = |file, piece: usize| {
        let mut position = client.size(file).unwrap();
        loop {
            match client.write(file, position, &vec![0xf1; piece]) {
                Ok(count) => position += count as u64,
                Err(error) => break assert_eq!(error, ENOSPC),
            }
        }
        // What is only promised for extent trees comes back when the data is written.
        client.fsync(file).unwrap();
    };
    write_all(file, 65536);
    write_all(file, 1024);
    // A conversion needs less than a write to a large file: small ones take the very last blocks.
    for number in 0.. {
        let small = open(client, &format!("small{number}"));
        write_all(small, 1024);
        if client.size(small).unwrap() == 0 {
            break;
        }
    }
}

#[test]
fn a_mapped_file_is_what_was_written_and_stored() {
    on_every_protocol(&InlineProtocol::ALL, |client, _, protocol| {
        let mut files = Vec::new();
        for size in [1, 8, 59, 60, 61, 100, 150, 160] {
            let path = format!("f{size}");
            let file = open(client, &path);
            let mut model = pattern(size as u64, size);
            client.write(file, 0, &model).unwrap();
            let mapping = map(client, file).unwrap();
            assert_eq!(client.load(mapping.address, size).unwrap(), model);
            // Mapped, and inline still where the protocol leaves it so: a write is seen at once.
            client.write(file, 0, b"W").unwrap();
            model[0] = b'W';
            assert_eq!(client.load(mapping.address, size).unwrap(), model, "{}", protocol.name());
            client.store(mapping.address + size as u64 - 1, b"S").unwrap();
            model[size - 1] = b'S';
            client.store(mapping.address + size as u64 + 5, b"past the end").unwrap();
            assert_eq!(client.read(file, 0, 4096).unwrap(), model);
            client.write(file, size as u64 / 2, b"x").unwrap();
            model[size / 2] = b'x';
            assert_eq!(client.load(mapping.address, size).unwrap(), model);
            client.fsync(file).unwrap();
            client.write(file, 300, b"grown").unwrap();
            model.resize(300, 0);
            model.extend_from_slice(b"grown");
            assert_eq!(client.read(file, 0, 4096).unwrap(), model, "what was stored past the end is gone");
            client.truncate(file, 20).unwrap();
            model.resize(20, 0);
            client.truncate(file, 0).unwrap();
            client.write(file, 0, &model[..10]).unwrap();
            model.truncate(10);
            assert_eq!(client.load(mapping.address, 10).unwrap(), model, "cut to nothing and written anew");
            client.store(mapping.address, b"!").unwrap();
            model[0] = b'!';
            client.unmap(mapping);
            files.push((path, model));
        }
        files
    });
}

#[test]
fn a_conversion_without_space_changes_nothing() {
    on_every_protocol(&InlineProtocol::ALL, |client, _, protocol| {
        let (file, filler, spare) = (open(client, "inline"), open(client, "filler"), open(client, "spare"));
        let mut model = pattern(1, 90);
        client.write(file, 0, &model).unwrap();
        client.write(spare, 0, &[7; 8192]).unwrap();
        client.fsync(spare).unwrap();
        fill(client, filler);
        let mapping = if protocol == InlineProtocol::MmapTime {
            assert_eq!(map(client, file).err(), Some(ENOSPC));
            assert_eq!(client.read(file, 0, 4096).unwrap(), model);
            client.truncate(spare, 0).unwrap();
            map(client, file).unwrap()
        } else {
            let mapping = map(client, file).unwrap();
            for round in 0..3 {
                assert_eq!(client.store(mapping.address, b"no").err(), Some(ENOSPC), "round {round}");
                assert_eq!(client.load(mapping.address, model.len()).unwrap(), model);
                // Still inline, and still to be written.
                client.write(file, 80, &[round; 20]).unwrap();
                model.resize(100, 0);
                model[80..].fill(round);
                assert_eq!(client.read(file, 0, 4096).unwrap(), model);
            }
            client.truncate(spare, 0).unwrap();
            mapping
        };
        client.store(mapping.address + 3, b"stored").unwrap();
        model[3..9].copy_from_slice(b"stored");
        client.write(file, 10, b"written").unwrap();
        model[10..17].copy_from_slice(b"written");
        assert_eq!(client.load(mapping.address, model.len()).unwrap(), model);
        vec![("inline".into(), model)]
    });
}

/// One client writes, one stores, one takes the last free block and gives it back.
#[test]
fn writes_and_stores_at_once_are_all_there() {
    on_every_protocol(&GOOD, |client, rig, _| {
        let (filler, spare) = (open(client, "filler"), open(client, "spare"));
        client.write(spare, 0, &[7; 4096]).unwrap();
        let files: Vec<_> = (0..24).map(|n| (format!("f{n}"), open(client, &format!("f{n}")))).collect();
        for &(_, file) in &files {
            client.write(file, 0, &[0; 64]).unwrap();
        }
        fill(client, filler);
        let mut contents = Vec::new();
        for (path, file) in files {
            // Room for the one conversion, for which the taker competes.
            client.truncate(filler, client.size(filler).unwrap() - 4096).unwrap();
            let stored = thread::scope(|scope| {
                let writer = rig.client();
                scope.spawn(move || {
                    for step in 1..=20 {
                        // Inside, and past the end.
                        writer.write(file, 0, &[step; 8]).unwrap();
                        writer.write(file, 64 + u64::from(step), &[step; 4]).unwrap();
                    }
                });
                let taker = rig.client();
                scope.spawn(move || {
                    for _ in 0..5 {
                        taker.truncate(spare, 0).unwrap();
                        taker.write(spare, 0, &[7; 4096]).err();
                    }
                    taker.truncate(spare, 0).unwrap();
                });
                let storer = rig.client();
                let stores = scope.spawn(move || {
                    let mut stored = 0;
                    let mapped =
                        (0..100).find_map(|_| map(&storer, file).inspect_err(|&error| assert_eq!(error, ENOSPC)).ok());
                    let Some(mapping) = mapped else { return 0 };
                    for step in 1..=40 {
                        match storer.store(mapping.address + 16, &[step; 8]) {
                            Ok(()) => stored = step,
                            Err(error) => assert_eq!(error, ENOSPC),
                        }
                    }
                    storer.unmap(mapping);
                    stored
                });
                stores.join().expect("the storing client")
            });
            let mut expected = vec![0; 88];
            expected[..8].fill(20);
            expected[16..24].fill(stored);
            for step in 1..=20_u8 {
                expected[64 + step as usize..68 + step as usize].fill(step);
            }
            assert_eq!(client.read(file, 0, 4096).unwrap(), expected, "{path}");
            contents.push((path, expected));
        }
        contents
    });
}

#[test]
fn an_inline_end_without_a_handle_is_reported_and_ends_all_writing() {
    if !have_e2fsprogs() {
        return;
    }
    let mounted = Mounted::new(mke2fs(&["-O", "inline_data"], 8), Access::ReadWrite).unwrap();
    let file = mounted.create(&mounted.root(), b"f").unwrap();
    mounted.write(&file, 0, b"inline").unwrap();
    let begun = WriteBegun { target: WriteTarget::Blocks, layout: 1 };
    let error = file.operations().write_end_inline(&file, 0, b"x", 6, begun).unwrap_err();
    assert_eq!(error.errno(), EIO);
    assert!(error.to_string().starts_with("BUG: "), "{error}");
    assert!(mounted.fs.read_only());
    assert_eq!(mounted.write(&file, 0, b"x").unwrap_err().errno(), EROFS);
    assert_eq!(mounted.read(&file).unwrap(), b"inline");
    let disk = mounted.disk.clone();
    mounted.unmount();
    assert!(debugfs(&disk.content(), "show_super_stats -h").contains("not clean"));
}
