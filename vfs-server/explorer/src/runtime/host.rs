//! The seam as the explorer provides it.
//!
//! On a thread that explores, each function goes to its [`Runtime`]; on one that another scheduler has, to
//! that one ([`super::foreign`]). On any other thread of the process (a unit test of a checker that uses a lock of
//! the platform) it behaves as a plain host without clients.

use super::arena::{self, Mode};
use super::foreign::foreign;
use super::run::{Runtime, active};
use crate::scenario::Failure;
use guest::kernel;
use pager_abi::{
    Cookie, Tag,
    socket::{Counters, ZapWhat},
};
use platform::host::{Access, CopyError, Host, RawFrames};
use platform::lockdep::{FRAME_BYTES, LEAF, LockClass};
use platform::thread::{TASKS_MAX, TaskId, ThreadKind};
use platform::waits::Doing;
use std::alloc::Layout;
use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::Duration;
use syscall::schemev2::{Cqe, Sqe};

/// The explorer as a host of the server.
pub struct ExplorerHost;

platform::set_host!(ExplorerHost);

/// Stands for the pool of frames as an object: who allocates changes what others can get.
static FRAME_POOL: u8 = 0;
/// Fresh frames hold this, so that whoever reads what was never written is seen at once, and the
/// same in each run.
const POISON: u8 = 0xa5;
/// 2026-01-01: no run depends on the day on which it is made.
const EPOCH_NS: u64 = 1_767_225_600_000_000_000;

/// The number of a thread that does not explore.
fn bystander() -> TaskId {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    thread_local! {
        static NUMBER: Cell<Option<u16>> = const { Cell::new(None) };
    }
    let half = (TASKS_MAX / 2) as u16;
    let number = NUMBER.get().unwrap_or_else(|| {
        let number = half + NEXT.fetch_add(1, Ordering::Relaxed) % (half - 1);
        NUMBER.set(Some(number));
        number
    });
    TaskId(number)
}

fn touch_pool(access: Access) {
    ExplorerHost::touch(&LEAF, &raw const FRAME_POOL as usize, access);
}

fn frames_layout(order: u8) -> Layout {
    let size = 4096usize << order;
    // A power of two far below isize::MAX for every order that a folio has.
    Layout::from_size_align(size, 4096).unwrap_or_else(|_| panic!("frames of order {order}"))
}

// SAFETY: frames come from the arena or the heap and are given out once; tasks have numbers of their
// own below those of other threads, and a foreign scheduler's have its own.
unsafe impl Host for ExplorerHost {
    #[inline]
    fn current() -> TaskId {
        match active() {
            Some(runtime) => runtime.current(),
            None => foreign().map_or_else(bystander, |foreign| foreign.scheduler.current()),
        }
    }

    fn wait(word: &AtomicU32, value: u32, deadline_ns: u64) {
        match (active(), foreign()) {
            (Some(runtime), _) => runtime.wait(word, value, deadline_ns),
            (None, Some(foreign)) => foreign.scheduler.wait(word, value, deadline_ns),
            // May return early: the caller looks again.
            (None, None) if word.load(Ordering::SeqCst) == value => std::thread::sleep(Duration::from_micros(50)),
            (None, None) => {}
        }
    }

    fn wake(word: &AtomicU32, count: u32) {
        match active() {
            Some(runtime) => runtime.wake(word, count),
            None => foreign().into_iter().for_each(|foreign| foreign.scheduler.wake(word, count)),
        }
    }

    #[inline]
    fn point(class: &'static LockClass, object: usize, access: Access) {
        match active() {
            Some(runtime) => runtime.point(class, object, access),
            None => foreign().into_iter().for_each(|foreign| foreign.point(class)),
        }
    }

    #[inline]
    fn touch(class: &'static LockClass, object: usize, access: Access) {
        if let Some(runtime) = active() {
            runtime.touch(class, object, access);
        }
    }

    fn relax() {
        match (active(), foreign()) {
            (Some(runtime), _) => runtime.relax(),
            (None, Some(foreign)) => foreign.scheduler.relax(),
            (None, None) => std::thread::yield_now(),
        }
    }

    fn choose(n: u32, site: &'static str) -> u32 {
        super::calls::choose(n, site, super::ChoiceKind::Fault)
    }

    fn doing(doing: Option<Doing>) {
        if let Some(runtime) = active() {
            runtime.doing(doing);
        }
    }

    #[inline]
    fn tells() -> bool {
        active().is_some_and(Runtime::begin_telling)
    }

    fn tell(words: fmt::Arguments<'_>) {
        if let Some(runtime) = active() {
            runtime.tell(words);
        }
    }

    fn name_object(object: usize, words: fmt::Arguments<'_>) {
        if let Some(runtime) = active() {
            runtime.name_object(object, words);
        }
    }

    fn hash_seed() -> u64 {
        0x5eed
    }

    fn now_ns() -> u64 {
        match active() {
            Some(runtime) => runtime.now_ns(),
            None => foreign().map_or(0, |foreign| foreign.scheduler.now_ns()),
        }
    }

    fn realtime_ns() -> u64 {
        EPOCH_NS + Self::now_ns()
    }

