//! A scratch volume on a disk that answers late, on a machine in software.
#![allow(dead_code)]

#[path = "../../../vfs-server/tests/common/fake_disk.rs"]
pub mod fake_disk;

use fake_disk::FakeDisk;
use fs_bcachefs::{Options, WriteProtocol};
use guest::{Client, Machine};
pub use linux::testing::eventually;
use linux::testing::only_machine;
use pager_abi::server_verb::ServerVerb;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use syscall::flag::{O_CREAT, O_RDWR};
use vfs_server::{Config, Server};

pub struct Rig {
    pub machine: Arc<Machine>,
    pub server: Arc<Server>,
    pub disk: Arc<FakeDisk>,
    _only: MutexGuard<'static, ()>,
}

impl Rig {
    /// A volume of `sectors`, in which a write locks at most `folios` folios at once.
    pub fn start(write: WriteProtocol, sectors: u64, folios: usize, config: Config) -> Self {
        let only = only_machine();
        let machine = linux::start_machine();
        let disk = FakeDisk::new(sectors * 512);
        let folios = folios.to_string();
        let options = [("write", write.name()), ("volume", "scratch"), ("folios", folios.as_str())];
        let fs = fs_bcachefs::mount(disk.clone(), Options::parse(options).unwrap()).unwrap();
        let server = Server::start(fs, disk.clone(), config).unwrap();
        server.start_threads().unwrap();
        Self { machine, server, disk, _only: only }
    }

    pub fn small(write: WriteProtocol) -> Self {
        let config = Config { cache_pages: 128, dirty_limit_pages: 32, bounce_buffers: 4, ..Config::default() };
        Self::start(write, 16384, 4, config)
    }

    pub fn client(&self) -> Client {
        Client::new(&self.machine)
    }

    /// Drops what of the page cache is clean; pages.
    pub fn drop_caches(&self, client: &Client) -> usize {
        client.call(0, [ServerVerb::DropCaches as u64, 0, 0], 0).unwrap().0
    }

    /// Unmounts: the volume finds its own contradictions then.
    pub fn unmount(self) {
        self.server.unmount().unwrap();
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.disk.hold_writes.store(false, Ordering::SeqCst);
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

/// Runs a test once for each protocol.
pub fn with_each(test: impl Fn(WriteProtocol)) {
    for protocol in WriteProtocol::ALL {
        eprintln!("write={}", protocol.name());
        test(protocol);
    }
}

/// Opens a file for reading and writing, made if it is not there.
pub fn open(client: &Client, path: &str) -> u64 {
    client.open(path, O_RDWR | O_CREAT | 0o644).unwrap()
}
