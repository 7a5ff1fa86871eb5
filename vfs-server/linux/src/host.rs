//! The seam over `std`: a parking table for `wait` / `wake`, threads, heap memory for frames.

use guest::kernel;
use pager_abi::{
    Cookie, Tag,
    socket::{Counters, ZapWhat},
};
use platform::host::{Access, CopyError, Host, RawFrames};
use platform::lockdep::LockClass;
use platform::thread::{TASKS_MAX, TaskId, ThreadKind};
use std::alloc::Layout;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};
use syscall::schemev2::{Cqe, Sqe};

/// Linux threads as a host of the server.
pub struct LinuxHost;

platform::set_host!(LinuxHost);

/// Pages that the host hands out in all; tests make memory scarce with it.
static FRAME_LIMIT: AtomicUsize = AtomicUsize::new(1 << 20);
static FRAMES_OUT: AtomicUsize = AtomicUsize::new(0);

/// The runs of frames that are handed out: address and pages.
static RUNS: Mutex<BTreeMap<usize, usize>> = Mutex::new(BTreeMap::new());

/// Whether the page at `address` is one that the host has handed out.
pub fn is_frame(address: usize) -> bool {
    let runs = RUNS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    runs.range(..=address).next_back().is_some_and(|(start, pages)| address < start + pages * 4096)
}

/// Limits the pages that the host hands out in all.
pub fn set_frame_limit(pages: usize) {
    FRAME_LIMIT.store(pages, Ordering::Relaxed);
}

const BUCKETS: usize = 64;

struct Bucket {
    lock: Mutex<()>,
    wakes: Condvar,
}

static PARKED: [Bucket; BUCKETS] = [const { Bucket { lock: Mutex::new(()), wakes: Condvar::new() } }; BUCKETS];

fn bucket(word: &AtomicU32) -> &'static Bucket {
    &PARKED[(word as *const AtomicU32 as usize >> 3) % BUCKETS]
}

/// Task numbers that are free again, and the next never used.
static NUMBERS: Mutex<(Vec<u16>, u16)> = Mutex::new((Vec::new(), 0));

struct Number(TaskId);

impl Drop for Number {
    fn drop(&mut self) {
        NUMBERS.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).0.push(self.0.0);
    }
}

thread_local! {
    static NUMBER: RefCell<Option<Number>> = const { RefCell::new(None) };
}

fn take_number() -> TaskId {
    let mut numbers = NUMBERS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(free) = numbers.0.pop() {
        return TaskId(free);
    }
    let next = numbers.1;
    assert!(usize::from(next) < TASKS_MAX, "more than {TASKS_MAX} threads use the server");
    numbers.1 += 1;
    TaskId(next)
}

fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

// SAFETY: frames come from the global allocator and are given out once; a task number belongs to
// one living thread.
unsafe impl Host for LinuxHost {
    fn current() -> TaskId {
        NUMBER
            .try_with(|number| number.borrow_mut().get_or_insert_with(|| Number(take_number())).0)
            // A thread that is ending: its number is back in the pool, and it holds no lock.
            .unwrap_or(TaskId((TASKS_MAX - 1) as u16))
    }

    fn wait(word: &AtomicU32, value: u32, deadline_ns: u64) {
        let bucket = bucket(word);
        let guard = bucket.lock.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if word.load(Ordering::SeqCst) != value {
            return;
        }
        // Buckets are shared and wake-ups may be meant for others: the caller looks again anyway.
        let left = match deadline_ns {
            u64::MAX => Duration::from_millis(100),
            deadline => Duration::from_nanos(deadline.saturating_sub(Self::now_ns())),
        };
        drop(bucket.wakes.wait_timeout(guard, left));
    }

