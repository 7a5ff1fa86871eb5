//! The whole stack on Linux threads: clients with system calls and mappings, the server with its
//! workers, a small page cache, so that reclaim, writeback and faults meet all the time.
//!
//! Each thread writes, truncates and maps files of its own, compared with a plain model after every
//! step, and a part of a file that all share; what they believe at the end is what the disk has.

mod common;

use common::*;
use fs_mini::mount;
use linux::MemoryDisk;
use linux::guest::{Client, Mapping};
use pager_core::{Rights, Sharing};
use std::sync::Arc;
use syscall::flag::{O_CREAT, O_RDONLY, O_RDWR};
use vfs_server::fs::Access;
use vfs_server::{Config, Server};

const THREADS: u64 = 4;
const STEPS: usize = 250;
const PAGE: u64 = 4096;
/// The most bytes that a thread's own file has.
const FILE_MAX: u64 = 40 * PAGE;

/// A file of one thread and what is in it.
struct Owned {
    path: String,
    file: u64,
    model: Vec<u8>,
    mapping: Option<Mapping>,
}

impl Owned {
    fn new(client: &Client, path: String) -> Self {
        let file = client.open(&path, O_RDWR | O_CREAT | 0o644).unwrap();
        Self { path, file, model: Vec::new(), mapping: None }
    }

    fn step(&mut self, client: &Client, random: &mut Random, serial: u64) {
        let scale = [300, PAGE, FILE_MAX][random.below(3) as usize];
        let at = random.below(scale);
        let len = 1 + random.below((scale - at).min(3 * PAGE)) as usize;
        let bytes = pattern(serial, len);
        let end = self.model.len().min(at as usize + len);
        match random.below(9) {
            0..=2 => {
                assert_eq!(client.write(self.file, at, &bytes), Ok(len), "write of {len} at {at}");
                self.model.resize(self.model.len().max(at as usize + len), 0);
                self.model[at as usize..at as usize + len].copy_from_slice(&bytes);
            }
            3 => {
                client.truncate(self.file, at).unwrap();
                self.model.resize(at as usize, 0);
            }
            4 | 5 if (at as usize) < end => {
                let address = self.mapping(client).address + at;
                let range = at as usize..end;
                client.store(address, &bytes[..range.len()]).unwrap();
                self.model[range.clone()].copy_from_slice(&bytes[..range.len()]);
                assert!(client.load(address, range.len()).unwrap() == self.model[range], "load after a store");
            }
            6 => client.fsync(self.file).unwrap(),
            7 => {
                let path = format!("{}{serial}", &self.path[..self.path.find("file").unwrap() + 4]);
                let moved = client.open(&self.path, O_RDONLY).unwrap();
                client.rename(moved, &path).unwrap();
                client.close(moved);
                self.path = path;
            }
            _ => self.unmap(client),
        }
        assert_eq!(client.size(self.file), Ok(self.model.len() as u64));
        let read = client.read(self.file, 0, FILE_MAX as usize).unwrap();
        let differs = read.iter().zip(&self.model).position(|(read, model)| read != model);
        assert!(read.len() == self.model.len() && differs.is_none(), "differs from the model at {differs:?}");
    }

    fn mapping(&mut self, client: &Client) -> Mapping {
        let map = || client.map(self.file, 0, FILE_MAX / PAGE, Rights::READ_WRITE, Sharing::Shared).unwrap();
        *self.mapping.get_or_insert_with(map)
    }

    fn unmap(&mut self, client: &Client) {
        if let Some(mapping) = self.mapping.take() {
            client.unmap(mapping);
        }
    }
}

