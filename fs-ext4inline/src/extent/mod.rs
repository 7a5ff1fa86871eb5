//! Extent trees: which blocks of the disk a file's blocks are on.

mod change;
pub mod node;
mod room;
pub mod tree;

pub use node::{Extent, ExtentState};
