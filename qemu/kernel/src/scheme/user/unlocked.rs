//! What a paging server's calls do without the kernel lock: the bytes of a COPY, and the wait for
//! the acknowledgements of a ZAP's or a WRPROTECT's shootdown.
//!
//! Owns: the alternation. Each part is decided under the lock and done without it; then the lock is
//! taken and the next one is decided anew, by what is true then. A call that has such parts leaves
//! with [`Stop::Unlocked`] and its rest in [`Context::unlocked`], so that the lock's guard is in the
//! hands of the entry from user mode, which goes on with [`finish`].
//!
//! | | decided by |
//! |---|---|
//! | COPY against ZAP, unmap, death of the client | a unit is looked up under the lock, and every shootdown waits for its end |
//! | COPY against the end of its request | the tag is looked up for every unit |
//! | ZAP against another revocation | one flush at a time: the second waits with the lock |
//! | ZAP against a fault, an answer | they go on during the flush: `pager-core` |
//!
//! [`Context::unlocked`]: crate::context::Context::unlocked

use crate::arch::cpu::Cpu;
use crate::arch::lock::Guard;
use crate::arch::tlb;
use crate::arch::user_copy;
use crate::context::Context;
use crate::kernel::{KERNEL, Kernel};
use crate::scheme::user::retry::copy_unit;
use crate::syscall::{Outcome, Stop};
use crate::vspace::user::UserSlice;
use kernel_logic::arena::Id;
use pager_abi::fault::Access;
use pager_abi::socket::ACCESSED;
use pager_abi::{COPY_ATOMIC, Tag};
use pager_core::{CopyDirection, PagerError, Progress, Revocation, Revoked, SocketId, VspaceId};
use syscall::PAGE_SIZE;
use syscall::error::{EFAULT, Error, Result};

/// The rest of a call.
#[derive(Debug)]
pub enum Unlocked {
    /// Bytes to be copied.
    Copy(Copy),
    /// Pages to be taken.
    Revoke(Revoke),
}

/// A COPY under way.
#[derive(Debug)]
pub struct Copy {
    socket: SocketId,
    tag: Tag,
    /// In the request's buffer.
    offset: u64,
    /// The server's own.
    memory: UserSlice,
    direction: CopyDirection,
    done: usize,
}

/// A ZAP or WRPROTECT under way.
#[derive(Debug)]
pub struct Revoke {
    socket: SocketId,
    revocation: Revocation,
    wanted: Wanted,
}

/// What a revocation's caller hears.
#[derive(Clone, Copy, Debug)]
pub enum Wanted {
    /// [`ACCESSED`] or 0.
    Accessed,
    /// How many pages were writable.
    Writable,
}

/// Bytes that are copied as a whole: no shootdown ends in between.
enum Unit {
    /// Of the running server's memory from `own` on, and up to two pages of the client by their physical addresses.
    Resident { own: usize, first: Piece, second: Option<Piece> },
    /// With a bounce buffer.
    Bounced(pager_core::CopyUnit),
}

#[derive(Clone, Copy)]
struct Piece {
    paddr: u64,
    len: usize,
}

