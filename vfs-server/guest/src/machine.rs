//! The kernel of the machine in software: pager-core under one lock, threads that wait, shootdowns.
//!
//! The lock is held while a shootdown waits for its acknowledgements, as the microkernel holds its
//! own; but page tables, TLBs and memory are hardware, with a lock ([`crate::MMU`]) that is held for
//! one access. So a client goes on through a stale TLB until its CPU acknowledges, which happens at
//! any moment: each acknowledgement is a switch point of its own.
//!
//! A message goes to the worker that has waited longest, in its hands from that moment on (the
//! microkernel switches to it directly).

use crate::kernel::{self, Kernel};
use crate::memory::{Memory, PAGE, SERVER};
use crate::{MMU, PAGER, TLB, WOKEN};
use pager_abi::socket::{Counters, NO_WAIT, ZapWhat};
use pager_abi::{Cookie, Tag, fault};
use pager_core::{
    Config, CopyDirection, CopyUnit, Event, Fault, FaultOutcome, Origin, Pager, PagerError, Progress, Revocation,
    Revoked, SocketId, VirtPage, VspaceId, WaiterId, Wake,
};
use platform::host::{self, Access, CopyError};
use platform::lockdep::FRAME_BYTES;
use platform::sync::{Mutex, MutexGuard, WaitQueue};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use syscall::schemev2::{Cqe, Sqe};

/// How a machine is set up.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// The limits of the protocol.
    pub pager: Config,
    /// Whether the page at an address is one that the host has handed out to the server: no other
    /// memory can be provided to a client, and a client that reaches any other is caught.
    pub is_handed_out: fn(usize) -> bool,
}

/// A kernel with one server.
pub struct Machine {
    pub(crate) socket: SocketId,
    state: Mutex<State>,
    memory: Mutex<Memory>,
    serve: Mutex<Option<ServeInline>>,
}

/// Serves one message on the thread of whoever waits; whether there was one.
pub type ServeInline = Arc<dyn Fn() -> bool + Send + Sync>;

/// What the machine's lock protects.
pub(crate) struct State {
    pub(crate) pager: Pager,
    /// Client threads, by what pager-core calls them.
    clients: BTreeMap<WaiterId, Arc<Waiter<Wake>>>,
    /// Workers of the server that wait for a message of the queues in a mask.
    idle: VecDeque<(u64, Arc<Waiter<Option<Sqe>>>)>,
    closed: bool,
    next_vspace: u32,
    next_waiter: u64,
}

/// A thread that waits for one thing.
pub(crate) struct Waiter<T> {
    got: Mutex<Option<T>>,
    queue: WaitQueue,
}

impl<T> Waiter<T> {
    fn new() -> Arc<Self> {
        Arc::new(Self { got: Mutex::new(&WOKEN, None), queue: WaitQueue::new() })
    }

    pub(crate) fn give(&self, what: T) {
        *self.got.lock() = Some(what);
        self.queue.wake_all();
    }

    fn take(&self) -> Option<T> {
        self.got.lock().take()
    }

    fn wait(&self, what: &'static str) -> T {
        self.queue.wait_for(what, || self.take())
    }
}

impl Machine {
    /// Starts a machine and makes it this process's kernel.
    pub fn start(setup: Setup) -> Arc<Self> {
        let mut pager = Pager::new(setup.pager);
        let socket = pager.open_socket().unwrap_or_else(|error| panic!("no socket: {error:?}"));
        let state = State {
            pager,
            clients: BTreeMap::new(),
            idle: VecDeque::new(),
            closed: false,
            next_vspace: SERVER.0 + 1,
            next_waiter: 1,
        };
        let machine = Arc::new(Self {
            socket,
            state: Mutex::new(&PAGER, state),
            memory: Mutex::new(&MMU, Memory::new(setup.is_handed_out)),
            serve: Mutex::new(&WOKEN, None),
        });
        kernel::install(Some(machine.clone()));
        machine
    }

    /// Ends the server's workers: their next `receive` gives nothing.
    pub fn close(&self) {
        let idle = {
            let mut state = self.lock();
            state.closed = true;
            std::mem::take(&mut state.idle)
        };
        for (_, worker) in idle {
            worker.give(None);
        }
    }

    /// From now on a client that waits serves the messages itself (`None`: it waits for workers).
    /// For a set-up without threads.
    pub fn serve_inline(&self, serve: Option<ServeInline>) {
        *self.serve.lock() = serve;
    }

    /// Pages of the server that clients map at this moment.
    pub fn mapped_pages(&self) -> usize {
        self.memory.lock().mapped_pages()
    }

    /// A translation, in a page table or a TLB, that leads to a frame which was given back.
    pub fn dangling(&self) -> Option<String> {
        self.memory.lock().dangling()
    }

    pub(crate) fn new_vspace(&self) -> VspaceId {
        let mut state = self.lock();
        state.next_vspace += 1;
        VspaceId(state.next_vspace - 1)
    }

