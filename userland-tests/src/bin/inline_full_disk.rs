//! A nearly full disk, and an inline file that one process overwrites while another keeps trying to store to
//! it through a mapping: the store needs a block, which a third process takes and gives back all the time;
//! the write needs none and goes on.
//!
//! This is the race of Linux 4.12 to 6.18 (syzbot a158d886ca08a3fecca4) on a valid disk. A protocol that
//! empties the inode before it has a block shows the writer a file in no state at all; see
//! `docs/experiments/ext4-inline-mkwrite.md`.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use userland_tests::{model::Model, prelude::*};

userland_tests::test!(run);

const PAGE: usize = 4096;
/// Bytes of the file.
const LENGTH: usize = 60;
/// Where the stores would go; the writes go before.
const STORED_AT: usize = 32;
/// Other files of the same kind, whose stores take the blocks that a large file has no use for.
const DECOYS: u64 = 64;
const ROUNDS: u64 = 50;
/// Most writes of a round.
const WRITES: u64 = 60;
/// What a store leaves behind.
const STORED_BYTES: [u8; 8] = [0xaa; 8];
/// Counters.
const STOP: usize = 0;
const STORED: usize = 1;
const FAILED_STORES: usize = 2;
/// More than this is not filled: the test is about the end of room, not about its size.
const MOST: u64 = 512 << 20;

fn run() -> Outcome {
    if sys::SYSTEM == sys::System::Linux {
        return skip("Linux 4.12 to 6.18 may crash here: this is the race that it has");
    }
    let room = sys::room()?;
    if room.free * room.block_size > MOST {
        return skip("the disk has too much room to fill it up");
    }
    let dir = Scratch::new("inline_full_disk")?;
    let probe = dir.create("probe")?;
    check_eq!(probe.write_at(&[0xee; LENGTH], 0)?, LENGTH, "write");
    probe.sync()?;
    if sys::stat(&dir.path("probe"))?.blocks > 0 {
        return skip("this file system keeps no file in its inode");
    }
    // What is stored comes from here, for a read into a mapping can fail without ending the process.
    check_eq!(dir.create("source")?.write_at(&STORED_BYTES, 0)?, 8, "write");
    for number in 0..DECOYS {
        check_eq!(dir.create(&format!("decoy-{number}"))?.write_at(&[0xee; LENGTH], 0)?, LENGTH, "write");
    }
    let spare = dir.create("spare")?;
    check_eq!(spare.write_at(&[0x55; PAGE], 0)?, PAGE, "write");
    spare.sync()?;
    let result = fill(&dir).and_then(|()| race(&dir));
    // Whatever happened, the others need the room.
    let removed = sys::unlink(&dir.path("filler"));
    result?;
    Ok(removed?)
}

/// Leaves no block on the disk that an ordinary write could get.
fn fill(dir: &Scratch) -> Outcome {
    let filler = dir.create("filler")?;
    let mut size = 0;
    let chunk = vec![0x77; 1 << 20];
    for step in [1 << 20, 64 << 10, PAGE, 512] {
        loop {
            match filler.write_at(&chunk[..step], size) {
                Ok(count) => size += count as u64,
                Err(Errno::ENOSPC) => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        filler.sync()?;
    }
    let source = dir.open("source")?;
    for number in 0..DECOYS {
        let decoy = dir.open(&format!("decoy-{number}"))?;
        let Ok(mapping) = Mapping::new(&decoy, 0, PAGE, Protection::ReadWrite, Sharing::Shared) else { return Ok(()) };
        if source.read_mapped(&mapping, STORED_AT, 8, 0).is_err() {
            return Ok(());
        }
    }
    Err(Failure::Failed(format!("{DECOYS} inline files find a block each on a full disk")))
}

/// One file after another is written inline, until a store has found a block for it.
fn race(dir: &Scratch) -> Outcome {
    let steps = Steps::new()?;
    let toggler = in_child(|| {
        let spare = dir.open("spare")?;
        while steps.value(STOP) == 0 {
            spare.truncate(0)?;
            match spare.write_at(&[0x55; PAGE], 0) {
                Ok(_) | Err(Errno::ENOSPC) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    })?;
    let mut seen = Seen::default();
    let raced = (0..ROUNDS).try_for_each(|_| one_file(dir, &mut seen));
    steps.set(STOP, 1);
    raced?;
    toggler.join()?;
    note!(
        "{ROUNDS} files: {} writes, {} more refused for room; {} stores found no block, {} did",
        seen.writes,
        seen.refused,
        seen.failed_stores,
        seen.stores
    );
    Ok(())
}

#[derive(Default)]
struct Seen {
    writes: u64,
    refused: u64,
    stores: u64,
    failed_stores: u64,
}

fn one_file(dir: &Scratch, seen: &mut Seen) -> Outcome {
    let file = dir.create("file")?;
    let mut model = Model(vec![0xee; LENGTH]);
    check_eq!(file.write_at(&model.0, 0)?, LENGTH, "write");
    let mapping = match Mapping::new(&file, 0, PAGE, Protection::ReadWrite, Sharing::Shared) {
        Ok(mapping) => mapping,
        // Found when the mapping is made.
        Err(Errno::ENOSPC) => return Ok(sys::unlink(&dir.path("file"))?),
        Err(errno) => return Err(errno.into()),
    };
    check_eq!(mapping.load(0), 0xee, "load");
    let steps = Steps::new()?;
    let storer = in_child(|| {
        let source = dir.open("source")?;
        let mut failed = 0;
        while steps.value(STOP) == 0 && source.read_mapped(&mapping, STORED_AT, 8, 0).is_err() {
            failed += 1;
            steps.set(FAILED_STORES, failed);
        }
        steps.set(STORED, 1);
        Ok(())
    })?;
    let mut written = Ok(());
    for number in 1..=WRITES {
        match file.write_at(&[number as u8; 16], 0) {
            Ok(count) => {
                check_eq!(count, 16, "write");
                model.write(0, &[number as u8; 16]);
                seen.writes += 1;
            }
            // While the file is in no state, it looks as if this needed a block.
            Err(Errno::ENOSPC) => seen.refused += 1,
            Err(errno) => {
                written = Err(Failure::Failed(format!("a write to an inline file fails: {errno}")));
                break;
            }
        }
        if steps.value(STORED) != 0 {
            break;
        }
    }
    steps.set(STOP, 1);
    written?;
    storer.join()?;
    seen.failed_stores += steps.value(FAILED_STORES);
    if file_has(&file, STORED_AT, &STORED_BYTES)? {
        model.write(STORED_AT, &STORED_BYTES);
        seen.stores += 1;
    }
    model.compare(&file, PAGE, "the file")?;
    sys::drop_caches()?;
    model.compare(&file, PAGE, "the file, read from the disk")?;
    Ok(sys::unlink(&dir.path("file"))?)
}

fn file_has(file: &File, at: usize, bytes: &[u8]) -> Result<bool, Failure> {
    let mut found = vec![0; bytes.len()];
    check_eq!(file.read_at(&mut found, at as u64)?, bytes.len(), "read");
    Ok(found == bytes)
}
