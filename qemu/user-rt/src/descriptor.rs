//! Descriptor numbers (a program picks them itself, as on Redox) and who closes them.
//!
//! Numbers below [`FIRST_FREE`] have fixed meanings; the others are handed out lowest first by a
//! bitmap that all threads share, as they share the file table. A forked process inherits both.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use syscall::{EMFILE, Error, Result, dup_into, openat_into};

/// Input of the debug console.
pub const STDIN: Fd = Fd(0);
/// Output of the debug console.
pub const STDOUT: Fd = Fd(1);
/// Messages on the debug console.
pub const STDERR: Fd = Fd(2);
/// The root directory of the mounted file system; for a server its scheme socket.
pub const ROOT: Fd = Fd(3);

/// The right to create schemes; programs that run without a file server have it, others do not.
pub const SCHEME_CREATION: Fd = Fd(4);

/// The first number that is handed out.
const FIRST_FREE: usize = 64;

/// Most words of a command to a kernel scheme.
pub const COMMAND_WORDS: usize = 8;

/// Words of the bitmap: 4,096 numbers.
const WORDS: usize = 64;

static USED: [AtomicU64; WORDS] = {
    let mut words = [const { AtomicU64::new(0) }; WORDS];
    words[0] = AtomicU64::new(u64::MAX);
    words
};

/// A descriptor's number; who holds it does not close it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fd(pub usize);

impl Fd {
    /// A new descriptor made from this one, as `how` says (empty: the same file again).
    pub fn dup(self, how: &[u8]) -> Result<Descriptor> {
        Descriptor::at_free_number(|number| dup_into(self.0, number, how))
    }

    /// Makes `number` (below [`FIRST_FREE`]) a descriptor of the same file, closing what was there.
    pub fn dup_to(self, number: Fd) -> Result<()> {
        syscall::dup2(self.0, number.0, b"").map(|_| ())
    }

    /// Opens `path` relative to this directory, with Redox's `O_` flags (mode in the low 12 bits).
    pub fn open(self, path: &str, flags: usize) -> Result<Descriptor> {
        Descriptor::at_free_number(|number| openat_into(self.0, number, path, flags, 0))
    }

    /// Reads into `buf` at the descriptor's own position.
    pub fn read(self, buf: &mut [u8]) -> Result<usize> {
        syscall::read(self.0, buf)
    }

    /// Writes `buf` at the descriptor's own position.
    pub fn write(self, buf: &[u8]) -> Result<usize> {
        syscall::write(self.0, buf)
    }

    /// Writes native words (at most [`COMMAND_WORDS`]), the form of most kernel schemes' commands.
    pub fn write_words(self, words: &[usize]) -> Result<usize> {
        let mut bytes = [0; COMMAND_WORDS * size_of::<usize>()];
        let bytes = &mut bytes[..size_of_val(words)];
        for (chunk, word) in bytes.chunks_exact_mut(size_of::<usize>()).zip(words) {
            chunk.copy_from_slice(&word.to_ne_bytes());
        }
        self.write(bytes)
    }
}

/// A descriptor that is closed when it goes out of scope.
#[derive(Debug, PartialEq, Eq)]
pub struct Descriptor(Fd);

impl Descriptor {
    /// Lets `make` make a descriptor at a free number.
    pub fn at_free_number(make: impl FnOnce(usize) -> Result<usize>) -> Result<Self> {
        let number = reserve()?;
        match make(number) {
            Ok(_) => Ok(Self(Fd(number))),
            Err(error) => {
                release(number);
                Err(error)
            }
        }
    }

    /// Its number.
    pub fn fd(&self) -> Fd {
        self.0
    }

    /// Leaves it open for good.
    pub fn leak(self) -> Fd {
        let fd = self.0;
        core::mem::forget(self);
        fd
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        close(self.0);
        release(self.0.0);
    }
}

/// Closes a number that [`Descriptor`] does not manage (one of the fixed ones).
pub fn close(fd: Fd) {
    // SAFETY: CLOSE touches no memory. Its error (the number was not open) leaves it as wanted.
    let _ = unsafe { syscall::syscall1(syscall::SYS_CLOSE, fd.0) };
}

/// The numbers from [`FIRST_FREE`] on that are in use.
pub fn managed() -> impl Iterator<Item = Fd> {
    (FIRST_FREE..WORDS * 64).filter(|&n| USED[n / 64].load(Relaxed) >> (n % 64) & 1 == 1).map(Fd)
}

fn reserve() -> Result<usize> {
    for (index, word) in USED.iter().enumerate() {
        let mut bits = word.load(Relaxed);
        while bits != u64::MAX {
            let bit = (!bits).trailing_zeros() as usize;
            match word.compare_exchange_weak(bits, bits | 1 << bit, Relaxed, Relaxed) {
                Ok(_) => return Ok(index * 64 + bit),
                Err(now) => bits = now,
            }
        }
    }
    Err(Error::new(EMFILE))
}

fn release(number: usize) {
    USED[number / 64].fetch_and(!(1 << (number % 64)), Relaxed);
}

/// Which numbers are in use, for a fork: what is made for it must not be left over in the child.
pub(crate) struct Snapshot([u64; WORDS]);

impl Snapshot {
    pub(crate) fn take() -> Self {
        Self(core::array::from_fn(|index| USED[index].load(Relaxed)))
    }

    /// Closes and frees every number that was not in use then. Only one thread may be there.
    pub(crate) fn restore(&self) {
        for fd in managed() {
            if self.0[fd.0 / 64] >> (fd.0 % 64) & 1 == 0 {
                close(fd);
                release(fd.0);
            }
        }
    }
}
