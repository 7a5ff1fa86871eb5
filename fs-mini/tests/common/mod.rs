//! What the tests share: a disk that remembers what happened to it, and a look at a disk's files without a server.
#![allow(dead_code)]

use fs_mini::{Problem, check, mkfs, mount};
use linux::MemoryDisk;
use platform::block::{Bio, BioOp, BlockDevice, SECTOR_SIZE};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use vfs_server::fs::{Access, FileKind, FileSystem, Inode, MappingState, ReaddirControl};

/// What happened, in order.
pub enum Event {
    /// Bytes reached the disk's cache.
    Write { sector: u64, bytes: Vec<u8> },
    /// All of the cache reached the disk.
    Flush,
}

/// A disk in memory that remembers its writes and flushes.
pub struct RecordingDisk {
    disk: MemoryDisk,
    pub log: Mutex<Vec<Event>>,
}

impl RecordingDisk {
    pub fn new(image: Vec<u8>) -> Arc<Self> {
        Arc::new(Self { disk: MemoryDisk::new(image), log: Mutex::new(Vec::new()) })
    }

    pub fn content(&self) -> Vec<u8> {
        self.disk.content()
    }

    /// Events so far.
    pub fn now(&self) -> usize {
        self.log.lock().unwrap().len()
    }
}

impl BlockDevice for RecordingDisk {
    fn name(&self) -> &str {
        "recording"
    }

    fn sectors(&self) -> u64 {
        self.disk.sectors()
    }

    fn read_only(&self) -> bool {
        false
    }

    fn submit(&self, bio: Bio) {
        let mut log = self.log.lock().unwrap();
        match bio.op {
            BioOp::Read => {}
            BioOp::Flush => log.push(Event::Flush),
            BioOp::Write => {
                let mut bytes = Vec::new();
                for segment in &bio.segments {
                    let start = bytes.len();
                    bytes.resize(start + segment.len, 0);
                    segment.frames.copy_out(segment.offset, &mut bytes[start..]);
                }
                log.push(Event::Write { sector: bio.sector, bytes });
            }
        }
        self.disk.submit(bio);
    }
}

/// An empty file system; what nobody wrote must never be seen.
pub fn empty(block_size: u32, blocks: u32) -> Vec<u8> {
    let disk = Arc::new(MemoryDisk::new(vec![0xdb; (block_size * blocks) as usize]));
    mkfs(disk.clone(), block_size).unwrap();
    disk.content()
}

/// What is wrong with an image.
pub fn problems(image: Vec<u8>) -> Vec<Problem> {
    check(Arc::new(MemoryDisk::new(image)))
}

/// Every file of a disk by its path, directories with a `/` and nothing in them.
pub fn tree(device: Arc<dyn BlockDevice>) -> BTreeMap<String, Vec<u8>> {
    let fs = mount(device.clone(), Access::ReadOnly).unwrap();
    let mut files = BTreeMap::new();
    collect(&*fs, &*device, fs.root(), "", &mut files);
    files
}

fn collect(fs: &dyn FileSystem, device: &dyn BlockDevice, ino: u64, path: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    let inode = Inode::new(fs.read_inode(ino).unwrap());
    match inode.kind {
        FileKind::Regular => _ = files.insert(path.to_string(), contents(fs, device, &inode)),
        _ => {
            files.insert(format!("{path}/"), Vec::new());
            let mut entries = Vec::new();
            let mut keep = |entry: vfs_server::fs::DirectoryEntry<'_>| {
                entries.push((entry.ino, String::from_utf8_lossy(entry.name).into_owned()));
                ReaddirControl::Continue
            };
            inode.operations().readdir(&inode, 2, &mut keep).unwrap();
            entries.iter().for_each(|(ino, name)| collect(fs, device, *ino, &format!("{path}/{name}"), files));
        }
    }
}

fn contents(fs: &dyn FileSystem, device: &dyn BlockDevice, inode: &Inode) -> Vec<u8> {
    let block_size = u64::from(fs.block_size());
    let mut bytes = Vec::new();
    // A damaged size may be any.
    for block in 0..inode.size().div_ceil(block_size).min(4096) {
        let mut block_bytes = vec![0; block_size as usize];
        let mapping = inode.operations().map_blocks(inode, block, 1).unwrap();
        if let MappingState::Written { device_block } = mapping.state {
            platform::block::read(device, device_block * block_size / SECTOR_SIZE, &mut block_bytes).unwrap();
        }
        bytes.extend(block_bytes);
    }
    bytes.truncate(inode.size() as usize);
    bytes
}

/// Bytes that tell whose they are, which version and where.
pub fn pattern(version: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| 1 | ((at ^ at >> 9).wrapping_mul(29).wrapping_add(version * 86) as u8)).collect()
}

/// xorshift64*: the same numbers for the same seed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % n
    }
}
