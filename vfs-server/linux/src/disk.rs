//! Block devices in memory and in files. Operations end before `submit` returns.

use platform::block::{Bio, BioOp, BlockDevice, IoError, SECTOR_SIZE};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;

/// A disk in memory.
pub struct MemoryDisk {
    bytes: Mutex<Vec<u8>>,
}

impl MemoryDisk {
    /// A disk with this content, cut to whole sectors.
    pub fn new(mut bytes: Vec<u8>) -> Self {
        bytes.truncate(bytes.len() / SECTOR_SIZE as usize * SECTOR_SIZE as usize);
        Self { bytes: Mutex::new(bytes) }
    }

    /// A copy of the content.
    pub fn content(&self) -> Vec<u8> {
        self.bytes.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }
}

impl BlockDevice for MemoryDisk {
    fn name(&self) -> &str {
        "memory"
    }

    fn sectors(&self) -> u64 {
        self.bytes.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).len() as u64 / SECTOR_SIZE
    }

    fn read_only(&self) -> bool {
        false
    }

    fn submit(&self, bio: Bio) {
        let outcome = bio.check(self.sectors()).map(|()| {
            let mut bytes = self.bytes.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let mut at = (bio.sector * SECTOR_SIZE) as usize;
            for segment in &bio.segments {
                let piece = &mut bytes[at..at + segment.len];
                match bio.op {
                    BioOp::Read => segment.frames.copy_in(segment.offset, piece),
                    BioOp::Write => segment.frames.copy_out(segment.offset, piece),
                    BioOp::Flush => {}
                }
                at += segment.len;
            }
        });
        (bio.end_io)(outcome);
    }
}

/// A disk in a file or on a block device of Linux.
pub struct FileDisk {
    name: String,
    file: File,
    sectors: u64,
    read_only: bool,
}

impl FileDisk {
    /// Opens an image.
    pub fn open(path: &Path, read_only: bool) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(!read_only).open(path)?;
        let sectors = file.metadata()?.len() / SECTOR_SIZE;
        Ok(Self { name: path.display().to_string(), file, sectors, read_only })
    }

    fn transfer(&self, bio: &Bio) -> Result<(), IoError> {
        if self.read_only && bio.op == BioOp::Write {
            return Err(IoError::ReadOnly);
        }
        bio.check(self.sectors)?;
        let mut at = bio.sector * SECTOR_SIZE;
        let mut copy = Vec::new();
        for segment in &bio.segments {
            copy.resize(segment.len, 0);
            match bio.op {
                BioOp::Read => {
                    self.file.read_exact_at(&mut copy, at).map_err(|_| IoError::Device)?;
                    segment.frames.copy_in(segment.offset, &copy);
                }
                BioOp::Write => {
                    segment.frames.copy_out(segment.offset, &mut copy);
                    self.file.write_all_at(&copy, at).map_err(|_| IoError::Device)?;
                }
                BioOp::Flush => {}
            }
            at += segment.len as u64;
        }
        if bio.op == BioOp::Flush {
            self.file.sync_data().map_err(|_| IoError::Device)?;
        }
        Ok(())
    }
}

impl BlockDevice for FileDisk {
    fn name(&self) -> &str {
        &self.name
    }

    fn sectors(&self) -> u64 {
        self.sectors
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn submit(&self, bio: Bio) {
        let outcome = self.transfer(&bio);
        (bio.end_io)(outcome);
    }
}
