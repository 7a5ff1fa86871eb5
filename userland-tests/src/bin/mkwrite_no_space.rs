//! No room for a store into a hole: the store fails at once, with the error that its waiter sees;
//! pages that have room go on, and nothing that was there is lost.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use userland_tests::{
    model::{Model, pattern},
    prelude::*,
};

userland_tests::test!(run);

const PAGE: usize = 4096;
const HOLES: usize = 64;
/// More than this is not filled: the test is about the end of room, not about its size.
const MOST: u64 = 512 << 20;

fn run() -> Outcome {
    let room = sys::room()?;
    if room.free * room.block_size > MOST {
        return skip("the disk has too much room to fill it up");
    }
    let dir = Scratch::new("mkwrite_no_space")?;
    let result = full(&dir);
    // Whatever happened, the others need the room.
    let removed = sys::unlink(&dir.path("filler"));
    result?;
    removed?;
    sys::sync_all()?;
    check_eq!(dir.create("after")?.write_at(&vec![1; 10 * PAGE], 0)?, 10 * PAGE, "a write once there is room again");
    note!("there is room again once the filler is gone");
    Ok(())
}

fn full(dir: &Scratch) -> Outcome {
    let kept = dir.create("kept")?;
    let model = Model(pattern(1, 0, 3 * PAGE));
    check_eq!(kept.write_at(&model.0, 0)?, 3 * PAGE, "write");
    let sparse = dir.create("sparse")?;
    sparse.truncate((HOLES * PAGE) as u64)?;
    let mapping = Mapping::new(&sparse, 0, HOLES * PAGE, Protection::ReadWrite, Sharing::Shared)?;
    let kept_mapping = Mapping::new(&kept, 0, 3 * PAGE, Protection::ReadWrite, Sharing::Shared)?;
    check_eq!(mapping.load(0), 0, "load of a hole");
    kept.sync()?;

    let filler = dir.create("filler")?;
    let mut size = 0;
    let chunk = vec![0x77; 1 << 20];
    // First in large steps, then to the last block.
    for step in [1 << 20, 64 << 10, PAGE, 512] {
        loop {
            match filler.write_at(&chunk[..step], size) {
                Ok(count) => size += count as u64,
                Err(Errno::ENOSPC) => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        // What is only promised becomes real, which may use less or more than was promised.
        filler.sync()?;
    }
    note!("{} MiB fill the disk", size >> 20);

    let steps = Steps::new()?;
    let child = in_child(|| {
        for page in 0..HOLES {
            mapping.store(page * PAGE + 1, 7);
            steps.set(0, page as u64 + 1);
        }
        Ok(())
    })?;
    match child.wait()? {
        Ended::Fault { errno: Some(errno) } => {
            check_eq!(Errno(errno), Errno::ENOSPC, "the fault's error");
        }
        Ended::Fault { errno: None } => {}
        ended => check!(false, "a store into a hole of a full disk ends in {ended:?}"),
    }
    let stored = steps.value(0) as usize;
    note!("after {stored} stores one fails, and the program sees it");
    for page in 0..HOLES {
        check_eq!(mapping.load(page * PAGE + 1), if page < stored { 7 } else { 0 }, "page {page} after the failure");
    }
    kept_mapping.store(2 * PAGE, model.0[2 * PAGE]);
    kept.sync()?;
    model.compare(&kept, PAGE, "a file that has its blocks")?;
    note!("a store into a page that has its block still succeeds");
    Ok(())
}
