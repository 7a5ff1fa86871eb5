//! A mounted file system with its workers and threads.
//!
//! Owns: the parts and their life from mount to unmount. Does not own: what they do.
//!
//! Threads: fault workers and request workers answer messages; writeback, completion and reclaim
//! threads have their own memory and wait for no worker. A host starts them all by
//! [`Server::start_threads`], or the workers itself.

use crate::config::{Config, WorkerPool};
use crate::counters::Counters;
use crate::dentry_cache::DentryCache;
use crate::error::{Error, Result};
use crate::errseq::ErrSeq;
use crate::fs::{Credentials, FileKind, FileSystem, SyncMode};
use crate::inode_cache::{InodeCache, InodeRef};
use crate::mmap::Mappings;
use crate::open_file::{Handle, OpenFile, OpenFiles};
use crate::page_cache::PageCache;
use crate::request::ProgressTable;
use crate::writeback::Writeback;
use alloc::sync::Arc;
use pager_abi::socket::{NO_WAIT, QUEUE_FAULT, QUEUE_ORDINARY};
use platform::block::{BlockDevice, IoError};
use platform::client::{self, ZapWhat};
use platform::lockdep::{LEAF, RENAME, WORKER};
use platform::sync::{Mutex, RwLock, WaitQueue, Word};
use platform::thread::{self, ThreadKind};
use platform::{Mutant, mutant};
use syscall::flag::{O_DIRECTORY, O_RDONLY};
use syscall::schemev2::Cqe;

/// A mounted file system and all that answers for it.
pub struct Server {
    pub(crate) fs: Arc<dyn FileSystem>,
    pub(crate) device: Arc<dyn BlockDevice>,
    pub(crate) config: Config,
    pub(crate) page_cache: PageCache,
    pub(crate) inodes: InodeCache,
    pub(crate) dentries: DentryCache,
    pub(crate) files: OpenFiles,
    pub(crate) mappings: Mappings,
    pub(crate) root: InodeRef,
    /// Errors of writeback of the whole file system.
    pub(crate) errors: ErrSeq,
    pub(crate) counters: Counters,
    pub(crate) progress: ProgressTable,
    pub(crate) writeback: Writeback,
    pub(crate) rename_lock: Mutex<()>,
    /// False once it is unmounted; each request holds it shared.
    pub(crate) mounted: RwLock<bool>,
    pub(crate) reclaim_pause: WaitQueue,
    stopping: Word,
    /// Threads that may still dirty or write something.
    helpers: Word,
    helpers_gone: WaitQueue,
    unmounted: WaitQueue,
}

/// What `stopping` says: the helpers shall stop, the completion threads too, all has ended.
const STOP_HELPERS: u32 = 1;
const STOP_COMPLETIONS: u32 = 2;
const GONE: u32 = 4;

impl Server {
    /// Takes over a mounted file system on `device`, whose blocks hold the files' data. Nothing
    /// runs until [`Server::start_threads`].
    pub fn start(fs: Arc<dyn FileSystem>, device: Arc<dyn BlockDevice>, config: Config) -> Result<Arc<Self>> {
        let config = config.checked();
        let block_size = fs.block_size();
        if !block_size.is_power_of_two() || !(512..=4096).contains(&block_size) {
            return Err(Error::Unsupported(alloc::format!("blocks of {block_size} bytes")));
        }
        let inodes = InodeCache::new(block_size.trailing_zeros() as u8, fs.invalidate_lock(), config.idle_inodes);
        let root = inodes.insert_root(fs.read_inode(fs.root())?);
        if root.kind != FileKind::Directory {
            return Err(Error::Corrupt("the root is no directory".into()));
        }
        let errors = ErrSeq::new();
        let who = Credentials::default();
        let root_file = OpenFile::new(root.clone(), O_RDONLY | O_DIRECTORY, who, errors.sample(), None);
        Ok(Arc::new(Self {
            page_cache: PageCache::new(config.cache_pages, config.folio_order_max),
            dentries: DentryCache::new(config.names),
            files: OpenFiles::new(Handle::File(root_file)),
            mappings: Mappings::new(),
            counters: Counters::default(),
            progress: ProgressTable::new(),
            writeback: Writeback::new(config.bounce_buffers, config.folio_order_max)?,
            rename_lock: Mutex::new(&RENAME, ()),
            mounted: RwLock::new(&WORKER, true),
            reclaim_pause: WaitQueue::new(),
            stopping: Word::new(&LEAF, 0),
            helpers: Word::new(&LEAF, 0),
            helpers_gone: WaitQueue::new(),
            unmounted: WaitQueue::new(),
            fs,
            device,
            config,
            inodes,
            root,
            errors,
        }))
    }

    /// Starts the server's own threads and its workers.
    pub fn start_threads(self: &Arc<Self>) -> Result<()> {
        self.start_helpers()?;
        for _ in 0..self.config.fault_workers {
            self.spawn("fault worker", ThreadKind::FaultWorker, Self::fault_worker)?;
        }
        for _ in 0..self.config.request_workers {
            self.spawn("request worker", ThreadKind::RequestWorker, Self::request_worker)?;
        }
        Ok(())
    }

