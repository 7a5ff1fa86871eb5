//! Power cuts at every moment of small workloads of the whole stack: clients, server, file system.
//!
//! The disk has a cache: a write may or may not survive a power cut, sector by sector, until a flush
//! that began after it. Of every moment those states are tried in which none, all, all but one, only
//! one, or a random half of the pending sectors survived; all states if there are few. Each state must
//! mount, have nothing wrong with it before and after recovery, and each file must hold, granule by
//! granule of 512 bytes, what was last synced or something that was done later.

mod common;

use common::*;
use fs_mini::{Problem, mount};
use linux::MemoryDisk;
use linux::guest::Client;
use pager_core::{Rights, Sharing};
use platform::block::SECTOR_SIZE;
use std::collections::BTreeMap;
use std::sync::Arc;
use syscall::flag::{O_CREAT, O_RDONLY, O_RDWR};
use vfs_server::fs::{Access, SyncMode};
use vfs_server::{Config, Server};

const GRANULE: usize = 512;
const BLOCK: u32 = 1024;
const BLOCKS: u32 = 128;
/// Pending sectors of which all subsets are tried.
const EXHAUSTIVE: usize = 6;

/// What a name meant: nothing, or bytes; since it was begun at an event.
struct Version {
    begun: usize,
    contents: Option<Vec<u8>>,
}

/// One name's story.
#[derive(Default)]
struct Story {
    versions: Vec<Version>,
    /// Event -> the version that was synced by then.
    synced: Vec<(usize, usize)>,
}

struct Workload {
    disk: Arc<RecordingDisk>,
    client: Client,
    stories: BTreeMap<&'static str, Story>,
    /// Numbers patterns.
    serial: u64,
}

impl Workload {
    fn last(&self, name: &str) -> Option<Vec<u8>> {
        self.stories.get(name)?.versions.last()?.contents.clone()
    }

    /// Runs an operation after which `name` means `contents`.
    fn step(&mut self, name: &'static str, contents: Option<Vec<u8>>, operation: impl FnOnce(&Client)) {
        let begun = self.disk.now();
        let story = self.stories.entry(name).or_default();
        if story.versions.is_empty() {
            story.versions.push(Version { begun: 0, contents: None });
        }
        story.versions.push(Version { begun, contents });
        operation(&self.client);
    }

    fn open(&self, name: &str) -> u64 {
        self.client.open(name, O_RDWR | O_CREAT | 0o644).unwrap()
    }

    fn write(&mut self, name: &'static str, at: usize, len: usize) {
        self.serial += 1;
        let bytes = pattern(self.serial, len);
        let mut contents = self.last(name).unwrap_or_default();
        contents.resize(contents.len().max(at + len), 0);
        contents[at..at + len].copy_from_slice(&bytes);
        let file = self.open(name);
        self.step(name, Some(contents), |client| assert_eq!(client.write(file, at as u64, &bytes), Ok(len)));
        self.client.close(file);
    }

    /// A store through a mapping, within the file.
    fn store(&mut self, name: &'static str, at: usize, len: usize) {
        self.serial += 1;
        let bytes = pattern(self.serial, len);
        let mut contents = self.last(name).unwrap();
        contents[at..at + len].copy_from_slice(&bytes);
        let file = self.open(name);
        let mapping = self.client.map(file, 0, 4, Rights::READ_WRITE, Sharing::Shared).unwrap();
        self.step(name, Some(contents), |client| client.store(mapping.address + at as u64, &bytes).unwrap());
        self.client.unmap(mapping);
        self.client.close(file);
    }

    fn truncate(&mut self, name: &'static str, size: usize) {
        let mut contents = self.last(name).unwrap();
        contents.resize(size, 0);
        let file = self.open(name);
        self.step(name, Some(contents), |client| client.truncate(file, size as u64).unwrap());
        self.client.close(file);
    }

    fn fsync(&mut self, name: &'static str) {
        let file = self.open(name);
        self.client.fsync(file).unwrap();
        self.client.close(file);
        let now = self.disk.now();
        let story = self.stories.get_mut(name).unwrap();
        story.synced.push((now, story.versions.len() - 1));
    }

    fn unlink(&mut self, name: &'static str) {
        self.step(name, None, |client| client.unlink(name, 0).unwrap());
    }

