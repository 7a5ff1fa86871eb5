//! Reads and writes of every size and alignment around the borders that a file system has: the
//! inline area of 60 bytes (and the 128 to 160 with an extended attribute), pages, the size of a
//! large folio, 64 KiB (what is faulted in of a buffer at once).
//!
//! Every result is compared with an in-memory model, and the file is read back in whole afterwards.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;
use userland_tests::{
    model::{Model, pattern, same_bytes},
    prelude::*,
    random::Random,
};

userland_tests::test!(run);

const BORDERS: [usize; 14] = [0, 1, 59, 60, 61, 127, 128, 155, 156, 160, 4095, 4096, 8192, 65536];

fn run() -> Outcome {
    let dir = Scratch::new("read_write")?;
    fresh_files(&dir)?;
    growing_file(&dir)?;
    random_places(&dir)?;
    cut_and_grow(&dir)
}

/// A file of one write: each size, from each offset.
fn fresh_files(dir: &Scratch) -> Outcome {
    for &offset in &BORDERS {
        for &len in &BORDERS {
            let mut model = Model::default();
            let bytes = pattern(1, offset, len);
            let file = dir.create("fresh")?;
            check_eq!(file.write_at(&bytes, offset as u64)?, len, "write of {len} at {offset}");
            model.write(offset, &bytes);
            model.compare(&file, 4096, &format!("after a write of {len} at {offset}"))?;
        }
    }
    note!("one write of {} sizes at {} offsets in a fresh file", BORDERS.len(), BORDERS.len());
    Ok(())
}

/// A file that grows over each border, by every small step, written and read by position.
fn growing_file(dir: &Scratch) -> Outcome {
    for step in [1, 7, 60, 100, 511, 4096, 5000] {
        let file = dir.create(&format!("growing-{step}"))?;
        let mut model = Model::default();
        let end = (step * 100).clamp(300, 70_000);
        while model.0.len() < end {
            let bytes = pattern(step as u64, model.0.len(), step);
            check_eq!(file.write(&bytes)?, step, "append of {step}");
            model.write(model.0.len(), &bytes);
        }
        model.compare(&file, 4096, &format!("grown by {step}"))?;
        model.compare(&file, 333, &format!("grown by {step}"))?;
    }
    note!("files grown by steps of 1 to 5000 bytes");
    Ok(())
}

/// Reads and writes at random places next to the borders of one file.
fn random_places(dir: &Scratch) -> Outcome {
    let file = dir.create("random")?;
    let mut model = Model::default();
    let mut random = Random::new(7);
    let place = |random: &mut Random| {
        let border = *random.pick(&BORDERS) + *random.pick(&[0usize, 4096, 65536]);
        (border + random.below(17) as usize).saturating_sub(8)
    };
    for round in 0..600 {
        let (offset, len) = (place(&mut random), random.size(70_000) as usize);
        if random.below(2) == 0 {
            let bytes = pattern(round, offset, len);
            check_eq!(file.write_at(&bytes, offset as u64)?, len, "round {round}: write of {len} at {offset}");
            model.write(offset, &bytes);
        } else {
            let mut buf = vec![0xee; len];
            let count = file.read_at(&mut buf, offset as u64)?;
            same_bytes(&buf[..count], model.read(offset, len), &format!("round {round}: read of {len} at {offset}"))?;
        }
    }
    model.compare(&file, 65536, "after random writes")?;
    note!("600 random reads and writes beside the borders");
    Ok(())
}

/// Truncation to each border and out to each again: what was cut must read as zeroes.
fn cut_and_grow(dir: &Scratch) -> Outcome {
    for &cut in &BORDERS {
        for &grow in &BORDERS {
            let file = dir.create("cut")?;
            let mut model = Model::default();
            let bytes = pattern(3, 0, 9000);
            check_eq!(file.write_at(&bytes, 0)?, 9000, "write");
            model.write(0, &bytes);
            for size in [cut, grow] {
                file.truncate(size as u64)?;
                model.truncate(size);
            }
            model.compare(&file, 4096, &format!("cut to {cut}, grown to {grow}"))?;
        }
    }
    note!("truncation from 9000 to each border and on to each other");
    Ok(())
}
