//! Eight threads on a few files against a plain model, with a small cache and a late disk.

mod common;

use common::{Rig, small};
use linux::testing::lanes::{FILES, Lanes};

fn run(block_size: u32) {
    let rig = Rig::start(block_size, 8 << 20 >> block_size.trailing_zeros(), small());
    let server = rig.server.clone();
    let lanes = Lanes { threads: 8, size: 256 << 10, rounds: 600 };
    let seen = lanes.run(&rig.machine, move || _ = server.migrate_folios());
    // What all threads see at the end is what the disk has after the unmount.
    rig.server.unmount().unwrap();
    for (name, seen) in FILES.iter().zip(&seen) {
        assert!(rig.fs.on_disk(&rig.disk, name.as_bytes()) == *seen, "file {name} on the disk");
    }
}

#[test]
fn eight_threads_find_what_they_wrote_with_large_blocks() {
    run(4096);
}

#[test]
fn eight_threads_find_what_they_wrote_with_small_blocks() {
    run(1024);
}