    /// Moves a name between two syncs: what is written to the file before or after would else be seen
    /// under the other name too, rightly.
    fn rename(&mut self, old: &'static str, new: &'static str) {
        self.fsync(old);
        let moved = self.last(old);
        let file = self.client.open(old, O_RDONLY).unwrap();
        self.step(new, moved, |client| client.rename(file, new).unwrap());
        self.client.close(file);
        // Not `step`: it has happened. Begun when the rename was.
        let begun = self.stories[new].versions.last().unwrap().begun;
        self.stories.get_mut(old).unwrap().versions.push(Version { begun, contents: None });
        self.fsync(new);
    }
}

/// What of `name` a power cut after `cut` events may leave.
fn judge(name: &str, story: &Story, cut: usize, found: Option<&Vec<u8>>) -> Result<(), String> {
    let first = story.synced.iter().rev().find(|(at, _)| *at <= cut).map_or(0, |(_, version)| *version);
    let window: Vec<&Version> = story.versions[first..].iter().filter(|version| version.begun < cut.max(1)).collect();
    let Some(found) = found else {
        let may_be_absent = window.iter().any(|version| version.contents.is_none());
        return if may_be_absent { Ok(()) } else { Err(format!("{name} is gone, version {first} was synced")) };
    };
    let present: Vec<&Vec<u8>> = window.iter().filter_map(|version| version.contents.as_ref()).collect();
    let absent_once = present.len() < window.len();
    let longest = present.iter().map(|bytes| bytes.len()).max().ok_or(format!("{name} should not be there"))?;
    let shortest = if absent_once { 0 } else { present.iter().map(|bytes| bytes.len()).min().unwrap_or(0) };
    if !(shortest..=longest).contains(&found.len()) {
        return Err(format!("{name} has {} bytes, not {shortest} to {longest}", found.len()));
    }
    for (number, granule) in found.chunks(GRANULE).enumerate() {
        let at = number * GRANULE;
        let is_of = |bytes: &Vec<u8>| {
            let rest = bytes.get(at..).unwrap_or(&[]);
            let have = rest.len().min(granule.len());
            granule[..have] == rest[..have] && granule[have..].iter().all(|&byte| byte == 0)
        };
        let ends_before = shortest <= at;
        if !(present.iter().any(|bytes| is_of(bytes)) || ends_before && granule.iter().all(|&byte| byte == 0)) {
            return Err(format!("{name}, granule at {at}: neither what was synced nor what was done since"));
        }
    }
    Ok(())
}

/// Runs a workload on the whole stack; gives the disk's story.
fn record(work: impl FnOnce(&mut Workload)) -> (Vec<u8>, Arc<RecordingDisk>, BTreeMap<&'static str, Story>) {
    let before = empty(BLOCK, BLOCKS);
    let disk = RecordingDisk::new(before.clone());
    let machine = linux::start_machine();
    let fs = mount(disk.clone(), Access::ReadWrite).unwrap();
    let config = Config { cache_pages: 64, ..Config::default() };
    let server = Server::start(fs, disk.clone(), config).unwrap();
    server.start_threads().unwrap();
    let mut workload =
        Workload { disk: disk.clone(), client: Client::new(&machine), stories: BTreeMap::new(), serial: 0 };
    work(&mut workload);
    let stories = workload.stories;
    server.unmount().unwrap();
    machine.close();
    assert!(problems(disk.content()).is_empty(), "after the unmount: {:?}", problems(disk.content()));
    (before, disk, stories)
}

/// Tries every power cut; the number of states.
fn cut_everywhere(before: &[u8], disk: &RecordingDisk, stories: &BTreeMap<&'static str, Story>) -> usize {
    let log = disk.log.lock().unwrap();
    let mut durable = before.to_vec();
    // Sectors since the last flush; each remembers which write it is of, so that a later one wins.
    let mut pending: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut random = Random(0x5eed);
    let mut states = 0;
    for cut in 0..=log.len() {
        for kept in subsets(pending.len(), &mut random) {
            let mut image = durable.clone();
            for (index, (sector, bytes)) in pending.iter().enumerate() {
                if kept(index) {
                    image[(sector * SECTOR_SIZE) as usize..][..bytes.len()].copy_from_slice(bytes);
                }
            }
            examine(image, cut, stories);
            states += 1;
        }
        match log.get(cut) {
            Some(Event::Write { sector, bytes }) => {
                pending.extend((*sector..).zip(bytes.chunks(SECTOR_SIZE as usize).map(<[u8]>::to_vec)));
            }
            Some(Event::Flush) => {
                for (sector, bytes) in pending.drain(..) {
                    durable[(sector * SECTOR_SIZE) as usize..][..bytes.len()].copy_from_slice(&bytes);
                }
            }
            None => {}
        }
    }
    states
}

