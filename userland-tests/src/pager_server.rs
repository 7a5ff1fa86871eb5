//! A page server in a test's own hands: the smallest that speaks the paging protocol.
//!
//! The test's process is the server and forks its clients, which find the server's one file under
//! any name in their root directory. Opening and mapping it is answered here; every fault and every
//! other request is the test's to answer, at the moment that it wants.

use crate::{check, errno::Errno, harness::Failure};
use alloc::{format, string::String};
use core::cell::Cell;
use pager_abi::{
    Cookie, PAGE_SIZE, Tag,
    fault::{Access, ProvideMmap, RequestMmap, regular_cqe},
    grant::{MUNMAP_COUNTED, MaxProtection, lazy_extra},
    socket::Counters,
};
use user_rt::{
    Error,
    descriptor::{Descriptor, ROOT, SCHEME_CREATION},
    memory::{Mapping, Sharing},
    pager::{Queue, Socket, Waiting, create_scheme, root_params},
    syscall::{
        dup_into,
        schemev2::{Cqe, Opcode, Sqe, SqeFlags},
    },
};

/// The file's mapping object.
pub const COOKIE: Cookie = Cookie(0x5eed_0001);

/// Bytes of a page.
pub const PAGE: usize = PAGE_SIZE as usize;

/// What a server receives.
#[derive(Clone, Copy, Debug)]
pub enum Message {
    /// A page fault.
    Fault(RequestMmap),
    /// A request that wants an answer.
    Request(Sqe),
    /// So many grants came back.
    Munmap(u64),
    /// The client of this request is gone.
    Cancel(Tag),
}

/// The server of one file. Its pages, in order, are its own memory; page n begins with 1000 + n.
pub struct Server {
    socket: Descriptor,
    memory: Mapping,
    /// Grants given and not come back.
    pub grants: Cell<u64>,
    /// What MPROTECT may allow.
    pub maximum: MaxProtection,
    /// uid and gid of the last message.
    pub credentials: Cell<u64>,
}

impl From<Error> for Failure {
    #[track_caller]
    fn from(error: Error) -> Self {
        Errno::from(error).into()
    }
}

impl Server {
    /// Makes a scheme with a file of `pages` pages; its root becomes this process's root directory.
    pub fn start(pages: usize) -> Result<Self, Failure> {
        let socket = create_scheme(SCHEME_CREATION)?;
        let version = Socket(socket.fd()).version()?;
        check!(version == pager_abi::VERSION, "the kernel speaks version {version} of the paging protocol");
        let root = Descriptor::at_free_number(|number| dup_into(socket.fd().0, number, &root_params(1)))?;
        root.fd().dup_to(ROOT)?;
        let memory = Mapping::anonymous(pages * PAGE, Sharing::Shared)?;
        for page in 0..pages {
            memory.store_u64(page * PAGE, 1000 + page as u64);
        }
        let maximum = MaxProtection { read: true, write: true, execute: false };
        Ok(Self { socket, memory, grants: Cell::new(0), maximum, credentials: Cell::new(0) })
    }

    /// The scheme socket.
    pub fn socket(&self) -> Socket {
        Socket(self.socket.fd())
    }

    /// The server's own memory.
    pub fn memory(&self) -> &Mapping {
        &self.memory
    }

    /// The next message that is not about opening, mapping or closing.
    pub fn next(&self, queue: Queue) -> Result<Message, Failure> {
        loop {
            let sqe = self.socket().reply_receive(queue, Waiting::Block, &[])?;
            let Some(sqe) = sqe else { return Err(String::from("a wait for a message ended without one").into()) };
            if let Some(message) = self.take(sqe)? {
                return Ok(message);
            }
        }
    }

