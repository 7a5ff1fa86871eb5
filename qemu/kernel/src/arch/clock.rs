//! Time: the time stamp counter, calibrated at boot against the PIT.

use super::apic;
use super::instructions::{inb, outb, rdtsc};
use core::sync::atomic::{AtomicU64, Ordering};

const PIT_HZ: u64 = 1_193_182;
/// Timer interrupts a second on each CPU.
pub const TICKS_PER_SECOND: u32 = 1000;

/// Nanoseconds a TSC tick, times 2^32.
static SCALE: AtomicU64 = AtomicU64::new(1 << 32);
static START: AtomicU64 = AtomicU64::new(0);
static APIC_HZ: AtomicU64 = AtomicU64::new(0);
static COARSE: AtomicU64 = AtomicU64::new(0);
/// See [`first_program`].
static FIRST_PROGRAM: AtomicU64 = AtomicU64::new(0);

/// Nanoseconds since boot.
#[inline]
pub fn now_ns() -> u64 {
    let ticks = rdtsc().wrapping_sub(START.load(Ordering::Relaxed));
    ((u128::from(ticks) * u128::from(SCALE.load(Ordering::Relaxed))) >> 32) as u64
}

/// Nanoseconds since boot at the last tick of any CPU: cheap, and good enough to tell how long something has
/// been waiting.
#[inline]
pub fn coarse_ns() -> u64 {
    COARSE.load(Ordering::Relaxed)
}

/// The first program begins now.
pub fn note_first_program() {
    FIRST_PROGRAM.store(rdtsc(), Ordering::Relaxed);
}

/// The time stamp counter, which is 0 at reset, when the first program began.
pub fn first_program() -> u64 {
    FIRST_PROGRAM.load(Ordering::Relaxed)
}

/// A tick: the coarse clock moves.
pub fn note_tick() {
    COARSE.store(now_ns(), Ordering::Relaxed);
}

/// Measures both clocks; the local APIC must be on.
pub fn calibrate() {
    START.store(rdtsc(), Ordering::Relaxed);
    apic::start_counting();
    // Two measurements that agree within 1/128, against a host that stops us in between.
    let mut last = measure();
    for _ in 0..16 {
        let next = measure();
        if last.0.abs_diff(next.0) < next.0 / 128 && last.1.abs_diff(next.1) < next.1 / 128 {
            break;
        }
        last = next;
    }
    let (tsc_hz, apic_hz) = last;
    SCALE.store(((1_000_000_000u128 << 32) / u128::from(tsc_hz.max(1))) as u64, Ordering::Relaxed);
    APIC_HZ.store(apic_hz, Ordering::Relaxed);
}

/// The timer of this CPU interrupts [`TICKS_PER_SECOND`] times a second from now on.
pub fn start_ticks() {
    apic::start_periodic((APIC_HZ.load(Ordering::Relaxed) / u64::from(TICKS_PER_SECOND)).max(1000) as u32);
}

/// What was measured, in Hz: time stamp counter, local APIC timer.
pub fn frequencies() -> (u64, u64) {
    let tsc = (1_000_000_000u128 << 32) / u128::from(SCALE.load(Ordering::Relaxed).max(1));
    (tsc as u64, APIC_HZ.load(Ordering::Relaxed))
}

/// Seconds since 1970 of the battery clock; 0 if there is none.
pub fn wall_clock_seconds() -> u64 {
    rtc::seconds()
}

/// (TSC Hz, APIC timer Hz) over 512 PIT ticks (0.43 ms). Without a PIT, QEMU's APIC timer of 1 GHz is the measure.
fn measure() -> (u64, u64) {
    const SPAN: u16 = 512;
    // Channel 0, low and high byte, mode 2 (rate), from 65536 down; its interrupt is masked.
    // SAFETY: the PIT touches no memory.
    unsafe {
        outb(0x43, 0x34);
        outb(0x40, 0);
        outb(0x40, 0);
    }
    let edge = |from: u16| {
        for _ in 0..1_000_000 {
            let now = pit_count();
            if now != from {
                return Some((now, rdtsc(), apic::counted()));
            }
        }
        None
    };
    let Some((first, tsc, timer)) = edge(pit_count()) else { return measure_by_apic() };
    loop {
        let (now, tsc_now, timer_now) = (pit_count(), rdtsc(), apic::counted());
        let ticks = first.wrapping_sub(now);
        if ticks >= SPAN {
            let hz = |counted: u64| counted * PIT_HZ / u64::from(ticks);
            return (hz(tsc_now - tsc), hz(u64::from(timer_now.wrapping_sub(timer))));
        }
    }
}

fn measure_by_apic() -> (u64, u64) {
    let (tsc, timer) = (rdtsc(), apic::counted());
    while apic::counted().wrapping_sub(timer) < 500_000 {}
    let ticks = u64::from(apic::counted().wrapping_sub(timer));
    ((rdtsc() - tsc) * 1_000_000_000 / ticks, 1_000_000_000)
}

fn pit_count() -> u16 {
    // SAFETY: as in `measure`.
    unsafe {
        outb(0x43, 0);
        u16::from_le_bytes([inb(0x40), inb(0x40)])
    }
}

mod rtc {
    use super::super::instructions::{inb, outb};

    /// MC146818: registers 0, 2, 4, 7, 8, 9 hold the time, A.7 an update in progress, B.2 binary digits.
    pub fn seconds() -> u64 {
        let read = || [9, 8, 7, 4, 2, 0].map(register);
        let mut fields = read();
        for _ in 0..1000 {
            let again = read();
            if register(10) & 0x80 == 0 && again == fields {
                break;
            }
            fields = again;
        }
        if fields.iter().all(|&field| field == 0xff) {
            return 0;
        }
        let binary = register(11) & 4 != 0;
        let [year, month, day, hour, minute, second] =
            fields.map(|field| u64::from(if binary { field } else { (field >> 4) * 10 + (field & 15) }));
        days(2000 + year, month, day) * 86_400 + hour * 3600 + minute * 60 + second
    }

    /// Days from 1970-01-01 to a date of the Gregorian calendar, years counted from March.
    fn days(year: u64, month: u64, day: u64) -> u64 {
        let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468
    }

    fn register(number: u8) -> u8 {
        // SAFETY: the clock's two ports touch no memory.
        unsafe {
            outb(0x70, number);
            inb(0x71)
        }
    }
}
