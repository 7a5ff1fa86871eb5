//! One run: which task goes on, until all have ended or one has failed.
//!
//! The main stack runs tasks in turn; whoever gives up the CPU decides there and then, on its own
//! stack, who is next. A task that is picked to go on goes on without any switch of stacks, which is
//! what makes a switch point cheap.
//!
//! What tasks call is in [`super::calls`]; who is next, in [`super::decide`]; what if nobody can be, in
//! [`super::deadlock`].

use super::arena::Mode;
use super::classes::Classes;
use super::deadlock::stuck_for_a_lock;
use super::observer::{Observer, Role};
use super::panics;
use super::stack::TASKS;
use super::task::{Halt, Task, suspend};
use super::trace::{Decision, Footprint, KnownOrders, Order, Trace};
use crate::scenario::{End, Failure, Program, Settings};
use crate::strategy::Strategy;
use corosensei::Yielder;
use platform::thread::{TASKS_MAX, TaskId, ThreadKind};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ptr::NonNull;

/// The number of whatever runs on no task: set-up and checks.
pub(super) const MAIN: usize = TASKS_MAX - 1;

thread_local! {
    static ACTIVE: Cell<Option<NonNull<Runtime>>> = const { Cell::new(None) };
}

/// The runtime of this thread, if it explores.
#[inline(always)]
pub(super) fn active() -> Option<&'static Runtime> {
    // SAFETY: [`Runtime::activate`] set it to a boxed runtime, and it is taken back before the box
    // is dropped; the runtime is only ever shared, on this one thread.
    ACTIVE.get().map(|runtime| unsafe { runtime.as_ref() })
}

/// Who goes on. Small, for it is handed over at each switch.
pub(super) enum Next {
    Task(usize),
    End(Box<RunEnd>),
}

impl Next {
    /// The run is over. Outside.
    #[cold]
    pub fn end(end: RunEnd) -> Self {
        Self::End(Box::new(end))
    }
}

/// Why a run is over.
pub(crate) enum RunEnd {
    /// To be checked.
    Check(End),
    Pruned,
    Failed(Failure),
    /// Another run with the same partial order was checked.
    Known,
}

/// What the calling code is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Idle,
    SetUp,
    WarmUp,
    Start,
    Tasks,
    Check,
}

/// A thread that set-up asked for; its body lies in the arena and starts anew in each run.
struct Prepared {
    name: &'static str,
    kind: ThreadKind,
    body: *mut (dyn FnOnce() + Send),
}

/// A run's state, and what is kept between runs. All of it lies outside the arena.
pub(crate) struct Runtime {
    pub(super) settings: Settings,
    pub(super) classes: Classes,
    pub(super) phase: Cell<Phase>,
    prepared: RefCell<Vec<Prepared>>,
    program: Cell<Option<NonNull<dyn Program>>>,
    pub(super) names: RefCell<BTreeMap<usize, String>>,
    /// The message of a panic on the main stack.
    panic: RefCell<Option<Failure>>,

    pub(super) tasks: RefCell<Vec<Task>>,
    /// How each task gives up the CPU, once it has run.
    pub(super) yielders: [Cell<*const Yielder<(), ()>>; TASKS],
    /// The task that runs, or [`MAIN`].
    pub(super) current: Cell<usize>,
    pub(super) last: Cell<usize>,
    /// Tasks that do not wait, a bit each.
    pub(super) ready: Cell<u64>,
    /// For each task that gave way: those that it lets run first.
    pub(super) gives_way_to: [Cell<u64>; TASKS],
    /// Tasks that gave way to somebody.
    pub(super) giving_way: Cell<u64>,
    clients_left: Cell<u32>,
    settling: Cell<bool>,
    /// No decisions are made: the current task goes on as long as it can.
    pub(super) undisturbed: Cell<bool>,
    /// Words are being made: looks are no accesses.
    pub(super) telling: Cell<bool>,
    next: RefCell<Option<Next>>,
    pub(super) now_ns: Cell<u64>,
    pub(super) timers_in_a_row: Cell<u32>,
    pub(super) sleeps: Cell<u64>,