/// Goes on with the call of the running context, which has left with [`Stop::Unlocked`], to its end.
pub fn finish(mut kernel: Guard<'static, Kernel>, cpu: &Cpu) -> Guard<'static, Kernel> {
    let id = kernel.scheduler.current(cpu);
    let (kernel_again, result) = match kernel.contexts[id].unlocked.take() {
        Some(Unlocked::Copy(copy)) => copy.run(kernel, id),
        Some(Unlocked::Revoke(revoke)) => revoke.run(kernel),
        None => unreachable!("a call that goes on without the lock leaves its rest"),
    };
    kernel = kernel_again;
    kernel.contexts[id].set_result(result);
    kernel
}

impl Copy {
    /// COPY of the request with this tag. The server's own memory is faulted in here, as far as that goes.
    #[expect(clippy::too_many_arguments, reason = "they are the arguments of the verb")]
    pub fn start(
        k: &mut Kernel,
        cpu: &Cpu,
        id: Id<Context>,
        socket: SocketId,
        tag: Tag,
        offset: u64,
        memory: UserSlice,
        direction: CopyDirection,
    ) -> Outcome {
        let access = if direction == CopyDirection::In { Access::Write } else { Access::Read };
        k.prefault(cpu, id, memory, access)?;
        let copy = Self { socket, tag, offset, memory, direction, done: 0 };
        k.contexts[id].unlocked = Some(Unlocked::Copy(copy));
        Err(Stop::Unlocked)
    }

    fn run(mut self, mut kernel: Guard<'static, Kernel>, id: Id<Context>) -> (Guard<'static, Kernel>, Result<usize>) {
        loop {
            let unit = match self.next_unit(&mut kernel, id) {
                Ok(Some(unit)) => unit,
                Err(error) if self.done == 0 => return (kernel, Err(error)),
                Ok(None) | Err(_) => return (kernel, Ok(self.done)),
            };
            let copying = tlb::CopyUnit::begin();
            drop(kernel);
            let copied = unit.copy(self.direction);
            drop(copying);
            kernel = KERNEL.lock();
            match copied {
                Ok(bytes) => self.done += bytes,
                Err(error) => return (kernel, Err(error)),
            }
        }
    }

    /// By the translations of this moment; `None`: everything is copied, or the client's next page is not there.
    fn next_unit(&self, k: &mut Kernel, id: Id<Context>) -> Result<Option<Unit>> {
        let Self { socket, tag, direction, done, .. } = *self;
        let (offset, own, left) = (self.offset + done as u64, self.memory.address + done, self.memory.len - done);
        let place = k.pager.copy_place(socket, tag, offset, left as u64, direction).map_err(errno)?;
        if left == 0 {
            return Ok(None);
        }
        let Some((client, address)) = place else {
            let server = VspaceId(k.contexts[id].vspace.ok_or(Error::new(EFAULT))?.raw());
            let (core, machine) = k.pager_and_machine_to_give();
            let unit = core
                .copy_unit(&machine, socket, server, tag, offset, own as u64, left as u64, direction)
                .map_err(errno)?;
            return Ok((unit.length > 0).then_some(Unit::Bounced(unit)));
        };
        let client = &k.vspaces[Id::from_raw(client.0)];
        let access = if direction == CopyDirection::In { Access::Read } else { Access::Write };
        let piece = |address: usize, most: usize| {
            let within = address % PAGE_SIZE;
            let entry = client.allowed(address - within, access)?;
            Some(Piece { paddr: entry.frame().address() + within as u64, len: (PAGE_SIZE - within).min(most) })
        };
        let address = address as usize;
        // A short COPY is all or nothing. A long one goes page by page of the server, whose pages are the file's: should
        // the client die in between, no granule of the file is torn.
        let whole = self.memory.len <= COPY_ATOMIC;
        let len = if whole { left } else { left.min(PAGE_SIZE - own % PAGE_SIZE) };
        let Some(first) = piece(address, len) else { return Ok(None) };
        let second = if first.len < len { piece(address + first.len, len - first.len) } else { None };
        let complete = first.len + second.map_or(0, |second| second.len) == len;
        Ok((complete || !whole).then_some(Unit::Resident { own, first, second }))
    }
}

impl Unit {
    /// Moves the bytes; the server's own memory may have gone meanwhile.
    fn copy(&self, direction: CopyDirection) -> Result<usize> {
        match self {
            Self::Bounced(unit) => {
                copy_unit(unit);
                Ok(unit.length as usize)
            }
            Self::Resident { own, first, second } => {
                let mut done = 0;
                for piece in [Some(first), second.as_ref()].into_iter().flatten() {
                    let copied = match direction {
                        CopyDirection::In => user_copy::write_from_frame(own + done, piece.paddr, piece.len),
                        CopyDirection::Out => user_copy::read_to_frame(own + done, piece.paddr, piece.len),
                    };
                    copied.map_err(|_| Error::new(EFAULT))?;
                    done += piece.len;
                }
                Ok(done)
            }
        }
    }
}

impl Revoke {
    /// ZAP or WRPROTECT: on return of the call no CPU has an old translation.
    pub fn start(k: &mut Kernel, id: Id<Context>, socket: SocketId, revocation: Revocation, wanted: Wanted) -> Outcome {
        k.contexts[id].unlocked = Some(Unlocked::Revoke(Self { socket, revocation, wanted }));
        Err(Stop::Unlocked)
    }

    fn run(mut self, mut kernel: Guard<'static, Kernel>) -> (Guard<'static, Kernel>, Result<usize>) {
        let mut revoked = Revoked::new();
        loop {
            let (core, mut machine) = kernel.pager_and_machine();
            let progress = core.revoke(&mut machine, &mut self.revocation, &mut revoked);
            if !revoked.is_empty() {
                kernel = self.flush(kernel, &mut revoked);
            }
            match progress {
                Ok(Progress::More) => {}
                Ok(Progress::Done) => return (kernel, Ok(self.answer())),
                Err(error) => return (kernel, Err(errno(error))),
            }
        }
    }

    /// The tables are edited: lets every CPU drop what it remembers, then frees what was taken.
    fn flush(&self, kernel: Guard<'static, Kernel>, revoked: &mut Revoked) -> Guard<'static, Kernel> {
        let shootdowns = kernel.shootdowns_for(revoked);
        let flush = tlb::Flush::begin();
        drop(kernel);
        let mut others = false;
        for shootdown in shootdowns {
            others |= flush.shootdown(shootdown.cpus, shootdown.base, shootdown.pages);
        }
        drop(flush);
        let mut kernel = KERNEL.lock();
        revoked.release(&mut kernel.pager_and_machine_to_give().1);
        if others {
            kernel.pager.count_shootdown(self.socket);
        }
        kernel
    }

    fn answer(&self) -> usize {
        match self.wanted {
            Wanted::Accessed if self.revocation.accessed => ACCESSED as usize,
            Wanted::Accessed => 0,
            Wanted::Writable => self.revocation.writable as usize,
        }
    }
}

fn errno(error: PagerError) -> Error {
    Error::new(error.errno())
}
