//! Two processes write two files, each from a mapping of the file that the other one writes: the
//! embrace that deadlocks a server which holds one file's lock while it faults on the other.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use userland_tests::{model::Model, model::pattern, prelude::*};

userland_tests::test!(run);

const HALF: usize = 8 * 4096;
const ROUNDS: u64 = 60;

fn run() -> Outcome {
    let dir = Scratch::new("write_crossed")?;
    for name in ["a", "b"] {
        let file = dir.create(name)?;
        check_eq!(file.write_at(&pattern(name.as_bytes()[0].into(), 0, HALF), 0)?, HALF, "write");
        file.truncate(2 * HALF as u64)?;
    }
    let steps = Steps::new()?;
    let child = in_child(|| cross(&dir, &steps, 1, "a", "b"))?;
    cross(&dir, &steps, 0, "b", "a")?;
    child.join()?;
    for (name, other) in [("a", b'b'), ("b", b'a')] {
        let mut expected = pattern(name.as_bytes()[0].into(), 0, HALF);
        expected.extend(pattern(other.into(), 0, HALF));
        Model(expected).compare(&dir.open(name)?, 4096, name)?;
    }
    note!("{ROUNDS} rounds of two processes that write two files from mappings of each other");
    Ok(())
}

/// Writes the first half of `from` over the second half of `to`, from a fresh mapping each time.
fn cross(dir: &Scratch, steps: &Steps, own: usize, from: &str, to: &str) -> Outcome {
    let (source, target) = (dir.open(from)?, dir.open(to)?);
    for round in 0..ROUNDS {
        steps.set(own, round + 1);
        steps.wait(1 - own, round + 1)?;
        if round % 4 == 0 && own == 0 {
            sys::drop_caches()?;
        }
        let mapping = Mapping::new(&source, 0, HALF, Protection::ReadWrite, Sharing::Shared)?;
        let mut done = 0;
        while done < HALF {
            let count = target.write_mapped(&mapping, done, HALF - done, (HALF + done) as u64)?;
            check!(count > 0, "a write of nothing");
            done += count;
        }
    }
    Ok(())
}