    /// A client thread more: its number, what it waits on, and the CPU that it runs on.
    pub(crate) fn new_thread(&self) -> (WaiterId, Arc<Waiter<Wake>>, usize) {
        let mut state = self.lock();
        let id = WaiterId(state.next_waiter);
        state.next_waiter += 1;
        let waiter = Waiter::new();
        state.clients.insert(id, waiter.clone());
        (id, waiter, self.memory().add_cpu())
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(crate) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock()
    }

    /// Where the TLB of a CPU counts as an object to switch at.
    pub(crate) fn tlb_object(&self, cpu: usize) -> usize {
        (&raw const self.memory) as usize + 1 + cpu
    }

    /// Changes the state, makes what was revoked unreachable, and hands out what there is to wait for.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut Pager, &mut Memory, &mut Revoked) -> R) -> R {
        let mut state = self.lock();
        let result = self.change_locked(&mut state, change);
        self.hand_out(state);
        result
    }

    fn change_locked<R>(
        &self,
        state: &mut State,
        change: impl FnOnce(&mut Pager, &mut Memory, &mut Revoked) -> R,
    ) -> R {
        let mut revoked = Revoked::new();
        let result = change(&mut state.pager, &mut self.memory(), &mut revoked);
        if !revoked.is_empty() {
            self.shoot_down(&mut revoked);
        }
        result
    }

    /// Returns when no CPU can reach what was revoked; only then frames are given back.
    fn shoot_down(&self, revoked: &mut Revoked) {
        // The tables are edited, so no CPU becomes stale that is not.
        let stale = self.memory().stale_cpus(revoked);
        for cpu in stale {
            host::point(&TLB, self.tlb_object(cpu), Access::Write);
            self.memory().flush(cpu, revoked);
        }
        revoked.release(&mut *self.memory());
    }

    /// Tells clients what became of their calls, and gives messages to workers that wait.
    fn hand_out(&self, mut state: MutexGuard<'_, State>) {
        let mut woken = Vec::new();
        while let Some(event) = state.pager.next_event() {
            match event {
                Event::Wake { waiter, why } => {
                    woken.extend(state.clients.get(&waiter).map(|client| (client.clone(), why)));
                }
                // A descriptor that the answer opened would be closed here; clients close all of
                // theirs themselves in this machine, and a detached one has nobody left to.
                Event::Orphan { .. } => {}
            }
        }
        let mut given = Vec::new();
        let State { pager, idle, .. } = &mut *state;
        idle.retain(|(mask, worker)| match pager.receive(self.socket, *mask, 0, 0) {
            Some(sqe) => {
                given.push((worker.clone(), sqe));
                false
            }
            None => true,
        });
        drop(state);
        for (client, why) in woken {
            client.give(why);
        }
        for (worker, sqe) in given {
            worker.give(Some(sqe));
        }
    }

    /// Faults pages of a request's buffer in, one after another, in the name of its client.
    fn fault_in_buffer(&self, tag: Tag, offset: usize, len: usize) -> Result<(), CopyError> {
        let (found, id) = {
            let mut state = self.lock();
            let found = state.pager.request_buffer(tag).zip(state.pager.request_vspace(tag));
            state.next_waiter += 1;
            (found, WaiterId(state.next_waiter - 1))
        };
        let Some(((_, buffer), vspace)) = found else { return Err(CopyError::Cancelled) };
        let waiter = Waiter::new();
        self.lock().clients.insert(id, waiter.clone());
        let access = if buffer.rights.write { fault::Access::Write } else { fault::Access::Read };
        let end = buffer.address + (offset + len) as u64;
        let mut from = buffer.address + offset as u64;
        let mut outcome = Ok(());
        while outcome.is_ok() {
            let missing = self.lock().pager.first_missing(&*self.memory(), vspace, &buffer, from);
            let Some(address) = missing.filter(|&address| address < end) else { break };
            outcome = self.fault_in_page(vspace, address, access, (id, &*waiter));
            // A page that is taken away again at once is the copy's business.
            from = (address / PAGE as u64 + 1) * PAGE as u64;
        }
        self.lock().clients.remove(&id);
        outcome
    }

    fn fault_in_page(
        &self,
        vspace: VspaceId,
        address: u64,
        access: fault::Access,
        (id, waiter): (WaiterId, &Waiter<Wake>),
    ) -> Result<(), CopyError> {
        let page = VirtPage::containing(address);
        let fault = Fault { vspace, page, access, origin: Origin::Prefault, waiter: id, credentials: 0, caller: id.0 };
        loop {
            match self.change(|pager, memory, revoked| pager.fault(memory, &fault, revoked, 0)) {
                FaultOutcome::Resume => return Ok(()),
                FaultOutcome::Flush => {}
                FaultOutcome::Fail(_) => return Err(CopyError::BadRange),
                FaultOutcome::Wait { .. } => {
                    if let Wake::FaultFailed(_) = waiter.wait("a page of the client's buffer") {
                        return Err(CopyError::BadRange);
                    }
                }
            }
        }
    }

    /// Waits until the kernel has told a client something.
    pub(crate) fn wait(&self, client: &Waiter<Wake>) -> Wake {
        loop {
            let Some(serve) = self.serve.lock().clone() else { return client.wait("an answer") };
            if let Some(why) = client.take() {
                return why;
            }
            assert!(serve(), "a client waits, and there is no message to serve");
        }
    }

    fn revoke(&self, mut revocation: Revocation) -> Revocation {
        let mut state = self.lock();
        loop {
            let progress =
                self.change_locked(&mut state, |pager, memory, revoked| pager.revoke(memory, &mut revocation, revoked));
            match progress {
                Ok(Progress::More) => {}
                Ok(Progress::Done) | Err(_) => break,
            }
        }
        self.hand_out(state);
        revocation
    }

    fn copy(
        &self,
        tag: Tag,
        offset: usize,
        server: *const u8,
        len: usize,
        direction: CopyDirection,
    ) -> Result<(), CopyError> {
        let mut copied = 0;
        while copied < len {
            let (at, left) = (offset + copied, len - copied);
            let address = server as u64 + copied as u64;
            // The lock is dropped between units: a long copy is none at once.
            let state = self.lock();
            let memory = self.memory();
            let unit =
                state.pager.copy_unit(&*memory, self.socket, SERVER, tag, at as u64, address, left as u64, direction);
            match unit {
                Ok(unit) if unit.length == 0 => return Err(CopyError::NotResident { copied }),
                Ok(unit) => {
                    copy_unit(&unit);
                    copied += unit.length as usize;
                }
                Err(PagerError::Cancelled) => return Err(CopyError::Cancelled),
                Err(_) => return Err(CopyError::BadRange),
            }
        }
        Ok(())
    }
}

