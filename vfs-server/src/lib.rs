//! The server: inodes, page cache, file mappings, and the requests and faults that reach them.
//!
//! | module | what |
//! |---|---|
//! | [`error`] | why an operation failed; errno only where a request is answered |
//! | [`fs`] | what a file system implements, named after Linux's operation tables |
//! | [`inode`] | the inode: attributes, size, the locks of a file |
//! | [`buffer_cache`] | metadata blocks |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod buffer_cache;
pub mod error;
pub mod fs;
pub mod inode;

pub use error::{Error, Result};
