//! A process that answers calls: two words of shared memory, and a futex on each.

use super::{Child, Mapping, fork};
use crate::{
    errno::Errno,
    harness::{Failure, Outcome},
};
use std::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Release},
};

/// A call that ends the process.
const STOP: u32 = u32::MAX;

/// The process and a way to it.
pub struct Echo {
    memory: Mapping,
    child: Child,
}

impl Echo {
    /// Starts it.
    pub fn start() -> Result<Self, Failure> {
        let memory = Mapping::shared_memory(4096)?;
        let child = fork(|| {
            let mut seen = 0;
            loop {
                seen = wait_for_change(word(&memory, 0), seen);
                put(word(&memory, 64), seen);
                if seen == STOP {
                    return 0;
                }
            }
        })?;
        Ok(Self { memory, child })
    }

    /// One call and its reply.
    pub fn call(&self) -> Result<(), Errno> {
        let number = word(&self.memory, 0).load(Acquire) + 1;
        self.call_with(number)
    }

    /// Ends it.
    pub fn stop(self) -> Outcome {
        self.call_with(STOP)?;
        self.child.join()
    }

    fn call_with(&self, number: u32) -> Result<(), Errno> {
        let answer = word(&self.memory, 64);
        let before = answer.load(Acquire);
        put(word(&self.memory, 0), number);
        wait_for_change(answer, before);
        Ok(())
    }
}

fn word(memory: &Mapping, at: usize) -> &AtomicU32 {
    // SAFETY: inside the mapping, aligned, and used by both processes as an atomic word alone.
    unsafe { AtomicU32::from_ptr(memory.at(at, 4).cast()) }
}

fn wait_for_change(word: &AtomicU32, seen: u32) -> u32 {
    loop {
        let now = word.load(Acquire);
        if now != seen {
            return now;
        }
        // SAFETY: the kernel reads the word; it compares it again before it sleeps.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, seen, std::ptr::null::<u8>()) };
    }
}

fn put(word: &AtomicU32, value: u32) {
    word.store(value, Release);
    // SAFETY: the address is only a name.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
}
