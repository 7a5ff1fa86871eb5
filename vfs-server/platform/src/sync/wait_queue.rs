//! Waiting for a condition, as Linux's `wait_event` and `wake_up`.

use crate::atomic::{AtomicU32, Ordering, constructor, fence, seq_cst};
use crate::host::{self, Access};
use crate::lockdep::EVENT;
use crate::thread::now_ns;
use crate::waits;

/// Tasks that wait until something that others change holds.
///
/// Whoever changes it calls [`WaitQueue::wake_all`] afterwards. The condition is looked at between
/// taking a ticket and sleeping on it, so that a wake-up in between is not lost.
#[derive(Debug, Default)]
pub struct WaitQueue {
    tickets: AtomicU32,
    sleepers: AtomicU32,
}

impl WaitQueue {
    constructor! {
        /// A queue that nobody waits in.
        pub const fn new() -> Self {
            Self { tickets: AtomicU32::new(0), sleepers: AtomicU32::new(0) }
        }
    }

    /// Waits until `attempt` gives something; `what` is how the wait is reported.
    pub fn wait_for<R>(&self, what: &'static str, attempt: impl FnMut() -> Option<R>) -> R {
        match self.wait_for_until(what, u64::MAX, attempt) {
            Some(result) => result,
            None => unreachable!("a wait without a deadline passed it"),
        }
    }

    /// Waits until `condition` holds.
    pub fn wait_until(&self, what: &'static str, mut condition: impl FnMut() -> bool) {
        self.wait_for(what, || condition().then_some(()))
    }

    /// As [`WaitQueue::wait_for`], at most until `deadline_ns` of [`now_ns`].
    pub fn wait_for_until<R>(
        &self,
        what: &'static str,
        deadline_ns: u64,
        mut attempt: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        loop {
            if let Some(result) = attempt() {
                return Some(result);
            }
            self.touch(Access::Write);
            self.sleepers.fetch_add(1, Ordering::SeqCst);
            seq_cst();
            let ticket = self.tickets.load(Ordering::SeqCst);
            let result = attempt();
            if result.is_none() && (deadline_ns == u64::MAX || now_ns() < deadline_ns) {
                let _waiting = waits::begin(&EVENT, self as *const Self as usize, None, what);
                host::wait(&self.tickets, ticket, deadline_ns);
                self.touch(Access::Write);
            }
            self.sleepers.fetch_sub(1, Ordering::SeqCst);
            if result.is_some() {
                return result;
            }
            if deadline_ns != u64::MAX && now_ns() >= deadline_ns {
                return attempt();
            }
        }
    }

    fn touch(&self, access: Access) {
        host::touch(&EVENT, (&raw const self.tickets) as usize, access);
    }

    /// Lets everybody who waits look again.
    #[inline]
    pub fn wake_all(&self) {
        // What was changed must be visible before we conclude that nobody sleeps.
        fence(Ordering::SeqCst);
        self.touch(Access::Write);
        if self.sleepers.load(Ordering::SeqCst) != 0 {
            self.tickets.fetch_add(1, Ordering::SeqCst);
            host::wake(&self.tickets, u32::MAX);
        }
    }
}
