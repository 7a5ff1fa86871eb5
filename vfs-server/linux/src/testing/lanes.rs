//! Threads on a few files against a plain model.
//!
//! Each thread owns every n-th lane of each file, a run of bytes that shares its sectors and pages with
//! the neighbours': what it wrote last is what it must read, whatever the others do. Beside them one
//! cuts and grows a file of its own, stores past its end and drops caches; another one moves folios to
//! other frames.

use super::{Random, in_parallel};
use guest::{Client, Machine};
use pager_abi::file_verb::FileVerb;
use pager_abi::server_verb::ServerVerb;
use pager_core::{Rights, Sharing};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use syscall::flag::{O_CREAT, O_RDWR};

/// The files that the threads share, by name.
pub const FILES: [&str; 2] = ["a", "b"];

/// Bytes of a lane.
const LANE: u64 = 700;
const PAGE: u64 = 4096;

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub struct Lanes {
    /// Threads.
    pub threads: u64,
    /// Bytes of each file, whole pages.
    pub size: u64,
    /// Operations of each thread.
    pub rounds: u32,
}

impl Lanes {
    /// Runs it on new files; what [`FILES`] hold when all have ended. `migrate` moves folios.
    ///
    /// # Panics
    /// A thread has read what it did not write.
    pub fn run(self, machine: &Arc<Machine>, migrate: impl Fn() + Send + 'static) -> Vec<Vec<u8>> {
        let client = Client::new(machine);
        let open = |name: &str| client.open(name, O_RDWR | O_CREAT | 0o644).unwrap();
        let files = FILES.map(open);
        for file in files {
            client.truncate(file, self.size).unwrap();
        }
        let own = open("own");
        let stop = Arc::new(AtomicBool::new(false));
        let left = Arc::new(AtomicU64::new(self.threads));
        let mut bodies: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
        for me in 0..self.threads {
            let (client, stop, left) = (Client::new(machine), stop.clone(), left.clone());
            bodies.push(Box::new(move || {
                let outcome = catch_unwind(AssertUnwindSafe(|| self.worker(&client, &files, me)));
                if left.fetch_sub(1, Ordering::SeqCst) == 1 || outcome.is_err() {
                    stop.store(true, Ordering::SeqCst);
                }
                if let Err(panic) = outcome {
                    resume_unwind(panic);
                }
            }));
        }
        let (disturbing, disturbed) = (Client::new(machine), stop.clone());
        bodies.push(Box::new(move || disturb(&disturbing, own, &disturbed)));
        bodies.push(Box::new(move || {
            while !stop.load(Ordering::Relaxed) {
                migrate();
                std::thread::sleep(Duration::from_millis(1));
            }
        }));
        in_parallel(bodies);
        files.iter().map(|&file| client.read(file, 0, self.size as usize).unwrap()).collect()
    }

    /// Random writes, stores, reads and loads of its own lanes, checked against its model.
    fn worker(self, client: &Client, files: &[u64], me: u64) {
        let mut random = Random(0x9e37_79b9 * (me + 1));
        let mut models = vec![vec![0; self.size as usize]; files.len()];
        let map = |&file: &u64| client.map(file, 0, self.size / PAGE, Rights::READ_WRITE, Sharing::Shared).unwrap();
        let maps: Vec<_> = files.iter().map(map).collect();
        for round in 0..self.rounds {
            let which = random.below(files.len() as u64) as usize;
            let (file, map, model) = (files[which], maps[which], &mut models[which]);
            let lane = random.below(self.size / LANE / self.threads) * self.threads + me;
            let start = lane * LANE + random.below(LANE);
            let len = 1 + random.below(lane * LANE + LANE - start);
            let range = start as usize..(start + len) as usize;
            match random.below(11) {
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
                9 => client.fsync(file).unwrap(),
                _ => _ = client.call(file, [FileVerb::Msync as u64, start, len], 0).unwrap(),
            }
        }
        for (&file, model) in files.iter().zip(&models) {
            for lane in (me..self.size / LANE).step_by(self.threads as usize) {
                let range = (lane * LANE) as usize..((lane + 1) * LANE) as usize;
                let seen = client.read(file, lane * LANE, LANE as usize).unwrap();
                assert!(seen == model[range], "thread {me}: lane {lane} at the end");
            }
        }
    }
}

/// Cuts and grows a file of its own, stores to a mapping of it, drops caches under everybody.
fn disturb(client: &Client, file: u64, stop: &AtomicBool) {
    let mut random = Random(42);
    let mut model: Vec<u8> = Vec::new();
    let map = client.map(file, 0, 64, Rights::READ_WRITE, Sharing::Shared).unwrap();
    while !stop.load(Ordering::Relaxed) {
        match random.below(7) {
            0 => _ = client.call(0, [ServerVerb::DropCaches as u64, 0, 0], 0).unwrap(),
            1 => {
                let size = random.below(100_000);
                client.truncate(file, size).unwrap();
                model.resize(size as usize, 0);
            }
            2 => {
                let (at, len) = (random.below(90_000) as usize, 1 + random.below(30_000) as usize);
                let bytes = vec![random.below(256) as u8; len];
                assert_eq!(client.write(file, at as u64, &bytes), Ok(len));
                model.resize(model.len().max(at + len), 0);
                model[at..at + len].copy_from_slice(&bytes);
            }
            3 if model.len() < 200_000 => {
                let bytes = vec![random.below(256) as u8; 1 + random.below(3000) as usize];
                assert_eq!(client.append(file, &bytes), Ok(bytes.len()));
                model.extend_from_slice(&bytes);
            }
            4 if !model.is_empty() => {
                let at = random.below(model.len() as u64) as usize;
                let len = (model.len() - at).min(100);
                client.store(map.address + at as u64, &vec![0x55; len]).unwrap();
                model[at..at + len].fill(0x55);
                // Past the end of the file: these may vanish, and must not come back.
                let page_rest = model.len().next_multiple_of(PAGE as usize) - model.len();
                let end = map.address + model.len() as u64;
                client.store(end, &vec![0xee; page_rest.min(50)]).unwrap();
            }
            5 => assert_same(&client.read(file, 0, 300_000).unwrap(), &model, "the disturber's file"),
            _ => client.fsync(file).unwrap(),
        }
    }
    assert_same(&client.read(file, 0, 300_000).unwrap(), &model, "the disturber's file at the end");
}

/// # Panics
/// The bytes differ; where they do first, and how.
fn assert_same(seen: &[u8], model: &[u8], what: &str) {
    assert_eq!(seen.len(), model.len(), "{what}: its size");
    if let Some(at) = (0..seen.len()).find(|&at| seen[at] != model[at]) {
        let same = seen[at..].iter().zip(&model[at..]).position(|(seen, model)| seen == model);
        let len = same.unwrap_or(seen.len() - at);
        panic!("{what}: from byte {at}, {len} bytes: saw {:#x}, expected {:#x}", seen[at], model[at]);
    }
}
