//! Private mappings: a store makes a copy that only this process sees, the file stays as it is, and
//! pages that were not stored to follow the file.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use userland_tests::{
    model::{Model, pattern, same_bytes},
    prelude::*,
};

userland_tests::test!(run);

const PAGE: usize = 4096;

fn run() -> Outcome {
    let dir = Scratch::new("map_private")?;
    let file = dir.create("file")?;
    let model = Model(pattern(1, 0, 8 * PAGE));
    check_eq!(file.write_at(&model.0, 0)?, model.0.len(), "write");

    let private = Mapping::new(&file, 0, 8 * PAGE, Protection::ReadWrite, Sharing::Private)?;
    same_bytes(&private.bytes(0, 2 * PAGE), &model.0[..2 * PAGE], "private loads")?;
    // Page 1 was loaded before, page 2 was not.
    for page in [1, 2] {
        private.fill(page * PAGE + 100, b"mine");
        let mut expected = model.0[page * PAGE..][..PAGE].to_vec();
        expected[100..104].copy_from_slice(b"mine");
        same_bytes(&private.bytes(page * PAGE, PAGE), &expected, "a private page")?;
    }
    model.compare(&file, PAGE, "the file after private stores")?;
    file.sync()?;
    model.compare(&file, PAGE, "the file after private stores and fsync")?;
    note!("stores into private pages do not reach the file");

    let shared = Mapping::new(&file, 0, 8 * PAGE, Protection::ReadWrite, Sharing::Shared)?;
    same_bytes(&shared.bytes(0, 8 * PAGE), &model.0, "a shared mapping beside it")?;
    shared.store(PAGE + 200, 1);
    check_eq!(private.load(PAGE + 200), model.0[PAGE + 200], "a page that is ours does not follow the file");
    note!("a shared mapping beside it sees the file, and does not change our pages");

    // A read into a private mapping changes the copy, not the file.
    check_eq!(file.read_mapped(&private, 4 * PAGE, PAGE, 0)?, PAGE, "read into a private page");
    same_bytes(&private.bytes(4 * PAGE, PAGE), &model.0[..PAGE], "what was read")?;
    let mut buf = vec![0; PAGE];
    check_eq!(file.read_at(&mut buf, (4 * PAGE) as u64)?, PAGE, "read");
    same_bytes(&buf, &model.0[4 * PAGE..][..PAGE], "the file's own page")?;
    note!("a read() into a private page changes the copy alone");

    forked(&private, &file, &model)?;

    // Only a truncation takes private pages, and only whole ones past the new end.
    file.truncate((2 * PAGE) as u64)?;
    check_eq!(private.load(PAGE + 100), b'm', "a private page before the new end");
    let child = in_child(|| {
        private.load(2 * PAGE + 100);
        Ok(())
    })?;
    check!(matches!(child.wait()?, Ended::Fault { .. }), "a private page past the new end is gone");
    note!("truncation takes the private pages past the new end, and no other");
    Ok(())
}

/// A new process has copies of the private pages.
fn forked(private: &Mapping, file: &File, model: &Model) -> Outcome {
    in_child(|| {
        check_eq!(private.load(PAGE + 100), b'm', "an inherited private page");
        private.store(PAGE + 100, b'y');
        private.store(6 * PAGE, b'z');
        check_eq!(private.load(PAGE + 100), b'y', "the child's own store");
        Ok(())
    })?
    .join()?;
    check_eq!(private.load(PAGE + 100), b'm', "the parent's page after the child's store");
    check_eq!(private.load(6 * PAGE), model.0[6 * PAGE], "a page that only the child has stored to");
    let mut buf = [0];
    check_eq!(file.read_at(&mut buf, (6 * PAGE) as u64)?, 1, "read");
    check_eq!(buf[0], model.0[6 * PAGE], "the file after the child's store");
    note!("a forked process inherits private pages by copy");
    Ok(())
}
