//! Waiting for a time: deadlines of contexts, looked at in every tick.

use crate::arch::clock;
use crate::context::{Context, State, Wait};
use crate::kernel::Kernel;
use alloc::collections::BTreeSet;
use kernel_logic::arena::Id;
use syscall::data::TimeSpec;
use syscall::error::{EINVAL, ETIMEDOUT, Error, Result};

const NS_PER_SECOND: u64 = 1_000_000_000;

/// The contexts that go on at a time, soonest first.
pub struct Deadlines {
    sorted: BTreeSet<(u64, Id<Context>)>,
    /// 1970 to boot, in seconds.
    boot_seconds: u64,
}

impl Deadlines {
    /// None.
    pub const fn new() -> Self {
        Self { sorted: BTreeSet::new(), boot_seconds: 0 }
    }

    /// Notes the battery clock; at boot.
    pub fn set_wall_clock(&mut self, seconds: u64) {
        self.boot_seconds = seconds;
    }

    /// Nanoseconds since 1970.
    pub fn wall_clock_ns(&self) -> u64 {
        self.boot_seconds * NS_PER_SECOND + clock::now_ns()
    }
}

impl Kernel {
    /// `id`, which begins to wait, goes on at `deadline` (nanoseconds since boot) at the latest.
    pub fn set_deadline(&mut self, id: Id<Context>, deadline: u64) {
        self.contexts[id].deadline = Some(deadline);
        self.deadlines.sorted.insert((deadline, id));
    }

    /// `id` waits no longer, or for good.
    #[inline]
    pub fn cancel_deadline(&mut self, id: Id<Context>) {
        if let Some(deadline) = self.contexts[id].deadline.take() {
            self.deadlines.sorted.remove(&(deadline, id));
        }
    }

    /// Contexts whose time has come go on.
    pub fn expire_deadlines(&mut self) {
        let now = clock::now_ns();
        while let Some(&(deadline, id)) = self.deadlines.sorted.first()
            && deadline <= now
        {
            self.cancel_deadline(id);
            let result = match &self.contexts[id].state {
                State::Waiting(Wait::Time) => Ok(0),
                State::Waiting(Wait::Futex(key)) => {
                    let key = *key;
                    self.futexes.remove(&mut self.contexts, key, id);
                    Err(Error::new(ETIMEDOUT))
                }
                state => unreachable!("{id:?} has a deadline, but is {state:?}"),
            };
            self.contexts[id].set_result(result);
            self.make_ready(id);
        }
    }
}

/// A program's time as nanoseconds; far times are as good as never.
pub fn to_ns(time: &TimeSpec) -> Result<u64> {
    let seconds = u64::try_from(time.tv_sec).map_err(|_| Error::new(EINVAL))?;
    let ns = u64::try_from(time.tv_nsec).ok().filter(|&ns| ns < NS_PER_SECOND).ok_or(Error::new(EINVAL))?;
    Ok(seconds.saturating_mul(NS_PER_SECOND).saturating_add(ns))
}

/// Nanoseconds as a program wants them.
pub fn from_ns(ns: u64) -> TimeSpec {
    TimeSpec { tv_sec: (ns / NS_PER_SECOND) as i64, tv_nsec: (ns % NS_PER_SECOND) as i32 }
}
