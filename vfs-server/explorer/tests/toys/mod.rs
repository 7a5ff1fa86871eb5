//! Small programs on the platform's locks, each with one known fault or with none.

#![allow(dead_code)]

use explorer::runtime::client;
use explorer::{End, Failure, Program, Scenario, Settings};
use platform::lockdep::LockClass;
use platform::sync::{Mutex, WaitQueue, Word};
use std::sync::Arc;

/// Cells and locks of the toys.
pub static CELL: LockClass = LockClass::single("toy cell", 50);
/// Locks that may be taken in any order, as far as the checker knows.
pub static LOCK: LockClass = LockClass::ascending("toy lock", 60);
/// Does not switch.
pub static QUIET: LockClass = LockClass::single("quiet toy cell", 70);

type Body = fn(&Arc<Shared>);

/// What the clients of a toy share.
#[derive(Debug)]
pub struct Shared {
    pub x: Word,
    pub y: Word,
    pub seen: Word,
    pub quiet: Word,
    pub a: Mutex<u32>,
    pub b: Mutex<u32>,
    pub queue: WaitQueue,
}

/// A toy: its clients and what must hold in the end.
#[derive(Clone, Copy)]
pub struct Toy {
    pub name: &'static str,
    pub clients: &'static [Body],
    pub check: fn(&Shared) -> Result<(), Failure>,
}

struct Ready {
    toy: Toy,
    shared: Arc<Shared>,
}

impl Scenario for Toy {
    fn name(&self) -> String {
        self.name.into()
    }

    fn settings(&self) -> Settings {
        Settings::switching(&[&CELL, &LOCK])
    }

    fn set_up(&self) -> Box<dyn Program> {
        let shared = Arc::new(Shared {
            x: Word::new(&CELL, 0),
            y: Word::new(&CELL, 0),
            seen: Word::new(&CELL, 0),
            quiet: Word::new(&QUIET, 0),
            a: Mutex::new(&LOCK, 0),
            b: Mutex::new(&LOCK, 0),
            queue: WaitQueue::new(),
        });
        Box::new(Ready { toy: *self, shared })
    }
}

impl Program for Ready {
    fn start(&self) {
        for (number, &body) in self.toy.clients.iter().enumerate() {
            let shared = self.shared.clone();
            client(&format!("client {number}"), move || body(&shared));
        }
    }

    fn check(&self, _end: &End) -> Result<(), Failure> {
        (self.toy.check)(&self.shared)
    }
}

fn add_one(shared: &Arc<Shared>) {
    let old = shared.x.load();
    shared.x.store(old + 1);
}

fn add_one_locked(shared: &Arc<Shared>) {
    let _guard = shared.a.lock();
    add_one(shared);
}

fn expect_x(shared: &Shared, expected: u32) -> Result<(), Failure> {
    let seen = shared.x.load();
    let lost = Failure::new("lost-update", "an addition is gone");
    if seen == expected { Ok(()) } else { Err(lost.expected(expected.to_string(), seen.to_string())) }
}

/// Two clients read, add and write: one addition may be lost. Needs 1 preemption.
pub const LOST_UPDATE: Toy =
    Toy { name: "lost-update", clients: &[add_one, add_one], check: |shared| expect_x(shared, 2) };

/// The same under a lock.
pub const LOCKED_UPDATE: Toy = Toy {
    name: "locked-update",
    clients: &[add_one_locked, add_one_locked, add_one_locked],
    check: |shared| expect_x(shared, 3),
};

/// Two locks in either order. The keys say that the order is right. Needs 1 preemption.
pub const ABBA: Toy = Toy {
    name: "abba",
    clients: &[
        |shared| {
            let _a = shared.a.lock_key(1);
            let _b = shared.b.lock_key(2);
        },
        |shared| {
            let _b = shared.b.lock_key(1);
            let _a = shared.a.lock_key(2);
        },
    ],
    check: |_| Ok(()),
};

/// One order.
pub const ABAB: Toy = Toy {
    name: "abab",
    clients: &[
        |shared| {
            let _a = shared.a.lock_key(1);
            let _b = shared.b.lock_key(2);
        },
        |shared| {
            let _a = shared.a.lock_key(1);
            let _b = shared.b.lock_key(2);
        },
    ],
    check: |_| Ok(()),
};

