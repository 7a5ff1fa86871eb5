//! RETRY: the server found the buffer of a request not resident.
//!
//! The caller's page is faulted in, then the same request is queued again. When that does not last
//! (`pager-core` decides when), a part of the buffer is bounced: emptied, made, filled, and after
//! the answer emptied again. Each step may wait for a page; [`Step`] is where it goes on.

use super::Request;
use super::call::{buffer_access, demux};
use crate::arch::cpu::Cpu;
use crate::arch::{clock, physmap};
use crate::context::{Context, FaultOrigin, State, Wait};
use crate::kernel::Kernel;
use crate::syscall::Stop;
use kernel_logic::arena::Id;
use kernel_logic::buddy::Frame;
use pager_abi::Tag;
use pager_core::{BounceDirection, BounceStep, CopyUnit, PagerError, Revoked, Wake};
use syscall::error::{EFAULT, EIO, Error, Result};
use syscall::schemev2::{Cqe, Opcode};

/// A request on its way back to the server, or to its caller.
#[derive(Debug)]
pub struct Retry {
    /// The request.
    pub request: Request,
    step: Step,
}

/// What comes next; offsets are bytes of the request's buffer.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Fault in the page at `offset`, then queue again.
    Prefault { offset: u64 },
    /// Empty the old bounce buffer from `at` on, then make one at `offset`.
    DrainOld { at: u64, offset: u64 },
    /// Fill the bounce buffer from `at` on, then queue again.
    Fill { at: u64 },
    /// Empty the bounce buffer from `at` on, then the request is answered.
    DrainLast { at: u64, cqe: Cqe },
}

enum Progress {
    /// Queued again, or answered.
    Done,
    /// Waits for a page.
    Waits,
}

impl Kernel {
    /// The server's answer is about the buffer.
    pub fn retry_request(&mut self, cpu: &Cpu, id: Id<Context>, request: Request, why: Wake) {
        let step = match why {
            Wake::Prefault { offset } => Step::Prefault { offset },
            Wake::Bounce { offset } => Step::DrainOld { at: 0, offset },
            Wake::AnswerAndDrain(cqe) => Step::DrainLast { at: 0, cqe },
            other => unreachable!("a request was woken by {other:?}"),
        };
        self.contexts[id].retry = Some(Retry { request, step });
        self.go_on_with_retry(cpu, id);
    }

    /// Goes on where it waited for a page.
    pub fn go_on_with_retry(&mut self, cpu: &Cpu, id: Id<Context>) {
        match self.retry_step(cpu, id) {
            Ok(Progress::Done | Progress::Waits) => {}
            Err(_) => self.give_up_retry(cpu, id),
        }
    }

    /// The buffer cannot be faulted in: the call fails with `EFAULT`.
    pub fn give_up_retry(&mut self, cpu: &Cpu, id: Id<Context>) {
        let Some(Retry { request, step }) = self.contexts[id].retry.take() else { return };
        let mut revoked = Revoked::new();
        // The request may have ended with its server: then there is nothing left to end.
        let _ = match step {
            Step::DrainLast { .. } => self.pager.drained(request.tag, &mut revoked),
            _ => self.pager.abandon(request.tag, &mut revoked),
        };
        self.flush_revoked(&mut revoked);
        self.end_request(cpu, request);
        self.contexts[id].set_result(Err(Error::new(EFAULT)));
        self.hand_over(cpu, id);
    }

