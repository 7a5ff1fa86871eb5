//! A server's threads that wait for a message, by what they take.
//!
//! The one that has waited shortest is the next to get something: its stack and its tables are the
//! ones that the CPU still knows.

use crate::context::Context;
use crate::queue::Queue;
use kernel_logic::arena::{Arena, Id};
use pager_abi::socket::{QUEUE_FAULT, QUEUE_ORDINARY};

const BOTH: u64 = QUEUE_FAULT | QUEUE_ORDINARY;

/// The waiting threads of one socket.
#[derive(Debug)]
pub struct Receivers {
    /// By the queues that they take: faults, the rest, both.
    waiting: [Queue; BOTH as usize],
}

impl Receivers {
    /// Nobody waits.
    pub const fn new() -> Self {
        Self { waiting: [const { Queue::new() }; BOTH as usize] }
    }

    fn taking(&mut self, mask: u64) -> &mut Queue {
        &mut self.waiting[(mask & BOTH) as usize - 1]
    }

    /// A thread that gets a message of `queue`: rather one that takes nothing else.
    #[inline]
    pub fn first(&self, queue: u64) -> Option<Id<Context>> {
        self.waiting[queue as usize - 1].first().or_else(|| self.waiting[BOTH as usize - 1].first())
    }

    /// Context `id` waits for messages of the queues in `mask`, of which there is at least one.
    #[inline(always)]
    pub fn push(&mut self, contexts: &mut Arena<Context>, id: Id<Context>, mask: u64) {
        self.taking(mask).push_front(contexts, id);
    }

    /// Context `id`, which waits with this mask, waits no longer.
    #[inline(always)]
    pub fn remove(&mut self, contexts: &mut Arena<Context>, id: Id<Context>, mask: u64) {
        self.taking(mask).remove(contexts, id);
    }

    /// Somebody leaves.
    pub fn pop(&mut self, contexts: &mut Arena<Context>) -> Option<Id<Context>> {
        self.waiting.iter_mut().find_map(|queue| queue.pop(contexts))
    }
}
