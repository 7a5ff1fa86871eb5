//! Rights of mappings: no more than the file was opened with, and what mprotect takes is gone.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use userland_tests::prelude::*;

userland_tests::test!(run);

const PAGE: usize = 4096;

fn run() -> Outcome {
    let dir = Scratch::new("protect")?;
    let file = dir.create("file")?;
    check_eq!(file.write_at(&[1; 4 * PAGE], 0)?, 4 * PAGE, "write");
    let reader = File::open(&dir.path("file"), Open::READ, 0)?;

    let map = Mapping::new(&reader, 0, PAGE, Protection::ReadWrite, Sharing::Shared);
    check_eq!(map.map(|_| ()), Err(Errno::EACCES), "a writable mapping of a file that is open for reading");
    let mapping = Mapping::new(&reader, 0, PAGE, Protection::Read, Sharing::Shared)?;
    check_eq!(mapping.load(0), 1, "load");
    check_eq!(mapping.protect(0, PAGE, Protection::ReadWrite), Err(Errno::EACCES), "mprotect beyond the file's rights");
    check_eq!(mapping.load(0), 1, "load after the refusal");
    let private = Mapping::new(&reader, 0, PAGE, Protection::ReadWrite, Sharing::Private)?;
    private.store(0, 9);
    check_eq!((private.load(0), mapping.load(0)), (9, 1), "a private store");
    note!("a file that is open for reading has no writable shared mapping");

    let mapping = Mapping::new(&file, 0, 4 * PAGE, Protection::Read, Sharing::Shared)?;
    check_eq!(mapping.load(PAGE), 1, "load");
    let faults = |store: bool, at: usize| -> Result<bool, Failure> {
        let child = in_child(|| {
            if store {
                mapping.store(at, 7);
            } else {
                mapping.load(at);
            }
            Ok(())
        })?;
        Ok(matches!(child.wait()?, Ended::Fault { .. }))
    };
    check!(faults(true, PAGE)?, "a store into a read-only mapping");
    mapping.protect(PAGE, 2 * PAGE, Protection::ReadWrite)?;
    mapping.store(PAGE, 2);
    mapping.store(2 * PAGE, 3);
    check!(faults(true, 0)? && faults(true, 3 * PAGE)?, "stores beside the range that is writable now");
    mapping.protect(2 * PAGE, PAGE, Protection::Read)?;
    check!(faults(true, 2 * PAGE)?, "a store after the right was taken back");
    mapping.protect(0, PAGE, Protection::None)?;
    check!(faults(false, 0)?, "a load without any right");
    let mut buf = [0; 2];
    check_eq!(file.read_mapped(&mapping, 0, 2, 0), Err(Errno::EFAULT), "read() into a page without rights");
    check_eq!(file.read_mapped(&mapping, 2 * PAGE, 2, 0), Err(Errno::EFAULT), "read() into a read-only page");
    mapping.protect(0, PAGE, Protection::ReadWrite)?;
    check_eq!(mapping.load(0), 1, "a load once the right is back");
    check_eq!(file.read_at(&mut buf, (2 * PAGE) as u64)?, 2, "read");
    check_eq!(buf, [3, 1], "what was stored while it was allowed");
    file.sync()?;
    mapping.store(PAGE + 1, 4);
    check_eq!(file.read_at(&mut buf, PAGE as u64)?, 2, "read");
    check_eq!(buf, [2, 4], "a store after writeback into a page that mprotect made writable");
    note!("rights given and taken page by page");
    Ok(())
}
