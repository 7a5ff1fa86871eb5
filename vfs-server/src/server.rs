//! A mounted file system with its workers and threads.
//!
//! Owns: the parts and their life from mount to unmount. Does not own: what they do.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::fs::FileSystem;
use crate::page_cache::PageCache;
use alloc::sync::Arc;
use pager_abi::Tag;
use pager_abi::fault::regular_cqe;
use pager_abi::socket::{QUEUE_FAULT, QUEUE_ORDINARY};
use platform::block::{BlockDevice, IoError};
use platform::client;
use platform::thread::{self, ThreadKind};
use syscall::schemev2::{Cqe, Sqe, SqeFlags};

/// A mounted file system and all that answers for it.
pub struct Server {
    pub(crate) fs: Arc<dyn FileSystem>,
    pub(crate) device: Arc<dyn BlockDevice>,
    pub(crate) config: Config,
    pub(crate) page_cache: PageCache,
}

impl Server {
    /// Takes over a mounted file system on `device`, whose blocks hold the files' data. Nothing
    /// runs until [`Server::start_threads`].
    pub fn start(fs: Arc<dyn FileSystem>, device: Arc<dyn BlockDevice>, config: Config) -> Result<Arc<Self>> {
        let config = config.checked();
        Ok(Arc::new(Self { fs, device, page_cache: PageCache::new(config.cache_pages), config }))
    }

    /// Starts the server's own threads and its workers.
    pub fn start_threads(self: &Arc<Self>) -> Result<()> {
        for _ in 0..self.config.fault_workers {
            let server = self.clone();
            started(thread::spawn("fault worker", ThreadKind::FaultWorker, move || server.fault_worker()))?;
        }
        for _ in 0..self.config.request_workers {
            let server = self.clone();
            started(thread::spawn("request worker", ThreadKind::RequestWorker, move || server.request_worker()))?;
        }
        Ok(())
    }

    /// Answers page faults until the socket is closed.
    pub fn fault_worker(&self) {
        self.worker(QUEUE_FAULT)
    }

    /// Answers everything else until the socket is closed.
    pub fn request_worker(&self) {
        self.worker(QUEUE_ORDINARY)
    }

    fn worker(&self, mask: u64) {
        let mut answer: Option<Cqe> = None;
        while let Some(sqe) = client::receive(mask, answer.as_slice()) {
            answer = self.answer(&sqe);
        }
    }

    fn answer(&self, sqe: &Sqe) -> Option<Cqe> {
        if sqe.sqe_flags.contains(SqeFlags::ONEWAY) {
            return None;
        }
        let enosys = syscall::Error::mux(Err(syscall::Error::new(syscall::ENOSYS)));
        Some(regular_cqe(Tag(sqe.tag), enosys as u64))
    }
}

fn started(started: bool) -> Result<()> {
    if started { Ok(()) } else { Err(Error::Io(IoError::NoMemory)) }
}
