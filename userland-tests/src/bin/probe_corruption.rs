//! Reads all of a damaged disk: something must be refused with an error, everything that is not
//! damaged must still be read right, before the damage is met and after it.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;
use userland_tests::{harness::Failure, lists, prelude::*};

userland_tests::test!(run);

/// The list of the files that are intact.
const INTACT: &str = "verify/good.sha256";

fn run() -> Outcome {
    if sys::stat(INTACT).is_err() {
        return skip("this disk is not one of the damaged ones");
    }
    intact_files_are_right()?;
    let mut errors = Vec::new();
    // Twice: an error must not turn into an answer by being asked again.
    for round in 0..2 {
        let found = damage("")?;
        check!(!found.is_empty(), "round {round}: nothing was refused");
        errors = found;
    }
    intact_files_are_right()?;
    errors.iter().for_each(|error| note!("refused: {error}"));
    Ok(())
}

fn intact_files_are_right() -> Outcome {
    let text = lists::read_whole(INTACT)?;
    let text = core::str::from_utf8(&text).map_err(|_| String::from("the list is not text"))?;
    for (sum, path) in lists::parse(text).map_err(|line| format!("the list has the line {line:?}"))? {
        let (found, size) = lists::sha256(path).map_err(|errno| format!("{path} is intact, but: {errno}"))?;
        check!(found == sum, "{path} ({size} bytes) is intact, but read wrong");
    }
    Ok(())
}

/// What is refused at and below `directory`.
fn damage(directory: &str) -> Result<Vec<String>, Failure> {
    let listed = File::open(directory, Open::READ | Open::DIRECTORY, 0).and_then(|file| file.entries());
    let entries = match listed {
        Ok(entries) => entries,
        Err(errno) => return Ok(vec![format!("{directory}/: {errno}")]),
    };
    let mut found = Vec::new();
    for entry in entries.into_iter().filter(|entry| entry.name != "." && entry.name != "..") {
        let path = if directory.is_empty() { entry.name } else { format!("{directory}/{}", entry.name) };
        match sys::stat(&path).map(|stat| stat.kind) {
            Ok(Kind::Directory) => found.extend(damage(&path)?),
            Ok(Kind::File) => {
                if let Err(errno) = lists::sha256(&path) {
                    found.push(format!("{path}: {errno}"));
                }
            }
            Ok(_) => {}
            Err(errno) => found.push(format!("{path}: {errno}")),
        }
    }
    Ok(found)
}
