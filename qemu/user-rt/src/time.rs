//! Clocks, sleep, and the instruction counter of `-icount shift=0`.

use syscall::{CLOCK_MONOTONIC, CLOCK_REALTIME, TimeSpec};

/// Nanoseconds since the kernel started.
pub fn monotonic_ns() -> u64 {
    clock_ns(CLOCK_MONOTONIC)
}

/// Nanoseconds since 1970-01-01 UTC.
pub fn realtime_ns() -> u64 {
    clock_ns(CLOCK_REALTIME)
}

fn clock_ns(clock: usize) -> u64 {
    let mut time = TimeSpec::default();
    match syscall::clock_gettime(clock, &mut time) {
        Ok(_) => time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64,
        Err(error) => panic!("the kernel has no clock {clock}: {error}"),
    }
}

/// Sleeps for at least `ns` nanoseconds.
pub fn sleep_ns(ns: u64) {
    let request = TimeSpec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i32 };
    let mut rest = TimeSpec::default();
    // An early end is allowed to nobody here: there are no signals.
    let _ = syscall::nanosleep(&request, &mut rest);
}

/// Lets another thread run.
pub fn yield_now() {
    let _ = syscall::sched_yield();
}

/// The time-stamp counter. Under QEMU's `-icount shift=0` it counts executed instructions (a guest
/// nanosecond is one instruction, and QEMU's counter runs at 1 GHz).
pub fn instructions() -> u64 {
    // SAFETY: RDTSC touches no memory; the kernel leaves it allowed (CR4.TSD is 0).
    unsafe { core::arch::x86_64::_rdtsc() }
}
