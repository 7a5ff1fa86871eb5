//! A process that answers calls: a user scheme of its own.

use super::{Child, fork};
use crate::{
    errno::Errno,
    harness::{Failure, Outcome},
};
use alloc::string::String;
use pager_abi::{Tag, fault::regular_cqe};
use user_rt::{
    descriptor::{Descriptor, Fd},
    pager::{self, Queue, Socket, Waiting},
    syscall::{CallFlags, call_wo, schemev2::SqeFlags},
};

/// A call that ends the process.
const STOP: u64 = 0xe0d;

/// The process and a way to it.
pub struct Echo {
    root: Descriptor,
    child: Child,
}

impl Echo {
    /// Starts it.
    pub fn start() -> Result<Self, Failure> {
        let right = super::argument("scheme-creation")
            .and_then(|text| usize::from_str_radix(text.trim_start_matches("0x"), 16).ok())
            .ok_or(Failure::Failed(String::from("nobody gave the right to make a scheme")))?;
        let socket = pager::create_scheme(Fd(right)).map_err(Errno::from)?;
        let root = socket.fd().dup(&pager::root_params(0)).map_err(Errno::from)?;
        let child = fork(|| serve(Socket(socket.fd())))?;
        Ok(Self { root, child })
    }

    /// One call and its reply.
    pub fn call(&self) -> Result<(), Errno> {
        call_wo(self.root.fd().0, &[], CallFlags::empty(), &[1])?;
        Ok(())
    }

    /// Ends it.
    pub fn stop(self) -> Outcome {
        call_wo(self.root.fd().0, &[], CallFlags::empty(), &[STOP]).map_err(Errno::from)?;
        self.child.join()
    }
}

fn serve(socket: Socket) -> i32 {
    let mut answer = None;
    loop {
        let answers = answer.as_slice();
        match socket.reply_receive(Queue::Both, Waiting::Block, answers) {
            Ok(Some(sqe)) if sqe.args[3] == STOP => {
                let stopped = socket.reply_receive(Queue::Both, Waiting::Poll, &[regular_cqe(Tag(sqe.tag), 0)]);
                return i32::from(stopped.is_err());
            }
            Ok(Some(sqe)) if sqe.sqe_flags.contains(SqeFlags::ONEWAY) => answer = None,
            Ok(Some(sqe)) => answer = Some(regular_cqe(Tag(sqe.tag), 0)),
            Ok(None) => answer = None,
            Err(_) => return 1,
        }
    }
}