    /// As [`Server::next`], without waiting.
    pub fn poll(&self) -> Result<Option<Message>, Failure> {
        while let Some(sqe) = self.socket().reply_receive(Queue::Both, Waiting::Poll, &[])? {
            if let Some(message) = self.take(sqe)? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    fn take(&self, sqe: Sqe) -> Result<Option<Message>, Failure> {
        let tag = Tag(sqe.tag);
        self.credentials.set(sqe.args[5]);
        Ok(Some(match Opcode::try_from_raw(sqe.opcode) {
            Some(Opcode::RequestMmap) => match RequestMmap::from_sqe(&sqe) {
                Some(request) => Message::Fault(request),
                None => return Err(format!("a fault message that is none: {:x?}", sqe.args).into()),
            },
            Some(Opcode::MmapPrep) => {
                self.grants.set(self.grants.get() + 1);
                let extra_raw = [lazy_extra(self.maximum), 0, 0];
                self.write_answers(&[Cqe { extra_raw, ..regular_cqe(tag, COOKIE.0) }])?;
                return Ok(None);
            }
            Some(Opcode::OpenAt | Opcode::Dup) => {
                self.reply(tag, 2)?;
                return Ok(None);
            }
            Some(Opcode::Munmap) if sqe.args[2] == MUNMAP_COUNTED => {
                check!(sqe.args[0] == COOKIE.0, "grants of an unknown cookie {:#x} come back", sqe.args[0]);
                check!(sqe.args[1] <= self.grants.get(), "more grants come back than were given");
                self.grants.set(self.grants.get() - sqe.args[1]);
                Message::Munmap(sqe.args[1])
            }
            Some(Opcode::Cancel) => Message::Cancel(tag),
            _ if sqe.sqe_flags.contains(SqeFlags::ONEWAY) => return Ok(None),
            Some(Opcode::Close | Opcode::CloseMsg | Opcode::Detach) => {
                self.reply(tag, 0)?;
                return Ok(None);
            }
            _ => Message::Request(sqe),
        }))
    }

    /// The next message, which must be a fault.
    #[track_caller]
    pub fn fault(&self) -> Result<RequestMmap, Failure> {
        match self.next(Queue::Both)? {
            Message::Fault(request) => Ok(request),
            other => Err(unexpected("a fault", other)),
        }
    }

    /// The next message, which must be a fault at this page.
    #[track_caller]
    pub fn fault_at(&self, page: usize, access: Access) -> Result<RequestMmap, Failure> {
        let request = self.fault()?;
        let expected = (COOKIE, (page * PAGE) as u64, access);
        check!(
            (request.cookie, request.offset, request.access) == expected,
            "a fault came ({request:?}), not {access:?} at page {page}"
        );
        Ok(request)
    }

    /// The next message, which must be a request with this opcode.
    #[track_caller]
    pub fn request(&self, opcode: Opcode) -> Result<Sqe, Failure> {
        match self.next(Queue::Both)? {
            Message::Request(sqe) if sqe.opcode == opcode as u8 => Ok(sqe),
            other => Err(unexpected("a request", other)),
        }
    }

    /// Answers a message with a value.
    pub fn reply(&self, tag: Tag, value: u64) -> Result<(), Failure> {
        self.write_answers(&[regular_cqe(tag, value)])
    }

    /// Answers a message with an error.
    pub fn fail(&self, tag: Tag, errno: i32) -> Result<(), Failure> {
        self.write_answers(&[regular_cqe(tag, Error::mux(Err(Error::new(errno))) as u64)])
    }

    /// Answers a fault with pages of the server's memory from page `from` on.
    pub fn provide_from(
        &self,
        request: &RequestMmap,
        from: usize,
        before: u16,
        count: u16,
        writable: bool,
    ) -> Result<(), Failure> {
        let address = self.memory.at(from * PAGE, usize::from(count) * PAGE) as u64;
        let provide = ProvideMmap { tag: request.tag, address, before, count, writable };
        self.write_answers(&[provide.to_cqe()])
    }

    /// Answers a fault with the page that it is about; writable if it is a store.
    pub fn provide(&self, request: &RequestMmap) -> Result<(), Failure> {
        let page = request.offset as usize / PAGE;
        self.provide_from(request, page, 0, 1, request.access == Access::Write)
    }

    /// Answers by WRITE on the socket, Redox's way, which receives nothing.
    pub fn write_answers(&self, answers: &[Cqe]) -> Result<(), Failure> {
        for answer in answers {
            self.socket.fd().write(answer)?;
        }
        Ok(())
    }

    /// Waits until all grants have come back.
    pub fn drain_grants(&self) -> Result<(), Failure> {
        while self.grants.get() > 0 {
            match self.next(Queue::Both)? {
                Message::Munmap(_) => {}
                other => return Err(unexpected("a Munmap", other)),
            }
        }
        Ok(())
    }

    /// The kernel's counters.
    pub fn counters(&self) -> Result<Counters, Failure> {
        Ok(self.socket().counters()?)
    }
}

/// `what` was waited for, and something else came.
#[track_caller]
pub fn unexpected(what: &str, came: Message) -> Failure {
    let place = core::panic::Location::caller();
    Failure::Failed(format!("{came:?} came instead of {what} ({}:{})", place.file(), place.line()))
}

/// Text of who waits for whom, for a failure's message.
pub fn waits(server: &Server) -> String {
    server.socket().waits().unwrap_or_default()
}
