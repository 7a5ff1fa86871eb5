//! The server: inodes, page cache, file mappings, and the requests and faults that reach them.
//!
//! | module | what |
//! |---|---|
//! | [`server`] | a mounted file system with its workers and threads: where everything starts |
//! | [`config`], [`mount_option`], [`counters`] | what can be set at the start, and how; what has happened since |
//! | [`request`] | from a message to the operation and back to one answer |
//! | [`fault`], [`mmap`] | page faults of clients; the mapping objects that they fault on |
//! | [`path`], [`dentry_cache`] | walking a path; names in memory |
//! | [`open_file`], [`permission`] | open files; who may do what |
//! | [`file`](mod@file) | read, write, truncate, fsync, holes |
//! | [`page_cache`] | folios, each file's index of them, the bound on their number |
//! | [`writeback`], [`reclaim`], [`readahead`], [`migrate`] | dirty folios to the disk, clean ones away, wanted ones early, any to other frames |
//! | [`inode`], [`inode_cache`] | attributes, size, locks of a file; one object for each inode |
//! | [`error`], [`errseq`] | why an operation failed; errors of writeback, told once to each open file |
//! | [`fs`] | what a file system implements, named after Linux's operation tables |
//! | [`buffer_cache`], [`atomic_region`] | metadata blocks; metadata that changes as a whole, by a redo log |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod atomic_region;
pub mod buffer_cache;
pub mod config;
pub mod counters;
pub mod dentry_cache;
pub mod error;
pub mod errseq;
pub mod fault;
pub mod file;
pub mod fs;
pub mod inode;
pub mod inode_cache;
pub mod migrate;
pub mod mmap;
pub mod mount_option;
pub mod open_file;
pub mod page_cache;
pub mod path;
pub mod permission;
pub mod readahead;
pub mod reclaim;
pub mod request;
pub mod server;
pub mod writeback;

pub use config::Config;
pub use error::{Error, Result};
pub use server::Server;
