//! What a run decided, and which partial order of accesses came of it.

use super::arena::{self, Mode};
use platform::host::Access;
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

/// A decision: the only things in which two runs of a scenario can differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Which task goes on, where several could.
    Switch {
        /// The one that was picked.
        task: u8,
        /// The one that ran and could have gone on; `None` if it waits or has ended.
        current: Option<u8>,
        /// All that could run, a bit each.
        ready: u64,
    },
    /// What an injected error, a crash point or a free choice of the scenario answered.
    Choice {
        /// One of `0..n`; 0 is "nothing happens".
        value: u32,
        /// How many answers there were.
        n: u32,
        /// Whether it is a fault.
        kind: ChoiceKind,
    },
}

/// What a choice stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChoiceKind {
    /// An error or a crash: 0 means none, anything else counts as one fault.
    Fault,
    /// A free choice of the scenario, all answers alike.
    Free,
}

impl Decision {
    /// Whether a task was stopped that could have gone on.
    pub fn is_preemption(&self) -> bool {
        matches!(*self, Self::Switch { task, current: Some(current), .. } if task != current)
    }

    /// Whether an error or a crash was injected.
    pub fn is_fault(&self) -> bool {
        matches!(*self, Self::Choice { value: 1.., kind: ChoiceKind::Fault, .. })
    }
}

/// A run, as far as it can be told from outside.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// In the order in which they were made.
    pub decisions: Vec<Decision>,
    /// Names the partial order of all accesses: runs that differ only in the order of independent
    /// steps have the same.
    pub order: u64,
    /// Names the part of it that lies before the ends of the clients, if all of them ended: how far the server's threads
    /// have come by then besides is not in it. Sleep sets keep one run of each.
    pub clients: u64,
    /// Pieces of execution between switch points.
    pub steps: u64,
    /// Accesses to shared cells.
    pub accesses: u64,
}

impl Trace {
    /// Times that a task was stopped that could have gone on.
    pub fn preemptions(&self) -> usize {
        self.decisions.iter().filter(|decision| decision.is_preemption()).count()
    }

    /// Injected errors and crashes.
    pub fn faults(&self) -> usize {
        self.decisions.iter().filter(|decision| decision.is_fault()).count()
    }
}

/// The accesses of a step.
#[derive(Clone, Debug, Default)]
pub struct Footprint {
    accesses: Vec<(usize, Access)>,
}

impl Footprint {
    pub(super) fn add(&mut self, object: usize, access: Access) {
        for seen in &mut self.accesses {
            if seen.0 == object {
                if access == Access::Write {
                    seen.1 = Access::Write;
                }
                return;
            }
        }
        self.accesses.push((object, access));
    }

    pub(super) fn clear(&mut self) {
        self.accesses.clear();
    }

    /// Whether the order of the two steps can matter.
    pub fn depends_on(&self, other: &Self) -> bool {
        self.accesses.iter().any(|&(object, access)| {
            other.accesses.iter().any(|&(theirs, their_access)| {
                object == theirs && (access == Access::Write || their_access == Access::Write)
            })
        })
    }
}

/// Partial orders that were checked and found good.
///
/// Runs of the same partial order end in the same state: one of them stands for all, if every
/// shared cell reports its accesses. So that a cell that does not is not believed for ever, one run in
/// [`KnownOrders::CHECKED`] is checked nevertheless.
#[derive(Clone, Debug, Default)]
pub struct KnownOrders {
    orders: HashSet<u64, BuildHasherDefault<Itself>>,
    asked: u64,
}

impl KnownOrders {
    /// One in so many runs of known orders is checked again.
    pub const CHECKED: u64 = 16;

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.orders.len() as u64
    }

    /// Adds one.
    pub fn insert(&mut self, order: u64) {
        self.orders.insert(order);
    }

    /// Whether a run of this order need not be checked.
    pub(super) fn spares(&mut self, order: u64) -> bool {
        self.asked += 1;
        self.orders.contains(&order) && !self.asked.is_multiple_of(Self::CHECKED)
    }
}

/// The hash of a number that is a hash.
#[derive(Clone, Copy, Debug, Default)]
pub struct Itself(u64);

impl Hasher for Itself {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("only numbers are hashed");
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// Names the partial order of a run's accesses by a number, while it happens.
///
/// Each task has a number that stands for all that happened before its next access, each object one
/// for its last write and one for the reads since. Accesses mix them: what is ordered changes the
/// numbers, what is not ordered (two reads, two objects) does not.
pub(super) struct Order {
    tasks: [u64; super::stack::TASKS],
    objects: Vec<Object>,
    /// Objects of other runs are as good as absent.
    run: u32,
    used: usize,
}

#[derive(Clone, Copy, Default)]
struct Object {
    address: usize,
    run: u32,
    written: u64,
    read: u64,
}

/// A number that stands for both, in this order.
#[inline]
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0x9e37_79b9_7f4a_7c15) * u128::from(b ^ 0xd6e8_feb8_6659_fd93);
    (product >> 64) as u64 ^ product as u64
}

