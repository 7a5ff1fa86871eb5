//! `--trace`: messages, faults and ends of contexts on the console, switched at run time.
//!
//! Off, each place costs a load and a branch that is never taken.

use crate::context::Context;
use core::sync::atomic::{AtomicBool, Ordering};
use kernel_logic::arena::Id;
use pager_abi::exit::ExitStatus;
use pager_abi::fault::{Access, PROVIDE_MMAP, ProvideMmap, RequestMmap, cqe_opcode};
use syscall::schemev2::{Cqe, Opcode, Sqe};

static ON: AtomicBool = AtomicBool::new(false);

/// Whether it is on.
#[inline]
pub fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Switches it.
pub fn switch(on: bool) {
    ON.store(on, Ordering::Relaxed);
}

macro_rules! trace {
    ($($format:tt)*) => {
        if is_on() {
            cold(format_args!($($format)*));
        }
    };
}

#[cold]
#[inline(never)]
fn cold(what: core::fmt::Arguments<'_>) {
    crate::log::line(format_args!("[trace] {what}"));
}

/// A page is missing.
#[inline]
pub fn fault(id: Id<Context>, address: usize, access: Access) {
    trace!("{id:?} fault {access:?} at {address:#x}");
}

/// A server receives a message.
#[inline]
pub fn received(id: Id<Context>, sqe: &Sqe) {
    if sqe.opcode == Opcode::RequestMmap as u8 {
        trace!("{id:?} receives {:?}", RequestMmap::from_sqe(sqe));
        return;
    }
    trace!("{id:?} receives {:?} tag {:#x} {:x?}", Opcode::try_from_raw(sqe.opcode), sqe.tag, sqe.args);
}

/// A server answers.
#[inline]
pub fn answered(id: Id<Context>, cqe: &Cqe) {
    if cqe_opcode(cqe) == PROVIDE_MMAP {
        trace!("{id:?} answers {:x?}", ProvideMmap::from_cqe(cqe));
        return;
    }
    trace!("{id:?} answers tag {:#x}: {:?} flags {} extra {:x?}", cqe.tag, cqe.result as i64, cqe.flags, cqe.extra_raw);
}

/// A context ends.
#[inline]
pub fn end(id: Id<Context>, status: ExitStatus) {
    trace!("{id:?} ends: {status:?}");
}
