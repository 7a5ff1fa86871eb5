//! What a request has done before it was answered RETRY.
//!
//! A write or an append must not be done twice, and a read shall not start over: what was copied is
//! remembered under the tag until the same `Sqe` arrives again. A kernel that gives the tag to
//! another request finds its record void: it must be the same `Sqe` in every word.
//!
//! Staged bytes of a write are kept for a few requests only, as nobody tells of one whose client died
//! on the way round: one that loses them copies them anew.

use crate::error::{Error, Result};
use crate::file::iov_iter::Kiocb;
use crate::file::staging::Staged;
use platform::HashMap;
use platform::lockdep::LEAF;
use platform::sync::{Mutex, Word};
use syscall::schemev2::Sqe;

/// Most requests whose staged bytes are kept.
const STAGED_MAX: usize = 4;

/// Where a read or a write stands.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Bytes done, from the start of the buffer.
    pub done: usize,
    /// Where a file system's own write path stands, once it was called.
    pub iocb: Option<Kiocb>,
    /// Bytes that follow, copied but not written yet.
    pub staged: Option<Staged>,
}

impl Progress {
    fn is_begun(&self) -> bool {
        self.done > 0 || self.iocb.is_some() || self.staged.is_some()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    opcode: u8,
    args: [u64; 6],
    caller: u64,
}

impl Key {
    fn of(sqe: &Sqe) -> Self {
        Self { opcode: sqe.opcode, args: sqe.args, caller: sqe.caller }
    }
}

/// Requests that are under way to be sent again.
pub(crate) struct ProgressTable {
    /// Entries; a look without the lock finds nothing that was put in by this request's own past
    /// missing, because the kernel's round trip lies between.
    count: Word,
    table: Mutex<HashMap<u32, (Key, Progress)>>,
}

impl ProgressTable {
    pub(crate) fn new() -> Self {
        Self { count: Word::new(&LEAF, 0), table: Mutex::new(&LEAF, HashMap::default()) }
    }

    fn take(&self, sqe: &Sqe) -> Progress {
        if self.count.load() == 0 {
            return Progress::default();
        }
        let mut table = self.table.lock();
        let entry = table.remove(&sqe.tag);
        self.count.store(table.len() as u32);
        drop(table);
        match entry {
            Some((key, progress)) if key == Key::of(sqe) => progress,
            _ => Progress::default(),
        }
    }

    /// The request is answered for good: what it had done, if it was on its way round.
    pub(crate) fn forget(&self, sqe: &Sqe) -> Progress {
        self.take(sqe)
    }

    fn put(&self, sqe: &Sqe, progress: Progress) {
        let mut table = self.table.lock();
        table.insert(sqe.tag, (Key::of(sqe), progress));
        let others = table.iter().filter(|(tag, (_, progress))| **tag != sqe.tag && progress.staged.is_some());
        let dropped = if others.clone().count() < STAGED_MAX {
            None
        } else {
            // Any of them: each can copy its bytes again.
            others.map(|(tag, _)| *tag).min().and_then(|tag| table.get_mut(&tag)?.1.staged.take())
        };
        self.count.store(table.len() as u32);
        drop(table);
        drop(dropped);
    }

    /// Runs a read or a write from where the request stands; remembers it if it has to go round.
    pub(crate) fn resume(&self, sqe: &Sqe, operation: impl FnOnce(&mut Progress) -> Result<usize>) -> Result<usize> {
        let mut progress = self.take(sqe);
        let outcome = operation(&mut progress);
        match outcome {
            Err(Error::Retry(_) | Error::NoFolio) if progress.is_begun() => {
                self.put(sqe, progress);
                outcome
            }
            // What was done before an error counts; the error comes again with the next call.
            Err(Error::Retry(_) | Error::NoFolio | Error::Cancelled) => outcome,
            Err(_) if progress.done > 0 => Ok(progress.done),
            outcome => outcome,
        }
    }
}
