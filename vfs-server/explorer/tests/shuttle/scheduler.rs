//! shuttle as the scheduler of a run.
//!
//! A task is a shuttle thread. A switch point is a load of a shuttle atomic, which tells shuttle's schedulers no more
//! than that others may run (a yield would make PCT put the thread last). Waits and wakes go through shuttle's mutex and
//! condition variables, so that it is shuttle that notices a deadlock. Set-up, checks and everything else are
//! `explorer::runtime::foreign`'s.

use explorer::Failure;
use explorer::runtime::foreign::{Body, ForeignScheduler};
use explorer::runtime::{ChoiceKind, Role};
use platform::thread::{TaskId, ThreadKind};
use shuttle::rand::Rng;
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::sync::{Condvar, Mutex, MutexGuard};
use shuttle::thread::{Builder, JoinHandle};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex as Plain, MutexGuard as PlainGuard};

/// One in so many places where a fault may be has one.
const FAULTS: u32 = 4;

/// Where the failure of a run is left: the run does not outlive it.
pub type Found = Arc<Plain<Option<Failure>>>;

/// The threads of one run.
pub struct Shuttle(Arc<Threads>);

struct Threads {
    /// Held whenever the table is looked at to wait, or changed to wake: what shuttle's condition variables need.
    gate: Mutex<()>,
    switch: AtomicBool,
    /// A client has ended, or the run has failed.
    ended: Condvar,
    table: Plain<Table>,
    found: Found,
}

#[derive(Default)]
struct Table {
    /// In the order in which they fell asleep.
    sleepers: Vec<Arc<Sleeper>>,
    clients: usize,
    /// All that have not ended.
    threads: usize,
    /// The first thread waits for others to end.
    first_waits: bool,
    now_ns: u64,
    handles: Vec<JoinHandle<()>>,
}

/// A thread that waits on a word.
struct Sleeper {
    /// Its address.
    word: usize,
    deadline_ns: u64,
    is_awake: Plain<bool>,
    wakes: Condvar,
}

impl Shuttle {
    /// A run that has only its first thread, which calls this.
    pub fn new(found: Found) -> Self {
        let table = Table { threads: 1, now_ns: 1, ..Table::default() };
        Self(Arc::new(Threads {
            gate: Mutex::new(()),
            switch: AtomicBool::new(false),
            ended: Condvar::new(),
            table: Plain::new(table),
            found,
        }))
    }
}

impl Threads {
    fn gate(&self) -> MutexGuard<'_, ()> {
        self.gate.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Never held where shuttle may switch.
    fn table(&self) -> PlainGuard<'_, Table> {
        plain(&self.table)
    }

    fn has_failed(&self) -> bool {
        plain(&self.found).is_some()
    }

    fn thread_ended(&self, role: Role) {
        let _gate = self.gate();
        let timer = {
            let mut table = self.table();
            table.threads -= 1;
            table.clients -= usize::from(role == Role::Client);
            table.due_timer()
        };
        timer.into_iter().for_each(|sleeper| sleeper.wake());
        self.ended.notify_all();
    }
}

fn plain<T>(mutex: &Plain<T>) -> PlainGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Table {
    /// If nobody can go on, time passes until the earliest deadline, if there is one: who waited for it.
    fn due_timer(&mut self) -> Option<Arc<Sleeper>> {
        if self.sleepers.len() + usize::from(self.first_waits) < self.threads {
            return None;
        }
        let timers = self.sleepers.iter().enumerate().filter(|(_, sleeper)| sleeper.deadline_ns != u64::MAX);
        let (at, deadline_ns) =
            timers.map(|(at, sleeper)| (at, sleeper.deadline_ns)).min_by_key(|&(_, deadline_ns)| deadline_ns)?;
        self.now_ns = self.now_ns.max(deadline_ns);
        Some(self.sleepers.remove(at))
    }
}

