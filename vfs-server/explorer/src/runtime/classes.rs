//! The set of lock classes that switch: one look per access, so it is a small hash table.

use platform::lockdep::LockClass;

const SLOTS: usize = 256;

/// Classes by their addresses.
pub(super) struct Classes {
    slots: [usize; SLOTS],
}

fn home(class: *const LockClass) -> usize {
    let address = class as usize;
    (address >> 3 ^ address >> 11) % SLOTS
}

impl Classes {
    pub fn new(classes: &[&'static LockClass]) -> Self {
        assert!(classes.len() < SLOTS / 2, "{} switching classes", classes.len());
        let mut slots = [0; SLOTS];
        for &class in classes {
            let mut at = home(class);
            while slots[at] != 0 && slots[at] != class as *const LockClass as usize {
                at = (at + 1) % SLOTS;
            }
            slots[at] = class as *const LockClass as usize;
        }
        Self { slots }
    }

    #[inline]
    pub fn contains(&self, class: &'static LockClass) -> bool {
        let mut at = home(class);
        loop {
            match self.slots[at] {
                0 => return false,
                found if found == class as *const LockClass as usize => return true,
                _ => at = (at + 1) % SLOTS,
            }
        }
    }
}