    fn wake(word: &AtomicU32, _count: u32) {
        let bucket = bucket(word);
        drop(bucket.lock.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        bucket.wakes.notify_all();
    }

    #[inline(always)]
    fn point(_class: &'static LockClass, _object: usize, _access: Access) {}

    fn choose(_n: u32, _site: &'static str) -> u32 {
        0
    }

    fn hash_seed() -> u64 {
        static SEED: OnceLock<u64> = OnceLock::new();
        *SEED.get_or_init(|| RandomState::new().hash_one(0u8))
    }

    fn now_ns() -> u64 {
        start().elapsed().as_nanos() as u64
    }

    fn realtime_ns() -> u64 {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
    }

    fn spawn(name: &'static str, _kind: ThreadKind, body: Box<dyn FnOnce() + Send>) -> bool {
        let body = move || {
            platform::waits::name_current(name);
            body();
        };
        std::thread::Builder::new().name(name.into()).spawn(body).is_ok()
    }

    fn receive(mask: u64, answers: &[Cqe]) -> Option<Sqe> {
        kernel::current()?.receive(mask, answers)
    }

    fn zap(cookie: Cookie, offset: u64, len: u64, what: ZapWhat) -> bool {
        kernel::current().is_some_and(|installed| installed.zap(cookie, offset, len, what))
    }

    fn wrprotect(cookie: Cookie, offset: u64, len: u64) -> u64 {
        kernel::current().map_or(0, |installed| installed.wrprotect(cookie, offset, len))
    }

    unsafe fn copy_in(tag: Tag, offset: usize, to: *mut u8, len: usize) -> Result<(), CopyError> {
        let installed = kernel::current().ok_or(CopyError::Cancelled)?;
        let mut bytes = vec![0; len];
        let outcome = installed.copy_in(tag, offset, &mut bytes);
        let copied = match outcome {
            Ok(()) => len,
            Err(CopyError::NotResident { copied }) => copied.min(len),
            Err(_) => 0,
        };
        // SAFETY: the caller says that the range may be written; `bytes` is a private copy.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, copied) };
        outcome
    }

    unsafe fn copy_out(tag: Tag, offset: usize, from: *const u8, len: usize) -> Result<(), CopyError> {
        let installed = kernel::current().ok_or(CopyError::Cancelled)?;
        let mut bytes = vec![0; len];
        // SAFETY: the caller says that the range may be read; `bytes` is a private copy.
        unsafe { std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), len) };
        installed.copy_out(tag, offset, &bytes)
    }

    fn alloc_frames(order: u8) -> Option<RawFrames> {
        let pages = 1usize << order;
        let taken = FRAMES_OUT.fetch_add(pages, Ordering::Relaxed);
        if taken + pages > FRAME_LIMIT.load(Ordering::Relaxed) {
            FRAMES_OUT.fetch_sub(pages, Ordering::Relaxed);
            return None;
        }
        // SAFETY: the layout has a size.
        let memory = unsafe { std::alloc::alloc(layout(order)) };
        if memory.is_null() {
            FRAMES_OUT.fetch_sub(pages, Ordering::Relaxed);
            return None;
        }
        RUNS.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(memory as usize, pages);
        Some(RawFrames { address: memory as usize, order })
    }

    unsafe fn free_frames(frames: RawFrames) {
        FRAMES_OUT.fetch_sub(1 << frames.order, Ordering::Relaxed);
        RUNS.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).remove(&frames.address);
        // SAFETY: it came from `alloc_frames` with this order, and the caller gives it up.
        unsafe { std::alloc::dealloc(frames.address as *mut u8, layout(frames.order)) }
    }

    fn frame_budget() -> (usize, usize) {
        let limit = FRAME_LIMIT.load(Ordering::Relaxed);
        (limit, limit.saturating_sub(FRAMES_OUT.load(Ordering::Relaxed)))
    }

    fn kernel_counters() -> Option<Counters> {
        kernel::current()?.counters()
    }

    fn kernel_waits() -> String {
        kernel::current().map_or_else(String::new, |installed| installed.waits())
    }

    fn fault_in(tag: Tag, offset: usize, len: usize) -> Option<Result<(), CopyError>> {
        kernel::current()?.fault_in(tag, offset, len)
    }
}

fn layout(order: u8) -> Layout {
    let size = 4096usize << order;
    // The size is a power of two and far below isize::MAX for every order that a folio has.
    Layout::from_size_align(size, 4096).unwrap_or_else(|_| panic!("frames of order {order}"))
}
