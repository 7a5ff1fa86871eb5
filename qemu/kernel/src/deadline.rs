//! Deadlines of messages (rule 7 of the paging protocol): who keeps clients waiting is told on the
//! console; failing the access that waits is an option.
//!
//! The `sys` scheme's file `deadline` has the choice, and `etc/boot.conf`'s key of that name.

use crate::arch::clock;
use crate::arch::cpu::Cpu;
use crate::kernel::Kernel;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use syscall::error::ETIMEDOUT;

/// How often messages are looked at.
const PERIOD_NS: u64 = 1_000_000_000;

const NS_PER_MS: u64 = 1_000_000;

/// What happens when a message is not answered in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The console hears of it.
    Print,
    /// And an access that waits for a page fails with `ETIMEDOUT`.
    Fail,
}

/// When, and what then; as text `print:30000` or `fail:2000`, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// What.
    pub action: Action,
    /// How long a message may wait.
    pub after_ms: u64,
}

impl Deadline {
    /// Far beyond what any request takes.
    pub const STANDARD: Self = Self { action: Action::Print, after_ms: 30_000 };

    /// The choice that `text` is.
    pub fn parse(text: &str) -> Option<Self> {
        let (action, after_ms) = text.trim().split_once(':')?;
        let action = match action {
            "print" => Action::Print,
            "fail" => Action::Fail,
            _ => return None,
        };
        let after_ms = after_ms.parse().ok().filter(|&ms| ms > 0 && ms <= u64::MAX / NS_PER_MS)?;
        Some(Self { action, after_ms })
    }
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = match self.action {
            Action::Print => "print",
            Action::Fail => "fail",
        };
        write!(f, "{action}:{}", self.after_ms)
    }
}

impl Kernel {
    /// Another deadline holds, from now on.
    pub fn set_deadline_of_messages(&mut self, deadline: Deadline) {
        self.deadline = deadline;
        self.blame_at = 0;
    }

    /// In every tick: looks, now and then, who waits for a server past the deadline.
    #[inline]
    pub fn blame(&mut self, cpu: &Cpu) {
        let now = clock::coarse_ns();
        if now >= self.blame_at {
            self.blame_at = now + PERIOD_NS.min(self.deadline.after_ms * NS_PER_MS);
            self.look_for_blame(cpu, now);
        }
    }

    #[cold]
    fn look_for_blame(&mut self, cpu: &Cpu, now: u64) {
        let after_ns = self.deadline.after_ms * NS_PER_MS;
        let late: Vec<_> = self.pager.overdue(now.saturating_sub(after_ns)).collect();
        let mut sockets: Vec<_> = late.iter().map(|&(socket, _)| socket).collect();
        sockets.sort_unstable();
        sockets.dedup();
        for socket in sockets {
            let mut text = String::new();
            if self.pager.write_waits(socket, now, &mut text).is_ok() {
                crate::log::line(format_args!("kernel: scheme {} keeps its clients waiting (ns):", socket.0));
                text.lines().for_each(|line| crate::log::line(format_args!("kernel:   {line}")));
            }
            // Once is enough for the same waits.
            self.blame_at = now + after_ns;
        }
        if self.deadline.action == Action::Fail {
            for (_, tag) in late {
                if self.pager.fail_late(tag, ETIMEDOUT) {
                    crate::log::line(format_args!("kernel: fault {:#x} fails for it", tag.0));
                }
            }
            self.drain_events(cpu);
        }
    }
}
