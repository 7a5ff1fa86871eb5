//! Reads every file that a list on the disk names and compares its SHA-256: what mke2fs put there
//! (`sample.sha256`) and what another system left (`verify/*.sha256`).
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;
use userland_tests::{lists, prelude::*};

userland_tests::test!(run);

fn run() -> Outcome {
    let mut names = Vec::new();
    if sys::stat("sample.sha256").is_ok() {
        names.push(String::from("sample.sha256"));
    }
    if let Ok(directory) = File::open(lists::FOLDER, Open::READ | Open::DIRECTORY, 0) {
        let entries = directory.entries()?.into_iter().map(|entry| entry.name);
        names.extend(entries.filter(|name| name.ends_with(".sha256")).map(|name| format!("{}/{name}", lists::FOLDER)));
    }
    if names.is_empty() {
        return skip("there is no list on this disk");
    }
    for name in names {
        check(&name)?;
    }
    Ok(())
}

fn check(name: &str) -> Outcome {
    let text = lists::read_whole(name)?;
    let text = core::str::from_utf8(&text).map_err(|_| format!("{name} is not text"))?;
    let files = lists::parse(text).map_err(|line| format!("{name} has the line {line:?}"))?;
    check!(!files.is_empty(), "{name} is empty");
    let mut bytes = 0;
    for (sum, path) in &files {
        let (found, size) = lists::sha256(path).map_err(|errno| format!("{path}: {errno}"))?;
        check!(found == *sum, "{path} ({size} bytes) differs from {name}");
        bytes += size;
    }
    note!("{name}: {} files, {bytes} bytes as listed", files.len());
    Ok(())
}
