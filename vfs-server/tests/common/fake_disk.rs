//! A disk in memory that completes operations on a thread of its own, out of order when there are
//! several, and that fails when it is told to.

use platform::block::{Bio, BioOp, BlockDevice, IoError, SECTOR_SIZE};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

pub struct FakeDisk {
    bytes: Mutex<Vec<u8>>,
    queue: Mutex<Vec<Bio>>,
    arrivals: Condvar,
    /// Writes end with an error.
    pub fail_writes: AtomicBool,
    /// Reads end with an error.
    pub fail_reads: AtomicBool,
    /// Writes are not completed while this is set.
    pub hold_writes: AtomicBool,
    pub writes: AtomicU64,
}

impl FakeDisk {
    pub fn new(len: u64) -> Arc<Self> {
        let disk = Arc::new(Self {
            // What nobody wrote must never be seen.
            bytes: Mutex::new(vec![0xdb; len as usize]),
            queue: Mutex::new(Vec::new()),
            arrivals: Condvar::new(),
            fail_writes: AtomicBool::new(false),
            fail_reads: AtomicBool::new(false),
            hold_writes: AtomicBool::new(false),
            writes: AtomicU64::new(0),
        });
        let weak = Arc::downgrade(&disk);
        std::thread::spawn(move || {
            while let Some(disk) = weak.upgrade() {
                disk.serve();
            }
        });
        disk
    }

    pub fn len(&self) -> u64 {
        self.bytes.lock().unwrap().len() as u64
    }

    pub fn read_at(&self, at: u64, len: usize) -> Vec<u8> {
        self.bytes.lock().unwrap()[at as usize..at as usize + len].to_vec()
    }

    pub fn write_at(&self, at: u64, bytes: &[u8]) {
        self.bytes.lock().unwrap()[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    }

    fn serve(&self) {
        let wait = std::time::Duration::from_millis(5);
        let mut queue = self.queue.lock().unwrap();
        if queue.is_empty() {
            queue = self.arrivals.wait_timeout(queue, wait).unwrap().0;
        }
        let held = self.hold_writes.load(Ordering::SeqCst);
        let Some(at) = queue.iter().rposition(|bio| !held || bio.op != BioOp::Write) else {
            drop(queue);
            std::thread::sleep(wait / 5);
            return;
        };
        let bio = queue.remove(at);
        drop(queue);
        let outcome = self.transfer(&bio);
        (bio.end_io)(outcome);
    }

    fn transfer(&self, bio: &Bio) -> Result<(), IoError> {
        bio.check(self.len() / SECTOR_SIZE)?;
        let fails = match bio.op {
            BioOp::Read => &self.fail_reads,
            _ => &self.fail_writes,
        };
        if fails.load(Ordering::SeqCst) {
            return Err(IoError::Device);
        }
        let mut bytes = self.bytes.lock().unwrap();
        let mut at = (bio.sector * SECTOR_SIZE) as usize;
        for segment in &bio.segments {
            let piece = &mut bytes[at..at + segment.len];
            match bio.op {
                BioOp::Read => segment.frames.copy_in(segment.offset, piece),
                BioOp::Write => {
                    self.writes.fetch_add(1, Ordering::Relaxed);
                    segment.frames.copy_out(segment.offset, piece);
                }
                BioOp::Flush => {}
            }
            at += segment.len;
        }
        Ok(())
    }
}

impl BlockDevice for FakeDisk {
    fn name(&self) -> &str {
        "fake"
    }

    fn sectors(&self) -> u64 {
        self.len() / SECTOR_SIZE
    }

    fn read_only(&self) -> bool {
        false
    }

    fn submit(&self, bio: Bio) {
        self.queue.lock().unwrap().push(bio);
        self.arrivals.notify_all();
    }
}
