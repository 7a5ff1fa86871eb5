//! Several processes append to one file: every record is there once, whole, and in each process's
//! own order.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use userland_tests::prelude::*;

userland_tests::test!(run);

const WRITERS: usize = 4;
const RECORDS: usize = 120;
/// A length that meets every border: 60, 4096, ..
const RECORD: usize = 37;

fn run() -> Outcome {
    let dir = Scratch::new("append_processes")?;
    drop(dir.create("file")?);
    let children: Vec<_> = (0..WRITERS).map(|writer| in_child(|| append(&dir, writer))).collect::<Result<_, _>>()?;
    for child in children {
        child.join()?;
    }
    let file = dir.open("file")?;
    let size = WRITERS * RECORDS * RECORD;
    check_eq!(file.stat()?.size, size as u64, "size");
    let mut bytes = vec![0; size];
    check_eq!(file.read_at(&mut bytes, 0)?, size, "read");
    let mut next = [0; WRITERS];
    for (place, record) in bytes.chunks(RECORD).enumerate() {
        let writer = record[0] as usize;
        check!(writer < WRITERS, "record {place} begins with {writer}");
        check!(
            record == self::record(writer, next[writer]),
            "record {place} is not number {} of writer {writer}",
            next[writer]
        );
        next[writer] += 1;
    }
    note!("{WRITERS} processes appended {RECORDS} records of {RECORD} bytes each");
    Ok(())
}

fn append(dir: &Scratch, writer: usize) -> Outcome {
    let file = File::open(&dir.path("file"), Open::WRITE | Open::APPEND, 0)?;
    for number in 0..RECORDS {
        check_eq!(file.write(&record(writer, number))?, RECORD, "append");
    }
    Ok(())
}

fn record(writer: usize, number: usize) -> [u8; RECORD] {
    let mut record = [number as u8; RECORD];
    record[0] = writer as u8;
    record
}
