//! What a host provides, and how a program names its host.
//!
//! The functions are reached through symbols that [`set_host!`](crate::set_host) defines, so that
//! the choice is made by the linker (with link-time optimisation a call is then inlined, and
//! [`Host::point`] of a production host is nothing at all).

use crate::atomic::AtomicU32;
use crate::lockdep::LockClass;
use crate::thread::{TaskId, ThreadKind};
use crate::waits::Doing;
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;
use pager_abi::{
    Cookie, Tag,
    socket::{Counters, ZapWhat},
};
use syscall::schemev2::{Cqe, Sqe};

/// Whether a switch point stands before a look or a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The object is only read.
    Read,
    /// The object may be changed.
    Write,
}

/// Why a copy between the server and a client's buffer ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyError {
    /// The page of the buffer at this byte offset is not resident: drop every lock, answer RETRY.
    NotResident {
        /// Bytes that were copied; the missing page follows them.
        copied: usize,
    },
    /// The client is gone; whatever is answered goes nowhere.
    Cancelled,
    /// The buffer is shorter than that, or there is no request of that tag.
    BadRange,
}

/// Memory of `4096 << order` bytes, page aligned, that stays where it is until it is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawFrames {
    /// Address in the server.
    pub address: usize,
    /// log2 of the number of pages.
    pub order: u8,
}

