//! The verbs of a paging server on its socket (`pager_abi::socket`).

use super::receive::CQE_BYTES;
use super::retry::copy_unit;
use super::{Serving, Socket};
use crate::arch::cpu::Cpu;
use crate::arch::{clock, user_copy};
use crate::context::Context;
use crate::kernel::Kernel;
use crate::syscall::Outcome;
use crate::vspace::Vspace;
use crate::vspace::user::UserSlice;
use alloc::string::String;
use kernel_logic::arena::Id;
use pager_abi::fault::Access;
use pager_abi::socket::{ACCESSED, NO_WAIT, QUEUE_FAULT, QUEUE_ORDINARY, REPLIES_MAX, Verb, ZapWhat};
use pager_abi::{COPY_ATOMIC, Cookie, Tag};
use pager_core::{CopyDirection, PagerError, Progress, Revocation, Revoked, VspaceId};
use syscall::PAGE_SIZE;
use syscall::error::{EBADF, EFAULT, EINVAL, Error, Result};

/// CALL of a socket.
pub fn socket_call(
    k: &mut Kernel,
    cpu: &Cpu,
    id: Id<Context>,
    socket: Id<Socket>,
    payload: UserSlice,
    words: &[u64; 5],
) -> Outcome {
    let [verb, a, b, c, d] = *words;
    if k.sockets[socket].state == Serving::Dead {
        return Err(Error::new(EBADF).into());
    }
    if verb == Verb::ReplyReceive as u64 {
        return reply_receive(k, cpu, id, socket, payload, a, UserSlice::new(b as usize, 0)?, c as usize);
    }
    match Verb::from_raw(verb).ok_or(Error::new(EINVAL))? {
        Verb::ReplyReceive => unreachable!("taken above"),
        Verb::CopyIn => k.copy_by_tag(cpu, id, socket, Tag(a as u32), b, payload, CopyDirection::In),
        Verb::CopyOut => k.copy_by_tag(cpu, id, socket, Tag(a as u32), b, payload, CopyDirection::Out),
        Verb::WrProtect => {
            let revocation = Revocation::write_protect(k.sockets[socket].pager, Cookie(a), b, c);
            Ok(k.revoke(socket, revocation)?.writable as usize)
        }
        Verb::Zap => {
            let what = ZapWhat::from_raw(d).ok_or(Error::new(EINVAL))?;
            let revocation = Revocation::zap(k.sockets[socket].pager, Cookie(a), b, c, what);
            Ok(if k.revoke(socket, revocation)?.accessed { ACCESSED as usize } else { 0 })
        }
        Verb::Version => {
            k.sockets[socket].state = Serving::Paging;
            Ok(pager_abi::VERSION as usize)
        }
        Verb::Waits => {
            let mut text = String::new();
            let written = k.pager.write_waits(k.sockets[socket].pager, clock::now_ns(), &mut text);
            // Writing to a string does not fail.
            let _ = written.map_err(errno)?;
            let count = text.len().min(payload.len);
            k.write_user(cpu, id, payload.first(count), &text.as_bytes()[..count])?;
            Ok(count)
        }
        Verb::Counters => {
            let words = k.pager.counters(k.sockets[socket].pager).map_err(errno)?.to_words().map(u64::to_ne_bytes);
            let bytes = words.as_flattened();
            let count = bytes.len().min(payload.len);
            k.write_user(cpu, id, payload.first(count), &bytes[..count])?;
            Ok(count)
        }
    }
}

/// Takes answers, then gives a message.
#[expect(clippy::too_many_arguments, reason = "they are the arguments of the verb")]
#[inline]
fn reply_receive(
    k: &mut Kernel,
    cpu: &Cpu,
    id: Id<Context>,
    socket: Id<Socket>,
    payload: UserSlice,
    mask: u64,
    answers: UserSlice,
    count: usize,
) -> Outcome {
    let known = QUEUE_FAULT | QUEUE_ORDINARY | NO_WAIT;
    // NO_WAIT alone only answers; a wait for no queue would never end.
    if count > REPLIES_MAX || mask & !known != 0 || mask == 0 {
        return Err(Error::new(EINVAL).into());
    }
    // Whatever can fail or wait comes before the first answer is taken.
    if count > 0 {
        if count > 1 {
            let all = UserSlice::new(answers.address, count * CQE_BYTES)?;
            k.prefault(cpu, id, all, Access::Read)?;
        }
        for n in 0..count {
            let cqe = k.read_cqe(cpu, id, answers.address + n * CQE_BYTES)?;
            // A wrong answer is counted by the pager and never keeps the others from being delivered.
            let _ = k.answer(cpu, id, socket, &cqe);
        }
    }
    k.receive(cpu, id, socket, mask, payload)
}

