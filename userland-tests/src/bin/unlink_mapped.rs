//! A file without a name lives on as long as somebody has it open or mapped, and then its room is
//! free again.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use userland_tests::{
    model::{Model, pattern},
    prelude::*,
};

userland_tests::test!(run);

const PAGES: usize = 100;
const SIZE: usize = PAGES * 4096;

fn run() -> Outcome {
    let dir = Scratch::new("unlink_mapped")?;
    sys::sync_all()?;
    let before = sys::room()?;
    let file = dir.create("file")?;
    let mut model = Model(pattern(1, 0, SIZE));
    check_eq!(file.write_at(&model.0, 0)?, SIZE, "write");
    file.sync()?;
    let mapping = Mapping::new(&file, 0, SIZE, Protection::ReadWrite, Sharing::Shared)?;
    sys::unlink(&dir.path("file"))?;
    check_eq!(dir.open("file").map(|_| ()), Err(Errno::ENOENT), "open of the name");
    check_eq!(file.stat()?.links, 0, "links");
    sys::drop_caches()?;

    mapping.store(77 * 4096, 1);
    model.0[77 * 4096] = 1;
    check_eq!(file.write_at(&[2; 10], 10)?, 10, "write");
    model.write(10, &[2; 10]);
    file.sync()?;
    sys::drop_caches()?;
    model.compare(&file, 4096, "unlinked, and read from the disk")?;
    note!("an unlinked file is written, stored to, synced and read");

    drop(file);
    for page in 0..PAGES {
        check_eq!(mapping.load(page * 4096 + 5), model.0[page * 4096 + 5], "page {page} when only the mapping is left");
    }
    mapping.store(9 * 4096, 3);
    check_eq!(mapping.load(9 * 4096), 3, "a store when only the mapping is left");
    note!("the mapping alone keeps it alive");

    // The same name is another file meanwhile.
    let other = dir.create("file")?;
    check_eq!(other.write_at(b"other", 0)?, 5, "write");
    check_eq!(mapping.load(0), model.0[0], "the mapping after the name was used again");
    drop(mapping);
    drop(other);
    sys::unlink(&dir.path("file"))?;
    sys::sync_all()?;

    // Its end may take a moment longer than the call that ends it.
    for attempt in 0..10_000 {
        let now = sys::room()?;
        if now.free + 4 >= before.free {
            note!("its room is free again");
            return Ok(());
        }
        if attempt % 100 == 99 {
            sys::sync_all()?;
        }
        sys::yield_now();
    }
    check!(false, "{} blocks were free before, {} are now", before.free, sys::room()?.free);
    Ok(())
}