type Subset = Box<dyn Fn(usize) -> bool>;

/// Which of `count` pending sectors survive.
fn subsets(count: usize, random: &mut Random) -> Vec<Subset> {
    if count <= EXHAUSTIVE {
        return (0..1u64 << count).map(|bits| Box::new(move |at: usize| bits & (1 << at) != 0) as Subset).collect();
    }
    let mut all: Vec<Subset> = vec![Box::new(|_| false), Box::new(|_| true)];
    for at in (0..count).step_by(count.div_ceil(12)) {
        all.push(Box::new(move |other| other != at));
        all.push(Box::new(move |other| other == at));
        all.push(Box::new(move |other| other < at));
    }
    for _ in 0..8 {
        let bits: Vec<bool> = (0..count).map(|_| random.below(2) == 1).collect();
        all.push(Box::new(move |at| bits[at]));
    }
    all
}

fn examine(image: Vec<u8>, cut: usize, stories: &BTreeMap<&'static str, Story>) {
    let left_behind = |problem: &Problem| matches!(problem, Problem::Orphan(_) | Problem::Tail(_));
    assert!(problems(image.clone()).iter().all(left_behind), "cut after {cut}: {:?}", problems(image));
    let disk = Arc::new(MemoryDisk::new(image));
    let fs = mount(disk.clone(), Access::ReadWrite).unwrap_or_else(|error| panic!("cut after {cut}: {error}"));
    // As the server does it.
    fs.sync(SyncMode::Wait).unwrap();
    fs.unmount().unwrap();
    // Clean by now: no orphans, no bytes behind the ends.
    assert!(problems(disk.content()).is_empty(), "cut after {cut}, recovered: {:?}", problems(disk.content()));
    let files = tree(disk);
    for (name, story) in stories {
        if let Err(why) = judge(name, story, cut, files.get(&format!("/{name}"))) {
            panic!("cut after {cut}: {why}");
        }
    }
}

fn run(work: impl FnOnce(&mut Workload)) {
    let (before, disk, stories) = record(work);
    let states = cut_everywhere(&before, &disk, &stories);
    println!("{} events, {states} states", disk.now());
    assert!(states > 100, "{states} states are no test");
}

/// One machine a process at a time.
static MACHINE: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[test]
fn what_was_synced_survives() {
    let _only = MACHINE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    run(|w| {
        w.write("first", 0, 3000);
        w.fsync("first");
        w.write("second", 100, 5000);
        w.write("first", 1024, 512);
        w.fsync("second");
        w.store("first", 600, 100);
        w.fsync("first");
        w.truncate("second", 700);
        w.fsync("second");
        w.truncate("second", 4000);
        w.write("second", 3000, 3000);
        w.fsync("second");
        w.write("draft", 0, 2500);
        w.rename("draft", "first");
        // Its blocks are the next file's.
        w.unlink("second");
        w.write("third", 0, 6000);
        w.fsync("third");
        w.write("third", 6000, 100);
    });
}

#[test]
fn a_freed_block_shows_nowhere() {
    let _only = MACHINE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    run(|w| {
        // Nearly all of the disk, so that blocks go round.
        for round in 0..4 {
            let name = ["a", "b"][round % 2];
            w.write(name, 0, 40_000);
            w.fsync(name);
            w.truncate(name, 300);
            w.write("small", round * 700, 900);
            w.fsync("small");
            w.unlink(name);
        }
    });
}

#[test]
fn random_workloads_survive() {
    let _only = MACHINE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for seed in 1..=15 {
        run(|w| {
            let mut random = Random(seed);
            let names = ["u", "v", "w"];
            for _ in 0..30 {
                let name = names[random.below(3) as usize];
                let there = w.last(name).map_or(0, |bytes| bytes.len() as u64);
                match random.below(8) {
                    0..=2 => w.write(name, random.below(6000) as usize, 1 + random.below(4000) as usize),
                    3 if there > 0 => w.truncate(name, random.below(there + 2000) as usize),
                    4 if there > 200 => w.store(name, random.below(there - 100) as usize, 100),
                    5 if there > 0 => {
                        let new = names[random.below(3) as usize];
                        if new != name {
                            w.rename(name, new);
                        }
                    }
                    6 if there > 0 && random.below(3) == 0 => w.unlink(name),
                    _ if there > 0 => w.fsync(name),
                    _ => w.write(name, 0, 1000),
                }
            }
        });
    }
}
