//! Messages: a fault or a request from the moment a client makes it until it is answered.
//!
//! Owns tags and the life of a message:
//!
//! ```text
//! Queued -> Delivered -> (answered) gone
//!    ^          |
//!    |        RETRY, or a fault that a ZAP overtook
//!    +-- Retrying            Delivered -> Draining (answer given, bounce buffer not yet emptied)
//! ```
//!
//! A tag is a slot's index and a generation, so that an answer to an earlier message is refused.

use crate::{
    Buffer, FilePage, Pager, PagerError, SocketId, VirtPage, VspaceId, WaiterId,
    object::ObjectIndex,
    request::Bounce,
    slab::{Links, Slab},
};
use alloc::{boxed::Box, vec::Vec};
use mutants::{Mutant, mutant};
use pager_abi::{
    Cookie, Tag,
    fault::{Access, FaultRecord, RequestMmap},
};
use syscall::schemev2::{Cqe, Opcode, Sqe};

const INDEX_BITS: u32 = 20;

/// Something that the kernel has to act on.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// A waiter goes on.
    Wake {
        /// Who.
        waiter: WaiterId,
        /// Why.
        why: Wake,
    },
    /// A request whose client had gone was answered. If the answer opened something (`OpenAt`,
    /// `Dup`), the kernel closes it.
    Orphan {
        /// Whose scheme it was made to.
        socket: SocketId,
        /// The request.
        sqe: Sqe,
        /// Its answer.
        cqe: Cqe,
    },
}

/// Why a waiter goes on.
#[derive(Clone, Copy, Debug)]
pub enum Wake {
    /// The fault was settled, one way or another: run the instruction (or look at the buffer) again.
    FaultSettled,
    /// The access fails with this errno.
    FaultFailed(i32),
    /// The request is answered.
    Answer(Cqe),
    /// The request is answered; empty the bounce buffer into the client's buffer, then call
    /// [`Pager::drained`].
    AnswerAndDrain(Cqe),
    /// The server answered RETRY: fault the page in, then [`Pager::requeue`].
    Prefault {
        /// Byte offset in the request's buffer.
        offset: u64,
    },
    /// RETRY again: bounce the buffer from here ([`Pager::begin_bounce`]), then [`Pager::requeue`].
    Bounce {
        /// Byte offset in the request's buffer.
        offset: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Queued,
    Delivered,
    Retrying,
    Draining,
}

pub(crate) struct Message {
    pub(crate) tag: Tag,
    pub(crate) socket: SocketId,
    /// The client record of (socket, address space).
    pub(crate) client: u32,
    pub(crate) vspace: VspaceId,
    pub(crate) state: State,
    /// The caller's clock when the state began.
    pub(crate) since: u64,
    /// Which thread of the server has it.
    pub(crate) receiver: u64,
    /// `Sqe::caller`.
    pub(crate) caller: u64,
    /// Place among the client's queued messages, or among the socket's notices.
    pub(crate) queued: Links,
    /// Place among the object's faults.
    pub(crate) of_object: Links,
    pub(crate) body: Body,
}

pub(crate) enum Body {
    Fault(FaultBody),
    Request(RequestBody),
    /// A request that has no answer.
    OneWay(Sqe),
}

/// Pages `[from, to)` of a file.
pub(crate) type FileRange = (FilePage, FilePage);

pub(crate) struct FaultBody {
    pub(crate) object: ObjectIndex,
    pub(crate) cookie: Cookie,
    pub(crate) page: VirtPage,
    pub(crate) file_page: FilePage,
    pub(crate) access: Access,
    pub(crate) record: FaultRecord,
    pub(crate) credentials: u64,
    /// A private mapping, and somebody waits to store: the page is copied when it comes.
    pub(crate) copy_on_arrival: bool,
    /// Marks of rule 2, since delivery.
    pub(crate) zapped: Option<FileRange>,
    pub(crate) write_protected: Option<FileRange>,
    pub(crate) waiter: Option<(WaiterId, Access)>,
    pub(crate) more_waiters: Vec<(WaiterId, Access)>,
}

impl FaultBody {
    pub(crate) fn has_waiters(&self) -> bool {
        self.waiter.is_some() || !self.more_waiters.is_empty()
    }

    pub(crate) fn waiters(&self) -> usize {
        usize::from(self.waiter.is_some()) + self.more_waiters.len()
    }

