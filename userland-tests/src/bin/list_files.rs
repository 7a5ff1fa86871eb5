//! Leaves lists of the whole disk on it, as this system reads it: whoever looks at the disk later,
//! with other software, can say whether everything is there.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;
use userland_tests::{lists, prelude::*};

userland_tests::test!(run);

fn run() -> Outcome {
    match sys::make_directory(lists::FOLDER, 0o755) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let found = lists::Lists::of_the_disk()?;
    check!(found.files > 0, "there is no file on this disk");
    store("files.sha256", &found.sums)?;
    store("files.names", &found.names)?;
    note!("{} files, {} bytes listed; {} entries left out for their names", found.files, found.bytes, found.unlistable);
    Ok(())
}

fn store(name: &str, text: &str) -> Outcome {
    let path = format!("{}/{name}", lists::FOLDER);
    let file = File::open(&path, Open::WRITE | Open::CREATE | Open::TRUNCATE, 0o644)?;
    check_eq!(file.write_at(text.as_bytes(), 0)?, text.len(), "write of {path}");
    Ok(file.sync()?)
}
