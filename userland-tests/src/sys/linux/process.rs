//! Processes, threads and queues between them, by libc and std.

use super::{Result, result};
use crate::errno::Errno;
use crate::sys::Ended;
use std::sync::mpsc;

/// A forked process.
pub struct Child(libc::pid_t);

/// Runs `f` in a process of its own; its value is the exit code.
pub fn fork(f: impl FnOnce() -> i32) -> Result<Child> {
    // SAFETY: the programs fork before they start threads, so that no lock is held.
    match result(unsafe { libc::fork() })? {
        0 => {
            let code = f();
            // SAFETY: it does not return.
            unsafe { libc::_exit(code) }
        }
        pid => Ok(Child(pid)),
    }
}

impl Child {
    /// Waits for its end.
    pub fn wait(&self) -> Result<Ended> {
        let mut status = 0;
        // SAFETY: the status is ours to be written.
        result(unsafe { libc::waitpid(self.0, &mut status, 0) })?;
        Ok(if libc::WIFEXITED(status) {
            Ended::Exited(libc::WEXITSTATUS(status))
        } else {
            match libc::WTERMSIG(status) {
                libc::SIGBUS | libc::SIGSEGV => Ended::Fault { errno: None },
                libc::SIGKILL => Ended::Killed,
                _ => Ended::Other,
            }
        })
    }

    /// Ends it.
    pub fn kill(&self) -> Result<()> {
        // SAFETY: no memory is touched.
        result(unsafe { libc::kill(self.0, libc::SIGKILL) }).map(|_| ())
    }
}

/// A thread that can be waited for.
pub struct Thread<T>(std::thread::JoinHandle<T>);

/// Runs `f` on a thread of its own.
pub fn spawn_thread<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Result<Thread<T>> {
    std::thread::Builder::new().spawn(f).map(Thread).map_err(|_| Errno::EAGAIN)
}

impl<T> Thread<T> {
    /// Lets it run on alone.
    pub fn detach(self) {}

    /// Waits for its result; an error if it ended without one.
    pub fn join(self) -> Result<T> {
        self.0.join().map_err(|_| Errno::EFAULT)
    }
}

/// A queue from one thread to another.
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = mpsc::channel();
    (Sender(sender), Receiver(receiver))
}

/// The end that puts in.
pub struct Sender<T>(mpsc::Sender<T>);

/// The end that takes out.
pub struct Receiver<T>(mpsc::Receiver<T>);

impl<T> Sender<T> {
    /// Puts `item` in.
    pub fn send(&self, item: T) {
        // Nobody is left to take it: then it is as good as taken.
        let _ = self.0.send(item);
    }
}

impl<T> Receiver<T> {
    /// Takes the next item out, waiting for it.
    pub fn receive(&self) -> T {
        self.0.recv().expect("the other end stays as long as the program")
    }
}
