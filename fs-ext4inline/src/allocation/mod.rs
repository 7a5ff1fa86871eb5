//! Allocation of blocks and inodes from the bitmaps of groups.

pub mod bitmap;
pub mod blocks;
pub mod inodes;
