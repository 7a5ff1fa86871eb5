//! Messages from and to clients, and the revocation of what they map.

pub use crate::host::CopyError;
use crate::host::linked;
use alloc::string::String;
pub use pager_abi::socket::{Counters, ZapWhat};
use pager_abi::{Cookie, Tag};
use syscall::schemev2::{Cqe, Sqe};

/// Names a request whose buffer is copied from or to, until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request(pub Tag);

/// Delivers `answers`, then waits for a message of the queues in `mask`
/// (`pager_abi::socket::QUEUE_FAULT`, `QUEUE_ORDINARY`, `NO_WAIT`). `None`: the socket is
/// closed, or nothing came and the mask says not to wait.
pub fn receive(mask: u64, answers: &[Cqe]) -> Option<Sqe> {
    // SAFETY: `set_host!` defined the symbol with this signature.
    unsafe { linked::__platform_receive(mask, answers) }
}

/// On return no client can reach the pages of the range by an old translation; whether one was
/// used. `len` 0: to the end of the object.
pub fn zap(cookie: Cookie, offset: u64, len: u64, what: ZapWhat) -> bool {
    // SAFETY: as above.
    unsafe { linked::__platform_zap(cookie, offset, len, what) }
}

/// On return no client can store to the range through an old translation; pages that were
/// writable. `len` 0: to the end of the object.
pub fn wrprotect(cookie: Cookie, offset: u64, len: u64) -> u64 {
    // SAFETY: as above.
    unsafe { linked::__platform_wrprotect(cookie, offset, len) }
}

/// The kernel's counters of the socket, where there is such a kernel.
pub fn kernel_counters() -> Option<Counters> {
    // SAFETY: as above.
    unsafe { linked::__platform_kernel_counters() }
}

/// Bytes of the server's heap that are in use, where the host counts them.
pub fn heap_in_use() -> Option<usize> {
    // SAFETY: as above.
    unsafe { linked::__platform_heap_in_use() }
}

/// Who waits for whom in the kernel, as text; empty where there is no such kernel.
pub fn kernel_waits() -> String {
    // SAFETY: as above.
    unsafe { linked::__platform_kernel_waits() }
}

impl Request {
    /// Makes a part of the client's buffer resident while the caller waits, whatever locks it holds; see
    /// [`Host::fault_in`](crate::Host::fault_in).
    pub fn fault_in(self, offset: usize, len: usize) -> Option<Result<(), CopyError>> {
        // SAFETY: as above.
        unsafe { linked::__platform_fault_in(self.0, offset, len) }
    }

    /// Copies from the client's buffer at `offset` into private memory.
    pub fn copy_in(self, offset: usize, to: &mut [u8]) -> Result<(), CopyError> {
        // SAFETY: the slice is ours to write.
        unsafe { linked::__platform_copy_in(self.0, offset, to.as_mut_ptr(), to.len()) }
    }

    /// Copies private memory to the client's buffer at `offset`.
    pub fn copy_out(self, offset: usize, from: &[u8]) -> Result<(), CopyError> {
        // SAFETY: the slice is ours to read.
        unsafe { linked::__platform_copy_out(self.0, offset, from.as_ptr(), from.len()) }
    }
}
