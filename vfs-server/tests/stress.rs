//! Eight threads on a few files against a plain model, with a small cache and a late disk.
//!
//! Each thread owns every eighth byte range of each file, so that what it wrote last is what it must
//! read, whatever the others do; a ninth thread drops caches, syncs, cuts and grows a file of its own; a
//! tenth moves folios to other frames.

mod common;

use common::{Rig, in_parallel, open, small};
use linux::guest::Client;
use pager_abi::file_verb::FileVerb;
use pager_core::{Rights, Sharing};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const THREADS: u64 = 8;
/// Bytes of a file; each thread has every eighth lane of LANE bytes.
const SIZE: u64 = 256 << 10;
const LANE: u64 = 700;

/// A small generator, so that a seed gives a run.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % below
    }
}

/// One thread: random writes, stores, reads and loads of its own lanes, checked against its model.
fn worker(client: &Client, files: &[u64], me: u64, rounds: u32) {
    let mut random = Random(0x9e37_79b9 * (me + 1));
    let mut models: Vec<Vec<u8>> = files.iter().map(|_| vec![0; SIZE as usize]).collect();
    let pages = SIZE / 4096;
    let maps: Vec<_> =
        files.iter().map(|&file| client.map(file, 0, pages, Rights::READ_WRITE, Sharing::Shared).unwrap()).collect();
    for round in 0..rounds {
        let which = random.next(files.len() as u64) as usize;
        let (file, map, model) = (files[which], maps[which], &mut models[which]);
        let lane = random.next(SIZE / LANE / THREADS) * THREADS + me;
        let start = lane * LANE + random.next(LANE);
        let len = 1 + random.next(lane * LANE + LANE - start);
        let range = start as usize..(start + len) as usize;
        match random.next(10) {
            0..3 => {
                let bytes = vec![round as u8; len as usize];
                assert_eq!(client.write(file, start, &bytes), Ok(bytes.len()));
                model[range].copy_from_slice(&bytes);
            }
            3..5 => {
                let bytes = vec![round as u8 ^ 0x80; len as usize];
                client.store(map.address + start, &bytes).unwrap();
                model[range].copy_from_slice(&bytes);
            }
            5..7 => {
                let seen = client.read(file, start, len as usize).unwrap();
                assert!(seen == model[range], "thread {me} round {round}: read of {start}+{len}");
            }
            7..9 => {
                let seen = client.load(map.address + start, len as usize).unwrap();
                assert!(seen == model[range], "thread {me} round {round}: load of {start}+{len}");
            }
            _ => _ = client.call(file, [FileVerb::Msync as u64, start, len], 0).unwrap(),
        }
    }
    for (which, &file) in files.iter().enumerate() {
        for lane in (me..SIZE / LANE).step_by(THREADS as usize) {
            let range = (lane * LANE) as usize..((lane + 1) * LANE) as usize;
            let seen = client.read(file, lane * LANE, LANE as usize).unwrap();
            assert!(seen == models[which][range], "thread {me}: lane {lane} at the end");
        }
    }
}

/// Cuts and grows a file of its own, maps it, drops caches under everybody.
fn disturber(rig_client: &Client, file: u64, stop: &AtomicBool) {
    let mut random = Random(42);
    let mut model: Vec<u8> = Vec::new();
    let map = rig_client.map(file, 0, 32, Rights::READ_WRITE, Sharing::Shared).unwrap();
    while !stop.load(Ordering::Relaxed) {
        match random.next(6) {
            0 => _ = rig_client.call(0, [pager_abi::server_verb::ServerVerb::DropCaches as u64, 0, 0], 0).unwrap(),
            1 => {
                let size = random.next(100_000);
                rig_client.truncate(file, size).unwrap();
                model.resize(size as usize, 0);
            }
            2 => {
                let (at, len) = (random.next(90_000) as usize, 1 + random.next(9_000) as usize);
                let bytes = vec![random.next(256) as u8; len];
                assert_eq!(rig_client.write(file, at as u64, &bytes), Ok(len));
                model.resize(model.len().max(at + len), 0);
                model[at..at + len].copy_from_slice(&bytes);
            }
            3 if !model.is_empty() => {
                let at = random.next(model.len() as u64) as usize;
                let len = (model.len() - at).min(100);
                rig_client.store(map.address + at as u64, &vec![0x55; len]).unwrap();
                model[at..at + len].fill(0x55);
                // Past the end of the file: these may vanish, and must not come back.
                let page_rest = (4096 - model.len() % 4096) % 4096;
                if page_rest > 0 {
                    let end = map.address + model.len() as u64;
                    rig_client.store(end, &vec![0xee; page_rest.min(50)]).unwrap();
                }
            }
            4 => assert!(rig_client.read(file, 0, 200_000).unwrap() == model, "the disturber's file"),
            _ => rig_client.fsync(file).unwrap(),
        }
    }
    assert!(rig_client.read(file, 0, 200_000).unwrap() == model, "the disturber's file at the end");
}

fn run(block_size: u32, rounds: u32) {
    let rig = Rig::start(block_size, 8 << 20 >> block_size.trailing_zeros(), small());
    let client = rig.client();
    let files: Vec<u64> = ["a", "b"].iter().map(|name| open(&client, name)).collect();
    for &file in &files {
        client.truncate(file, SIZE).unwrap();
    }
    let own = open(&client, "own");
    let stop = Arc::new(AtomicBool::new(false));
    let left = Arc::new(std::sync::atomic::AtomicU64::new(THREADS));
    let mut bodies: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
    for me in 0..THREADS {
        let (client, files, stop, left) = (rig.client(), files.clone(), stop.clone(), left.clone());
        bodies.push(Box::new(move || {
            let outcome =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| worker(&client, &files, me, rounds)));
            if left.fetch_sub(1, Ordering::SeqCst) == 1 || outcome.is_err() {
                stop.store(true, Ordering::SeqCst);
            }
            if let Err(panic) = outcome {
                std::panic::resume_unwind(panic);
            }
        }));
    }
    let disturbing = rig.client();
    let (server, moving) = (rig.server.clone(), stop.clone());
    bodies.push(Box::new(move || disturber(&disturbing, own, &stop)));
    bodies.push(Box::new(move || {
        while !moving.load(Ordering::Relaxed) {
            server.migrate_folios();
            std::thread::sleep(Duration::from_millis(1));
        }
    }));
    in_parallel(bodies);
    // What all threads see at the end is what the disk has after the unmount.
    let seen: Vec<Vec<u8>> = files.iter().map(|&file| client.read(file, 0, SIZE as usize).unwrap()).collect();
    let (fs, disk) = (rig.fs.clone(), rig.disk.clone());
    rig.server.unmount().unwrap();
    for (name, seen) in ["a", "b"].iter().zip(&seen) {
        assert!(fs.on_disk(&disk, name.as_bytes()) == *seen, "file {name} on the disk");
    }
}

#[test]
fn eight_threads_find_what_they_wrote_with_large_blocks() {
    run(4096, 600);
}

#[test]
fn eight_threads_find_what_they_wrote_with_small_blocks() {
    run(1024, 600);
}
