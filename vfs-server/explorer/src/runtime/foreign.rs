//! Scenarios under a scheduler that is not ours, so that the explorer can be held against somebody else's.
//!
//! Owns: what such a scheduler must provide ([`ForeignScheduler`]), and a run of it ([`play`]). While that
//! lasts, the seam's calls on this thread go to the scheduler and not to a [`super::run::Runtime`]. There is no
//! arena: a run sets its scenario up, plays it, and drops it. Does not own: any scheduler; the one that the
//! explorer is checked with is in `tests/shuttle/`.

use super::observer::Role;
use super::run::active;
use super::trace::ChoiceKind;
use crate::scenario::{End, Failure, Program, Scenario, Settings};
use platform::lockdep::LockClass;
use platform::thread::{TASKS_MAX, TaskId, ThreadKind};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::atomic::AtomicU32;

/// A body of a thread.
pub type Body = Box<dyn FnOnce() + Send>;

/// Threads that take turns on one thread of the system, as another scheduler decides.
pub trait ForeignScheduler {
    /// The running thread.
    fn current(&self) -> TaskId;
    /// As `platform::host::Host::wait`.
    fn wait(&self, word: &AtomicU32, value: u32, deadline_ns: u64);
    /// As `platform::host::Host::wake`.
    fn wake(&self, word: &AtomicU32, count: u32);
    /// Others may run, before an access that the running thread is about to make.
    fn switch_point(&self);
    /// Others should run, for what the running thread tries can succeed only then.
    fn relax(&self);
    /// One of `0..n`; where a fault may be, 0 is none.
    fn choose(&self, n: u32, kind: ChoiceKind) -> u32;
    /// As `platform::host::Host::now_ns`.
    fn now_ns(&self) -> u64;
    /// A thread more.
    fn spawn(&self, name: &str, role: Role, body: Body);
    /// Waits until all clients have ended.
    fn wait_for_clients(&self);
    /// Waits until the server's threads have ended, too.
    fn wait_for_server(&self);
    /// The run broke a promise. Its threads stay where they are.
    fn fail(&self, failure: Failure) -> !;
}

/// Lends this thread to schedulers that are not ours, for the runs that `body` makes of them ([`play`]).
pub fn lend<R>(body: impl FnOnce() -> R) -> R {
    /// The thread is ours again.
    struct Back;
    impl Drop for Back {
        fn drop(&mut self) {
            FOREIGN.take();
            forget();
        }
    }
    assert!(active().is_none(), "this thread explores already");
    let _back = Back;
    body()
}

/// One run of `scenario`: set-up, clients, rest, checks, the end of the server's threads. To be called within [`lend`], on
/// the first thread of a run of `scheduler`, whose own business panics and deadlocks are; what else fails goes to
/// its [`ForeignScheduler::fail`].
pub fn play(scheduler: Rc<dyn ForeignScheduler>, scenario: &dyn Scenario) {
    forget();
    let foreign = Rc::new(Foreign {
        scheduler,
        settings: scenario.settings(),
        phase: Cell::new(Phase::SetUp),
        prepared: RefCell::default(),
        frames: RefCell::default(),
    });
    FOREIGN.replace(Some(foreign.clone()));
    let program = scenario.set_up();
    if let Err(failure) = foreign.play(&*program) {
        // The server's threads still use it.
        std::mem::forget(program);
        foreign.scheduler.fail(failure);
    }
}

/// Forgets a run, which may have failed with its threads where they stood.
fn forget() {
    guest::kernel::install(None);
    for number in 0..TASKS_MAX {
        platform::lockdep::forget(TaskId(number as u16));
        platform::waits::forget(TaskId(number as u16));
    }
}

/// A run of a foreign scheduler.
pub(super) struct Foreign {
    pub scheduler: Rc<dyn ForeignScheduler>,
    settings: Settings,
    phase: Cell<Phase>,
    /// Threads that set-up asked for.
    prepared: RefCell<Vec<(&'static str, ThreadKind, Body)>>,
    /// Addresses of the pages of frames that are handed out.
    frames: RefCell<BTreeSet<usize>>,
}

/// What a run does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Threads are only noted.
    SetUp,
    /// Clients run: the scheduler decides.
    Clients,
    /// Nothing is decided any more, but where threads wait.
    Rest,
}

thread_local! {
    static FOREIGN: RefCell<Option<Rc<Foreign>>> = const { RefCell::new(None) };
}

/// The foreign run of this thread, if there is one.
#[cold]
pub(super) fn foreign() -> Option<Rc<Foreign>> {
    FOREIGN.with_borrow(Option::clone)
}

impl Foreign {
    fn play(&self, program: &dyn Program) -> Result<(), Failure> {
        let scheduler = &self.scheduler;
        self.phase.set(Phase::Clients);
        for (name, kind, body) in self.prepared.take() {
            scheduler.spawn(name, Role::Server(kind), body);
        }
        program.start();
        scheduler.wait_for_clients();
        self.phase.set(Phase::Rest);
        program.settle();
        if let Some(task) = super::deadlock::stuck_for_a_lock(TASKS_MAX) {
            let failure = Failure::new(Failure::DEADLOCK, platform::waits::report());
            return Err(Failure { task: Some(task), ..failure });
        }
        program.check(&End::Quiet)?;
        program.shut_down();
        scheduler.wait_for_server();
        Ok(())
    }

    #[cold]
    pub fn point(&self, class: &'static LockClass) {
        let switches = || self.settings.switching.iter().any(|&switching| std::ptr::eq(switching, class));
        if self.phase.get() == Phase::Clients && switches() {
            self.scheduler.switch_point();
        }
    }

    pub fn choose(&self, n: u32, site: &str, kind: ChoiceKind) -> u32 {
        let possible = kind == ChoiceKind::Free || self.settings.faults.contains(site);
        if n <= 1 || self.phase.get() != Phase::Clients || !possible {
            return 0;
        }
        self.scheduler.choose(n, kind)
    }

    pub fn spawn_server(&self, name: &'static str, kind: ThreadKind, body: Body) {
        match self.phase.get() {
            Phase::SetUp => self.prepared.borrow_mut().push((name, kind, body)),
            Phase::Clients | Phase::Rest => self.scheduler.spawn(name, Role::Server(kind), body),
        }
    }

    /// Pages of frames that may be handed out in all, and that are left.
    pub fn frame_budget(&self) -> (usize, usize) {
        (self.settings.frames, self.settings.frames.saturating_sub(self.frames.borrow().len()))
    }

    /// Marks pages as frames, or no more as such.
    pub fn mark_frames(&self, address: usize, pages: usize, out: bool) {
        let mut frames = self.frames.borrow_mut();
        for page in (0..pages).map(|page| address + page * 4096) {
            if out {
                frames.insert(page)
            } else {
                frames.remove(&page)
            };
        }
    }

    pub fn is_frame(&self, address: usize) -> bool {
        self.frames.borrow().contains(&(address & !4095))
    }
}
