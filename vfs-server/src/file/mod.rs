//! What is done with the contents of a file.
//!
//! | module | what |
//! |---|---|
//! | [`fill`] | brings the file's contents into folios |
//! | [`read`] | the generic buffered read |
//! | [`write`] | the generic buffered write |
//! | [`truncate`] | changes of the size |
//! | [`sync`] | fsync and its relatives |
//! | [`seek`] | holes and data |

pub mod fill;
pub mod read;
pub mod seek;
pub mod sync;
pub mod truncate;
pub mod write;