    pub(crate) fn forget_waiter(&mut self, waiter: WaiterId) {
        self.waiter = self.waiter.filter(|(id, _)| *id != waiter);
        self.more_waiters.retain(|(id, _)| *id != waiter);
    }

    pub(crate) fn pages_wanted(&self) -> u16 {
        self.record.before + self.record.after + 1
    }
}

pub(crate) struct RequestBody {
    pub(crate) sqe: Sqe,
    /// `None`: the client is gone, the tag stays reserved until the server answers.
    pub(crate) waiter: Option<WaiterId>,
    pub(crate) buffer: Option<Buffer>,
    /// The page of the last RETRY's offset, and how often RETRY came.
    pub(crate) last_retry: Option<u64>,
    pub(crate) retries: u32,
    pub(crate) bounce: Option<Box<Bounce>>,
    /// A Cancel notice is on its way to the server.
    pub(crate) cancelling: bool,
}

impl RequestBody {
    /// Whether the server's bytes lie in a bounce buffer.
    pub(crate) fn must_drain(&self) -> bool {
        self.bounce.is_some() && self.buffer.is_some_and(Buffer::filled_by_server)
    }
}

impl Message {
    /// The message as the server receives it.
    #[inline]
    pub(crate) fn to_sqe(&self) -> Sqe {
        match &self.body {
            Body::Fault(fault) => {
                let mut args = RequestMmap {
                    tag: self.tag,
                    cookie: fault.cookie,
                    access: fault.access,
                    pages_wanted: fault.pages_wanted(),
                    offset: fault.file_page.offset(),
                    record: fault.record,
                }
                .to_args();
                args[5] = fault.credentials;
                Sqe { opcode: Opcode::RequestMmap as u8, tag: self.tag.0, args, caller: self.caller, ..Sqe::default() }
            }
            Body::Request(request) => Sqe { tag: self.tag.0, ..request.sqe },
            Body::OneWay(sqe) => *sqe,
        }
    }
}

impl Pager {
    /// Makes a message with a fresh tag. It is in no list yet.
    #[inline]
    pub(crate) fn new_message(&mut self, make: impl FnOnce(Tag) -> Message) -> Result<(u32, Tag), PagerError> {
        let generation = self.next_generation();
        let index = self.messages_with_room()?.insert_with(|index| make(Tag(generation | index)))?;
        Ok((index, Tag(generation | index)))
    }

    /// What makes the next message's tag differ from that of the last one with its index.
    #[inline]
    pub(crate) fn next_generation(&mut self) -> u32 {
        if !mutant(Mutant::TagReusedBeforeAnswer) {
            self.generation = self.generation.wrapping_add(1);
        }
        self.generation << INDEX_BITS
    }

    /// The messages, if there may be one more.
    #[inline]
    pub(crate) fn messages_with_room(&mut self) -> Result<&mut Slab<Message>, PagerError> {
        if self.messages.len() >= 1 << INDEX_BITS { Err(PagerError::TooManyTags) } else { Ok(&mut self.messages) }
    }

    /// The message that `tag` names, if it is this socket's and in this state.
    #[inline]
    pub(crate) fn message_in(&self, socket: SocketId, tag: Tag, state: State) -> Result<u32, PagerError> {
        let index = self.find_message(tag).ok_or(PagerError::NoSuchTag)?;
        let message = &self.messages[index];
        if message.socket != socket || message.state != state {
            return Err(PagerError::NoSuchTag);
        }
        Ok(index)
    }

    #[inline]
    pub(crate) fn find_message(&self, tag: Tag) -> Option<u32> {
        let index = tag.0 & ((1 << INDEX_BITS) - 1);
        self.messages.get(index).filter(|message| message.tag == tag).map(|_| index)
    }

    /// Reserves the event that a waiter will be owed.
    #[inline]
    pub(crate) fn owe_event(&mut self) -> Result<(), PagerError> {
        self.events.try_reserve(self.owed + 1).map_err(|_| PagerError::NoMemory)?;
        self.owed += 1;
        Ok(())
    }

    #[inline]
    pub(crate) fn wake(&mut self, waiter: WaiterId, why: Wake) {
        debug_assert!(self.owed > 0, "every waiter has its event reserved");
        self.owed -= 1;
        self.events.push_back(Event::Wake { waiter, why });
    }
}
