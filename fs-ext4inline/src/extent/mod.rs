//! Extent trees: which blocks of the disk a file's blocks are on.

pub mod node;
pub mod tree;

pub use node::{Extent, ExtentState};