/// Copies the pieces of a unit. Under the machine's lock, so that nothing revokes them meanwhile.
pub(crate) fn copy_unit(unit: &CopyUnit) {
    for piece in unit.pieces() {
        host::touch(&FRAME_BYTES, piece.from.0 as usize * PAGE, Access::Read);
        host::touch(&FRAME_BYTES, piece.to.0 as usize * PAGE, Access::Write);
        let from = (piece.from.0 * 4096 + piece.from_offset) as *const u8;
        let to = (piece.to.0 * 4096 + piece.to_offset) as *mut u8;
        // SAFETY: pager-core resolved both places under the lock that is still held, and neither
        // crosses its page's end; they may be the same place, so the copy may overlap.
        unsafe { to.copy_from(from, piece.length as usize) }
    }
}

impl Kernel for Machine {
    fn receive(&self, mask: u64, answers: &[Cqe]) -> Option<Sqe> {
        let mut state = self.lock();
        for answer in answers {
            let taken = self.change_locked(&mut state, |pager, memory, revoked| {
                pager.answer(memory, self.socket, SERVER, answer, revoked, 0)
            });
            assert!(taken.is_ok(), "the kernel refused {answer:?}: {taken:?}");
        }
        let message = state.pager.receive(self.socket, mask, 0, 0);
        let waits = message.is_none() && !state.closed && mask & NO_WAIT == 0;
        let waiter = waits.then(|| {
            let waiter = Waiter::new();
            state.idle.push_back((mask, waiter.clone()));
            waiter
        });
        self.hand_out(state);
        match waiter {
            Some(waiter) => waiter.wait("a message"),
            None => message,
        }
    }

    fn zap(&self, cookie: Cookie, offset: u64, len: u64, what: ZapWhat) -> bool {
        self.revoke(Revocation::zap(self.socket, cookie, offset, len, what)).accessed
    }

    fn wrprotect(&self, cookie: Cookie, offset: u64, len: u64) -> u64 {
        self.revoke(Revocation::write_protect(self.socket, cookie, offset, len)).writable
    }

    fn fault_in(&self, tag: Tag, offset: usize, len: usize) -> Option<Result<(), CopyError>> {
        Some(self.fault_in_buffer(tag, offset, len))
    }

    fn copy_in(&self, tag: Tag, offset: usize, to: &mut [u8]) -> Result<(), CopyError> {
        self.copy(tag, offset, to.as_mut_ptr(), to.len(), CopyDirection::In)
    }

    fn copy_out(&self, tag: Tag, offset: usize, from: &[u8]) -> Result<(), CopyError> {
        self.copy(tag, offset, from.as_ptr(), from.len(), CopyDirection::Out)
    }

    fn counters(&self) -> Option<Counters> {
        self.lock().pager.counters(self.socket).ok()
    }

    fn waits(&self) -> String {
        let mut text = String::new();
        let _ = self.lock().pager.write_waits(self.socket, 0, &mut text);
        text
    }
}
