//! Who waits for whom, as text: what the kernel prints when a deadline is past (rule 7).

use crate::{
    Pager, PagerError, SocketId,
    message::{Body, Message, State},
};
use core::fmt::{self, Write};
use pager_abi::{Tag, fault::Access};

impl Pager {
    /// One line for each message of `socket` that is not answered, then one for each client at a cap.
    pub fn write_waits(&self, socket: SocketId, now: u64, out: &mut impl Write) -> Result<fmt::Result, PagerError> {
        self.live_socket(socket)?;
        Ok(self
            .messages
            .iter()
            .filter(|(_, message)| message.socket == socket)
            .try_for_each(|(_, message)| write_message(message, now, out)))
    }

    /// Messages that have been in the server's hands (or, if nobody takes them, in its queue) since
    /// before `deadline`.
    pub fn overdue(&self, deadline: u64) -> impl Iterator<Item = (SocketId, Tag)> {
        self.messages
            .iter()
            .filter(move |(_, message)| {
                matches!(message.state, State::Queued | State::Delivered)
                    && message.since < deadline
                    && !matches!(message.body, Body::OneWay(_))
            })
            .map(|(_, message)| (message.socket, message.tag))
    }
}

fn write_message(message: &Message, now: u64, out: &mut impl Write) -> fmt::Result {
    match &message.body {
        Body::Fault(fault) => {
            for (waiter, access) in fault.waiter.iter().chain(&fault.more_waiters) {
                write!(out, "thread {:#x} ({}) ", waiter.0, access_name(*access))?;
            }
            if !fault.has_waiters() {
                write!(out, "nobody ")?;
            }
            write!(
                out,
                "waits for fault {:#x} at {:#x} of cookie {:#x}",
                message.tag.0,
                fault.file_page.offset(),
                fault.cookie.0
            )?;
            if fault.zapped.is_some() {
                write!(out, ", zapped")?;
            }
            if fault.write_protected.is_some() {
                write!(out, ", write-protected")?;
            }
        }
        Body::Request(request) => {
            match request.waiter {
                Some(waiter) => write!(out, "thread {:#x} ", waiter.0)?,
                None => write!(out, "nobody ")?,
            }
            write!(out, "waits for request {:#x} (opcode {})", message.tag.0, request.sqe.opcode)?;
            if request.retries > 0 {
                write!(out, ", {} retries", request.retries)?;
            }
        }
        Body::OneWay(sqe) => write!(out, "notice (opcode {})", sqe.opcode)?,
    }
    let age = now.saturating_sub(message.since);
    match message.state {
        State::Queued => writeln!(out, ": queued for {age}"),
        State::Delivered => writeln!(out, ": server thread {:#x} has it for {age}", message.receiver),
        State::Retrying => writeln!(out, ": faults its buffer in for {age}"),
        State::Draining => writeln!(out, ": answered, empties its bounce buffer"),
    }
}

fn access_name(access: Access) -> &'static str {
    match access {
        Access::Read => "load",
        Access::Write => "store",
        Access::Execute => "fetch",
    }
}