impl Kernel {
    /// Between the server's memory and the buffer of the request with this tag.
    #[expect(clippy::too_many_arguments, reason = "they are the arguments of the verb")]
    fn copy_by_tag(
        &mut self,
        cpu: &Cpu,
        id: Id<Context>,
        socket: Id<Socket>,
        tag: Tag,
        offset: u64,
        memory: UserSlice,
        direction: CopyDirection,
    ) -> Outcome {
        let vspace = self.contexts[id].vspace.ok_or(Error::new(EFAULT))?;
        let access = if direction == CopyDirection::In { Access::Write } else { Access::Read };
        self.prefault(cpu, id, memory, access)?;
        let pager = self.sockets[socket].pager;
        let place = self.pager.copy_place(pager, tag, offset, memory.len as u64, direction).map_err(errno)?;
        if let Some((client, address)) = place {
            return self.copy_resident(Id::from_raw(client.0), address as usize, memory, direction);
        }
        let (core, machine) = self.pager_and_machine();
        let mut done = 0;
        while done < memory.len as u64 {
            let unit = core.copy_unit(
                &machine,
                pager,
                VspaceId(vspace.raw()),
                tag,
                offset + done,
                memory.address as u64 + done,
                memory.len as u64 - done,
                direction,
            );
            let unit = match unit {
                Ok(unit) => unit,
                Err(error) if done == 0 => return Err(errno(error).into()),
                Err(_) => break,
            };
            if unit.length == 0 {
                break;
            }
            copy_unit(&unit);
            done += unit.length;
        }
        Ok(done as usize)
    }

    /// Between the running server's memory and a client's, page by page of the client, until a page is not
    /// resident there. Short copies are all or nothing.
    #[inline]
    fn copy_resident(
        &mut self,
        client: Id<Vspace>,
        address: usize,
        memory: UserSlice,
        direction: CopyDirection,
    ) -> Outcome {
        if memory.len == 0 {
            return Ok(0);
        }
        let client = &self.vspaces[client];
        let access = if direction == CopyDirection::In { Access::Read } else { Access::Write };
        let page_of = |address: usize| address & !(PAGE_SIZE - 1);
        let end = address + memory.len;
        if memory.len <= COPY_ATOMIC && page_of(address) != page_of(end - 1) && !client.allows(page_of(end - 1), access)
        {
            return Ok(0);
        }
        let mut at = address;
        while at < end {
            let Some(entry) = client.allowed(page_of(at), access) else { break };
            let len = (PAGE_SIZE - at % PAGE_SIZE).min(end - at);
            let paddr = entry.frame().address() + (at % PAGE_SIZE) as u64;
            let own = memory.address + (at - address);
            let copied = match direction {
                CopyDirection::In => user_copy::write_from_frame(own, paddr, len),
                CopyDirection::Out => user_copy::read_to_frame(own, paddr, len),
            };
            if copied.is_err() {
                return Err(Error::new(EFAULT).into());
            }
            at += len;
        }
        Ok(at - address)
    }

    /// ZAP and WRPROTECT: on return no CPU has an old translation.
    fn revoke(&mut self, socket: Id<Socket>, mut revocation: Revocation) -> Result<Revocation> {
        let pager = self.sockets[socket].pager;
        let mut revoked = Revoked::new();
        loop {
            let (core, mut machine) = self.pager_and_machine();
            let progress = core.revoke(&mut machine, &mut revocation, &mut revoked);
            if self.flush_revoked(&mut revoked) {
                self.pager.count_shootdown(pager);
            }
            match progress.map_err(errno)? {
                Progress::Done => return Ok(revocation),
                Progress::More => {}
            }
        }
    }
}

fn errno(error: PagerError) -> Error {
    Error::new(error.errno())
}
