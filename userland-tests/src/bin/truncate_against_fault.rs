//! Truncation while another process faults on the same pages: an access past the new end fails, one
//! before it never does, and nothing hangs.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use userland_tests::{
    model::{Model, pattern},
    prelude::*,
};

userland_tests::test!(run);

const PAGE: usize = 4096;
const PAGES: usize = 12;
const CUT: usize = 5 * PAGE + 1000;
const ROUNDS: u64 = 12;

fn run() -> Outcome {
    let dir = Scratch::new("truncate_against_fault")?;
    past_the_end(&dir)?;
    before_the_end(&dir)
}

/// The peer stores everywhere, and so must be caught past the end.
fn past_the_end(dir: &Scratch) -> Outcome {
    for round in 0..ROUNDS {
        let file = dir.create("cut")?;
        let model = Model(pattern(round, 0, PAGES * PAGE));
        check_eq!(file.write_at(&model.0, 0)?, model.0.len(), "write");
        let steps = Steps::new()?;
        let child = in_child(|| {
            let mapping = Mapping::new(&file, 0, PAGES * PAGE, Protection::ReadWrite, Sharing::Shared)?;
            loop {
                for page in 0..PAGES {
                    // The last bytes of each page, which no check looks at.
                    mapping.store(page * PAGE + 4090, 1);
                }
                steps.set(0, steps.value(0) + 1);
            }
        })?;
        steps.wait(0, 1 + round % 3)?;
        file.truncate(CUT as u64)?;
        check!(matches!(child.wait()?, Ended::Fault { .. }), "round {round}: a store past the end faults");
        file.truncate((PAGES * PAGE) as u64)?;
        let mut buf = vec![0xee; PAGES * PAGE];
        check_eq!(file.read_at(&mut buf, 0)?, PAGES * PAGE, "read");
        for (at, &byte) in buf.iter().enumerate().filter(|(at, _)| at % PAGE != 4090) {
            let expected = if at < CUT { model.0[at] } else { 0 };
            check_eq!(byte, expected, "round {round}: byte {at}");
        }
    }
    note!("{ROUNDS} truncations under a process that stores everywhere: it faults, the rest is zeroes");
    Ok(())
}

/// The peer stays before the end, and must never notice.
fn before_the_end(dir: &Scratch) -> Outcome {
    let file = dir.create("kept")?;
    check_eq!(file.write_at(&vec![7; PAGES * PAGE], 0)?, PAGES * PAGE, "write");
    let steps = Steps::new()?;
    let child = in_child(|| {
        let mapping = Mapping::new(&file, 0, PAGES * PAGE, Protection::ReadWrite, Sharing::Shared)?;
        let mut round = 0;
        while steps.value(1) == 0 {
            for page in 0..=CUT / PAGE {
                let at = page * PAGE + 8;
                check_eq!(mapping.load_u64(at), if round == 0 { 0x0707_0707_0707_0707 } else { round }, "page {page}");
                mapping.store_u64(at, round + 1);
            }
            round += 1;
            steps.set(0, round);
        }
        Ok(())
    })?;
    for round in 0..ROUNDS {
        steps.wait(0, round + 1)?;
        file.truncate(CUT as u64)?;
        file.truncate((PAGES * PAGE) as u64)?;
    }
    steps.set(1, 1);
    child.join()?;
    note!("{ROUNDS} truncations behind a process that stores before the new end: it loses nothing");
    Ok(())
}
