//! The server: inodes, page cache, file mappings, and the requests and faults that reach them.
//!
//! | module | what |
//! |---|---|
//! | [`server`] | a mounted file system with its workers and threads: where everything starts |
//! | [`config`] | what can be set at the start |
//! | [`error`], [`errseq`] | why an operation failed; errors of writeback, told once to each open file |
//! | [`fs`] | what a file system implements, named after Linux's operation tables |
//! | [`inode`], [`inode_cache`] | the inode: attributes, size, the locks of a file; those in use |
//! | [`namespace`], [`namei`], [`dcache`], [`permission`] | names and attributes; paths; names looked up; who may |
//! | [`page_cache`] | folios, each file's index of them, the bound on their number |
//! | [`readahead`] | how far to read ahead |
//! | [`buffer_cache`] | metadata blocks |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod buffer_cache;
pub mod config;
pub mod dcache;
pub mod error;
pub mod errseq;
pub mod fs;
pub mod inode;
pub mod inode_cache;
pub mod namei;
pub mod namespace;
pub mod page_cache;
pub mod permission;
pub mod readahead;
pub mod server;

pub use config::Config;
pub use error::{Error, Result};
pub use server::Server;
