//! Accesses past the end of a mapped file end in an error that the program's waiter sees; system
//! calls with such a buffer return it. Never a hang.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use userland_tests::{model::pattern, prelude::*};

userland_tests::test!(run);

const PAGE: usize = 4096;

fn run() -> Outcome {
    let dir = Scratch::new("fault_past_end")?;
    let file = dir.create("file")?;
    check_eq!(file.write_at(&pattern(1, 0, PAGE + 10), 0)?, PAGE + 10, "write");
    let mapping = Mapping::new(&file, 0, 4 * PAGE, Protection::ReadWrite, Sharing::Shared)?;

    check!(mapping.bytes(PAGE + 10, PAGE - 10).iter().all(|&byte| byte == 0), "the last page ends in zeroes");
    mapping.store(PAGE + 100, 1);
    check_eq!(file.stat()?.size, (PAGE + 10) as u64, "size after a store behind the end");
    note!("the rest of the last page is zeroes, and a store there does not grow the file");

    for (what, store, at) in [("load", false, 2 * PAGE), ("store", true, 2 * PAGE), ("load", false, 4 * PAGE - 1)] {
        let child = in_child(|| {
            if store {
                mapping.store(at, 1);
            } else {
                mapping.load(at);
            }
            Ok(())
        })?;
        let ended = child.wait()?;
        check!(matches!(ended, Ended::Fault { .. }), "a {what} at {at} ends in {ended:?}");
    }
    note!("a load and a store past the last page end the process with a fault");

    let other = dir.create("other")?;
    check_eq!(other.write_at(&[1; 100], 0)?, 100, "write");
    check_eq!(other.write_mapped(&mapping, 2 * PAGE, 100, 0), Err(Errno::EFAULT), "write from past the end");
    check_eq!(other.read_mapped(&mapping, 2 * PAGE, 100, 0), Err(Errno::EFAULT), "read to past the end");
    note!("a system call with such a buffer fails with EFAULT");

    file.truncate(3 * PAGE as u64)?;
    check_eq!(mapping.load(2 * PAGE), 0, "the page once the file has grown");
    mapping.store(2 * PAGE, 5);
    check!(mapping.bytes(PAGE + 10, PAGE - 10).iter().all(|&byte| byte == 0), "what was stored behind the old end");
    note!("after the file has grown the same access succeeds, and the old tail is zeroes");

    let empty = dir.create("empty")?;
    let mapping = Mapping::new(&empty, 0, PAGE, Protection::Read, Sharing::Shared)?;
    let child = in_child(|| {
        mapping.load(0);
        Ok(())
    })?;
    check!(matches!(child.wait()?, Ended::Fault { .. }), "a load of an empty file's mapping");
    note!("an empty file has no page at all");
    Ok(())
}