    pub(super) order: RefCell<Order>,
    pub(super) footprint: RefCell<Footprint>,
    /// Whether the strategy wants to hear of every step.
    pub(super) steps_wanted: Cell<bool>,
    /// Whether the strategy wants to recognise states.
    pub(super) past_wanted: Cell<bool>,
    pub(super) steps: Cell<u64>,
    pub(super) accesses: Cell<u64>,
    pub(super) decisions: RefCell<Vec<Decision>>,
    strategy: Cell<Option<NonNull<dyn Strategy>>>,
    observer: Cell<Option<NonNull<dyn Observer>>>,
    /// Partial orders whose runs need not be settled and checked again.
    known: Cell<Option<NonNull<KnownOrders>>>,
    /// The partial order up to where all clients had ended.
    pub(super) clients_order: Cell<Option<u64>>,
    /// The part of it that is the clients' past.
    clients_past: Cell<Option<u64>>,
}

impl Runtime {
    pub fn new(settings: Settings) -> Box<Self> {
        panics::install_hook();
        Box::new(Self {
            classes: Classes::new(&settings.switching),
            settings,
            phase: Cell::new(Phase::Idle),
            prepared: RefCell::default(),
            program: Cell::new(None),
            names: RefCell::default(),
            panic: RefCell::default(),
            tasks: RefCell::default(),
            yielders: [const { Cell::new(std::ptr::null()) }; TASKS],
            current: Cell::new(MAIN),
            last: Cell::new(MAIN),
            ready: Cell::new(0),
            gives_way_to: [const { Cell::new(0) }; TASKS],
            giving_way: Cell::new(0),
            clients_left: Cell::new(0),
            settling: Cell::new(false),
            undisturbed: Cell::new(false),
            telling: Cell::new(false),
            next: RefCell::default(),
            now_ns: Cell::new(0),
            timers_in_a_row: Cell::new(0),
            sleeps: Cell::new(0),
            order: RefCell::new(Order::new()),
            footprint: RefCell::default(),
            steps_wanted: Cell::new(false),
            past_wanted: Cell::new(false),
            steps: Cell::new(0),
            accesses: Cell::new(0),
            decisions: RefCell::default(),
            strategy: Cell::new(None),
            observer: Cell::new(None),
            known: Cell::new(None),
            clients_order: Cell::new(None),
            clients_past: Cell::new(None),
        })
    }

