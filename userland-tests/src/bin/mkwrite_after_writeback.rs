//! A page that was written back is write-protected: the next store is noticed, and is on the disk
//! after the next sync.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use userland_tests::{
    harness::Verify,
    model::{Model, pattern},
    prelude::*,
};

userland_tests::test!(run);

const PAGES: usize = 16;
const ROUNDS: u64 = 6;

fn run() -> Outcome {
    let dir = Scratch::new("mkwrite_after_writeback")?;
    let file = dir.create("file")?;
    let mut model = Model(pattern(1, 0, PAGES * 4096));
    check_eq!(file.write_at(&model.0, 0)?, model.0.len(), "write");
    file.sync()?;
    let mapping = Mapping::new(&file, 0, PAGES * 4096, Protection::ReadWrite, Sharing::Shared)?;
    for round in 0..ROUNDS {
        let before = sys::counter("mkwrite_faults");
        for page in 0..PAGES {
            let at = page * 4096 + 8 * round as usize;
            // Loaded first, so that the store meets a page that is mapped read-only.
            check_eq!(mapping.load(at), model.0[at], "round {round}: load at {at}");
            let bytes = pattern(round + 2, at, 8);
            mapping.fill(at, &bytes);
            model.write(at, &bytes);
        }
        if let (Some(before), Some(after)) = (before, sys::counter("mkwrite_faults")) {
            check!(after >= before + PAGES as u64, "round {round}: {} page_mkwrite for {PAGES} stores", after - before);
        }
        match round % 3 {
            0 => file.sync()?,
            1 => file.data_sync()?,
            _ => mapping.sync(&file, 0, PAGES * 4096)?,
        }
        model.compare(&file, 4096, &format!("after sync {round}"))?;
    }
    // What the disk has, not the cache: the clean pages are dropped and read again.
    drop(mapping);
    sys::drop_caches()?;
    model.compare(&file, 65536, "read again from the disk")?;
    note!("{ROUNDS} rounds of a store into each of {PAGES} pages, fsync, fdatasync or msync after each");
    Verify::default().add(&dir.path("file"), &model.0).publish("mkwrite_after_writeback")
}
