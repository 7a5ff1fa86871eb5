//! Every power cut of commits: the contents change as a whole, and once a commit was answered it counts.
//!
//! Three commits change several sectors each, and the disk is asked for each moment what it may hold: each sector that
//! was written since the last flush is there or not. All sectors must have the contents of one commit.

use linux::MemoryDisk;
use platform::block::{Bio, BioOp, BlockDevice, SECTOR_SIZE};
use std::sync::{Arc, Mutex};
use vfs_server::atomic_region::AtomicRegion;
use vfs_server::error::Error;

/// Three sectors.
const BYTES: u64 = 3 * SECTOR_SIZE;
const MAGIC: [u8; 8] = *b"a-region";

/// A disk that keeps what it was told since it was made.
struct Recorder {
    disk: MemoryDisk,
    told: Mutex<Vec<Told>>,
}

enum Told {
    Write(u64, Vec<u8>),
    Flush,
}

impl BlockDevice for Recorder {
    fn name(&self) -> &str {
        "recorder"
    }
    fn sectors(&self) -> u64 {
        self.disk.sectors()
    }
    fn read_only(&self) -> bool {
        false
    }
    fn submit(&self, bio: Bio) {
        let mut told = self.told.lock().unwrap();
        match bio.op {
            BioOp::Read => {}
            BioOp::Flush => told.push(Told::Flush),
            BioOp::Write => {
                let mut bytes = vec![0; bio.len()];
                let mut at = 0;
                for segment in &bio.segments {
                    segment.frames.copy_out(segment.offset, &mut bytes[at..at + segment.len]);
                    at += segment.len;
                }
                let sectors = bytes.chunks(SECTOR_SIZE as usize).map(<[u8]>::to_vec);
                told.extend((bio.sector..).zip(sectors).map(|(sector, bytes)| Told::Write(sector, bytes)));
            }
        }
        self.disk.submit(bio);
    }
}

fn contents(version: u8) -> Vec<u8> {
    vec![version; BYTES as usize]
}

/// What an image has, recovered.
fn recovered(image: Vec<u8>) -> Result<Vec<u8>, Error> {
    Ok(AtomicRegion::open(Arc::new(MemoryDisk::new(image)), MAGIC)?.contents().to_vec())
}

/// A disk with version 0 on it, and something else behind.
fn created() -> MemoryDisk {
    let disk = MemoryDisk::new(vec![0xdb; ((AtomicRegion::sectors(BYTES) + 1) * SECTOR_SIZE) as usize]);
    AtomicRegion::create(&disk, MAGIC, contents(0)).unwrap();
    disk
}

#[test]
fn a_power_cut_leaves_all_of_a_commit_or_nothing_of_it() {
    let recorder = Arc::new(Recorder { disk: created(), told: Mutex::default() });
    let mut durable = recorder.disk.content();
    let mut region = AtomicRegion::open(recorder.clone(), MAGIC).unwrap();
    let mut answered = vec![(0, 0)];
    for version in 1..=3 {
        region.commit(contents(version)).unwrap();
        answered.push((recorder.told.lock().unwrap().len(), version));
    }
    let told = recorder.told.lock().unwrap();
    let mut pending: Vec<(u64, &Vec<u8>)> = Vec::new();
    let mut states = 0;
    for cut in 0..=told.len() {
        for kept in 0..1u32 << pending.len() {
            let mut image = durable.clone();
            for (index, (sector, bytes)) in pending.iter().enumerate() {
                if kept & 1 << index != 0 {
                    image[(sector * SECTOR_SIZE) as usize..][..bytes.len()].copy_from_slice(bytes);
                }
            }
            let found = recovered(image).unwrap();
            let version = found[0];
            assert!(found == contents(version), "cut after {cut}: a mixture");
            let least = answered.iter().rfind(|(at, _)| *at <= cut).unwrap().1;
            assert!((least..=least + 1).contains(&version), "cut after {cut}: {version}, though {least} was answered");
            states += 1;
        }
        match told.get(cut) {
            Some(Told::Write(sector, bytes)) => pending.push((*sector, bytes)),
            Some(Told::Flush) => {
                for (sector, bytes) in pending.drain(..) {
                    durable[(sector * SECTOR_SIZE) as usize..][..bytes.len()].copy_from_slice(bytes);
                }
            }
            None => {}
        }
    }
    assert!(states > 100, "{states} states are no test");
}

#[test]
fn damage_is_named() {
    let sound = created().content();
    assert_eq!(recovered(sound.clone()), Ok(contents(0)));
    let no_superblock = "no superblock of this format with a right checksum that fits the disk";
    let mut cases = vec![(sound[..sound.len() - 1024].to_vec(), no_superblock.to_string())];
    for byte in 0..20 {
        let mut image = sound.clone();
        image[byte] ^= 0x80;
        cases.push((image, no_superblock.into()));
    }
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);
    let change = [&9_u64.to_le_bytes()[..], &[7; 512]].concat();
    let log = [b"redo-log", &1_u32.to_le_bytes()[..], &crc.checksum(&change).to_le_bytes(), &change].concat();
    let mut image = sound;
    image[512..512 + log.len()].copy_from_slice(&log);
    cases.push((image, "the log changes sector 9 of 3".into()));
    for (image, expected) in cases {
        assert_eq!(recovered(image), Err(Error::Corrupt(expected)));
    }
}