    fn spawn(name: &'static str, kind: ThreadKind, body: Box<dyn FnOnce() + Send>) -> bool {
        match (active(), foreign()) {
            (Some(runtime), _) => runtime.spawn_server(name, kind, body),
            (None, Some(foreign)) => {
                foreign.spawn_server(name, kind, body);
                true
            }
            (None, None) => std::thread::Builder::new().name(name.into()).spawn(body).is_ok(),
        }
    }

    fn receive(mask: u64, answers: &[Cqe]) -> Option<Sqe> {
        kernel::current()?.receive(mask, answers)
    }

    fn zap(cookie: Cookie, offset: u64, len: u64, what: ZapWhat) -> bool {
        kernel::current().is_some_and(|kernel| kernel.zap(cookie, offset, len, what))
    }

    fn wrprotect(cookie: Cookie, offset: u64, len: u64) -> u64 {
        kernel::current().map_or(0, |kernel| kernel.wrprotect(cookie, offset, len))
    }

    unsafe fn copy_in(tag: Tag, offset: usize, to: *mut u8, len: usize) -> Result<(), CopyError> {
        let kernel = kernel::current().ok_or(CopyError::Cancelled)?;
        let mut bytes = vec![0; len];
        let outcome = kernel.copy_in(tag, offset, &mut bytes);
        let copied = match outcome {
            Ok(()) => len,
            Err(CopyError::NotResident { copied }) => copied.min(len),
            Err(_) => 0,
        };
        touch_pages(to as usize, copied, Access::Write);
        // SAFETY: the caller says that the range may be written; `bytes` is a private copy.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, copied) };
        outcome
    }

    unsafe fn copy_out(tag: Tag, offset: usize, from: *const u8, len: usize) -> Result<(), CopyError> {
        let kernel = kernel::current().ok_or(CopyError::Cancelled)?;
        let mut bytes = vec![0; len];
        // SAFETY: the caller says that the range may be read; `bytes` is a private copy.
        unsafe { std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), len) };
        kernel.copy_out(tag, offset, &bytes)
    }

    fn alloc_frames(order: u8) -> Option<RawFrames> {
        touch_pool(Access::Write);
        let pages = 1usize << order;
        let inside = active().filter(|_| arena::is_inside());
        let foreign = foreign();
        let budget = inside.map(Runtime::frame_budget).or(foreign.as_ref().map(|foreign| foreign.frame_budget()));
        if budget.is_some_and(|(_, left)| left < pages) {
            return None;
        }
        let layout = frames_layout(order);
        // SAFETY: the layout has a size.
        let memory = unsafe { std::alloc::alloc(layout) };
        if memory.is_null() {
            return None;
        }
        // SAFETY: inside, by the session's own thread; whole pages.
        if inside.is_some() && unsafe { !arena::mark_frames(memory as usize, pages, true) } {
            // SAFETY: it was just allocated with this layout.
            unsafe { std::alloc::dealloc(memory, layout) };
            return None;
        }
        if let Some(foreign) = foreign {
            foreign.mark_frames(memory as usize, pages, true);
        }
        // SAFETY: it was just allocated, that long.
        unsafe { memory.write_bytes(POISON, layout.size()) };
        Some(RawFrames { address: memory as usize, order })
    }

    unsafe fn free_frames(frames: RawFrames) {
        touch_pool(Access::Write);
        if active().is_some() && arena::holds(frames.address) {
            // SAFETY: it was marked when it was allocated.
            unsafe { arena::mark_frames(frames.address, 1 << frames.order, false) };
        }
        if let Some(foreign) = foreign() {
            foreign.mark_frames(frames.address, 1 << frames.order, false);
        }
        // SAFETY: it came from `alloc_frames` with this order, and the caller gives it up.
        unsafe { std::alloc::dealloc(frames.address as *mut u8, frames_layout(frames.order)) }
    }

    fn frame_budget() -> (usize, usize) {
        touch_pool(Access::Read);
        let ours = active().map(Runtime::frame_budget).or_else(|| foreign().map(|foreign| foreign.frame_budget()));
        ours.unwrap_or((usize::MAX >> 12, usize::MAX >> 12))
    }

    fn kernel_counters() -> Option<Counters> {
        kernel::current()?.counters()
    }

    fn kernel_waits() -> String {
        kernel::current().map(|kernel| kernel.waits()).unwrap_or_default()
    }

    fn fault_in(tag: Tag, offset: usize, len: usize) -> Option<Result<(), CopyError>> {
        kernel::current()?.fault_in(tag, offset, len)
    }

    fn bug(what: &'static str) {
        if active().is_some() || foreign().is_some() {
            super::fail(Failure::new(Failure::BUG, what));
        }
        log::error!("BUG: {what}");
    }
}

/// The bytes are accessed now, after the kernel's side let others run.
fn touch_pages(address: usize, len: usize, access: Access) {
    let _outside = Mode::outside();
    let first = address & !4095;
    for page in (first..address + len).step_by(4096) {
        ExplorerHost::touch(&FRAME_BYTES, page, access);
    }
}
