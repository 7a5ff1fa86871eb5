//! Threads on a few files against a plain model, with a small cache and a late disk, by each protocol.
//!
//! Each thread owns every fourth lane of each file, so that what it wrote last is what it must read,
//! whatever the others do; another one cuts and grows a file of its own and drops caches.

mod common;

use common::{Random, Rig, in_parallel, open, with_each};
use guest::Client;
use pager_core::{Rights, Sharing};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const THREADS: u64 = 4;
const SIZE: u64 = 128 << 10;
/// Bytes of a lane: lanes share sectors and pages.
const LANE: u64 = 700;

fn worker(client: &Client, files: &[u64], me: u64, rounds: u32) {
    let mut random = Random(0x9e37_79b9 * (me + 1));
    let mut models: Vec<Vec<u8>> = files.iter().map(|_| vec![0; SIZE as usize]).collect();
    let map = |&file: &u64| client.map(file, 0, SIZE / 4096, Rights::READ_WRITE, Sharing::Shared).unwrap();
    let maps: Vec<_> = files.iter().map(map).collect();
    for round in 0..rounds {
        let which = random.below(files.len() as u64) as usize;
        let (file, map, model) = (files[which], maps[which], &mut models[which]);
        let lane = random.below(SIZE / LANE / THREADS) * THREADS + me;
        let start = lane * LANE + random.below(LANE);
        let len = 1 + random.below(lane * LANE + LANE - start);
        let range = start as usize..(start + len) as usize;
        match random.below(10) {
            0..4 => {
                let bytes = vec![round as u8; len as usize];
                assert_eq!(client.write(file, start, &bytes), Ok(bytes.len()));
                model[range].copy_from_slice(&bytes);
            }
            4..6 => {
                let bytes = vec![round as u8 ^ 0x80; len as usize];
                client.store(map.address + start, &bytes).unwrap();
                model[range].copy_from_slice(&bytes);
            }
            6..8 => {
                let seen = client.read(file, start, len as usize).unwrap();
                assert!(seen == model[range], "thread {me} round {round}: read of {start}+{len}");
            }
            8 => {
                let seen = client.load(map.address + start, len as usize).unwrap();
                assert!(seen == model[range], "thread {me} round {round}: load of {start}+{len}");
            }
            _ => client.fsync(file).unwrap(),
        }
    }
}

fn disturber(rig: &Client, file: u64, stop: &AtomicBool) {
    let mut random = Random(42);
    let mut model: Vec<u8> = Vec::new();
    let drop_caches = pager_abi::server_verb::ServerVerb::DropCaches as u64;
    while !stop.load(Ordering::Relaxed) {
        match random.below(5) {
            0 => _ = rig.call(0, [drop_caches, 0, 0], 0).unwrap(),
            1 => {
                let size = random.below(60_000);
                rig.truncate(file, size).unwrap();
                model.resize(size as usize, 0);
            }
            2 => {
                let (at, len) = (random.below(50_000) as usize, 1 + random.below(30_000) as usize);
                let bytes = vec![random.below(256) as u8; len];
                assert_eq!(rig.write(file, at as u64, &bytes), Ok(len));
                model.resize(model.len().max(at + len), 0);
                model[at..at + len].copy_from_slice(&bytes);
            }
            3 => {
                let bytes = vec![random.below(256) as u8; 1 + random.below(3000) as usize];
                assert_eq!(rig.append(file, &bytes), Ok(bytes.len()));
                model.extend_from_slice(&bytes);
            }
            _ => assert!(rig.read(file, 0, 200_000).unwrap() == model, "the disturber's file"),
        }
    }
    assert!(rig.read(file, 0, 200_000).unwrap() == model, "the disturber's file at the end");
}

#[test]
fn threads_find_what_they_wrote() {
    with_each(|protocol| {
        let rig = Rig::small(protocol);
        let client = rig.client();
        let files: Vec<u64> = ["a", "b"].iter().map(|name| open(&client, name)).collect();
        for &file in &files {
            client.truncate(file, SIZE).unwrap();
        }
        let own = open(&client, "own");
        let stop = Arc::new(AtomicBool::new(false));
        let left = Arc::new(AtomicU64::new(THREADS));
        let mut bodies: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
        for me in 0..THREADS {
            let (client, files, stop, left) = (rig.client(), files.clone(), stop.clone(), left.clone());
            bodies.push(Box::new(move || {
                let body = std::panic::AssertUnwindSafe(|| worker(&client, &files, me, 400));
                let outcome = std::panic::catch_unwind(body);
                if left.fetch_sub(1, Ordering::SeqCst) == 1 || outcome.is_err() {
                    stop.store(true, Ordering::SeqCst);
                }
                if let Err(panic) = outcome {
                    std::panic::resume_unwind(panic);
                }
            }));
        }
        let disturbing = rig.client();
        bodies.push(Box::new(move || disturber(&disturbing, own, &stop)));
        in_parallel(bodies);
        let seen: Vec<_> = files.iter().map(|&file| client.read(file, 0, SIZE as usize).unwrap()).collect();
        for &file in &files {
            client.fsync(file).unwrap();
        }
        rig.drop_caches(&client);
        for (&file, seen) in files.iter().zip(&seen) {
            assert!(client.read(file, 0, SIZE as usize).unwrap() == *seen, "what the disk has");
        }
        rig.unmount();
    });
}
