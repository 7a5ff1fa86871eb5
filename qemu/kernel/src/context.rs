//! Contexts: threads, as data.
//!
//! Owns: what a thread is and what it waits for. A thread that waits in the kernel has no stack
//! there: [`Wait`] says what it waits for and [`Then`] how its system call goes on, so that it can
//! be ended at any time by undoing exactly what those name.

use crate::arch::entry::Registers;
use crate::file::{Description, FileTable};
use crate::futex;
use crate::scheme::user::{Request, Retry, Socket, Unlocked};
use crate::vspace::Vspace;
use kernel_logic::arena::Id;
use pager_abi::Tag;
use pager_abi::exit::ExitStatus;
use syscall::schemev2::Sqe;

/// The most contexts that there can be.
pub const CONTEXTS_MAX: usize = 4096;

/// A thread.
pub struct Context {
    /// What it has in the CPU's registers while it does not run.
    pub registers: Registers,
    /// The thread pointer.
    pub fs_base: u64,
    /// Where it runs; counted there.
    pub vspace: Option<Id<Vspace>>,
    /// What it has open; counted there.
    pub files: Option<Id<FileTable>>,
    /// Whom it acts for: uid in bits 31..0, gid in bits 63..32, as messages carry it.
    pub credentials: u64,
    /// What it does.
    pub state: State,
    /// The neighbours in the one queue that it is in: ready threads, a socket's receivers, a futex's waiters.
    pub links: Links,
    /// Descriptors of this context, and one while it lives.
    pub refs: u32,
    /// When it goes on by itself.
    pub deadline: Option<u64>,
    /// Somebody ended it while it was running.
    pub doomed: Option<ExitStatus>,
    /// A message for a receiver, to be copied to it once its vspace is loaded.
    pub incoming: Option<Incoming>,
    /// The message whose answer it waits for.
    pub request: Option<Request>,
    /// A request whose server answered RETRY, while the buffer is being faulted in.
    pub retry: Option<Retry>,
    /// The rest of a server's call that is done without the kernel lock.
    pub unlocked: Option<Unlocked>,
    /// Pages of the system call's buffers below this address were faulted in already.
    pub prefaulted: usize,
}

/// A message that was given to a receiver.
#[derive(Debug)]
pub struct Incoming {
    /// The message.
    pub sqe: Sqe,
    /// Where the receiver wants it.
    pub buffer: usize,
}

/// Neighbours in a queue.
#[derive(Clone, Copy, Default, Debug)]
pub struct Links {
    /// The one before.
    pub previous: Option<Id<Context>>,
    /// The one after.
    pub next: Option<Id<Context>>,
}

/// What a context does.
#[derive(Debug)]
pub enum State {
    /// It has not been started.
    New,
    /// It runs on this CPU.
    Running(usize),
    /// It could run.
    Ready,
    /// It waits.
    Waiting(Wait),
    /// It has ended.
    Dead(ExitStatus),
}

/// What a context waits for.
#[derive(Debug)]
pub enum Wait {
    /// A message of a socket; in the socket's queue.
    Receive {
        /// The socket; its descriptor is held.
        socket: Id<Socket>,
        /// Which messages (`pager_abi::socket::QUEUE_*`).
        mask: u64,
        /// Where the message goes.
        buffer: usize,
    },
    /// The answer to a message of its own: [`Context::request`].
    Answer,
    /// A page that a server has been asked for.
    Page {
        /// The message's name.
        tag: Tag,
        /// What goes on then.
        origin: FaultOrigin,
    },
    /// A futex; in its queue.
    Futex(futex::Key),
    /// Only its deadline.
    Time,
    /// The end of another context; the description is held.
    Exit {
        /// The other one.
        context: Id<Context>,
        /// What the status is read into.
        buffer: usize,
        /// The file that is being read.
        description: Id<Description>,
    },
    /// A device's interrupt: the system call is made again then.
    Interrupt {
        /// Its number.
        gsi: u32,
    },
    /// A byte of the console: the system call is made again then.
    Console,
}

/// Who touched the page that has to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultOrigin {
    /// An instruction of the program: it is run again.
    Instruction {
        /// The address that was touched.
        address: usize,
        /// How.
        access: pager_abi::fault::Access,
    },
    /// The kernel, for a buffer of the system call: the call is made again.
    SystemCall,
    /// The kernel, for a server that found the buffer of a request not resident: see
    /// [`Context::retry`].
    Retry,
}

impl Context {
    /// One that has nothing and does not run, with one reference.
    pub fn new() -> Self {
        Self {
            registers: Registers::new(),
            fs_base: 0,
            vspace: None,
            files: None,
            credentials: 0,
            state: State::New,
            links: Links::default(),
            refs: 1,
            deadline: None,
            doomed: None,
            incoming: None,
            request: None,
            retry: None,
            unlocked: None,
            prefaulted: 0,
        }
    }

    /// The system call's result, as the program sees it.
    #[inline]
    pub fn set_result(&mut self, result: Result<usize, syscall::Error>) {
        self.registers.get_mut().rax = syscall::Error::mux(result);
        self.prefaulted = 0;
    }

    /// The system call is made again when the context runs.
    pub fn restart_call(&mut self) {
        const SYSCALL_BYTES: usize = 2;
        self.registers.get_mut().rip -= SYSCALL_BYTES;
    }
}
