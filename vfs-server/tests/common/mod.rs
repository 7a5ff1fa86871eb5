//! What the tests of the server share: a fake file system, a disk that answers late and can fail,
//! and a machine in software with both.
#![allow(dead_code)]

pub mod fake_disk;
pub mod fake_fs;

use fake_disk::FakeDisk;
use fake_fs::FakeFs;
use linux::guest::{Client, Machine};
pub use linux::testing::eventually;
use linux::testing::only_machine;
use pager_abi::server_verb::ServerVerb;
use std::sync::{Arc, MutexGuard};
use syscall::flag::{O_CREAT, O_RDWR};
use vfs_server::{Config, Server};

/// Shows what the server logs beside a failing test.
struct Stderr;

impl log::Log for Stderr {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        eprintln!("{}: {}", record.level(), record.args());
    }
    fn flush(&self) {}
}

/// A server with a fake file system on a machine in software.
pub struct Rig {
    pub machine: Arc<Machine>,
    pub server: Arc<Server>,
    pub fs: Arc<FakeFs>,
    pub disk: Arc<FakeDisk>,
    _only: MutexGuard<'static, ()>,
}

/// Settings for a machine that reaches its limits soon.
pub fn small() -> Config {
    Config { cache_pages: 128, dirty_limit_pages: 32, bounce_buffers: 4, ..Config::default() }
}

impl Rig {
    /// Blocks of `block_size` bytes, `blocks` of them.
    pub fn start(block_size: u32, blocks: u64, config: Config) -> Self {
        let only = only_machine();
        Self::on(FakeDisk::new(blocks * u64::from(block_size)), block_size, config, only)
    }

    fn on(disk: Arc<FakeDisk>, block_size: u32, config: Config, only: MutexGuard<'static, ()>) -> Self {
        if log::set_logger(&Stderr).is_ok() {
            log::set_max_level(log::LevelFilter::Info);
        }
        let machine = linux::start_machine();
        let fs = FakeFs::new(block_size, disk.clone());
        let server = Server::start(fs.clone(), disk.clone(), config).unwrap();
        server.start_threads().unwrap();
        Self { machine, server, fs, disk, _only: only }
    }

    pub fn default() -> Self {
        Self::start(4096, 4096, Config::default())
    }

    pub fn client(&self) -> Client {
        Client::new(&self.machine)
    }

    /// Drops what of the page cache is clean; pages.
    pub fn drop_caches(&self, client: &Client) -> usize {
        client.call(0, [ServerVerb::DropCaches as u64, 0, 0], 0).unwrap().0
    }

    /// A counter of the server.
    pub fn counter(&self, client: &Client, name: &str) -> u64 {
        let (_, text) = client.call(0, [ServerVerb::Counters as u64, 0, 0], 8192).unwrap();
        let text = String::from_utf8(text).unwrap();
        let line = text.lines().find(|line| line.split(' ').next() == Some(name));
        line.and_then(|line| line.split(' ').nth(1))
            .unwrap_or_else(|| panic!("no counter {name} in {text}"))
            .parse()
            .unwrap()
    }

    /// Unmounts; what the file system has on its disk then.
    pub fn unmount(self) -> (Arc<FakeFs>, Arc<FakeDisk>) {
        self.server.unmount().unwrap();
        (self.fs.clone(), self.disk.clone())
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = self.server.unmount();
        }
        self.machine.close();
        if !std::thread::panicking() {
            // A worker of this server must not ask the next machine for work.
            eventually("the end of the workers", || Arc::strong_count(&self.server) == 1);
        }
    }
}

/// Opens a file for reading and writing, made if it is not there.
pub fn open(client: &Client, path: &str) -> u64 {
    client.open(path, O_RDWR | O_CREAT | 0o644).unwrap()
}

/// Bytes that tell where they are: different in each block and each version.
pub fn pattern(version: u64, offset: u64, len: usize) -> Vec<u8> {
    (offset..offset + len as u64)
        .map(|at| (at ^ at >> 8 ^ at >> 16).wrapping_mul(31).wrapping_add(version * 97) as u8)
        .collect()
}
