//! The verbs of a paging server on its socket (`pager_abi::socket`).

use super::fault_in::fault_in;
use super::receive::CQE_BYTES;
use super::unlocked::{Copy, Revoke, Wanted};
use super::{Serving, Socket};
use crate::arch::clock;
use crate::arch::cpu::Cpu;
use crate::context::Context;
use crate::kernel::Kernel;
use crate::syscall::Outcome;
use crate::vspace::user::UserSlice;
use alloc::string::String;
use kernel_logic::arena::Id;
use pager_abi::fault::Access;
use pager_abi::socket::{NO_WAIT, QUEUE_FAULT, QUEUE_ORDINARY, REPLIES_MAX, Verb, ZapWhat};
use pager_abi::{Cookie, Tag};
use pager_core::{CopyDirection, PagerError, Revocation};
use syscall::error::{EBADF, EINVAL, Error};

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
    let pager = k.sockets[socket].pager;
    match Verb::from_raw(verb).ok_or(Error::new(EINVAL))? {
        Verb::ReplyReceive => unreachable!("taken above"),
        Verb::CopyIn => Copy::start(k, cpu, id, pager, Tag(a as u32), b, payload, CopyDirection::In),
        Verb::CopyOut => Copy::start(k, cpu, id, pager, Tag(a as u32), b, payload, CopyDirection::Out),
        Verb::WrProtect => {
            let revocation = Revocation::write_protect(pager, Cookie(a), b, c);
            Revoke::start(k, id, pager, revocation, Wanted::Writable)
        }
        Verb::Zap => {
            let what = ZapWhat::from_raw(d).ok_or(Error::new(EINVAL))?;
            Revoke::start(k, id, pager, Revocation::zap(pager, Cookie(a), b, c, what), Wanted::Accessed)
        }
        Verb::FaultIn => fault_in(k, cpu, id, pager, Tag(a as u32), b, c),
        Verb::Version => {
            k.sockets[socket].state = Serving::Paging;
            Ok(pager_abi::VERSION as usize)
        }
        Verb::Waits => {
            let mut text = String::new();
            let written = k.pager.write_waits(pager, clock::now_ns(), &mut text);
            // Writing to a string does not fail.
            let _ = written.map_err(errno)?;
            let count = text.len().min(payload.len);
            k.write_user(cpu, id, payload.first(count), &text.as_bytes()[..count])?;
            Ok(count)
        }
        Verb::Counters => {
            let words = k.pager.counters(pager).map_err(errno)?.to_words().map(u64::to_ne_bytes);
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

fn errno(error: PagerError) -> Error {
    Error::new(error.errno())
}
