//! Who plays the kernel.
//!
//! A host of the server that has no kernel under it passes the seam's message functions on to the
//! [`Kernel`] that is installed: the [`Machine`](crate::Machine), a front end (FUSE, userfaultfd), or
//! nobody, and then there are no clients and nothing is mapped.

use pager_abi::{
    Cookie, Tag,
    socket::{Counters, ZapWhat},
};
use platform::host::CopyError;
use std::sync::{Arc, RwLock};
use syscall::schemev2::{Cqe, Sqe};

/// The kernel's side of the protocol: what the seam's message functions become.
pub trait Kernel: Send + Sync {
    /// Takes the answers, then waits for a message; `None`: closed.
    fn receive(&self, mask: u64, answers: &[Cqe]) -> Option<Sqe>;
    /// Revokes mappings; whether a page was used.
    fn zap(&self, cookie: Cookie, offset: u64, len: u64, what: ZapWhat) -> bool;
    /// Makes mappings read-only; pages that were writable.
    fn wrprotect(&self, cookie: Cookie, offset: u64, len: u64) -> u64;
    /// From the client's buffer; a missing page leaves what is before it in `to`.
    fn copy_in(&self, tag: Tag, offset: usize, to: &mut [u8]) -> Result<(), CopyError>;
    /// To the client's buffer.
    fn copy_out(&self, tag: Tag, offset: usize, from: &[u8]) -> Result<(), CopyError>;
    /// Makes a part of the client's buffer resident; `None`: it cannot.
    fn fault_in(&self, _tag: Tag, _offset: usize, _len: usize) -> Option<Result<(), CopyError>> {
        None
    }
    /// The counters of the socket, if it counts.
    fn counters(&self) -> Option<Counters> {
        None
    }
    /// Who waits for whom in the kernel, as text.
    fn waits(&self) -> String {
        String::new()
    }
}

static KERNEL: RwLock<Option<Arc<dyn Kernel>>> = RwLock::new(None);

/// Installs the kernel's side for this process (`None`: no clients).
pub fn install(kernel: Option<Arc<dyn Kernel>>) {
    *KERNEL.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = kernel;
}

/// The installed kernel.
pub fn current() -> Option<Arc<dyn Kernel>> {
    KERNEL.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
}
