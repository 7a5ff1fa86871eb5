//! The seam over Redox system calls: futex, threads, the scheme socket, frames.

use crate::{clock, frame_pool};
use alloc::boxed::Box;
use alloc::string::String;
use core::sync::atomic::{AtomicU32, AtomicUsize};
use core::sync::atomic::{AtomicU64, Ordering};
use pager_abi::socket::{Counters, ZapWhat};
use pager_abi::{Cookie, Tag};
use platform::host::{Access, CopyError, Host, RawFrames};
use platform::lockdep::LockClass;
use platform::thread::{TASKS_MAX, TaskId, ThreadKind};
use platform::waits;
use syscall::schemev2::{Cqe, Sqe};
use user_rt::descriptor::Fd;
use user_rt::pager::Socket;

/// The scheme socket, as root-task hands it to the server.
pub const SOCKET: Socket = Socket(Fd(3));

/// Which of a thread's words holds its task number plus one.
const TASK_LOCAL: usize = 0;

/// A process on the microkernel as a host of the server.
pub struct MicrokernelHost;

platform::set_host!(MicrokernelHost);

/// One bit a task number: set while a thread has it.
static TASKS: [AtomicU64; TASKS_MAX / 64] = [const { AtomicU64::new(0) }; TASKS_MAX / 64];

fn local() -> &'static AtomicUsize {
    user_rt::thread::current().local(TASK_LOCAL)
}

/// Gives the calling thread a number, which it keeps until it ends.
#[cold]
fn take_number() -> TaskId {
    for (word_index, word) in TASKS.iter().enumerate() {
        loop {
            let taken = word.load(Ordering::Relaxed);
            let bit = (!taken).trailing_zeros();
            if bit == 64 {
                break;
            }
            if word.compare_exchange(taken, taken | 1 << bit, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                let number = word_index * 64 + bit as usize;
                local().store(number + 1, Ordering::Relaxed);
                return TaskId(number as u16);
            }
        }
    }
    panic!("more than {TASKS_MAX} threads");
}

fn give_number_back() {
    if let Some(number) = local().swap(0, Ordering::Relaxed).checked_sub(1) {
        TASKS[number / 64].fetch_and(!(1 << (number % 64)), Ordering::Relaxed);
    }
}

/// How a short count of the kernel's COPY is told to the server.
fn copied(result: syscall::Result<usize>, asked: usize) -> Result<(), CopyError> {
    match result {
        Ok(copied) if copied == asked => Ok(()),
        Ok(copied) => Err(CopyError::NotResident { copied }),
        Err(error) if error.errno == syscall::ECANCELED => Err(CopyError::Cancelled),
        Err(_) => Err(CopyError::BadRange),
    }
}

// SAFETY: the frame pool gives each frame out once; a task number is a set bit that one thread has.
unsafe impl Host for MicrokernelHost {
    #[inline(always)]
    fn current() -> TaskId {
        match local().load(Ordering::Relaxed) {
            0 => take_number(),
            number => TaskId((number - 1) as u16),
        }
    }

    fn wait(word: &AtomicU32, value: u32, deadline_ns: u64) {
        if deadline_ns == u64::MAX {
            user_rt::sync::wait(word, value);
        } else {
            let left = deadline_ns.saturating_sub(Self::now_ns());
            user_rt::sync::wait_for(word, value, left);
        }
    }

    fn wake(word: &AtomicU32, count: u32) {
        user_rt::sync::wake(word, count);
    }

    #[inline(always)]
    fn point(_class: &'static LockClass, _object: usize, _access: Access) {}

    #[inline(always)]
    fn choose(_n: u32, _site: &'static str) -> u32 {
        0
    }

    fn hash_seed() -> u64 {
        // No random numbers come from this kernel. The time-stamp counter at the first mount is not
        // known to clients to the nanosecond, which is all that is needed against chosen names.
        static SEED: AtomicU64 = AtomicU64::new(0);
        let fresh = user_rt::time::instructions() ^ clock::realtime_ns().rotate_left(32) | 1;
        match SEED.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => fresh,
            Err(seed) => seed,
        }
    }

    fn now_ns() -> u64 {
        clock::monotonic_ns()
    }

    fn realtime_ns() -> u64 {
        clock::realtime_ns()
    }

    fn spawn(name: &'static str, _kind: ThreadKind, body: Box<dyn FnOnce() + Send>) -> bool {
        let started = user_rt::thread::spawn(move || {
            platform::waits::name_current(name);
            body();
            give_number_back();
        });
        match started {
            Ok(thread) => {
                thread.detach();
                true
            }
            Err(error) => {
                log::error!("no thread for {name}: {error}");
                false
            }
        }
    }

    #[inline]
    fn receive(mask: u64, answers: &[Cqe]) -> Option<Sqe> {
        SOCKET.reply_receive_masked(mask, answers).unwrap_or_else(|error| {
            log::error!("the scheme socket is closed: {error}");
            None
        })
    }

    fn zap(cookie: Cookie, offset: u64, len: u64, what: ZapWhat) -> bool {
        match SOCKET.zap(cookie, offset, len, what) {
            Ok(accessed) => accessed as u64 == pager_abi::socket::ACCESSED,
            // A page that could not be revoked must not be used for anything else.
            Err(error) => panic!("ZAP of {cookie:?} at {offset} failed: {error}"),
        }
    }

    fn wrprotect(cookie: Cookie, offset: u64, len: u64) -> u64 {
        match SOCKET.write_protect(cookie, offset, len) {
            Ok(pages) => pages as u64,
            // A page that may still be stored to must not be written to the disk.
            Err(error) => panic!("WRPROTECT of {cookie:?} at {offset} failed: {error}"),
        }
    }

    #[inline]
    unsafe fn copy_in(tag: Tag, offset: usize, to: *mut u8, len: usize) -> Result<(), CopyError> {
        // SAFETY: the caller's promise.
        copied(unsafe { SOCKET.copy_in_raw(tag, offset as u64, to, len) }, len)
    }

    #[inline]
    unsafe fn copy_out(tag: Tag, offset: usize, from: *const u8, len: usize) -> Result<(), CopyError> {
        // SAFETY: the caller's promise.
        copied(unsafe { SOCKET.copy_out_raw(tag, offset as u64, from, len) }, len)
    }

    fn heap_in_use() -> Option<usize> {
        Some(user_rt::heap::bytes_in_use())
    }

    fn fault_in(tag: Tag, offset: usize, len: usize) -> Option<Result<(), CopyError>> {
        let brought = waits::while_waiting_for("a page of its client's buffer", || {
            SOCKET.fault_in(tag, offset as u64, len as u64)
        });
        Some(brought.map_err(|error| match error.errno {
            syscall::ECANCELED => CopyError::Cancelled,
            _ => CopyError::BadRange,
        }))
    }

    fn alloc_frames(order: u8) -> Option<RawFrames> {
        frame_pool::alloc(order)
    }

    unsafe fn free_frames(frames: RawFrames) {
        // SAFETY: the caller's promise.
        unsafe { frame_pool::free(frames) }
    }

    fn frame_budget() -> (usize, usize) {
        frame_pool::budget()
    }

    fn kernel_counters() -> Option<Counters> {
        SOCKET.counters().ok()
    }

    fn kernel_waits() -> String {
        SOCKET.waits().unwrap_or_default()
    }
}