    /// What the next run is a run of.
    pub fn set_program(&self, program: &dyn Program) {
        // SAFETY: only the lifetime is erased; it lies in the arena, and is used during runs only.
        let program = unsafe { std::mem::transmute::<NonNull<dyn Program + '_>, NonNull<dyn Program>>(program.into()) };
        self.program.set(Some(program));
    }

    /// Makes it the runtime of this thread.
    pub fn activate(&self) {
        assert!(ACTIVE.replace(Some(NonNull::from(self))).is_none(), "this thread explores already");
    }

    /// The thread explores no more.
    pub fn deactivate(&self) {
        ACTIVE.set(None);
    }

    /// Runs `body`, inside and on no task, as part of `phase`.
    pub fn on_main<R>(&self, phase: Phase, body: impl FnOnce() -> R) -> Result<R, Failure> {
        self.phase.set(phase);
        let result = panics::catch(self, body);
        self.phase.set(Phase::Idle);
        result
    }

    pub(super) fn note_panic(&self, failure: Failure) {
        *self.panic.borrow_mut() = Some(failure);
    }

    pub(super) fn take_panic(&self) -> Option<Failure> {
        self.panic.borrow_mut().take()
    }

    /// Whether a task runs.
    #[inline(always)]
    pub(super) fn on_task(&self) -> bool {
        self.current.get() != MAIN
    }

    /// Runs `start` and then the tasks to their end, as `strategy` decides.
    ///
    /// # Safety
    /// The arena is as set-up left it.
    pub unsafe fn run(
        &self,
        strategy: &mut dyn Strategy,
        observer: Option<&mut (dyn Observer + '_)>,
        known: Option<&mut KnownOrders>,
        start: impl FnOnce(),
    ) -> RunEnd {
        self.forget_tasks();
        self.known.set(known.map(NonNull::from));
        self.begin(strategy, observer);
        let bodies: Vec<_> = self.prepared.borrow().iter().map(|task| (task.name, task.kind, task.body)).collect();
        for (name, kind, body) in bodies {
            // SAFETY: set-up boxed it in the arena, which is as it was then: it was not called yet.
            let body = unsafe { Box::from_raw(body) };
            self.add_task(name.into(), Role::Server(kind), body);
        }
        if let Err(end) = self.warm_up() {
            return end;
        }
        if let Err(failure) = self.on_main(Phase::Start, start) {
            return RunEnd::Failed(failure);
        }
        self.phase.set(Phase::Tasks);
        let first = if self.clients_left.get() == 0 { self.all_clients_ended() } else { self.decide(None) };
        let end = self.run_tasks(first);
        self.phase.set(Phase::Idle);
        end
    }

    fn begin(&self, strategy: &mut dyn Strategy, observer: Option<&mut (dyn Observer + '_)>) {
        self.steps_wanted.set(strategy.wants_steps());
        self.past_wanted.set(strategy.wants_past());
        // SAFETY: only lifetimes are erased; both are used within this run and its check, while the
        // caller's borrows last, and [`Self::finish`] forgets them.
        unsafe {
            self.strategy.set(Some(std::mem::transmute::<NonNull<dyn Strategy + '_>, NonNull<dyn Strategy>>(
                NonNull::from(strategy),
            )));
            self.observer.set(observer.map(|observer| {
                std::mem::transmute::<NonNull<dyn Observer + '_>, NonNull<dyn Observer>>(NonNull::from(observer))
            }));
        }
        self.ready.set(0);
        self.giving_way.set(0);
        self.last.set(MAIN);
        self.clients_left.set(0);
        self.settling.set(false);
        self.undisturbed.set(false);
        self.telling.set(false);
        self.now_ns.set(1);
        self.timers_in_a_row.set(0);
        self.sleeps.set(0);
        self.order.borrow_mut().begin();
        self.clients_order.set(None);
        self.clients_past.set(None);
        self.footprint.borrow_mut().clear();
        self.steps.set(0);
        self.accesses.set(0);
        self.decisions.borrow_mut().clear();
        self.observe(|observer| {
            for (&object, words) in self.names.borrow().iter() {
                observer.name_object(object, words);
            }
        });
    }

    /// What the run did; it is not told any further.
    pub fn finish(&self) -> Trace {
        self.strategy.set(None);
        self.observer.set(None);
        self.known.set(None);
        let order = || self.order.borrow().finish(self.tasks.borrow().len());
        let order = self.clients_order.get().unwrap_or_else(order);
        Trace {
            decisions: self.decisions.borrow().clone(),
            order,
            clients: self.clients_past.get().unwrap_or(order),
            steps: self.steps.get(),
            accesses: self.accesses.get(),
        }
    }

    /// Abandons the tasks of the run before.
    pub fn forget_tasks(&self) {
        let count = self.tasks.borrow().len();
        for number in (0..count).chain([MAIN]) {
            platform::lockdep::forget(TaskId(number as u16));
            platform::waits::forget(TaskId(number as u16));
        }
        self.tasks.borrow_mut().clear();
    }

    /// Whether the run is told.
    #[inline]
    pub(super) fn is_observed(&self) -> bool {
        self.observer.get().is_some()
    }

    /// Lets the observer, if there is one, hear of something.
    #[inline]
    pub(super) fn observe(&self, tell: impl FnOnce(&mut dyn Observer)) {
        if let Some(mut observer) = self.observer.get() {
            let _outside = Mode::outside();
            // SAFETY: it is borrowed for the run; one call at a time, for observers do not switch.
            tell(unsafe { observer.as_mut() });
        }
    }

    /// The strategy of this run.
    #[inline]
    pub(super) fn strategy<R>(&self, ask: impl FnOnce(&mut dyn Strategy) -> R) -> Option<R> {
        // SAFETY: it is borrowed for the run; one call at a time, for strategies do not switch.
        self.strategy.get().map(|mut strategy| ask(unsafe { strategy.as_mut() }))
    }

    /// Adds a task; it is ready. Outside.
    pub(super) fn add_task(&self, name: String, role: Role, body: Box<dyn FnOnce()>) -> usize {
        let mut tasks = self.tasks.borrow_mut();
        let number = tasks.len();
        assert!(number < TASKS, "more than {TASKS} tasks");
        if self.on_task() {
            let mut order = self.order.borrow_mut();
            let past = order.of(self.current.get());
            order.spawn(past, number);
        }
        self.observe(|observer| observer.task(TaskId(number as u16), &name, role));
        if !matches!(role, Role::Server(_)) {
            self.clients_left.set(self.clients_left.get() + 1);
        }
        tasks.push(Task::new(number, name, role, body));
        self.ready.set(self.ready.get() | 1 << number);
        number
    }

    /// Remembers a thread of the server for each run (set-up), or starts it (a run).
    pub(super) fn spawn_server(&self, name: &'static str, kind: ThreadKind, body: Box<dyn FnOnce() + Send>) -> bool {
        match self.phase.get() {
            Phase::SetUp => {
                let _outside = Mode::outside();
                self.prepared.borrow_mut().push(Prepared { name, kind, body: Box::into_raw(body) });
                true
            }
            Phase::WarmUp | Phase::Start | Phase::Tasks => {
                let _outside = Mode::outside();
                self.add_task(name.into(), Role::Server(kind), body);
                true
            }
            // Nobody would run it.
            Phase::Idle | Phase::Check => false,
        }
    }

    /// Lets the server's threads come to where they wait for work: what they do until then says
    /// nothing about clients that are not there yet, and costs no decisions.
    fn warm_up(&self) -> Result<(), RunEnd> {
        if self.ready.get() == 0 {
            return Ok(());
        }
        self.phase.set(Phase::WarmUp);
        self.undisturbed.set(true);
        let end = self.run_tasks(self.decide(None));
        self.undisturbed.set(false);
        self.last.set(MAIN);
        self.steps.set(0);
        match end {
            RunEnd::Check(End::Quiet) => Ok(()),
            end => Err(end),
        }
    }

    fn run_tasks(&self, mut next: Next) -> RunEnd {
        loop {
            let task = match next {
                Next::End(end) => return *end,
                Next::Task(task) => task,
            };
            let running = self.tasks.borrow_mut()[task].take();
            self.last.set(task);
            self.current.set(task);
            let halt = running.resume();
            self.current.set(MAIN);
            next = match halt {
                Halt::Suspended(running) => {
                    self.tasks.borrow_mut()[task].put_back(running);
                    match self.next.borrow_mut().take() {
                        Some(next) => next,
                        None => unreachable!("a task gave up the CPU without saying who is next"),
                    }
                }
                Halt::Ended => self.task_ended(task),
            };
        }
    }

    fn task_ended(&self, task: usize) -> Next {
        self.ready.set(self.ready.get() & !(1 << task));
        self.end_step(task);
        self.observe(|observer| observer.ended(TaskId(task as u16)));
        platform::waits::forget(TaskId(task as u16));
        let role = self.tasks.borrow()[task].role;
        if matches!(role, Role::Server(_)) {
            return self.decide(None);
        }
        self.clients_left.set(self.clients_left.get() - 1);
        if self.clients_left.get() == 0 { self.all_clients_ended() } else { self.decide(None) }
    }

    fn past_of_clients(&self) -> u64 {
        let (tasks, order) = (self.tasks.borrow(), self.order.borrow());
        order.past_of((0..tasks.len()).filter(|&task| tasks[task].role == Role::Client))
    }

    /// Lets things settle, then ends the run.
    fn all_clients_ended(&self) -> Next {
        if !self.settling.replace(true) {
            let order = self.order.borrow().finish(self.tasks.borrow().len());
            self.clients_order.set(Some(order));
            self.clients_past.set(Some(self.past_of_clients()));
            // SAFETY: borrowed for the run, and looked at here only.
            if self.known.get().is_some_and(|mut known| unsafe { known.as_mut() }.spares(order)) {
                return Next::end(RunEnd::Known);
            }
            self.undisturbed.set(true);
            let Some(program) = self.program.get() else { unreachable!("a run has a program") };
            // SAFETY: it lies in the arena, where nothing moves or goes away during a run.
            let settle = Box::new(move || unsafe { program.as_ref() }.settle());
            let task = self.add_task("settle".into(), Role::Settle, settle);
            return Next::Task(task);
        }
        match stuck_for_a_lock(self.tasks.borrow().len()) {
            Some(task) => Next::end(RunEnd::Failed(self.deadlock(Some(task)))),
            None => Next::end(RunEnd::Check(End::Quiet)),
        }
    }

    /// The running task gives up the CPU to `next`. Outside.
    pub(super) fn give_up(&self, next: Next) {
        *self.next.borrow_mut() = Some(next);
        let yielder = self.yielders[self.current.get()].get();
        // SAFETY: it is the running task's.
        unsafe { suspend(yielder) };
    }

    /// The running task ends the run and never comes back.
    pub(super) fn leave(&self, end: RunEnd) -> ! {
        let _outside = Mode::outside();
        self.give_up(Next::end(end));
        unreachable!("a task of a run that is over was resumed");
    }
}
