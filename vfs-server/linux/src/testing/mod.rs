//! What the tests of the server and of file systems share on this host: threads that cannot hang
//! unseen, numbers from a seed, and the stress test [`lanes`]. For tests, not for programs.

pub mod lanes;

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The kernel of this process: a test that starts a machine holds it until the machine is closed.
pub fn only_machine() -> MutexGuard<'static, ()> {
    static MACHINES: Mutex<()> = Mutex::new(());
    MACHINES.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Waits until `condition` holds; a test that would hang says what it waited for.
///
/// # Panics
/// It does not hold within 20 s.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen: {}", platform::waits::report());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Runs `bodies` on threads of their own. If they hang, the process says who waits for whom and ends.
///
/// # Panics
/// With the panic of the first body that did.
pub fn in_parallel(bodies: Vec<Box<dyn FnOnce() + Send>>) {
    let threads: Vec<_> = bodies.into_iter().map(std::thread::spawn).collect();
    let deadline = Instant::now() + Duration::from_secs(120);
    while threads.iter().any(|thread| !thread.is_finished()) {
        if Instant::now() > deadline {
            eprintln!("hanging:\n{}", platform::waits::report());
            std::process::abort();
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    for thread in threads {
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// xorshift64: the same numbers for the same seed, which is not 0.
pub struct Random(pub u64);

impl Random {
    /// The next one, below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}