/// Places for objects at first: what most runs have, and no more of the processor's cache than they need.
const OBJECTS: usize = 1 << 8;

/// Where an object is looked for first, in a table of a power of two. Which place it is has no part in the number of
/// an order.
#[inline]
fn home(address: usize, places: usize) -> usize {
    let spread = (address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (spread >> (u64::BITS - places.trailing_zeros())) as usize
}

impl Order {
    pub fn new() -> Self {
        Self { tasks: [0; super::stack::TASKS], objects: vec![Object::default(); OBJECTS], run: 0, used: 0 }
    }

    /// Forgets the run before.
    pub fn begin(&mut self) {
        if self.run == u32::MAX {
            self.objects.fill(Object::default());
            self.run = 0;
        }
        self.run += 1;
        self.used = 0;
        self.tasks = std::array::from_fn(|task| mix(task as u64, 1));
    }

    /// `child` begins after all that `parent` has done.
    pub fn spawn(&mut self, parent: u64, child: usize) {
        self.tasks[child] = mix(self.tasks[child], parent);
    }

    /// `task` heard an answer that no cell gave it.
    pub fn hear(&mut self, task: usize, answer: u64) {
        self.tasks[task] = mix(self.tasks[task], answer);
    }

    /// What stands for the past of `task`.
    pub fn of(&self, task: usize) -> u64 {
        self.tasks[task]
    }

    #[inline]
    pub fn access(&mut self, task: usize, address: usize, access: Access) {
        let slot = self.slot(address);
        let object = &mut self.objects[slot];
        let mine = &mut self.tasks[task];
        match access {
            Access::Read => {
                *mine = mix(*mine, object.written);
                object.read = object.read.wrapping_add(*mine);
            }
            Access::Write => {
                *mine = mix(mix(*mine, object.written), object.read);
                object.written = *mine;
                object.read = 0;
            }
        }
    }

    #[inline]
    fn slot(&mut self, address: usize) -> usize {
        let mask = self.objects.len() - 1;
        let mut at = home(address, self.objects.len());
        loop {
            let object = &mut self.objects[at];
            if object.run != self.run {
                // Where a static lies is the linker's choice: the number of an order must not depend
                // on it, for it is kept in schedule files.
                let name = if arena::holds(address) { address as u64 } else { 0 };
                *object = Object { address, run: self.run, written: mix(name, 3), read: 0 };
                self.used += 1;
                if self.used * 2 > mask {
                    self.grow();
                    return self.slot(address);
                }
                return at;
            }
            if object.address == address {
                return at;
            }
            at = (at + 1) & mask;
        }
    }

    #[cold]
    fn grow(&mut self) {
        let _outside = Mode::outside();
        let larger = vec![Object::default(); self.objects.len() * 2];
        let mask = larger.len() - 1;
        let old = std::mem::replace(&mut self.objects, larger);
        for object in old.into_iter().filter(|object| object.run == self.run) {
            let mut at = home(object.address, self.objects.len());
            while self.objects[at].run == self.run {
                at = (at + 1) & mask;
            }
            self.objects[at] = object;
        }
    }

    /// The run's number.
    pub fn finish(&self, tasks: usize) -> u64 {
        self.tasks[..tasks].iter().fold(tasks as u64, |sum, &task| mix(sum, task))
    }

    /// What stands for the past of all of `tasks`.
    pub fn past_of(&self, tasks: impl Iterator<Item = usize>) -> u64 {
        tasks.fold(0, |sum, task| mix(sum, self.tasks[task]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(accesses: &[(usize, usize, Access)]) -> u64 {
        let mut order = Order::new();
        order.begin();
        for &(task, object, access) in accesses {
            order.access(task, object, access);
        }
        order.finish(3)
    }

    #[test]
    fn only_dependent_accesses_are_ordered() {
        use Access::{Read, Write};
        assert_eq!(order(&[(0, 10, Write), (1, 20, Write)]), order(&[(1, 20, Write), (0, 10, Write)]));
        assert_eq!(order(&[(0, 10, Read), (1, 10, Read)]), order(&[(1, 10, Read), (0, 10, Read)]));
        assert_ne!(order(&[(0, 10, Write), (1, 10, Read)]), order(&[(1, 10, Read), (0, 10, Write)]));
        assert_ne!(order(&[(0, 10, Write), (1, 10, Write)]), order(&[(1, 10, Write), (0, 10, Write)]));
        let three = [(0, 10, Read), (1, 10, Read), (2, 10, Write)];
        assert_eq!(order(&three), order(&[three[1], three[0], three[2]]));
        assert_ne!(order(&three), order(&[three[0], three[2], three[1]]));
    }

    #[test]
    fn many_objects_keep_their_numbers() {
        let many: Vec<_> = (0..10_000).map(|object| (object % 3, object * 64, Access::Write)).collect();
        let again: Vec<_> =
            (0..3).flat_map(|task| many.iter().copied().filter(move |access| access.0 == task)).collect();
        assert_eq!(order(&many), order(&again));
    }
}
