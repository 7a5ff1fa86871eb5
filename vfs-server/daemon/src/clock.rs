//! Time without a system call: the time-stamp counter, measured against the kernel's clocks once.
//!
//! Every write stamps an inode; a system call for that would be a tenth of its cost. Both CPUs read
//! the same counter. What is measured over [`SPAN_NS`] is exact enough for file times and deadlines;
//! an hour later it may be a second off.

use core::sync::atomic::{AtomicU64, Ordering};
use user_rt::time;

/// How long the counter is watched at the start.
const SPAN_NS: u64 = 5_000_000;

/// Nanoseconds of a tick, in 2^-32.
static RATE: AtomicU64 = AtomicU64::new(0);
static START_TICKS: AtomicU64 = AtomicU64::new(0);
static START_NS: AtomicU64 = AtomicU64::new(0);
/// Real time minus monotonic time.
static EPOCH_NS: AtomicU64 = AtomicU64::new(0);

/// Measures the counter. Until then every look asks the kernel.
pub fn start() {
    let (ticks, ns) = (time::instructions(), time::monotonic_ns());
    time::sleep_ns(SPAN_NS);
    let (ticks_after, ns_after) = (time::instructions(), time::monotonic_ns());
    START_TICKS.store(ticks, Ordering::Relaxed);
    START_NS.store(ns, Ordering::Relaxed);
    EPOCH_NS.store(time::realtime_ns().saturating_sub(time::monotonic_ns()), Ordering::Relaxed);
    let passed = u128::from(ns_after.saturating_sub(ns)) << 32;
    let rate = passed.checked_div(u128::from(ticks_after.saturating_sub(ticks))).unwrap_or(0);
    RATE.store(u64::try_from(rate).unwrap_or(0), Ordering::Release);
}

/// Nanoseconds since the kernel started.
#[inline]
pub fn monotonic_ns() -> u64 {
    match RATE.load(Ordering::Acquire) {
        0 => time::monotonic_ns(),
        rate => {
            let ticks = time::instructions().saturating_sub(START_TICKS.load(Ordering::Relaxed));
            let ns = (u128::from(ticks) * u128::from(rate)) >> 32;
            START_NS.load(Ordering::Relaxed) + ns as u64
        }
    }
}

/// Nanoseconds since 1970-01-01 UTC.
#[inline]
pub fn realtime_ns() -> u64 {
    match RATE.load(Ordering::Acquire) {
        0 => time::realtime_ns(),
        _ => EPOCH_NS.load(Ordering::Relaxed) + monotonic_ns(),
    }
}