    fn retry_step(&mut self, cpu: &Cpu, id: Id<Context>) -> Result<Progress> {
        loop {
            let Some(Retry { request, step }) = &self.contexts[id].retry else { return Ok(Progress::Done) };
            let (tag, step) = (request.tag, *step);
            let next = match step {
                Step::Prefault { offset } => {
                    let (_, buffer) = self.pager.request_buffer(tag).ok_or(Error::new(EIO))?;
                    if self.come(cpu, id, buffer.address + offset)? {
                        return Ok(Progress::Waits);
                    }
                    self.queue_again(cpu, id);
                    return Ok(Progress::Done);
                }
                Step::DrainOld { at, offset } => {
                    match self.bounce(cpu, id, tag, BounceDirection::Drain, at, u64::MAX)? {
                        Bounced::Next(at) => Step::DrainOld { at, offset },
                        Bounced::Waits => return Ok(Progress::Waits),
                        Bounced::Done => {
                            let mut revoked = Revoked::new();
                            let (core, mut machine) = self.pager_and_machine();
                            let begun = core.begin_bounce(&mut machine, tag, offset, &mut revoked);
                            self.flush_revoked(&mut revoked);
                            begun.map_err(errno)?;
                            Step::Fill { at: 0 }
                        }
                    }
                }
                Step::Fill { at } => match self.bounce(cpu, id, tag, BounceDirection::Fill, at, u64::MAX)? {
                    Bounced::Next(at) => Step::Fill { at },
                    Bounced::Waits => return Ok(Progress::Waits),
                    Bounced::Done => {
                        self.queue_again(cpu, id);
                        return Ok(Progress::Done);
                    }
                },
                Step::DrainLast { at, cqe } => {
                    // A read says how much it filled; other answers fill the whole buffer or fail.
                    let limit = match demux(cqe.result) {
                        Ok(count) if request.opcode == Opcode::Read as u8 => count as u64,
                        Ok(_) => u64::MAX,
                        Err(_) => 0,
                    };
                    match self.bounce(cpu, id, tag, BounceDirection::Drain, at, limit)? {
                        Bounced::Next(at) => Step::DrainLast { at, cqe },
                        Bounced::Waits => return Ok(Progress::Waits),
                        Bounced::Done => {
                            self.answer_drained(cpu, id, tag, &cqe);
                            return Ok(Progress::Done);
                        }
                    }
                }
            };
            if let Some(retry) = &mut self.contexts[id].retry {
                retry.step = next;
            }
        }
    }

    fn answer_drained(&mut self, cpu: &Cpu, id: Id<Context>, tag: Tag, cqe: &Cqe) {
        let mut revoked = Revoked::new();
        // It drains, so it is there.
        let _ = self.pager.drained(tag, &mut revoked);
        self.flush_revoked(&mut revoked);
        if let Some(Retry { request, .. }) = self.contexts[id].retry.take() {
            self.complete(cpu, id, request, cqe);
        }
    }

    fn queue_again(&mut self, cpu: &Cpu, id: Id<Context>) {
        let Some(Retry { request, .. }) = self.contexts[id].retry.take() else { return };
        let socket = request.socket;
        match self.pager.requeue(request.tag, clock::coarse_ns()) {
            Ok(()) => {
                self.contexts[id].state = State::Waiting(Wait::Answer);
                self.contexts[id].request = Some(request);
                self.kick(cpu, socket);
            }
            // The server died meanwhile.
            Err(error) => {
                self.end_request(cpu, request);
                self.contexts[id].set_result(Err(errno(error)));
                self.hand_over(cpu, id);
            }
        }
    }

    /// Faults in the page at `address`; `true`: the context waits for it.
    fn come(&mut self, cpu: &Cpu, id: Id<Context>, address: u64) -> Result<bool> {
        let retry = self.contexts[id].retry.as_ref().ok_or(Error::new(EIO))?;
        let (_, buffer) = self.pager.request_buffer(retry.request.tag).ok_or(Error::new(EIO))?;
        let access = buffer_access(&buffer);
        match self.fault(cpu, id, address as usize, access, FaultOrigin::Retry) {
            Ok(()) => Ok(false),
            Err(Stop::Wait | Stop::Unlocked) => Ok(true),
            Err(Stop::Fail(error)) => Err(error),
        }
    }

    fn bounce(
        &mut self,
        cpu: &Cpu,
        id: Id<Context>,
        tag: Tag,
        direction: BounceDirection,
        at: u64,
        limit: u64,
    ) -> Result<Bounced> {
        let (core, machine) = self.pager_and_machine();
        match core.bounce_step(&machine, tag, direction, at, limit).map_err(errno)? {
            BounceStep::Copy { unit, next } => {
                copy_unit(&unit);
                Ok(Bounced::Next(next))
            }
            BounceStep::Missing { address } => {
                if self.come(cpu, id, address)? {
                    Ok(Bounced::Waits)
                } else {
                    Ok(Bounced::Next(at))
                }
            }
            BounceStep::Done => Ok(Bounced::Done),
        }
    }
}

enum Bounced {
    Next(u64),
    Waits,
    Done,
}

/// Moves the bytes of a unit, under the kernel lock.
pub fn copy_unit(unit: &CopyUnit) {
    for piece in unit.pieces() {
        physmap::copy_part(
            Frame(piece.to.0 as u32),
            piece.to_offset as usize,
            Frame(piece.from.0 as u32),
            piece.from_offset as usize,
            piece.length as usize,
        );
    }
}

fn errno(error: PagerError) -> Error {
    Error::new(error.errno())
}
