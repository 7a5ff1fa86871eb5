//! A disk in memory.

use super::parse_number;
use core::ptr::NonNull;
use platform::block::{Bio, BioOp, BlockDevice, SECTOR_SIZE};

/// A disk in memory that root-task mapped into the server.
pub struct RamDisk {
    memory: NonNull<u8>,
    sectors: u64,
    lock: user_rt::sync::Mutex<()>,
}

// SAFETY: the memory belongs to the disk alone, and is only reached under the lock.
unsafe impl Send for RamDisk {}
// SAFETY: as above.
unsafe impl Sync for RamDisk {}

impl RamDisk {
    /// From `ramdisk=ADDRESS,BYTES`.
    ///
    /// # Safety
    /// The range is mapped readable and writable, and nothing else uses it.
    pub unsafe fn from_argument(argument: &str) -> Option<Self> {
        let (address, len) = argument.split_once(',')?;
        let memory = NonNull::new(parse_number(address)? as *mut u8)?;
        let sectors = parse_number(len)? as u64 / SECTOR_SIZE;
        Some(Self { memory, sectors, lock: user_rt::sync::Mutex::new(()) })
    }
}

impl BlockDevice for RamDisk {
    fn name(&self) -> &str {
        "ramdisk"
    }

    fn sectors(&self) -> u64 {
        self.sectors
    }

    fn read_only(&self) -> bool {
        false
    }

    fn submit(&self, bio: Bio) {
        let outcome = bio.check(self.sectors).map(|()| {
            let _exclusive = self.lock.lock();
            let mut at = (bio.sector * SECTOR_SIZE) as usize;
            for segment in &bio.segments {
                // SAFETY: `check` keeps the range on the disk; the lock makes it ours.
                let piece = unsafe { core::slice::from_raw_parts_mut(self.memory.add(at).as_ptr(), segment.len) };
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
