//! The kernel's part of the paging protocol, as portable logic.
//!
//! A page fault on a mapped file becomes a message to the server that owns the file (`pager-abi`
//! has its layout); this crate decides which faults do, keeps what is in flight, checks and maps
//! what the server answers, and takes pages back when the server revokes them. It also queues every
//! other request of the same socket, because both share tags, caps, cancellation and death.
//!
//! Owns no page table, no thread, no lock and no clock. Hardware is behind [`Mmu`]; threads are
//! [`WaiterId`]s that the caller blocks and wakes; time is a number that the caller passes in and
//! that only [`Pager::write_waits`] shows. There is no global and no randomness: the same calls give
//! the same results, so the crate runs under a deterministic explorer as it runs in the kernel.
//!
//! | module | what |
//! |---|---|
//! | [`units`] | pages, frames, rights and the ids |
//! | [`mmu`] | the hardware trait; `fake_mmu` is its fake, with TLBs that stay stale |
//! | `vspace` | the mappings of an address space and its private copies |
//! | `object` | mapping objects: cookie, grants, reverse map, faults in flight |
//! | `message`, `queue` | tags, the two queues of a socket, caps, round robin, notices |
//! | `fault` | a fault comes in: copy on write, violation, or message |
//! | `answer` | an answer comes in, of any kind |
//! | `provide` | the answer that maps pages |
//! | `request` | requests with buffers: RETRY, bounce buffers, cancellation |
//! | `copy` | COPY by tag |
//! | `revoke` | ZAP and WRPROTECT |
//! | `mapping` | map, unmap, protect, move, inherit |
//! | `death` | the end of a client and of a server |
//! | `waits` | who waits for whom, as text |
//!
//! # How the kernel calls it
//!
//! All methods take `&mut self` under the kernel's one lock, none of them blocks, and none of them
//! touches a TLB.
//! - *What was revoked* is gathered in a [`Revoked`]: after the call drop the lock, flush the pages
//!   it names on every CPU that may hold them, wait for the acknowledgements, and only then give the
//!   frames back with [`Revoked::release`] (which needs no pager). A call takes at most
//!   [`REVOKE_MAX`] pages and says [`Progress::More`] when there is more: then flush and call again.
//!   *One flush at a time*: an operation that finds a right taken away by another, whose flush is not
//!   complete, must not tell its program that it is gone. So from a call that left something to
//!   flush until that is done, no other call that takes a [`Revoked`] begins, except
//!   [`Pager::fault`] and [`Pager::answer`]. (A kernel that keeps its lock while it flushes has this.)
//! - *Who goes on* is told by [`Pager::next_event`]: drain it after every [`Pager::answer`],
//!   [`Pager::close_socket`] and [`Pager::vspace_died`].
//! - *Who could receive*: any call may leave a notice for a server ([`Pager::next_noticed`]). After [`Pager::fault`] and [`Pager::submit`], and after an answer (it
//!   may free a place under a client's cap), ask [`Pager::deliverable`] and run a waiting
//!   receiver.
//! - [`Pager::copy_unit`] gives physical places that stay good until this CPU next acknowledges a
//!   shootdown: copy them outside the lock, acknowledge only between units.
//!
//! # Conflicts
//!
//! | | decided by |
//! |---|---|
//! | Provide against ZAP / WRPROTECT | marks on the in-flight record, under the lock |
//! | Provide against unmap / protect / move | Provide looks the mapping up again |
//! | fault against fault on one page | the second joins the first's record if that covers its access |
//! | ZAP of private copies against move / inherit | move and inherit wait ([`Progress::More`]) |
//! | COPY against ZAP, unmap | the copying CPU acknowledges between units only |
//! | answer against cancel | the tag stays reserved until answered, its client is detached |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod answer;
mod copy;
mod death;
mod error;
#[cfg(any(test, feature = "fake"))]
pub mod fake_mmu;
mod fault;
mod mapping;
mod message;
pub mod mmu;
mod object;
mod provide;
mod queue;
mod request;
mod revoke;
mod slab;
pub mod units;
mod vspace;
mod waits;

use alloc::{collections::VecDeque, vec::Vec};

pub use answer::Answered;
pub use copy::{CopyDirection, CopyPiece, CopyUnit};
pub use error::PagerError;
pub use fault::{Fault, FaultOutcome, Origin};
pub use mapping::{NewMapping, Protect};
pub use message::{Event, Wake};
pub use mmu::{MapError, Mmu};
pub use request::{BounceDirection, BounceStep, Buffer, NewRequest, RETRIES_BEFORE_BOUNCE, Submitted};
pub use revoke::{Revocation, Revoked};
pub use units::{FilePage, Frame, Progress, Rights, Sharing, SocketId, Translation, VirtPage, VspaceId, WaiterId};

/// Whether this build can be made faulty on purpose; a kernel refuses it.
pub const FAULTY: bool = mutants::POSSIBLE;

/// Most pages that one call revokes: the bound on the time under the lock.
pub const REVOKE_MAX: usize = 512;

/// The limits of the protocol; tests and the explorer make them small.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Faults of one client in the server's hands at a time.
    pub faults_delivered: u16,
    /// Requests of one client in the server's hands at a time.
    pub requests_delivered: u16,
    /// Requests of one client that are not answered yet, beyond which it gets `EAGAIN`.
    pub outstanding: u32,
    /// Pages that the server may provide with a faulting one: the block of so many pages of the file (a power
    /// of two) that it lies in.
    pub window: u16,
    /// The most pages that it may provide ahead of a client which goes on where the last answer ended.
    pub window_ahead: u16,
    /// Mappings of one address space.
    pub regions: usize,
}

impl Config {
    /// What the kernel uses.
    pub const STANDARD: Self = Self {
        faults_delivered: 2,
        requests_delivered: 4,
        outstanding: 64,
        window: 16,
        window_ahead: 64,
        regions: 65_536,
    };
}

impl Default for Config {
    fn default() -> Self {
        Self::STANDARD
    }
}

/// All mapping objects, sockets, queues and faults of one machine.
pub struct Pager {
    config: Config,
    sockets: slab::Slab<queue::Socket>,
    clients: slab::Slab<queue::Client>,
    objects: slab::Slab<object::Object>,
    messages: slab::Slab<message::Message>,
    /// Indexed by [`VspaceId`].
    vspaces: Vec<vspace::Vspace>,
    /// Sockets that have notices since the caller last asked.
    noticed: slab::List,
    events: VecDeque<Event>,
    /// Events that are owed: `events` has room for all of them, so that waking never allocates.
    owed: usize,
    generation: u32,
}

impl Pager {
    /// A pager without sockets.
    pub const fn new(config: Config) -> Self {
        Self {
            config,
            sockets: slab::Slab::new(),
            clients: slab::Slab::new(),
            objects: slab::Slab::new(),
            messages: slab::Slab::new(),
            vspaces: Vec::new(),
            noticed: slab::List::new(),
            events: VecDeque::new(),
            owed: 0,
            generation: 0,
        }
    }

    /// What became of a waiter, oldest first.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}
