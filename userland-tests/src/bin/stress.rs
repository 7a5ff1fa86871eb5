//! A long mix of everything on a few files, against a model, from a seed: `seed=N` and `rounds=N`
//! change it.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use userland_tests::{
    harness::Verify,
    model::{Model, pattern, same_bytes},
    prelude::*,
    random::Random,
};

userland_tests::test!(run);

const FILES: usize = 3;
const LARGEST: u64 = 200_000;
const MAPPED: usize = 256 << 10;

/// A file, its model, and a mapping of it that is larger than it ever gets.
struct Subject {
    file: File,
    mapping: Mapping,
    model: Model,
    generation: u32,
}

fn run() -> Outcome {
    let seed = sys::argument("seed").and_then(|text| text.parse().ok()).unwrap_or(1);
    let rounds: u64 = sys::argument("rounds").and_then(|text| text.parse().ok()).unwrap_or(1500);
    let dir = Scratch::new("stress")?;
    let mut random = Random::new(seed);
    let mut subjects = (0..FILES).map(|number| subject(&dir, number, 0)).collect::<Result<Vec<_>, _>>()?;
    for round in 0..rounds {
        let number = random.below(FILES as u64) as usize;
        step(&dir, &mut subjects, number, &mut random, round)
            .map_err(|failure| Failure::Failed(format!("seed {seed}, round {round}: {failure}")))?;
    }
    let mut verify = Verify::default();
    for (number, subject) in subjects.iter().enumerate() {
        subject.model.compare(&subject.file, 4096, "in the end")?;
        verify.add(&path(&dir, number, subject.generation), &subject.model.0);
    }
    note!("{rounds} rounds from seed {seed}");
    verify.publish("stress")
}

fn path(dir: &Scratch, number: usize, generation: u32) -> String {
    dir.path(&format!("file-{number}-{generation}"))
}

fn subject(dir: &Scratch, number: usize, generation: u32) -> Result<Subject, Failure> {
    let file = File::open(&path(dir, number, generation), Open::READ | Open::WRITE | Open::CREATE, 0o644)?;
    let mapping = Mapping::new(&file, 0, MAPPED, Protection::ReadWrite, Sharing::Shared)?;
    Ok(Subject { file, mapping, model: Model::default(), generation })
}

fn step(dir: &Scratch, subjects: &mut [Subject], number: usize, random: &mut Random, round: u64) -> Outcome {
    let other = (number + 1) % FILES;
    let size = subjects[number].model.0.len();
    let offset = random.size(LARGEST) as usize;
    let len = random.size(20_000) as usize;
    let op = random.below(16);
    if sys::argument("trace").is_some() {
        note!("{round}: file {number} op {op} size {size} offset {offset} len {len}");
    }
    match op {
        0..3 => {
            let bytes = pattern(round, offset, len);
            check_eq!(subjects[number].file.write_at(&bytes, offset as u64)?, len, "write of {len} at {offset}");
            subjects[number].model.write(offset, &bytes);
        }
        3..6 => {
            let mut buf = vec![0xee; len];
            let count = subjects[number].file.read_at(&mut buf, offset as u64)?;
            same_bytes(&buf[..count], subjects[number].model.read(offset, len), "read")?;
        }
        6..8 if size > 0 => {
            let (at, len) = (offset % size, len.min(size - offset % size));
            let bytes = pattern(round, at, len);
            subjects[number].mapping.fill(at, &bytes);
            subjects[number].model.write(at, &bytes);
        }
        8..10 if size > 0 => {
            let (at, len) = (offset % size, len.min(size - offset % size));
            same_bytes(&subjects[number].mapping.bytes(at, len), subjects[number].model.read(at, len), "load")?;
        }
        10 | 11 => {
            let to = random.size(LARGEST);
            subjects[number].file.truncate(to)?;
            subjects[number].model.truncate(to as usize);
        }
        12 => subjects[number].file.sync()?,
        13 if size > 0 => {
            // From one file's mapping into another file.
            let (at, len) = (offset % size, len.min(size - offset % size));
            let to = random.size(LARGEST) as usize;
            let bytes = subjects[number].model.read(at, len).to_vec();
            let count = subjects[other].file.write_mapped(&subjects[number].mapping, at, len, to as u64)?;
            check_eq!(count, len, "write of {len} from a mapping");
            subjects[other].model.write(to, &bytes);
        }
        14 if random.below(4) == 0 => {
            // A new file takes the old one's place, by rename.
            let generation = subjects[number].generation + 1;
            let fresh = subject(dir, number, generation)?;
            sys::rename(&path(dir, number, generation), &path(dir, number, generation - 1))?;
            sys::rename(&path(dir, number, generation - 1), &path(dir, number, generation))?;
            subjects[number] = fresh;
        }
        15 if random.below(4) == 0 => sys::drop_caches()?,
        _ => {
            let count = random.size(300) as usize;
            let bytes = pattern(round, size, count);
            if size + count <= MAPPED {
                check_eq!(subjects[number].file.write_at(&bytes, size as u64)?, count, "append of {count}");
                subjects[number].model.write(size, &bytes);
            }
        }
    }
    let expected = subjects[number].model.0.len() as u64;
    check_eq!(subjects[number].file.stat()?.size, expected, "size");
    Ok(())
}
