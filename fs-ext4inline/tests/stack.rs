//! The whole stack on Linux threads: clients with system calls and mappings, the kernel's half of
//! the paging protocol, the server with its workers, ext4 on a disk of mke2fs's; e2fsck judges.
//!
//! Each thread has files of its own, which it compares with a plain model after every step, and a
//! part of a file that all of them share. The page cache is smaller than what they write, so that
//! reclaim, writeback and faults meet all the time.

mod common;

use common::*;
use fs_ext4inline::{Access, Options, mount};
use linux::MemoryDisk;
use linux::guest::{Client, Mapping};
use pager_core::{Rights, Sharing};
use std::sync::Arc;
use syscall::flag::{O_CREAT, O_RDWR, O_TRUNC};
use vfs_server::{Config, Server};

const THREADS: u64 = 4;
const STEPS: usize = 250;
const PAGE: u64 = 4096;
/// The most bytes that a thread's own file has.
const FILE_MAX: u64 = 40 * PAGE;

/// xorshift64*: the same numbers for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// A file of one thread and what is in it.
struct Owned {
    file: u64,
    model: Vec<u8>,
    mapping: Option<Mapping>,
}

impl Owned {
    fn step(&mut self, client: &Client, random: &mut Random) {
        // Small files stay inline for a while; most steps are small.
        let scale = [64, 300, PAGE, FILE_MAX][random.below(4) as usize];
        let at = random.below(scale);
        let len = 1 + random.below((scale - at).min(3 * PAGE)) as usize;
        match random.below(8) {
            0..=2 => {
                let bytes = random.bytes(len);
                assert_eq!(client.write(self.file, at, &bytes), Ok(len), "write of {len} at {at}");
                let end = at as usize + len;
                if self.model.len() < end {
                    self.model.resize(end, 0);
                }
                self.model[at as usize..end].copy_from_slice(&bytes);
            }
            3 => {
                client.truncate(self.file, at).unwrap();
                self.model.resize(at as usize, 0);
            }
            4 => {
                let mapping = self.mapping(client);
                let end = self.model.len().min(at as usize + len);
                if (at as usize) < end {
                    let bytes = random.bytes(end - at as usize);
                    client.store(mapping.address + at, &bytes).unwrap();
                    self.model[at as usize..end].copy_from_slice(&bytes);
                }
            }
            5 => {
                let mapping = self.mapping(client);
                let end = self.model.len().min(at as usize + len);
                if (at as usize) < end {
                    let loaded = client.load(mapping.address + at, end - at as usize).unwrap();
                    assert!(loaded == self.model[at as usize..end], "load of [{at}, {end})");
                }
            }
            6 => client.fsync(self.file).unwrap(),
            _ => {
                if let Some(mapping) = self.mapping.take() {
                    client.unmap(mapping);
                }
            }
        }
        self.check(client);
    }

    fn mapping(&mut self, client: &Client) -> Mapping {
        *self.mapping.get_or_insert_with(|| {
            client.map(self.file, 0, FILE_MAX / PAGE, Rights::READ_WRITE, Sharing::Shared).unwrap()
        })
    }

    fn check(&self, client: &Client) {
        assert_eq!(client.size(self.file), Ok(self.model.len() as u64));
        let read = client.read(self.file, 0, FILE_MAX as usize).unwrap();
        let differs = read.iter().zip(&self.model).position(|(read, model)| read != model);
        assert!(read.len() == self.model.len() && differs.is_none(), "differs from the model at {differs:?}");
    }
}

fn run_thread(client: &Client, number: u64) -> Vec<(String, Vec<u8>)> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (number + 1));
    let directory = format!("thread{number}");
    client.open(&directory, O_CREAT | syscall::O_DIRECTORY | 0o755).unwrap();
    let mut files: Vec<(String, Owned)> = (0..3)
        .map(|index| {
            let path = format!("{directory}/file{index}");
            let file = client.open(&path, O_RDWR | O_CREAT | O_TRUNC | 0o644).unwrap();
            (path, Owned { file, model: Vec::new(), mapping: None })
        })
        .collect();
    let shared = client.open("shared", O_RDWR).unwrap();
    let window = number * 16 * PAGE;
    let mapping = client.map(shared, 0, 16 * THREADS, Rights::READ_WRITE, Sharing::Shared).unwrap();
    for step in 0..STEPS {
        let index = random.below(files.len() as u64) as usize;
        files[index].1.step(client, &mut random);
        // Its own part of the shared file, by store or by write, seen by load and by read.
        let at = window + random.below(15 * PAGE);
        let len = 1 + random.below(PAGE) as usize;
        let bytes = random.bytes(len);
        if step % 2 == 0 {
            client.store(mapping.address + at, &bytes).unwrap();
        } else {
            assert_eq!(client.write(shared, at, &bytes), Ok(bytes.len()));
        }
        assert!(client.load(mapping.address + at, bytes.len()).unwrap() == bytes, "load of the shared file at {at}");
        assert!(client.read(shared, at, bytes.len()).unwrap() == bytes, "read of the shared file at {at}");
    }
    client.unmap(mapping);
    client.close(shared);
    let mut contents = Vec::new();
    for (path, mut owned) in files {
        if let Some(mapping) = owned.mapping.take() {
            client.unmap(mapping);
        }
        client.close(owned.file);
        contents.push((path, owned.model));
    }
    contents
}

#[test]
fn four_clients_write_and_map_while_memory_is_short() {
    if !have_e2fsprogs() {
        return;
    }
    for block_size in ["1024", "4096"] {
        let image = mke2fs(&["-b", block_size, "-O", "inline_data"], 64);
        let disk = Arc::new(MemoryDisk::new(image));
        let machine = linux::start_machine();
        let fs = mount(disk.clone(), Access::ReadWrite, Options::default()).unwrap();
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
        main.close(shared);
        server.unmount().unwrap();
        machine.close();
        assert_eq!(machine.mapped_pages(), 0);

        let image = disk.content();
        assert_fsck_clean(&image);
        let mounted = Mounted::new(image, Access::ReadOnly).unwrap();
        for (path, model) in contents {
            let inode = mounted.walk(&path).unwrap();
            assert!(mounted.read(&inode).unwrap() == model, "{path} on the disk");
        }
    }
}