impl Sleeper {
    /// It has been taken from the table. The gate is held.
    fn wake(&self) {
        *plain(&self.is_awake) = true;
        self.wakes.notify_one();
    }
}

impl ForeignScheduler for Shuttle {
    fn current(&self) -> TaskId {
        TaskId(usize::from(shuttle::current::me()) as u16)
    }

    fn wait(&self, word: &AtomicU32, value: u32, deadline_ns: u64) {
        let mut gate = self.0.gate();
        if word.load(Ordering::SeqCst) != value {
            return;
        }
        let word = word as *const AtomicU32 as usize;
        let sleeper = Arc::new(Sleeper { word, deadline_ns, is_awake: Plain::new(false), wakes: Condvar::new() });
        let timer = {
            let mut table = self.0.table();
            table.sleepers.push(sleeper.clone());
            table.due_timer()
        };
        timer.into_iter().for_each(|sleeper| sleeper.wake());
        while !*plain(&sleeper.is_awake) {
            gate = sleeper.wakes.wait(gate).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    fn wake(&self, word: &AtomicU32, count: u32) {
        if std::thread::panicking() {
            // A guard of a thread whose panic ends the run.
            return;
        }
        let word = word as *const AtomicU32 as usize;
        let _gate = self.0.gate();
        for _ in 0..count {
            let sleeper = {
                let sleepers = &mut self.0.table().sleepers;
                sleepers.iter().position(|sleeper| sleeper.word == word).map(|at| sleepers.remove(at))
            };
            let Some(sleeper) = sleeper else { return };
            sleeper.wake();
        }
    }

    fn switch_point(&self) {
        self.0.switch.load(Ordering::SeqCst);
    }

    fn relax(&self) {
        shuttle::thread::yield_now();
    }

    fn choose(&self, n: u32, kind: ChoiceKind) -> u32 {
        let mut dice = shuttle::rand::thread_rng();
        match kind {
            ChoiceKind::Free => dice.gen_range(0..n),
            ChoiceKind::Fault if dice.gen_range(0..FAULTS) == 0 => dice.gen_range(1..n),
            ChoiceKind::Fault => 0,
        }
    }

    fn now_ns(&self) -> u64 {
        self.0.table().now_ns
    }

    fn spawn(&self, name: &str, role: Role, body: Body) {
        {
            let mut table = self.0.table();
            table.threads += 1;
            table.clients += usize::from(role == Role::Client);
        }
        let threads = self.0.clone();
        let thread = Builder::new().name(name.into()).spawn(move || {
            body();
            threads.thread_ended(role);
        });
        let handle = thread.unwrap_or_else(|error| panic!("no thread for {name}: {error}"));
        // A disk serves for ever: nobody waits for its thread.
        if role != Role::Server(ThreadKind::Other) {
            self.0.table().handles.push(handle);
        }
    }

    fn wait_for_clients(&self) {
        let mut gate = self.0.gate();
        self.0.table().first_waits = true;
        while self.0.table().clients > 0 && !self.0.has_failed() {
            gate = self.0.ended.wait(gate).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        self.0.table().first_waits = false;
        drop(gate);
        if let Some(failure) = &*plain(&self.0.found) {
            panic!("{failure}");
        }
    }

    fn wait_for_server(&self) {
        self.0.table().first_waits = true;
        let handles = std::mem::take(&mut self.0.table().handles);
        handles.into_iter().for_each(|handle| handle.join().unwrap_or_else(|_| panic!("a thread panicked")));
    }

    fn fail(&self, failure: Failure) -> ! {
        let words = failure.to_string();
        plain(&self.0.found).get_or_insert(failure);
        if self.current() == TaskId(0) {
            panic!("{words}");
        }
        // Whoever failed is not unwound, for its guards would go on with the run: the first thread ends it.
        let mut gate = self.0.gate();
        self.0.ended.notify_all();
        let never = Condvar::new();
        loop {
            gate = never.wait(gate).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }
}
