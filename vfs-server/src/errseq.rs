//! Errors of writeback, each seen once by every open file (Linux's `errseq_t`).
//!
//! A cursor counts how many errors there were and remembers the last; an open file samples it and
//! is told later whether there was one since. An error that nobody has sampled yet is told to the
//! next opener too, so that it is not lost between two opens.

use crate::error::{Error, Result};
use platform::block::IoError;
use platform::lockdep::LEAF;
use platform::sync::Word;
use platform::{Mutant, mutant};

/// Bits of the kind of error.
const KIND: u32 = 0xff;
/// Somebody has looked since the last error.
const SEEN: u32 = 1 << 8;
/// One error more.
const ONE: u32 = 1 << 9;

/// The errors of one file or one file system.
#[derive(Debug)]
pub struct ErrSeq {
    word: Word,
}

/// What an open file has seen.
#[derive(Debug)]
pub struct ErrSeen {
    word: Word,
}

impl Default for ErrSeq {
    fn default() -> Self {
        Self::new()
    }
}

impl ErrSeen {
    /// One who has seen no error yet.
    pub(crate) fn nothing() -> Self {
        Self { word: Word::new(&LEAF, SEEN) }
    }

    /// Forgets what it has not seen, as nobody should.
    pub(crate) fn sample_again(&self, errors: &ErrSeq) {
        self.word.store(errors.word.load());
    }
}

impl ErrSeq {
    /// No error.
    pub const fn new() -> Self {
        Self { word: Word::new(&LEAF, SEEN) }
    }

    /// An error happened.
    pub fn set(&self, error: &Error) {
        let kind = match error {
            Error::NoSpace => 1,
            _ => 2,
        };
        loop {
            let old = self.word.load();
            // Without a reader since the last error the count need not move (it could wrap).
            let count = (old & !(KIND | SEEN)).wrapping_add(if old & SEEN != 0 { ONE } else { 0 });
            if self.word.replace_if(old, count | kind) {
                return;
            }
        }
    }

    /// What a file that is opened now has seen.
    pub fn sample(&self) -> ErrSeen {
        let word = self.word.load();
        // An error that nobody saw is the next opener's.
        ErrSeen { word: Word::new(&LEAF, if word & SEEN == 0 { 0 } else { word }) }
    }

    /// The error since `seen`, once.
    pub fn check_and_advance(&self, seen: &ErrSeen) -> Result<()> {
        let old = self.word.load();
        if old == seen.word.load() {
            return Ok(());
        }
        let now = self.word.fetch_or(SEEN) | SEEN;
        let before = seen.word.load();
        // Two threads of one open file: the one that advances reports.
        if before == now || !seen.word.replace_if(before, now) {
            return Ok(());
        }
        if mutant(Mutant::ErrorToldToOne) {
            self.word.store(SEEN);
        }
        match now & KIND {
            0 => Ok(()),
            1 => Err(Error::NoSpace),
            _ => Err(Error::Io(IoError::Device)),
        }
    }
}
