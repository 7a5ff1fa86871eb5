//! Eight threads on one file, by every way: records of their own are never lost, those of others
//! never torn.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use alloc::sync::Arc;
use userland_tests::{prelude::*, random::Random};

userland_tests::test!(run);

const THREADS: u64 = 8;
const RECORDS: u64 = 256;
const RECORD: usize = 512;
const TURNS: u64 = 150;

fn run() -> Outcome {
    let dir = Scratch::new("eight_threads")?;
    let file = Arc::new(dir.create("file")?);
    file.truncate(RECORDS * RECORD as u64)?;
    let threads: Vec<_> = (0..THREADS)
        .map(|own| {
            let file = file.clone();
            sys::spawn_thread(move || work(&file, own))
        })
        .collect::<Result<_, _>>()?;
    let mut last = vec![0; RECORDS as usize];
    for (own, thread) in threads.into_iter().enumerate() {
        for (record, stamp) in thread.join()?? {
            check_eq!(record % THREADS, own as u64, "owner");
            last[record as usize] = stamp;
        }
    }
    sys::drop_caches()?;
    for (record, &stamp) in last.iter().enumerate() {
        let found = read(&file, record as u64)?;
        check_eq!(found, stamp, "record {record} in the end");
    }
    note!("{THREADS} threads, {TURNS} turns each, of writes, stores, reads and fsync on {RECORDS} records of one file");
    Ok(())
}

/// Writes the thread's own records in turn, reads those of others; its records' last stamps.
fn work(file: &File, own: u64) -> Result<Vec<(u64, u8)>, Failure> {
    let len = RECORDS as usize * RECORD;
    let mapping = Mapping::new(file, 0, len, Protection::ReadWrite, Sharing::Shared)?;
    let mut random = Random::new(own);
    let mut last: Vec<_> = (0..RECORDS).filter(|record| record % THREADS == own).map(|record| (record, 0)).collect();
    for turn in 0..TURNS {
        let index = random.below(last.len() as u64) as usize;
        let (record, stamp) = (last[index].0, (turn % 255) as u8 + 1);
        match random.below(8) {
            0..4 => {
                let count = file.write_at(&[stamp; RECORD], record * RECORD as u64)?;
                check_eq!(count, RECORD, "write");
                last[index].1 = stamp;
            }
            4 | 5 => {
                mapping.fill(record as usize * RECORD, &[stamp; RECORD]);
                last[index].1 = stamp;
            }
            6 => file.sync()?,
            _ => {}
        }
        let (record, stamp) = *random.pick(&last);
        check_eq!(read(file, record)?, stamp, "thread {own}, turn {turn}: its record {record}");
        // Another's record may be in the middle of a store, but it is readable.
        file.read_at(&mut [0; RECORD], random.below(RECORDS) * RECORD as u64)?;
    }
    Ok(last)
}

/// The stamp of a record that nobody is writing.
fn read(file: &File, record: u64) -> Result<u8, Failure> {
    let mut buf = [0; RECORD];
    check_eq!(file.read_at(&mut buf, record * RECORD as u64)?, RECORD, "read");
    check!(buf.iter().all(|&byte| byte == buf[0]), "record {record} is torn");
    Ok(buf[0])
}
