//! Kernel objects by typed index: O(1), safe, and no pointer that can dangle.
//!
//! An object is taken out only when nobody holds its [`Id`] any more; who holds one is counted by
//! the object itself, because descriptors, threads and messages hold them for
//! different reasons.

use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Index, IndexMut};

/// The index of a `T` in its arena.
pub struct Id<T>(u32, PhantomData<fn() -> T>);

impl<T> Id<T> {
    /// From [`Id::raw`]; only for ids that are kept as plain numbers in between.
    #[inline]
    pub const fn from_raw(raw: u32) -> Self {
        Self(raw, PhantomData)
    }

    /// The index as a plain number.
    #[inline]
    pub const fn raw(self) -> u32 {
        self.0
    }
}

impl<T> Clone for Id<T> {
    #[inline]
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Id<T> {}
impl<T> PartialEq for Id<T> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<T> Eq for Id<T> {}
impl<T> PartialOrd for Id<T> {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Id<T> {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}
impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Objects of one kind, at most `limit` of them.
pub struct Arena<T> {
    slots: Vec<Slot<T>>,
    free: Option<u32>,
    len: usize,
    limit: usize,
}

enum Slot<T> {
    Free { next: Option<u32> },
    Used(T),
}

impl<T> Arena<T> {
    /// An empty arena that never holds more than `limit` objects.
    pub const fn new(limit: usize) -> Self {
        Self { slots: Vec::new(), free: None, len: 0, limit }
    }

    /// Puts `value` in; `None` (and `value` is dropped) if the limit is reached.
    pub fn insert(&mut self, value: T) -> Option<Id<T>> {
        if self.len >= self.limit {
            return None;
        }
        self.len += 1;
        if let Some(index) = self.free {
            let slot = &mut self.slots[index as usize];
            let Slot::Free { next } = *slot else { unreachable!("the free list holds free slots") };
            self.free = next;
            *slot = Slot::Used(value);
            return Some(Id::from_raw(index));
        }
        let index = self.slots.len() as u32;
        self.slots.push(Slot::Used(value));
        Some(Id::from_raw(index))
    }

    /// Takes the object out; its id is given out again later.
    pub fn remove(&mut self, id: Id<T>) -> T {
        let slot = &mut self.slots[id.0 as usize];
        match core::mem::replace(slot, Slot::Free { next: self.free }) {
            Slot::Used(value) => {
                self.free = Some(id.0);
                self.len -= 1;
                value
            }
            Slot::Free { .. } => panic!("object {id:?} was removed twice"),
        }
    }

    /// The object, if `id` names one now (for ids that came from outside).
    #[inline]
    pub fn get(&self, id: Id<T>) -> Option<&T> {
        match self.slots.get(id.0 as usize) {
            Some(Slot::Used(value)) => Some(value),
            _ => None,
        }
    }

    /// As [`Arena::get`], to change it.
    #[inline]
    pub fn get_mut(&mut self, id: Id<T>) -> Option<&mut T> {
        match self.slots.get_mut(id.0 as usize) {
            Some(Slot::Used(value)) => Some(value),
            _ => None,
        }
    }

    /// Two different objects at once.
    ///
    /// # Panics
    /// If `a` is `b`.
    pub fn pair_mut(&mut self, a: Id<T>, b: Id<T>) -> (&mut T, &mut T) {
        match self.slots.get_disjoint_mut([a.0 as usize, b.0 as usize]) {
            Ok([Slot::Used(a), Slot::Used(b)]) => (a, b),
            _ => panic!("{a:?} and {b:?} are not two objects"),
        }
    }

    /// All objects with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (Id<T>, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| match slot {
            Slot::Used(value) => Some((Id::from_raw(index as u32), value)),
            Slot::Free { .. } => None,
        })
    }

    /// The first object at or after index `from`, for loops that change the arena between steps.
    pub fn next_from(&self, from: u32) -> Option<Id<T>> {
        (from as usize..self.slots.len())
            .find(|&i| matches!(self.slots[i], Slot::Used(_)))
            .map(|i| Id::from_raw(i as u32))
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<T> Index<Id<T>> for Arena<T> {
    type Output = T;
    #[inline(always)]
    fn index(&self, id: Id<T>) -> &T {
        match &self.slots[id.0 as usize] {
            Slot::Used(value) => value,
            Slot::Free { .. } => stale(id.0),
        }
    }
}

impl<T> IndexMut<Id<T>> for Arena<T> {
    #[inline(always)]
    fn index_mut(&mut self, id: Id<T>) -> &mut T {
        match &mut self.slots[id.0 as usize] {
            Slot::Used(value) => value,
            Slot::Free { .. } => stale(id.0),
        }
    }
}

#[cold]
#[inline(never)]
fn stale(index: u32) -> ! {
    panic!("object #{index} is gone")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freed_slot_is_used_again() {
        let mut arena = Arena::new(8);
        let a = arena.insert(1).unwrap();
        let b = arena.insert(2).unwrap();
        assert_eq!(arena.remove(a), 1);
        let c = arena.insert(3).unwrap();
        assert_eq!((c, arena[b], arena[c]), (a, 2, 3));
    }

    #[test]
    fn the_limit_holds() {
        let mut arena = Arena::new(2);
        let a = arena.insert(1).unwrap();
        assert!(arena.insert(2).is_some());
        assert!(arena.insert(3).is_none());
        arena.remove(a);
        assert!(arena.insert(3).is_some());
    }

    #[test]
    #[should_panic(expected = "removed twice")]
    fn double_removal_is_caught() {
        let mut arena = Arena::new(2);
        let a = arena.insert(1).unwrap();
        arena.remove(a);
        arena.remove(a);
    }
}