    /// Starts only the threads that write back, complete and reclaim: for a host that runs
    /// [`Server::fault_worker`] and [`Server::request_worker`] on threads of its own.
    pub fn start_helpers(self: &Arc<Self>) -> Result<()> {
        self.spawn("completion", ThreadKind::IoCompletion, Self::completion_thread)?;
        for _ in 0..self.config.writeback_workers {
            self.spawn_helper("writeback", ThreadKind::Writeback, Self::writeback_thread)?;
        }
        self.spawn_helper("reclaim", ThreadKind::Reclaim, Self::reclaim_thread)
    }

    fn spawn(self: &Arc<Self>, name: &'static str, kind: ThreadKind, body: fn(&Self)) -> Result<()> {
        let server = self.clone();
        let started = thread::spawn(name, kind, move || body(&server));
        if started { Ok(()) } else { Err(Error::NoMemory) }
    }

    fn spawn_helper(self: &Arc<Self>, name: &'static str, kind: ThreadKind, body: fn(&Self)) -> Result<()> {
        let server = self.clone();
        self.helpers.fetch_add(1);
        let started = thread::spawn(name, kind, move || {
            body(&server);
            server.helper_ended();
        });
        if !started {
            self.helper_ended();
            return Err(Error::NoMemory);
        }
        Ok(())
    }

    fn helper_ended(&self) {
        self.helpers.fetch_sub(1);
        self.helpers_gone.wake_all();
    }

    /// Answers page faults until the socket is closed.
    pub fn fault_worker(&self) {
        self.worker(self.queues(QUEUE_FAULT))
    }

    /// Answers everything else until the socket is closed.
    pub fn request_worker(&self) {
        self.worker(self.queues(QUEUE_ORDINARY))
    }

    /// What a worker of these queues answers.
    fn queues(&self, own: u64) -> u64 {
        match self.config.pool {
            WorkerPool::Dedicated if !mutant(Mutant::FaultsFromSharedPool) => own,
            _ => QUEUE_FAULT | QUEUE_ORDINARY,
        }
    }

    fn worker(&self, mask: u64) {
        let mut answer: Option<Cqe> = None;
        while let Some(sqe) = client::receive(mask, answer.as_slice()) {
            answer = self.handle(sqe);
            if let (Some(answer), true) = (answer, mutant(Mutant::AnsweredTwice)) {
                client::receive(NO_WAIT, &[answer]);
            }
        }
    }

    /// Serves one message if there is one, for a host without workers; whether there was one.
    pub fn serve_one(&self) -> bool {
        let Some(sqe) = client::receive(QUEUE_FAULT | QUEUE_ORDINARY | NO_WAIT, &[]) else { return false };
        if let Some(answer) = self.handle(sqe) {
            client::receive(NO_WAIT, &[answer]);
        }
        true
    }

    /// What it was started with, within the bounds that it needs.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Pages of file data in memory.
    pub fn cached_pages(&self) -> usize {
        self.page_cache.used()
    }

    /// The counters, for a host that reports them.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether the file system was unmounted.
    pub fn is_unmounted(&self) -> bool {
        self.stopping.load() & GONE != 0
    }

    /// Waits until the file system was unmounted.
    pub fn wait_until_unmounted(&self) {
        self.unmounted.wait_until("the unmount", || self.is_unmounted());
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load() & STOP_HELPERS != 0
    }

    pub(crate) fn completions_may_stop(&self) -> bool {
        self.stopping.load() & STOP_COMPLETIONS != 0
    }

    /// Writes everything back, marks the disk clean, ends the server's own threads. Later requests
    /// are answered `EIO`. The caller is no request that holds the server mounted.
    pub fn unmount(&self) -> Result<()> {
        let outcome = self.take_down();
        self.announce_unmounted();
        outcome
    }

    /// Lets [`Server::wait_until_unmounted`] return.
    pub(crate) fn announce_unmounted(&self) {
        if !*self.mounted.read() {
            self.stopping.fetch_or(GONE);
            self.unmounted.wake_all();
        }
    }

    /// The unmount, before anybody is told.
    pub(crate) fn take_down(&self) -> Result<()> {
        let mut mounted = self.mounted.write();
        if !*mounted {
            return Err(Error::Io(IoError::Gone));
        }
        *mounted = false;
        self.stop_helpers();
        self.release_all_writers();
        for inode in self.inodes.all() {
            if inode.mapping.grants.load() > 0 {
                client::zap(inode.mapping.cookie, 0, 0, ZapWhat::Shared);
            }
        }
        if !self.fs.read_only() {
            self.write_all_inodes();
        }
        self.mappings.remove_all();
        drop(self.files.remove_all());
        self.dentries.clear();
        self.reap_inodes();
        self.evict_all_idle();
        let written = if self.fs.read_only() { Ok(()) } else { self.fs.sync(SyncMode::Wait).and(self.fs.unmount()) };
        self.stopping.fetch_or(STOP_COMPLETIONS);
        self.writeback.wake_all();
        let errors = self.errors.check_and_advance(&crate::errseq::ErrSeen::nothing());
        written.and(errors)
    }

    fn stop_helpers(&self) {
        self.stopping.fetch_or(STOP_HELPERS);
        self.writeback.wake_all();
        self.page_cache.kick_reclaim();
        self.reclaim_pause.wake_all();
        self.helpers_gone.wait_until("the server's threads to end", || self.helpers.load() == 0);
    }
}
