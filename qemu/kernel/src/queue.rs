//! Queues of contexts, linked through the contexts themselves: no memory is needed to wait.

use crate::context::{Context, Links};
use kernel_logic::arena::{Arena, Id};

/// A queue; a context is in at most one.
#[derive(Debug, Default)]
pub struct Queue {
    first: Option<Id<Context>>,
    last: Option<Id<Context>>,
}

impl Queue {
    /// Nobody waits.
    pub const fn new() -> Self {
        Self { first: None, last: None }
    }

    /// Nobody waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The one at the front.
    #[inline]
    pub fn first(&self) -> Option<Id<Context>> {
        self.first
    }

    /// The one behind `id`.
    pub fn after(contexts: &Arena<Context>, id: Id<Context>) -> Option<Id<Context>> {
        contexts[id].links.next
    }

    /// Joins at the end.
    #[inline(always)]
    pub fn push(&mut self, contexts: &mut Arena<Context>, id: Id<Context>) {
        contexts[id].links = Links { previous: self.last, next: None };
        match self.last {
            Some(last) => contexts[last].links.next = Some(id),
            None => self.first = Some(id),
        }
        self.last = Some(id);
    }

    /// Joins at the front.
    #[inline(always)]
    pub fn push_front(&mut self, contexts: &mut Arena<Context>, id: Id<Context>) {
        contexts[id].links = Links { previous: None, next: self.first };
        match self.first {
            Some(first) => contexts[first].links.previous = Some(id),
            None => self.last = Some(id),
        }
        self.first = Some(id);
    }

    /// The first one leaves.
    #[inline]
    pub fn pop(&mut self, contexts: &mut Arena<Context>) -> Option<Id<Context>> {
        let id = self.first?;
        self.remove(contexts, id);
        Some(id)
    }

    /// One that is in this queue leaves.
    #[inline(always)]
    pub fn remove(&mut self, contexts: &mut Arena<Context>, id: Id<Context>) {
        let Links { previous, next } = core::mem::take(&mut contexts[id].links);
        match previous {
            Some(previous) => contexts[previous].links.next = next,
            None => self.first = next,
        }
        match next {
            Some(next) => contexts[next].links.previous = previous,
            None => self.last = previous,
        }
    }
}
