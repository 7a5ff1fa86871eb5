//! The extension of the Redox scheme protocol by which page faults become messages.
//!
//! Owns: the numbers and layouts that the kernel and a pager (a scheme daemon that answers page
//! faults) agree on. Does not own: any behaviour; the kernel's half is `pager-core`, the server's
//! half is `vfs-server`. Everything that is not here is Redox's own, from `redox_syscall`.
//!
//! | module | what |
//! |---|---|
//! | [`fault`] | `RequestMmap`, the fault message, and `ProvideMmap` / `RETRY`, its answers |
//! | [`grant`] | `MmapPrep` and the counted `Munmap`: how a mapping object comes and goes |
//! | [`socket`] | the CALL verbs on a scheme socket: revoke, copy, reply-and-receive |
//! | [`file_verb`] | CALL verbs on a file: what files need beyond Redox (fallocate, msync by range, ..) |
//! | [`server_verb`] | CALL verbs on a root directory: counters, who waits for whom, unmount |
//! | [`exit`] | how a thread ended, readable by its waiter |
#![no_std]
#![forbid(unsafe_code)]

pub mod exit;
pub mod fault;
pub mod file_verb;
pub mod grant;
pub mod server_verb;
pub mod socket;

/// What [`socket::Verb::Version`] answers. A kernel without the extension answers an error, and the
/// server then runs in the portable profile (Redox's eager mappings) for good.
pub const VERSION: u64 = 1;

/// Bytes of a page on every host of the protocol.
pub const PAGE_SIZE: u64 = 4096;

/// Most bytes that one COPY moves as a whole: either all of them are copied or none.
pub const COPY_ATOMIC: usize = 4096;

/// Most bytes of a request's buffer that the kernel faults in before it queues the request.
pub const PREFAULT_MAX: usize = 64 * 1024;

/// A mapping object's name, chosen by the server: one per inode, never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cookie(pub u64);

/// The name of a request or a fault until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub u32);