/// One client; what it believes to be in its files at the end.
fn run_thread(client: &Client, number: u64) -> Vec<(String, Vec<u8>)> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (number + 1));
    client.open(&format!("thread{number}"), O_CREAT | syscall::O_DIRECTORY | 0o755).unwrap();
    let mut files: Vec<Owned> = (0..3).map(|n| Owned::new(client, format!("thread{number}/file{n}"))).collect();
    let shared = client.open("shared", O_RDWR).unwrap();
    let mapping = client.map(shared, 0, 16 * THREADS, Rights::READ_WRITE, Sharing::Shared).unwrap();
    for step in 0..STEPS {
        let serial = 1000 * (number + 1) + step as u64;
        files[random.below(3) as usize].step(client, &mut random, serial);
        // Its own part of the shared file, by store or by write, seen by load and by read.
        let at = number * 16 * PAGE + random.below(15 * PAGE);
        let bytes = pattern(serial, 1 + random.below(PAGE) as usize);
        if step % 2 == 0 {
            client.store(mapping.address + at, &bytes).unwrap();
        } else {
            assert_eq!(client.write(shared, at, &bytes), Ok(bytes.len()));
        }
        assert!(client.load(mapping.address + at, bytes.len()).unwrap() == bytes, "load of the shared file at {at}");
        assert!(client.read(shared, at, bytes.len()).unwrap() == bytes, "read of the shared file at {at}");
        if step % 50 == 49 {
            let spare = format!("thread{number}/spare{step}");
            let mut gone = Owned::new(client, spare.clone());
            client.unlink(&spare, 0).unwrap();
            // A file without a name goes on until its last user leaves.
            (0..5).for_each(|more| gone.step_without_name(client, &mut random, serial + more));
            gone.unmap(client);
            client.close(gone.file);
        }
    }
    client.unmap(mapping);
    client.close(shared);
    files.iter_mut().for_each(|owned| owned.unmap(client));
    files.iter().for_each(|owned| client.close(owned.file));
    files.into_iter().map(|owned| (owned.path, owned.model)).collect()
}

impl Owned {
    fn step_without_name(&mut self, client: &Client, random: &mut Random, serial: u64) {
        let at = random.below(FILE_MAX - PAGE);
        let bytes = pattern(serial, 1 + random.below(PAGE) as usize);
        assert_eq!(client.write(self.file, at, &bytes), Ok(bytes.len()));
        assert!(client.read(self.file, at, bytes.len()).unwrap() == bytes);
        let end = client.size(self.file).unwrap();
        let mapping = self.mapping(client);
        client.store(mapping.address + end - 1, &[7]).unwrap();
    }
}

fn run(block_size: u32) {
    let disk = Arc::new(MemoryDisk::new(empty(block_size, (24 << 20) / block_size)));
    let machine = linux::start_machine();
    let fs = mount(disk.clone(), Access::ReadWrite).unwrap();
    let config = Config { cache_pages: 192, dirty_limit_pages: 64, ..Config::default() };
    let server = Server::start(fs, disk.clone(), config).unwrap();
    server.start_threads().unwrap();
    let main = Client::new(&machine);
    let shared = main.open("shared", O_RDWR | O_CREAT | 0o644).unwrap();
    main.truncate(shared, THREADS * 16 * PAGE).unwrap();
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let machine = machine.clone();
            std::thread::spawn(move || run_thread(&Client::new(&machine), number))
        })
        .collect();
    let contents: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().expect("a client failed")).collect();
    let seen = main.read(shared, 0, (THREADS * 16 * PAGE) as usize).unwrap();
    main.close(shared);
    server.unmount().unwrap();
    machine.close();
    assert_eq!(machine.mapped_pages(), 0);

    assert_eq!(problems(disk.content()), []);
    let files = tree(disk);
    assert!(files["/shared"] == seen, "the shared file on the disk");
    for (path, model) in &contents {
        assert!(files[&format!("/{path}")] == *model, "{path} on the disk");
    }
    let spare: Vec<_> = files.keys().filter(|path| path.contains("spare")).collect();
    assert!(spare.is_empty(), "{spare:?}");
}

#[test]
fn four_clients_write_cut_and_map_while_memory_is_short() {
    // One machine a process at a time.
    run(1024);
    run(4096);
}
