//! What is done with the contents of a file.
//!
//! | module | what |
//! |---|---|
//! | [`fill`] | brings the file's contents into folios |
//! | [`read`] | the generic buffered read |
//! | [`write`] | the generic buffered write |
//! | `round` | what such a write does under one lock |
//! | `tail` | the page with the end of a file that grows |
//! | [`filemap`], [`iov_iter`] | for a file system with a write path of its own: folios, the client's bytes |
//! | `staging` | a write's bytes before any lock is taken |
//! | [`truncate`] | changes of the size |
//! | [`sync`] | fsync and its relatives |
//! | [`seek`] | holes and data |

pub mod filemap;
pub mod fill;
pub mod iov_iter;
pub mod read;
mod round;
pub mod seek;
pub(crate) mod staging;
pub mod sync;
mod tail;
pub mod truncate;
pub mod write;
