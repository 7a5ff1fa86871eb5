//! Threads: contexts that share address space and file table.
//!
//! Each has a [`ThreadBlock`], which FS points to, and a stack with a guard page below it. A thread
//! that nobody joins keeps both for good.

use crate::{
    context::{self, AddressSpace, Context, FileTable},
    descriptor::Fd,
    memory::{self, Protection, Sharing},
    sync::Mutex,
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{
    ptr::NonNull,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};
use pager_abi::{PAGE_SIZE, exit::ExitStatus};
use syscall::Result;

/// Bytes of a thread's stack, with its guard page and its thread block.
pub const STACK_SIZE: usize = 256 << 10;

/// Words that libraries may keep for each thread, by index.
pub const LOCALS: usize = 4;

/// What a thread knows of itself; FS points here.
#[repr(C)]
pub struct ThreadBlock {
    /// Its own address, for a load from FS:0.
    this: *const ThreadBlock,
    /// The thread's own context descriptor.
    context: AtomicUsize,
    /// 0 for a process's first thread, then in the order of their start.
    id: usize,
    locals: [AtomicUsize; LOCALS],
}

impl ThreadBlock {
    /// Bytes at the top of a stack that are kept for the block.
    pub const ROOM: usize = 64;

    /// The block of a process's first thread as bytes, to lie at `address`. It finds its context
    /// itself, since its starter knows it by another number.
    pub(crate) fn image(address: usize) -> [u8; Self::ROOM] {
        let mut bytes = [0; Self::ROOM];
        bytes[..size_of::<usize>()].copy_from_slice(&address.to_ne_bytes());
        bytes
    }

    /// The thread's number in its process.
    pub fn id(&self) -> usize {
        self.id
    }

    /// The word that the library with this index keeps for the thread (0 at first).
    pub fn local(&self, index: usize) -> &AtomicUsize {
        &self.locals[index]
    }
}

const _: () = assert!(size_of::<ThreadBlock>() <= ThreadBlock::ROOM);

/// The calling thread's block.
pub fn current() -> &'static ThreadBlock {
    let block: *const ThreadBlock;
    // SAFETY: whoever starts a context points FS to a thread block whose first word is its address,
    // and which stays as long as the thread runs.
    unsafe {
        core::arch::asm!("mov {}, fs:0", out(reg) block, options(nostack, preserves_flags, readonly));
        &*block
    }
}

/// A new first thread's block for the first process, which has no starter to write one.
pub(crate) fn become_first_thread() -> Result<()> {
    let block = Box::leak(Box::new(ThreadBlock {
        this: core::ptr::null(),
        context: AtomicUsize::new(0),
        id: 0,
        locals: Default::default(),
    }));
    block.this = block;
    let context = Context::current()?;
    context.set_thread_pointer(block.this as usize)?;
    block.context.store(context.leak().0, Relaxed);
    Ok(())
}

/// The calling thread's own context; opened at first use.
pub(crate) fn own_context() -> Result<Fd> {
    let context = &current().context;
    if context.load(Relaxed) == 0 {
        context.store(Context::current()?.leak().0, Relaxed);
    }
    Ok(Fd(context.load(Relaxed)))
}

/// Runs `fork`, which gives `Side::Child` in a process that was just made: there the thread block is a
/// copy of the parent's, and so is the list of threads.
pub(crate) fn forking(fork: impl FnOnce() -> Side) -> Side {
    let mut threads = THREADS.lock();
    let side = fork();
    if side == Side::Child {
        current().context.store(0, Relaxed);
        FIRST.store(0, Relaxed);
        threads.clear();
    }
    side
}

/// On which side of a fork the code runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Parent,
    Child,
}

/// The contexts of the process's started threads that nobody has joined, for its exit.
static THREADS: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// The context of the process's first thread, once there is another one.
static FIRST: AtomicUsize = AtomicUsize::new(0);

/// The id of the next thread.
static NEXT_ID: AtomicUsize = AtomicUsize::new(1);

/// A thread that can be waited for.
pub struct JoinHandle<T> {
    context: Context,
    stack: NonNull<u8>,
    result: Arc<Mutex<Option<T>>>,
}

/// How a joined thread ended if not with a result.
pub type ThreadResult<T> = core::result::Result<T, ExitStatus>;

// SAFETY: the stack belongs to the handle alone once the thread has ended.
unsafe impl<T: Send> Send for JoinHandle<T> {}