/// Two locks against the order that the checker knows.
pub const AGAINST_THE_ORDER: Toy = Toy {
    name: "against-the-order",
    clients: &[|shared| {
        let _b = shared.b.lock_key(2);
        let _a = shared.a.lock_key(1);
    }],
    check: |_| Ok(()),
};

/// Looks, and then sleeps whatever happened in between. Needs 1 preemption.
pub const LOST_WAKEUP: Toy = Toy {
    name: "lost-wakeup",
    clients: &[
        |shared| {
            if shared.x.load() == 0 {
                // The point at which the wake-up gets lost.
                shared.seen.store(1);
                let mut woken = false;
                shared.queue.wait_until("a wake-up", || std::mem::replace(&mut woken, shared.quiet.load() != 0));
            }
        },
        |shared| {
            shared.x.store(1);
            if shared.seen.load() != 0 {
                shared.quiet.store(1);
                shared.queue.wake_all();
            }
        },
    ],
    check: |_| Ok(()),
};

/// Waits for what the other sets, with the queue's own care.
pub const WAKEUP: Toy = Toy {
    name: "wakeup",
    clients: &[
        |shared| shared.queue.wait_until("x", || shared.x.load() == 1),
        |shared| {
            shared.x.store(1);
            shared.queue.wake_all();
        },
    ],
    check: |_| Ok(()),
};

/// Store then look, on both sides: under sequential consistency at least one sees the other.
pub const STORE_BUFFER: Toy = Toy {
    name: "store-buffer",
    clients: &[
        |shared| {
            shared.x.store(1);
            let seen = shared.y.load();
            shared.seen.fetch_add(seen);
        },
        |shared| {
            shared.y.store(1);
            let seen = shared.x.load();
            shared.seen.fetch_add(seen);
        },
    ],
    check: |shared| {
        if shared.seen.load() >= 1 { Ok(()) } else { Err(Failure::new("order", "neither saw the other's store")) }
    },
};

/// Publishes a flag before the data. Needs 1 preemption.
pub const FLAG_BEFORE_DATA: Toy = Toy {
    name: "flag-before-data",
    clients: &[
        |shared| {
            shared.y.store(1);
            shared.x.store(7);
        },
        |shared| {
            if shared.y.load() == 1 {
                let data = shared.x.load();
                assert!(data == 7, "the flag is set, the data is {data}");
            }
        },
    ],
    check: |_| Ok(()),
};

/// Each must see what the other did last, twice over. Needs 2 preemptions.
pub const TWO_PREEMPTIONS: Toy = Toy {
    name: "two-preemptions",
    clients: &[
        |shared| {
            shared.x.store(1);
            if shared.y.load() == 1 {
                shared.seen.store(1);
            }
        },
        |shared| {
            if shared.x.load() == 1 {
                shared.y.store(1);
                if shared.seen.load() == 1 {
                    shared.quiet.store(1);
                }
            }
        },
    ],
    check: |shared| {
        if shared.quiet.load() == 0 { Ok(()) } else { Err(Failure::new("ping-pong", "both saw each other")) }
    },
};

/// Spins until the other has done its part.
pub const SPIN: Toy = Toy {
    name: "spin",
    clients: &[
        |shared| {
            while shared.x.load() == 0 {
                platform::host::relax();
            }
        },
        |shared| {
            while shared.y.load() == 0 {
                platform::host::relax();
            }
        },
        |shared| {
            shared.x.store(1);
            shared.y.store(1);
        },
    ],
    check: |_| Ok(()),
};

/// An error that only shows if another client looks at the wrong moment.
pub const FAULT: Toy = Toy {
    name: "fault",
    clients: &[
        |shared| {
            shared.x.store(1);
            if platform::host::choose(3, "second half") == 2 {
                shared.x.store(0);
            } else {
                shared.x.store(2);
            }
        },
        |shared| {
            let first = shared.x.load();
            let second = shared.x.load();
            assert!(!(first == 1 && second == 0), "what was there is gone");
        },
    ],
    check: |_| Ok(()),
};
