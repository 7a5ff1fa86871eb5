//! The kernel of the machine in software: pager-core under one lock, and threads that wait.

use super::memory::{Memory, SERVER};
use crate::messages::{self, Kernel};
use pager_abi::socket::{Counters, NO_WAIT, ZapWhat};
use pager_abi::{Cookie, Tag};
use pager_core::{
    Config, CopyDirection, CopyUnit, Event, Pager, PagerError, Progress, Revocation, Revoked, SocketId, VspaceId,
    WaiterId, Wake,
};
use platform::host::CopyError;
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;
use syscall::schemev2::{Cqe, Sqe};

/// How often a waiting thread looks whether it still has to wait: a bound, not a rhythm.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What the machine's lock protects.
pub(crate) struct State {
    pub(crate) pager: Pager,
    pub(crate) memory: Memory,
    pub(crate) woken: HashMap<WaiterId, Wake>,
    closed: bool,
    next_vspace: u32,
    next_waiter: u64,
}

/// A kernel with one server.
pub struct Machine {
    pub(crate) socket: SocketId,
    state: Mutex<State>,
    changed: Condvar,
}

impl Machine {
    /// Starts a machine and makes it this process's kernel.
    pub fn start() -> Arc<Self> {
        let mut pager = Pager::new(Config::default());
        let socket = pager.open_socket().unwrap_or_else(|error| panic!("no socket: {error:?}"));
        let state = State {
            pager,
            memory: Memory::default(),
            woken: HashMap::new(),
            closed: false,
            next_vspace: SERVER.0 + 1,
            next_waiter: 1,
        };
        let machine = Arc::new(Self { socket, state: Mutex::new(state), changed: Condvar::new() });
        messages::install(Some(machine.clone()));
        machine
    }

    /// Ends the server's workers: their next `receive` gives nothing.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Who waits for whom in the kernel, as text.
    pub fn waits(&self) -> String {
        let mut text = String::new();
        let _ = self.lock().pager.write_waits(self.socket, 0, &mut text);
        text
    }

    /// Pages of the server that clients map at this moment.
    pub fn mapped_pages(&self) -> usize {
        self.lock().memory.mapped_pages()
    }

    pub(crate) fn new_vspace(&self) -> VspaceId {
        let mut state = self.lock();
        state.next_vspace += 1;
        VspaceId(state.next_vspace - 1)
    }

    pub(crate) fn new_waiter(&self) -> WaiterId {
        let mut state = self.lock();
        state.next_waiter += 1;
        WaiterId(state.next_waiter - 1)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Changes the state, then lets everybody who waits look again.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let result = change(&mut state);
        while let Some(event) = state.pager.next_event() {
            match event {
                Event::Wake { waiter, why } => _ = state.woken.insert(waiter, why),
                // A descriptor that the answer opened would be closed here; clients close all of
                // theirs themselves in this machine, and a detached one has nobody left to.
                Event::Orphan { .. } => {}
            }
        }
        drop(state);
        self.changed.notify_all();
        result
    }

    /// Waits until `look` gives something.
    pub(crate) fn wait_for<R>(&self, mut look: impl FnMut(&mut State) -> Option<R>) -> R {
        let mut state = self.lock();
        loop {
            if let Some(result) = look(&mut state) {
                return result;
            }
            state = self.changed.wait_timeout(state, LOOK_AGAIN).unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
    }

    fn revoke(&self, mut revocation: Revocation) -> Revocation {
        self.change(|state| {
            let mut revoked = Revoked::new();
            loop {
                // There are no TLBs: what was revoked is unreachable at once.
                let progress = state.pager.revoke(&mut state.memory, &mut revocation, &mut revoked);
                revoked.release(&mut state.memory);
                match progress {
                    Ok(Progress::More) => {}
                    Ok(Progress::Done) | Err(_) => return revocation,
                }
            }
        })
    }

    fn copy(
        &self,
        tag: Tag,
        offset: usize,
        server: *const u8,
        len: usize,
        direction: CopyDirection,
    ) -> Result<(), CopyError> {
        let state = self.lock();
        let mut copied = 0;
        while copied < len {
            let (at, left) = (offset + copied, len - copied);
            let address = server as u64 + copied as u64;
            let unit = state.pager.copy_unit(
                &state.memory,
                self.socket,
                SERVER,
                tag,
                at as u64,
                address,
                left as u64,
                direction,
            );
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
        let from = (piece.from.0 * 4096 + piece.from_offset) as *const u8;
        let to = (piece.to.0 * 4096 + piece.to_offset) as *mut u8;
        // SAFETY: pager-core resolved both places under the lock that is still held, and neither
        // crosses its page's end; they may be the same place, so the copy may overlap.
        unsafe { to.copy_from(from, piece.length as usize) }
    }
}

impl Kernel for Machine {
    fn receive(&self, mask: u64, answers: &[Cqe]) -> Option<Sqe> {
        if !answers.is_empty() {
            self.change(|state| {
                let mut revoked = Revoked::new();
                for answer in answers {
                    let taken = state.pager.answer(&mut state.memory, self.socket, SERVER, answer, &mut revoked, 0);
                    assert!(taken.is_ok(), "the kernel refused {answer:?}: {taken:?}");
                }
                revoked.release(&mut state.memory);
            });
        }
        let sqe = self.wait_for(|state| match state.pager.receive(self.socket, mask, 0, 0) {
            Some(sqe) => Some(Some(sqe)),
            None if state.closed || mask & NO_WAIT != 0 => Some(None),
            None => None,
        });
        sqe
    }

    fn zap(&self, cookie: Cookie, offset: u64, len: u64, what: ZapWhat) -> bool {
        self.revoke(Revocation::zap(self.socket, cookie, offset, len, what)).accessed
    }

    fn wrprotect(&self, cookie: Cookie, offset: u64, len: u64) -> u64 {
        self.revoke(Revocation::write_protect(self.socket, cookie, offset, len)).writable
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
}
