//! Records with stable small numbers, and lists through them: no allocation once grown.

use crate::PagerError;
use alloc::vec::Vec;

/// "No record" in a link.
pub(crate) const NONE: u32 = u32::MAX;

enum Slot<T> {
    Free { next: u32 },
    Used(T),
}

/// A vector of records with a free list.
pub(crate) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: u32,
    used: u32,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), free: NONE, used: 0 }
    }

    #[inline(always)]
    pub(crate) fn insert(&mut self, value: T) -> Result<u32, PagerError> {
        let index = self.free;
        if index != NONE {
            let Slot::Free { next } = self.slots[index as usize] else {
                unreachable!("the free list holds free slots")
            };
            self.free = next;
            self.slots[index as usize] = Slot::Used(value);
            self.used += 1;
            return Ok(index);
        }
        self.slots.try_reserve(1).map_err(|_| PagerError::NoMemory)?;
        self.slots.push(Slot::Used(value));
        self.used += 1;
        Ok(self.slots.len() as u32 - 1)
    }

    pub(crate) fn remove(&mut self, index: u32) -> T {
        let slot = core::mem::replace(&mut self.slots[index as usize], Slot::Free { next: self.free });
        let Slot::Used(value) = slot else { unreachable!("a record is removed once") };
        self.free = index;
        self.used -= 1;
        value
    }

    /// Puts in what `make` makes of its index, in place.
    #[inline(always)]
    pub(crate) fn insert_with(&mut self, make: impl FnOnce(u32) -> T) -> Result<u32, PagerError> {
        let index = self.free;
        if index == NONE {
            let index = self.slots.len() as u32;
            return self.insert(make(index));
        }
        let slot = &mut self.slots[index as usize];
        let Slot::Free { next } = *slot else { unreachable!("the free list holds free slots") };
        self.free = next;
        self.used += 1;
        *slot = Slot::Used(make(index));
        Ok(index)
    }

    /// As [`Slab::remove`], without giving the value back.
    #[inline]
    pub(crate) fn free(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        debug_assert!(matches!(slot, Slot::Used(_)), "a record is removed once");
        *slot = Slot::Free { next: self.free };
        self.free = index;
        self.used -= 1;
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        match self.slots.get(index as usize) {
            Some(Slot::Used(value)) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        match self.slots.get_mut(index as usize) {
            Some(Slot::Used(value)) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn len(&self) -> u32 {
        self.used
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| match slot {
            Slot::Used(value) => Some((index as u32, value)),
            Slot::Free { .. } => None,
        })
    }
}

impl<T> core::ops::Index<u32> for Slab<T> {
    type Output = T;
    #[inline(always)]
    fn index(&self, index: u32) -> &T {
        match &self.slots[index as usize] {
            Slot::Used(value) => value,
            Slot::Free { .. } => unreachable!("an index that the pager holds names a record"),
        }
    }
}

impl<T> core::ops::IndexMut<u32> for Slab<T> {
    #[inline(always)]
    fn index_mut(&mut self, index: u32) -> &mut T {
        match &mut self.slots[index as usize] {
            Slot::Used(value) => value,
            Slot::Free { .. } => unreachable!("an index that the pager holds names a record"),
        }
    }
}

/// A record's place in one list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Links {
    prev: u32,
    next: u32,
}

impl Links {
    pub(crate) const fn new() -> Self {
        Self { prev: NONE, next: NONE }
    }
}

/// Ends of a list through the records of a slab. `links` names which of a record's [`Links`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct List {
    head: u32,
    tail: u32,
}

impl List {
    pub(crate) const fn new() -> Self {
        Self { head: NONE, tail: NONE }
    }

    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self.head == NONE
    }

    #[inline]
    pub(crate) fn first(self) -> Option<u32> {
        (self.head != NONE).then_some(self.head)
    }

    #[inline]
    pub(crate) fn next_of<T>(slab: &Slab<T>, index: u32, links: impl Fn(&T) -> &Links) -> Option<u32> {
        let next = links(&slab[index]).next;
        (next != NONE).then_some(next)
    }

    #[inline]
    pub(crate) fn push_back<T>(&mut self, slab: &mut Slab<T>, index: u32, links: impl Fn(&mut T) -> &mut Links) {
        *links(&mut slab[index]) = Links { prev: self.tail, next: NONE };
        match self.tail {
            NONE => self.head = index,
            tail => links(&mut slab[tail]).next = index,
        }
        self.tail = index;
    }

    #[inline]
    pub(crate) fn unlink<T>(&mut self, slab: &mut Slab<T>, index: u32, links: impl Fn(&mut T) -> &mut Links) {
        let Links { prev, next } = *links(&mut slab[index]);
        match prev {
            NONE => self.head = next,
            prev => links(&mut slab[prev]).next = next,
        }
        match next {
            NONE => self.tail = prev,
            next => links(&mut slab[next]).prev = prev,
        }
        *links(&mut slab[index]) = Links::new();
    }

    #[inline]
    pub(crate) fn pop_front<T>(&mut self, slab: &mut Slab<T>, links: impl Fn(&mut T) -> &mut Links) -> Option<u32> {
        let index = self.first()?;
        self.unlink(slab, index, links);
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_its_order_when_its_middle_leaves() {
        let mut slab = Slab::new();
        let mut list = List::new();
        for value in 0..4u32 {
            let index = slab.insert((value, Links::new())).unwrap();
            list.push_back(&mut slab, index, |r| &mut r.1);
        }
        list.unlink(&mut slab, 1, |r| &mut r.1);
        list.unlink(&mut slab, 3, |r| &mut r.1);
        let popped: Vec<_> = core::iter::from_fn(|| list.pop_front(&mut slab, |r| &mut r.1)).collect();
        assert_eq!(popped, [0, 2]);
        assert!(list.is_empty());
    }

    #[test]
    fn a_freed_slot_is_used_again() {
        let mut slab = Slab::new();
        assert_eq!(slab.insert('a'), Ok(0));
        assert_eq!(slab.insert('b'), Ok(1));
        assert_eq!(slab.remove(0), 'a');
        assert!(slab.get(0).is_none());
        assert_eq!(slab.insert('c'), Ok(0));
        assert_eq!(slab.len(), 2);
    }
}
