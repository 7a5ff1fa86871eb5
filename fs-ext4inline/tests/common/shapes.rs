//! Disks that differ in what matters to a writer.

use super::{Mounted, have_e2fsprogs, mke2fs};
use fs_ext4inline::Access;

/// Their mke2fs arguments.
pub const SHAPES: &[&[&str]] = &[
    &["-b", "1024", "-I", "256", "-O", "inline_data"],
    &["-b", "4096", "-I", "512", "-O", "inline_data"],
    &["-b", "2048", "-I", "1024", "-O", "inline_data,metadata_csum_seed"],
    &["-b", "4096"],
    &["-b", "1024", "-I", "128"],
    &["-b", "1024", "-O", "^metadata_csum,uninit_bg,inline_data"],
    &["-b", "4096", "-O", "^metadata_csum,^uninit_bg,^64bit"],
    &["-b", "1024", "-O", "^has_journal,^resize_inode,^64bit,inline_data"],
    &["-b", "1024", "-O", "^dir_index,inline_data", "-g", "1024"],
    &["-b", "1024", "-O", "^flex_bg,sparse_super2,inline_data", "-g", "2048", "-N", "512"],
];

/// Runs a test on each, of so many MiB; e2fsck must be content afterwards.
pub fn on_every_shape(megabytes: u64, test: impl Fn(&Mounted)) {
    if !have_e2fsprogs() {
        return;
    }
    for shape in SHAPES {
        println!("{shape:?}");
        let mounted = Mounted::new(mke2fs(shape, megabytes), Access::ReadWrite).unwrap();
        test(&mounted);
        mounted.unmount_clean();
    }
}
