//! Writes whose buffers are mapped files, stores to the file that is written, and somebody who takes all
//! clean pages away all the time: the page of a buffer is missing in the middle of a write.
//!
//! A server that waits for that page with the file's lock held, or with its last free worker, may wait for
//! itself: see the experiments `fault-pool` and `ext4-inline-mkwrite`.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use userland_tests::{model::Model, prelude::*};

userland_tests::test!(run);

const PAGE: usize = 4096;
/// Processes that write.
const WRITERS: usize = 2;
const WRITES: u64 = 400;
/// Bytes of a write; a file of one for each writer and the stores is small enough for an inode.
const PIECE: usize = 16;
/// Where the stores go.
const STORED_AT: usize = WRITERS * PIECE;
/// What the counter of a writer says in the end, well or not.
const DONE_WITH_IT: u64 = 1;
/// Counters: one a writer, then these.
const STOP: usize = WRITERS;
const STORES: usize = WRITERS + 1;

fn run() -> Outcome {
    let dir = Scratch::new("mapped_buffers")?;
    // Linux 4.12 to 6.18 may crash where an inline file is written and stored to.
    let length = if sys::SYSTEM == sys::System::Linux { PAGE } else { STORED_AT + 8 };
    let mut model = Model(vec![0; length]);
    let target = dir.create("target")?;
    check_eq!(target.write_at(&model.0, 0)?, model.0.len(), "write");
    let steps = Steps::new()?;
    let mut children = vec![];
    for number in 0..WRITERS {
        let source = dir.create(&format!("source-{number}"))?;
        check_eq!(source.write_at(&vec![number as u8 + 1; PAGE], 0)?, PAGE, "write");
        source.sync()?;
        children.push(in_child(|| {
            let written = write(&dir, number);
            steps.set(number, DONE_WITH_IT);
            written
        })?);
        model.write(number * PIECE, &[number as u8 + 1; PIECE]);
    }
    let storer = in_child(|| store(&dir, &steps))?;
    while (0..WRITERS).any(|number| steps.value(number) < DONE_WITH_IT) {
        sys::drop_caches()?;
    }
    steps.set(STOP, 1);
    children.into_iter().try_for_each(|child| child.join())?;
    storer.join()?;
    model.write(STORED_AT, &steps.value(STORES).to_le_bytes());
    model.compare(&target, PAGE, "the file")?;
    target.sync()?;
    sys::drop_caches()?;
    model.compare(&target, PAGE, "the file, read from the disk")?;
    note!("{WRITERS} times {WRITES} writes from mapped files, {} stores beside them", steps.value(STORES));
    Ok(())
}

/// Writes the same bytes again and again, from a mapping.
fn write(dir: &Scratch, number: usize) -> Outcome {
    let (source, target) = (dir.open(&format!("source-{number}"))?, dir.open("target")?);
    let mapping = Mapping::new(&source, 0, PAGE, Protection::Read, Sharing::Shared)?;
    for turn in 1..=WRITES {
        let written = target.write_mapped(&mapping, 0, PIECE, (number * PIECE) as u64)?;
        check_eq!(written, PIECE, "write {turn} of writer {number}");
    }
    Ok(())
}

/// Stores to the file that the others write, and has it written back so that the next store faults again.
fn store(dir: &Scratch, steps: &Steps) -> Outcome {
    let target = dir.open("target")?;
    let mapping = Mapping::new(&target, 0, PAGE, Protection::ReadWrite, Sharing::Shared)?;
    let mut turn = 0;
    while steps.value(STOP) == 0 {
        turn += 1;
        mapping.store_u64(STORED_AT, turn);
        steps.set(STORES, turn);
        target.sync()?;
    }
    Ok(())
}
