//! What can be set when a server starts.

use crate::mount_option::{Choice, OptionError, choose};
use crate::page_cache::{MAX_ORDER, PINS_MAX};
use alloc::format;
use alloc::string::String;

/// How a write comes by bytes of a page of its client's that is not resident.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CopyProtocol {
    /// Every lock is dropped and the request sent again when the page is there (rule 1 of the protocol).
    #[default]
    Retry,
    /// As in Linux, the page is faulted in under the inode lock: a fault that waits for that lock is never
    /// answered.
    Faulting,
}

impl Choice for CopyProtocol {
    const OPTION: &'static str = "copy";
    const ALL: &'static [Self] = &[Self::Retry, Self::Faulting];

    fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Faulting => "faulting",
        }
    }
}

/// Who answers page faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WorkerPool {
    /// Threads that do nothing else: a fault never waits for a request.
    #[default]
    Dedicated,
    /// Every worker answers faults and requests: all may be busy with requests that wait for a fault.
    Shared,
}

impl Choice for WorkerPool {
    const OPTION: &'static str = "pool";
    const ALL: &'static [Self] = &[Self::Dedicated, Self::Shared];

    fn name(self) -> &'static str {
        match self {
            Self::Dedicated => "dedicated",
            Self::Shared => "shared",
        }
    }
}

/// Sizes and counts of a server; the defaults suit a small machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Most pages of file data in memory.
    pub cache_pages: usize,
    /// log2 of the most pages of a folio, at most 4.
    pub folio_order_max: u8,
    /// Most pages that are read together because one of them was missing.
    pub readahead_pages: usize,
    /// Threads that answer page faults, at most 31.
    pub fault_workers: usize,
    /// Threads that answer everything else.
    pub request_workers: usize,
    /// Threads that write dirty folios back.
    pub writeback_workers: usize,
    /// Pages of dirty data above which the answers to writers are delayed.
    pub dirty_limit_pages: usize,
    /// Dirty data is written back after about this long.
    pub writeback_interval_ns: u64,
    /// Buffers of a largest folio's size from which dirty data is written; reserved at the start, at least 2.
    pub bounce_buffers: usize,
    /// Inodes that are kept in memory though nobody uses them.
    pub idle_inodes: usize,
    /// Names that are kept in memory.
    pub names: usize,
    /// How long an operation waits for memory before it fails.
    pub memory_deadline_ns: u64,
    /// How bytes come from a client's page that is not resident.
    pub copy: CopyProtocol,
    /// Who answers page faults.
    pub pool: WorkerPool,
    /// After this long within one wait of a request, who waits for whom is logged; 0: never.
    pub blame_deadline_ns: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cache_pages: 8192,
            folio_order_max: MAX_ORDER,
            readahead_pages: 256,
            fault_workers: 2,
            request_workers: 4,
            writeback_workers: 1,
            dirty_limit_pages: 2048,
            writeback_interval_ns: 2_000_000_000,
            bounce_buffers: 16,
            idle_inodes: 1024,
            names: 2048,
            memory_deadline_ns: 10_000_000_000,
            copy: CopyProtocol::Retry,
            pool: WorkerPool::Dedicated,
            blame_deadline_ns: 30_000_000_000,
        }
    }
}

impl Config {
    /// Sets an option by its name in a mount command; `false`: it is none of the server's.
    ///
    /// # Errors
    /// It does not have that value; the error says which it has.
    pub fn set(&mut self, name: &str, value: &str) -> Result<bool, OptionError> {
        let number = || value.parse::<usize>().map_err(|_| OptionError::value("a number", value, "0, 1, 2, .."));
        match name {
            "cache_pages" => self.cache_pages = number()?,
            "folio_order" => self.folio_order_max = number()?.min(usize::from(MAX_ORDER)) as u8,
            "readahead_pages" => self.readahead_pages = number()?,
            "fault_workers" => self.fault_workers = number()?,
            "request_workers" => self.request_workers = number()?,
            "writeback_workers" => self.writeback_workers = number()?,
            "dirty_pages" => self.dirty_limit_pages = number()?,
            "writeback_ms" => self.writeback_interval_ns = (number()? as u64).saturating_mul(1_000_000),
            "deadline_ms" => self.blame_deadline_ns = (number()? as u64).saturating_mul(1_000_000),
            "bounce_buffers" => self.bounce_buffers = number()?,
            "idle_inodes" => self.idle_inodes = number()?,
            CopyProtocol::OPTION => self.copy = choose(value)?,
            WorkerPool::OPTION => self.pool = choose(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The settings, `name=value` a line, as [`Config::set`] takes them.
    pub(crate) fn text(&self) -> String {
        format!(
            "cache_pages={}\nfolio_order={}\nreadahead_pages={}\nfault_workers={}\nrequest_workers={}\nwriteback_workers={}\ndirty_pages={}\n\
             writeback_ms={}\ndeadline_ms={}\nbounce_buffers={}\nidle_inodes={}\ncopy={}\npool={}\n",
            self.cache_pages,
            self.folio_order_max,
            self.readahead_pages,
            self.fault_workers,
            self.request_workers,
            self.writeback_workers,
            self.dirty_limit_pages,
            self.writeback_interval_ns / 1_000_000,
            self.blame_deadline_ns / 1_000_000,
            self.bounce_buffers,
            self.idle_inodes,
            self.copy.name(),
            self.pool.name(),
        )
    }

    /// The settings with what cannot work made to work: bounds that each need to be at least one.
    pub(crate) fn checked(mut self) -> Self {
        self.folio_order_max = self.folio_order_max.min(MAX_ORDER);
        // A largest folio, and one that is written back meanwhile.
        self.cache_pages = self.cache_pages.max(2 << self.folio_order_max);
        self.readahead_pages = self.readahead_pages.max(1);
        // Each pins a folio, for a moment twice.
        self.fault_workers = self.fault_workers.clamp(1, PINS_MAX / 2);
        self.request_workers = self.request_workers.max(1);
        self.writeback_workers = self.writeback_workers.max(1);
        self.dirty_limit_pages = self.dirty_limit_pages.clamp(1, self.cache_pages / 2);
        self.bounce_buffers = self.bounce_buffers.max(2);
        self
    }
}
