//! A descriptor table's slots: numbers are picked by userspace, in a lower and an upper half.

use alloc::vec::Vec;
use syscall::flag::UPPER_FDTBL_TAG;

/// Numbers of each half go from 0 to below this.
pub const SLOTS_MAX: usize = 16 * 1024;

/// Why a descriptor could not be put where it was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The number is beyond what a table holds.
    BadNumber,
    /// There is a descriptor.
    Taken,
}

/// Descriptors by number; `T` is what a descriptor is.
#[derive(Clone, Debug)]
pub struct Slots<T> {
    lower: Vec<Option<T>>,
    upper: Vec<Option<T>>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { lower: Vec::new(), upper: Vec::new() }
    }
}

impl<T: Copy> Slots<T> {
    /// The descriptor of this number.
    #[inline]
    pub fn get(&self, number: usize) -> Option<T> {
        let half = if number & UPPER_FDTBL_TAG == 0 { &self.lower } else { &self.upper };
        half.get(number & !UPPER_FDTBL_TAG).copied().flatten()
    }

    /// Whether [`Slots::insert`] would do it.
    pub fn check_free(&self, number: usize) -> Result<(), Refused> {
        match number & !UPPER_FDTBL_TAG {
            SLOTS_MAX.. => Err(Refused::BadNumber),
            _ if self.get(number).is_some() => Err(Refused::Taken),
            _ => Ok(()),
        }
    }

    /// Puts a descriptor where none is.
    pub fn insert(&mut self, number: usize, value: T) -> Result<(), Refused> {
        self.check_free(number)?;
        let (half, index) = self.half_mut(number);
        if half.len() <= index {
            half.resize((index + 1).next_power_of_two().max(32), None);
        }
        half[index] = Some(value);
        Ok(())
    }

    /// Takes the descriptor out.
    pub fn remove(&mut self, number: usize) -> Option<T> {
        let (half, index) = self.half_mut(number);
        half.get_mut(index)?.take()
    }

    /// The lowest number of the lower half that is free.
    pub fn lowest_free(&self) -> usize {
        self.lower.iter().position(Option::is_none).unwrap_or(self.lower.len())
    }

    /// All descriptors with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (usize, T)> {
        half(&self.lower, 0).chain(half(&self.upper, UPPER_FDTBL_TAG))
    }

    fn half_mut(&mut self, number: usize) -> (&mut Vec<Option<T>>, usize) {
        let half = if number & UPPER_FDTBL_TAG == 0 { &mut self.lower } else { &mut self.upper };
        (half, number & !UPPER_FDTBL_TAG)
    }
}

fn half<T: Copy>(slots: &[Option<T>], tag: usize) -> impl Iterator<Item = (usize, T)> {
    slots.iter().enumerate().filter_map(move |(number, slot)| Some((number | tag, (*slot)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn halves_are_apart() {
        let mut slots = Slots::default();
        slots.insert(3, 'a').unwrap();
        slots.insert(3 | UPPER_FDTBL_TAG, 'b').unwrap();
        assert_eq!((slots.get(3), slots.get(3 | UPPER_FDTBL_TAG)), (Some('a'), Some('b')));
        assert_eq!(slots.insert(3, 'c'), Err(Refused::Taken));
        assert_eq!(slots.remove(3), Some('a'));
        assert_eq!(slots.remove(3), None);
        assert_eq!(slots.iter().collect::<Vec<_>>(), vec![(3 | UPPER_FDTBL_TAG, 'b')]);
    }

    #[test]
    fn wild_numbers_are_refused() {
        let mut slots = Slots::default();
        for number in [SLOTS_MAX, usize::MAX, usize::MAX & !UPPER_FDTBL_TAG, 1 << 63] {
            assert_eq!(slots.insert(number, ()), Err(Refused::BadNumber));
            assert_eq!((slots.get(number), slots.remove(number)), (None, None));
        }
    }
}
