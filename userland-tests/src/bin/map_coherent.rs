//! Two processes map one file, and both read and write it too: each sees at once what the other did,
//! whichever way either did it.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use userland_tests::{
    model::{pattern, same_bytes},
    prelude::*,
};

userland_tests::test!(run);

const PAGES: usize = 24;
const ROUNDS: u64 = 40;
/// Counters: how far the parent and the child are.
const PARENT: usize = 0;
const CHILD: usize = 1;

fn run() -> Outcome {
    let dir = Scratch::new("map_coherent")?;
    dir.create("file")?.truncate((PAGES * 4096) as u64)?;
    let steps = Steps::new()?;
    let child = in_child(|| turns(&dir, &steps, CHILD, PARENT))?;
    turns(&dir, &steps, PARENT, CHILD)?;
    child.join()?;
    note!("{ROUNDS} rounds in which two processes store, write, load and read the same {PAGES} pages");
    Ok(())
}

/// One side: in its turn it checks what the peer left, in all ways, and changes it in one.
fn turns(dir: &Scratch, steps: &Steps, own: usize, peer: usize) -> Outcome {
    let file = dir.open("file")?;
    let mapping = Mapping::new(&file, 0, PAGES * 4096, Protection::ReadWrite, Sharing::Shared)?;
    for round in 0..ROUNDS {
        let page = (round as usize * 7) % PAGES;
        // An odd length at an odd place, over the page's end where there is one.
        let (at, len) = (page * 4096 + 4000, if page + 1 < PAGES { 777 } else { 77 });
        if round % 2 == own as u64 {
            let bytes = pattern(round + 1, at, len);
            match round % 3 {
                0 => mapping.fill(at, &bytes),
                _ => check_eq!(file.write_at(&bytes, at as u64)?, len, "write"),
            }
            steps.set(own, round + 1);
        } else {
            steps.wait(peer, round + 1)?;
            let expected = pattern(round + 1, at, len);
            same_bytes(&mapping.bytes(at, len), &expected, &format!("round {round}, loaded"))?;
            let mut buf = vec![0; len];
            check_eq!(file.read_at(&mut buf, at as u64)?, len, "read");
            same_bytes(&buf, &expected, &format!("round {round}, read"))?;
            steps.set(own, round + 1);
        }
        steps.wait(peer, round + 1)?;
    }
    Ok(())
}
