//! A directory of 5,000 names: each is found, listed once, and removed.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use alloc::collections::BTreeSet;
use userland_tests::{prelude::*, random::Random};

userland_tests::test!(run);

const NAMES: u64 = 5000;

fn run() -> Outcome {
    let dir = Scratch::new("big_directory")?;
    let name = |index: u64| format!("{}-{index}", &"name-of-some-length"[..(index % 19 + 1) as usize]);
    for index in 0..NAMES {
        let how = Open::WRITE | Open::CREATE | Open::EXCLUSIVE;
        File::open(&dir.path(&name(index)), how, 0o644)?;
    }
    note!("{NAMES} files created");

    let here = File::open(&dir.path("."), Open::READ | Open::DIRECTORY, 0)?;
    let list = || -> Result<BTreeSet<String>, Failure> {
        let entries = here.entries()?;
        let names: BTreeSet<_> =
            entries.iter().map(|entry| entry.name.clone()).filter(|name| name != "." && name != "..").collect();
        let dots = entries.iter().filter(|entry| entry.name == "." || entry.name == "..").count();
        check_eq!(names.len() + dots, entries.len(), "names that are listed twice");
        Ok(names)
    };
    let all: BTreeSet<_> = (0..NAMES).map(name).collect();
    check!(list()? == all, "what is listed is not what was created");
    note!("all are listed, each once");

    sys::drop_caches()?;
    let mut random = Random::new(5);
    for _ in 0..500 {
        let index = random.below(NAMES);
        check_eq!(sys::stat(&dir.path(&name(index)))?.size, 0, "size of {}", name(index));
        check_eq!(sys::stat(&dir.path(&format!("{}x", name(index)))).map(|_| ()), Err(Errno::ENOENT), "no such name");
    }
    let again = File::open(&dir.path(&name(17)), Open::WRITE | Open::CREATE | Open::EXCLUSIVE, 0o644);
    check_eq!(again.map(|_| ()), Err(Errno::EEXIST), "an exclusive create of a name that is there");
    note!("500 names are found, and 500 that are not there are not");

    for index in (0..NAMES).filter(|index| index % 3 != 0) {
        sys::unlink(&dir.path(&name(index)))?;
    }
    let left: BTreeSet<_> = (0..NAMES).filter(|index| index % 3 == 0).map(name).collect();
    check!(list()? == left, "what is listed is not what is left");
    check_eq!(sys::remove_directory(&dir.path("")), Err(Errno::ENOTEMPTY), "rmdir of a directory that is not empty");
    for index in (1..300).filter(|index| index % 3 != 0) {
        File::open(&dir.path(&name(index)), Open::WRITE | Open::CREATE | Open::EXCLUSIVE, 0o644)?;
    }
    check_eq!(list()?.len(), left.len() + 200, "names after 200 were created again");
    note!("two of three are removed, some created again, and the list is right each time");
    Ok(())
}