/// Runs `f` on a thread of its own.
pub fn spawn<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
    let result = Arc::new(Mutex::new(None));
    let slot = result.clone();
    let body: Body = Box::new(move || *slot.lock() = Some(f()));

    let own = own_context()?;
    // The first call in a process is its first thread's.
    let _ = FIRST.compare_exchange(0, own.0, Relaxed, Relaxed);
    let context = Context::new()?;
    let stack = memory::map_anonymous(STACK_SIZE, Sharing::Private)?;
    // SAFETY: the region is fresh; its lowest page becomes the guard.
    unsafe { memory::protect(stack, PAGE_SIZE as usize, Protection::None)? };

    let block_address = stack.as_ptr() as usize + STACK_SIZE - ThreadBlock::ROOM;
    let block = ThreadBlock {
        this: block_address as *const ThreadBlock,
        context: AtomicUsize::new(context.fd().0),
        id: NEXT_ID.fetch_add(1, Relaxed),
        locals: Default::default(),
    };
    let body = Box::into_raw(Box::new(body));
    let stack_pointer = block_address - 16;
    // SAFETY: both places are inside the fresh region, aligned, and used by nobody else.
    unsafe {
        (block_address as *mut ThreadBlock).write(block);
        (stack_pointer as *mut *mut Body).write(body);
    }
    let started = (|| {
        context.set_address_space(&AddressSpace::of(own)?, stack_pointer, thread_start as *const () as usize)?;
        context.set_file_table(&FileTable::of(own)?)?;
        context.set_thread_pointer(block_address)?;
        THREADS.lock().push(context.fd().0);
        context.start()
    })();
    if let Err(error) = started {
        THREADS.lock().retain(|&fd| fd != context.fd().0);
        // SAFETY: the thread never ran: the closure and the stack are still ours alone.
        unsafe {
            drop(Box::from_raw(body));
            memory::unmap(stack, STACK_SIZE)?;
        }
        return Err(error);
    }
    Ok(JoinHandle { context, stack, result })
}

impl<T> JoinHandle<T> {
    /// Waits for the thread's end and gives its result, or how else it ended.
    pub fn join(self) -> ThreadResult<T> {
        let status = self.context.wait().unwrap_or(ExitStatus::Killed);
        THREADS.lock().retain(|&fd| fd != self.context.fd().0);
        // SAFETY: the thread has ended, and nothing else points into its stack.
        let unmapped = unsafe { memory::unmap(self.stack, STACK_SIZE) };
        debug_assert!(unmapped.is_ok());
        self.result.lock().take().ok_or(status)
    }

    /// Lets the thread run on without anybody to wait for it.
    pub fn detach(self) {
        self.context.leak();
    }

    /// Ends the thread from outside, wherever it is.
    pub fn kill(&self) -> Result<()> {
        self.context.kill()
    }
}

type Body = Box<dyn FnOnce() + Send>;

/// A thread's first instructions: the stack holds its closure, 16-aligned as the call needs it.
#[unsafe(naked)]
extern "C" fn thread_start() -> ! {
    core::arch::naked_asm!("xor ebp, ebp", "mov rdi, [rsp]", "call {main}", "ud2", main = sym thread_main)
}

extern "C" fn thread_main(body: *mut Body) -> ! {
    // SAFETY: `spawn` made it from a box and gave it to this thread alone.
    let body = unsafe { Box::from_raw(body) };
    body();
    end_self(0)
}

/// Ends the calling thread alone, with `code`.
pub fn end_self(code: i32) -> ! {
    let ended = own_context().and_then(|context| context.write_words(&[usize::MAX, code as u32 as usize]));
    // Only a kernel that cannot end a context comes here; there is nobody left to tell.
    let _ = ended;
    loop {
        crate::time::yield_now();
    }
}

/// Ends all threads of the process but the calling one. (If that is not the first one, then the
/// process's waiter sees it killed, whatever code the exit was to have.)
pub(crate) fn end_others() {
    let own = current().context.load(Relaxed);
    let threads = core::mem::take(&mut *THREADS.lock());
    for fd in threads.into_iter().chain([FIRST.load(Relaxed)]) {
        if fd != own && fd != 0 {
            // One that has ended already is as wanted.
            let _ = context::kill(Fd(fd));
        }
    }
}
