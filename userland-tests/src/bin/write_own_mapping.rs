//! write() and read() whose buffer is a mapping of the same file that was never touched: the server
//! must not wait for itself.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use userland_tests::{
    model::{Model, pattern},
    prelude::*,
};

userland_tests::test!(run);

const PAGE: usize = 4096;

fn run() -> Outcome {
    let dir = Scratch::new("write_own_mapping")?;
    // (from, length, to): the two do not overlap, or are the same place.
    let moves = [
        (0, PAGE, 4 * PAGE),
        (0, 1, 8 * PAGE - 1),
        (3 * PAGE + 5, 2 * PAGE, 9 * PAGE + 77),
        (10 * PAGE, 6 * PAGE, 0),
        (2 * PAGE, PAGE, 2 * PAGE),
        (5 * PAGE - 1, 2, 5 * PAGE - 1),
        (PAGE, PAGE, 16 * PAGE),
        (0, 16 * PAGE, 16 * PAGE),
    ];
    for (from, len, to) in moves {
        let file = dir.create("file")?;
        let mut model = Model(pattern(1, 0, 16 * PAGE));
        check_eq!(file.write_at(&model.0, 0)?, 16 * PAGE, "write");
        file.sync()?;
        sys::drop_caches()?;
        let mapping = Mapping::new(&file, 0, 16 * PAGE, Protection::ReadWrite, Sharing::Shared)?;
        check_eq!(file.write_mapped(&mapping, from, len, to as u64)?, len, "write of {len} from {from} to {to}");
        let bytes = model.0[from..from + len].to_vec();
        model.write(to, &bytes);
        model.compare(&file, PAGE, &format!("write of {len} from {from} to {to}"))?;
    }
    note!("{} writes from an untouched mapping of the same file", moves.len());

    for (to, len, from) in moves.into_iter().filter(|(_, len, to)| to + len <= 16 * PAGE) {
        let file = dir.create("file")?;
        let mut model = Model(pattern(2, 0, 16 * PAGE));
        check_eq!(file.write_at(&model.0, 0)?, 16 * PAGE, "write");
        file.sync()?;
        sys::drop_caches()?;
        let mapping = Mapping::new(&file, 0, 16 * PAGE, Protection::ReadWrite, Sharing::Shared)?;
        check_eq!(file.read_mapped(&mapping, to, len, from as u64)?, len, "read of {len} at {from} into {to}");
        let bytes = model.0[from..from + len].to_vec();
        model.write(to, &bytes);
        model.compare(&file, PAGE, &format!("read of {len} at {from} into its own mapping at {to}"))?;
    }
    note!("reads into an untouched mapping of the same file");

    let file = dir.create("inline")?;
    let mut model = Model(pattern(3, 0, 50));
    check_eq!(file.write_at(&model.0, 0)?, 50, "write");
    sys::drop_caches()?;
    let mapping = Mapping::new(&file, 0, PAGE, Protection::ReadWrite, Sharing::Shared)?;
    check_eq!(file.write_mapped(&mapping, 0, 30, 50)?, 30, "write from an inline file's mapping");
    let bytes = model.0[..30].to_vec();
    model.write(50, &bytes);
    model.compare(&file, PAGE, "the inline file, doubled from its own mapping")?;
    check_eq!(file.read_mapped(&mapping, 10, 20, 40)?, 20, "read into an inline file's mapping");
    let bytes = model.0[40..60].to_vec();
    model.write(10, &bytes);
    model.compare(&file, PAGE, "the inline file, read into its own mapping")?;
    note!("the same with a file that lives in its inode");
    Ok(())
}