/// A host of the server: see the crate's documentation for the three that there are.
///
/// # Safety
/// [`Host::alloc_frames`] must give memory that nothing else in the server refers to, and
/// [`Host::current`] must give different numbers to threads that run at the same time: locks and
/// folio bytes rely on both.
pub unsafe trait Host {
    /// The running task: a small number, at most [`crate::thread::TASKS_MAX`]` - 1`.
    fn current() -> TaskId;
    /// Blocks while `*word == value`, until woken or past `deadline_ns` of [`Host::now_ns`]
    /// (`u64::MAX`: never). May return early; the caller looks again.
    fn wait(word: &AtomicU32, value: u32, deadline_ns: u64);
    /// Wakes up to `count` tasks that wait on `word`.
    fn wake(word: &AtomicU32, count: u32);
    /// A switch point before a visible access to `object`. Nothing in production.
    fn point(class: &'static LockClass, object: usize, access: Access);
    /// An access to `object` that is no switch point (a release; a look of an assertion), but that
    /// the explorer must know of. Nothing in production.
    #[inline(always)]
    fn touch(_class: &'static LockClass, _object: usize, _access: Access) {}
    /// The task is about to try again what another task must make possible.
    #[inline(always)]
    fn relax() {
        core::hint::spin_loop();
    }
    /// Fault injection: one of `0..n`, always 0 in production.
    fn choose(n: u32, site: &'static str) -> u32;
    /// What the running task is busy with from now on (`None`: it waits for work). Nothing in
    /// production: [`crate::waits`] keeps it.
    #[inline(always)]
    fn doing(_doing: Option<Doing>) {}
    /// Whether anybody listens to the [`Host::tell`] or [`Host::name_object`] that follows if so (what
    /// is looked at in between is no access): nobody in production.
    #[inline(always)]
    fn tells() -> bool {
        false
    }
    /// What the running task does next, in file-system words.
    fn tell(_words: fmt::Arguments<'_>) {}
    /// How the lock or cell at address `object` is called.
    fn name_object(_object: usize, _words: fmt::Arguments<'_>) {}
    /// What hash tables start from: secret where names come from strangers, fixed in the explorer.
    fn hash_seed() -> u64;
    /// Nanoseconds since some start, never going back.
    fn now_ns() -> u64;
    /// Nanoseconds since 1970-01-01 UTC.
    fn realtime_ns() -> u64;
    /// Starts a thread; `false` if the host has no room for it.
    fn spawn(name: &'static str, kind: ThreadKind, body: Box<dyn FnOnce() + Send>) -> bool;
    /// Delivers `answers`, then waits for a request of the queues in `mask`
    /// (`pager_abi::socket::QUEUE_*`). `None`: the socket is closed, or nothing came and
    /// the mask says not to wait.
    fn receive(mask: u64, answers: &[Cqe]) -> Option<Sqe>;
    /// Revokes the mappings of a range; `len` 0: to the end. Whether a page of it was used.
    fn zap(cookie: Cookie, offset: u64, len: u64, what: ZapWhat) -> bool;
    /// Makes the mappings of a range read-only; `len` 0: to the end. Pages that were writable.
    fn wrprotect(cookie: Cookie, offset: u64, len: u64) -> u64;
    /// Copies from the client's buffer at `offset` to server memory.
    ///
    /// # Safety
    /// `[to, to + len)` is server memory that may be written.
    unsafe fn copy_in(tag: Tag, offset: usize, to: *mut u8, len: usize) -> Result<(), CopyError>;
    /// Copies server memory to the client's buffer at `offset`.
    ///
    /// # Safety
    /// `[from, from + len)` is server memory that may be read.
    unsafe fn copy_out(tag: Tag, offset: usize, from: *const u8, len: usize) -> Result<(), CopyError>;
    /// Page-aligned, contiguous, DMA-able memory; `None`: out of memory. Its bytes are undefined.
    fn alloc_frames(order: u8) -> Option<RawFrames>;
    /// Gives memory of [`Host::alloc_frames`] back.
    ///
    /// # Safety
    /// Nothing refers to it any more, no client maps it, no device writes to it.
    unsafe fn free_frames(frames: RawFrames);
    /// Pages that [`Host::alloc_frames`] may hand out in all, and pages that are free now.
    fn frame_budget() -> (usize, usize);
    /// The kernel's counters of the socket, where there is such a kernel.
    fn kernel_counters() -> Option<Counters>;
    /// Who waits for whom in the kernel, as text; empty where there is no such kernel.
    fn kernel_waits() -> String;
    /// Bytes of the server's heap that are in use, where the host counts them.
    fn heap_in_use() -> Option<usize> {
        None
    }
    /// Makes `len` bytes of the client's buffer at `offset` resident while the caller waits, with all its
    /// locks: what a server must never do. `None`: this host has no such call.
    fn fault_in(_tag: Tag, _offset: usize, _len: usize) -> Option<Result<(), CopyError>> {
        None
    }
    /// Something cannot be (Linux: `BUG()`); who finds it goes on with an error. The explorer ends the
    /// run here.
    fn bug(what: &'static str) {
        log::error!("BUG: {what}");
    }
}

/// Names the type that implements [`Host`] for this program. Once a program, in its root crate.
#[macro_export]
macro_rules! set_host {
    ($host:ty) => {
        const _: () = {
            use $crate::host::symbols::{self as s, *};
            use $crate::host::{Access, CopyError, Host, RawFrames};
            #[unsafe(no_mangle)]
            fn __platform_current() -> TaskId {
                <$host as Host>::current()
            }
            #[unsafe(no_mangle)]
            fn __platform_wait(word: &AtomicU32, value: u32, deadline_ns: u64) {
                <$host as Host>::wait(word, value, deadline_ns)
            }
            #[unsafe(no_mangle)]
            fn __platform_wake(word: &AtomicU32, count: u32) {
                <$host as Host>::wake(word, count)
            }
            #[unsafe(no_mangle)]
            fn __platform_point(class: &'static LockClass, object: usize, access: Access) {
                <$host as Host>::point(class, object, access)
            }
            #[unsafe(no_mangle)]
            fn __platform_touch(class: &'static LockClass, object: usize, access: Access) {
                <$host as Host>::touch(class, object, access)
            }
            #[unsafe(no_mangle)]
            fn __platform_relax() {
                <$host as Host>::relax()
            }
            #[unsafe(no_mangle)]
            fn __platform_doing(doing: Option<Doing>) {
                <$host as Host>::doing(doing)
            }
            #[unsafe(no_mangle)]
            fn __platform_tells() -> bool {
                <$host as Host>::tells()
            }
            #[unsafe(no_mangle)]
            fn __platform_tell(words: Arguments<'_>) {
                <$host as Host>::tell(words)
            }
            #[unsafe(no_mangle)]
            fn __platform_name_object(object: usize, words: Arguments<'_>) {
                <$host as Host>::name_object(object, words)
            }
            #[unsafe(no_mangle)]
            fn __platform_hash_seed() -> u64 {
                <$host as Host>::hash_seed()
            }
            #[unsafe(no_mangle)]
            fn __platform_choose(n: u32, site: &'static str) -> u32 {
                <$host as Host>::choose(n, site)
            }
            #[unsafe(no_mangle)]
            fn __platform_now_ns() -> u64 {
                <$host as Host>::now_ns()
            }
            #[unsafe(no_mangle)]
            fn __platform_realtime_ns() -> u64 {
                <$host as Host>::realtime_ns()
            }
            #[unsafe(no_mangle)]
            fn __platform_spawn(name: &'static str, kind: ThreadKind, body: Box<dyn FnOnce() + Send>) -> bool {
                <$host as Host>::spawn(name, kind, body)
            }
            #[unsafe(no_mangle)]
            fn __platform_receive(mask: u64, answers: &[Cqe]) -> Option<Sqe> {
                <$host as Host>::receive(mask, answers)
            }
            #[unsafe(no_mangle)]
            fn __platform_zap(cookie: Cookie, offset: u64, len: u64, what: ZapWhat) -> bool {
                <$host as Host>::zap(cookie, offset, len, what)
            }
            #[unsafe(no_mangle)]
            fn __platform_wrprotect(cookie: Cookie, offset: u64, len: u64) -> u64 {
                <$host as Host>::wrprotect(cookie, offset, len)
            }
            #[unsafe(no_mangle)]
            unsafe fn __platform_copy_in(tag: Tag, offset: usize, to: *mut u8, len: usize) -> Result<(), CopyError> {
                // SAFETY: the caller's contract is the host's.
                unsafe { <$host as Host>::copy_in(tag, offset, to, len) }
            }
            #[unsafe(no_mangle)]
            unsafe fn __platform_copy_out(
                tag: Tag,
                offset: usize,
                from: *const u8,
                len: usize,
            ) -> Result<(), CopyError> {
                // SAFETY: the caller's contract is the host's.
                unsafe { <$host as Host>::copy_out(tag, offset, from, len) }
            }
            #[unsafe(no_mangle)]
            fn __platform_alloc_frames(order: u8) -> Option<RawFrames> {
                <$host as Host>::alloc_frames(order)
            }
            #[unsafe(no_mangle)]
            unsafe fn __platform_free_frames(frames: RawFrames) {
                // SAFETY: the caller's contract is the host's.
                unsafe { <$host as Host>::free_frames(frames) }
            }
            #[unsafe(no_mangle)]
            fn __platform_frame_budget() -> (usize, usize) {
                <$host as Host>::frame_budget()
            }
            #[unsafe(no_mangle)]
            fn __platform_kernel_counters() -> Option<Counters> {
                <$host as Host>::kernel_counters()
            }
            #[unsafe(no_mangle)]
            fn __platform_kernel_waits() -> String {
                <$host as Host>::kernel_waits()
            }
            #[unsafe(no_mangle)]
            fn __platform_heap_in_use() -> Option<usize> {
                <$host as Host>::heap_in_use()
            }
            #[unsafe(no_mangle)]
            fn __platform_fault_in(tag: Tag, offset: usize, len: usize) -> Option<Result<(), CopyError>> {
                <$host as Host>::fault_in(tag, offset, len)
            }
            #[unsafe(no_mangle)]
            fn __platform_bug(what: &'static str) {
                <$host as Host>::bug(what)
            }
            // A signature that drifts from the declared symbol is a compile error here.
            const _: s::Current = __platform_current;
            const _: s::Wait = __platform_wait;
            const _: s::Wake = __platform_wake;
            const _: s::Point = __platform_point;
            const _: s::Point = __platform_touch;
            const _: s::Relax = __platform_relax;
            const _: s::SetDoing = __platform_doing;
            const _: s::Tells = __platform_tells;
            const _: s::Tell = __platform_tell;
            const _: s::NameObject = __platform_name_object;
            const _: s::Now = __platform_hash_seed;
            const _: s::Choose = __platform_choose;
            const _: s::Now = __platform_now_ns;
            const _: s::Now = __platform_realtime_ns;
            const _: s::Spawn = __platform_spawn;
            const _: s::Receive = __platform_receive;
            const _: s::Zap = __platform_zap;
            const _: s::WrProtect = __platform_wrprotect;
            const _: s::CopyIn = __platform_copy_in;
            const _: s::CopyOut = __platform_copy_out;
            const _: s::AllocFrames = __platform_alloc_frames;
            const _: s::FreeFrames = __platform_free_frames;
            const _: s::FrameBudget = __platform_frame_budget;
            const _: s::KernelCounters = __platform_kernel_counters;
            const _: s::KernelWaits = __platform_kernel_waits;
            const _: s::HeapInUse = __platform_heap_in_use;
            const _: s::FaultIn = __platform_fault_in;
            const _: s::Bug = __platform_bug;
        };
    };
}

/// The types of the symbols, so that [`set_host!`](crate::set_host) can check them.
#[doc(hidden)]
#[allow(missing_docs)]
pub mod symbols {
    pub use crate::atomic::AtomicU32;
    pub use crate::lockdep::LockClass;
    pub use crate::thread::{TaskId, ThreadKind};
    pub use crate::waits::Doing;
    pub use alloc::boxed::Box;
    pub use alloc::string::String;
    pub use core::fmt::Arguments;
    pub use pager_abi::{
        Cookie, Tag,
        socket::{Counters, ZapWhat},
    };
    pub use syscall::schemev2::{Cqe, Sqe};

    use super::{Access, CopyError, RawFrames};
    pub type Current = fn() -> TaskId;
    pub type Wait = fn(&AtomicU32, u32, u64);
    pub type Wake = fn(&AtomicU32, u32);
    pub type Point = fn(&'static LockClass, usize, Access);
    pub type Relax = fn();
    pub type SetDoing = fn(Option<Doing>);
    pub type Tells = fn() -> bool;
    pub type Tell = fn(Arguments<'_>);
    pub type NameObject = fn(usize, Arguments<'_>);
    pub type Choose = fn(u32, &'static str) -> u32;
    pub type Now = fn() -> u64;
    pub type Spawn = fn(&'static str, ThreadKind, Box<dyn FnOnce() + Send>) -> bool;
    pub type Receive = fn(u64, &[Cqe]) -> Option<Sqe>;
    pub type Zap = fn(Cookie, u64, u64, ZapWhat) -> bool;
    pub type WrProtect = fn(Cookie, u64, u64) -> u64;
    pub type CopyIn = unsafe fn(Tag, usize, *mut u8, usize) -> Result<(), CopyError>;
    pub type CopyOut = unsafe fn(Tag, usize, *const u8, usize) -> Result<(), CopyError>;
    pub type AllocFrames = fn(u8) -> Option<RawFrames>;
    pub type FreeFrames = unsafe fn(RawFrames);
    pub type FrameBudget = fn() -> (usize, usize);
    pub type KernelCounters = fn() -> Option<Counters>;
    pub type KernelWaits = fn() -> String;
    pub type HeapInUse = fn() -> Option<usize>;
    pub type FaultIn = fn(Tag, usize, usize) -> Option<Result<(), CopyError>>;
    pub type Bug = fn(&'static str);
}

/// The linked host's functions.
pub(crate) mod linked {
    use super::*;
    // SAFETY: `set_host!` defines each of them once a program, and checks its signature there.
    #[allow(improper_ctypes)]
    unsafe extern "Rust" {
        pub fn __platform_current() -> TaskId;
        pub fn __platform_wait(word: &AtomicU32, value: u32, deadline_ns: u64);
        pub fn __platform_wake(word: &AtomicU32, count: u32);
        pub fn __platform_point(class: &'static LockClass, object: usize, access: Access);
        pub fn __platform_touch(class: &'static LockClass, object: usize, access: Access);
        pub fn __platform_relax();
        pub fn __platform_doing(doing: Option<Doing>);
        pub fn __platform_tells() -> bool;
        pub fn __platform_tell(words: fmt::Arguments<'_>);
        pub fn __platform_name_object(object: usize, words: fmt::Arguments<'_>);
        pub fn __platform_hash_seed() -> u64;
        pub fn __platform_choose(n: u32, site: &'static str) -> u32;
        pub fn __platform_now_ns() -> u64;
        pub fn __platform_realtime_ns() -> u64;
        pub fn __platform_spawn(name: &'static str, kind: ThreadKind, body: Box<dyn FnOnce() + Send>) -> bool;
        pub fn __platform_receive(mask: u64, answers: &[Cqe]) -> Option<Sqe>;
        pub fn __platform_zap(cookie: Cookie, offset: u64, len: u64, what: ZapWhat) -> bool;
        pub fn __platform_wrprotect(cookie: Cookie, offset: u64, len: u64) -> u64;
        pub fn __platform_copy_in(tag: Tag, offset: usize, to: *mut u8, len: usize) -> Result<(), CopyError>;
        pub fn __platform_copy_out(tag: Tag, offset: usize, from: *const u8, len: usize) -> Result<(), CopyError>;
        pub fn __platform_alloc_frames(order: u8) -> Option<RawFrames>;
        pub fn __platform_free_frames(frames: RawFrames);
        pub fn __platform_frame_budget() -> (usize, usize);
        pub fn __platform_kernel_counters() -> Option<Counters>;
        pub fn __platform_kernel_waits() -> String;
        pub fn __platform_heap_in_use() -> Option<usize>;
        pub fn __platform_fault_in(tag: Tag, offset: usize, len: usize) -> Option<Result<(), CopyError>>;
        pub fn __platform_bug(what: &'static str);
    }
}

/// The running task.
pub fn current() -> TaskId {
    // SAFETY: `set_host!` defined the symbol with this signature.
    unsafe { linked::__platform_current() }
}

/// Blocks while `*word == value`; see [`Host::wait`].
pub fn wait(word: &AtomicU32, value: u32, deadline_ns: u64) {
    // SAFETY: as above.
    unsafe { linked::__platform_wait(word, value, deadline_ns) }
}

/// Wakes up to `count` tasks that wait on `word`.
pub fn wake(word: &AtomicU32, count: u32) {
    // SAFETY: as above.
    unsafe { linked::__platform_wake(word, count) }
}

/// A switch point before a visible access; see [`Host::point`].
#[inline(always)]
pub fn point(class: &'static LockClass, object: usize, access: Access) {
    // SAFETY: as above.
    unsafe { linked::__platform_point(class, object, access) }
}

/// An access to a shared cell that is no switch point; see [`Host::touch`].
#[inline(always)]
pub fn touch(class: &'static LockClass, object: usize, access: Access) {
    // SAFETY: as above.
    unsafe { linked::__platform_touch(class, object, access) }
}

/// To be called in each round of a loop that tries again until another task has done something.
#[inline(always)]
pub fn relax() {
    // SAFETY: as above.
    unsafe { linked::__platform_relax() }
}

/// Fault injection: one of `0..n`, always 0 in production.
pub fn choose(n: u32, site: &'static str) -> u32 {
    // SAFETY: as above.
    unsafe { linked::__platform_choose(n, site) }
}

/// Reports what cannot be; see [`Host::bug`]. The caller then fails with an error.
#[cold]
pub fn bug(what: &'static str) {
    // SAFETY: as above.
    unsafe { linked::__platform_bug(what) }
}
