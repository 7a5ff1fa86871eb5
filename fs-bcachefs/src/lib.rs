//! bcachefs: its buffered write path as real code, with the protocols that it has had.
//!
//! The disk format is not read yet. The write path runs over a trait of extents ([`extents`]), which a
//! scratch volume implements in memory; a real disk will implement it with its btree.
//!
//! | module | what |
//! |---|---|
//! | [`write`] | the buffered write: what all protocols share, and the three protocols |
//! | [`sectors`] | the states of a folio's sectors |
//! | [`writeback`], [`fault`], [`seek`] | what writeback, page_mkwrite and seeks do with them |
//! | [`extents`], [`simple_extents`] | where sectors are; the map in memory |
//! | [`volume`] | inodes and names of a scratch volume |
//! | [`options`] | mount options |
//! | [`error`] | what can go wrong |
//! | `vfs` | the server's traits |
//!
//! The lock order is `inode lock > pagecache lock > folio locks, ascending > extents`: folios are locked
//! before what would be a transaction.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod error;
pub mod extents;
pub mod fault;
pub mod options;
pub mod sectors;
pub mod seek;
pub mod simple_extents;
mod vfs;
pub mod volume;
pub mod write;
pub mod writeback;

pub use options::{Options, VolumeKind, WriteProtocol};
pub use vfs::mount;
