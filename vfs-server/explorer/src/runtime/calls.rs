//! What tasks call: switch points, waits, choices, and words for who listens.

use super::arena::{self, Mode};
use super::foreign::foreign;
use super::observer::Role;
use super::run::{MAIN, Next, Phase, RunEnd, Runtime, active};
use super::stack::TASKS;
use super::task::Blocked;
use super::trace::{ChoiceKind, Decision};
use crate::scenario::{End, Failure};
use platform::host::Access;
use platform::lockdep::{EVENT, LockClass};
use platform::thread::TaskId;
use platform::waits::Doing;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

/// A client's clock as an object: it stands for the operations that have ended.
static CLOCKS: [u8; TASKS] = [0; TASKS];

impl Runtime {
    #[inline]
    pub(super) fn current(&self) -> TaskId {
        TaskId(self.current.get() as u16)
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }

    /// A switch point, if the class is one that switches, and then an access.
    #[inline]
    pub(super) fn point(&self, class: &'static LockClass, object: usize, access: Access) {
        if !self.on_task() || self.telling.get() {
            return;
        }
        let switching = self.classes.contains(class);
        if self.is_observed() {
            let task = self.current();
            self.observe(|observer| observer.access(task, class, object, access, switching));
        }
        if switching && !self.undisturbed.get() {
            self.switch_point();
        }
        self.record(object, access);
    }

    /// An access that is no switch point.
    #[inline]
    pub(super) fn touch(&self, class: &'static LockClass, object: usize, access: Access) {
        if !self.on_task() || self.telling.get() {
            return;
        }
        if self.is_observed() {
            let task = self.current();
            self.observe(|observer| observer.access(task, class, object, access, false));
        }
        self.record(object, access);
    }

    #[inline]
    fn record(&self, object: usize, access: Access) {
        // What lies in the arena has the same address in every process; what is part of the program
        // has the same distance from any of its parts.
        static HERE: u8 = 0;
        let object = if arena::holds(object) { object } else { object.wrapping_sub(&raw const HERE as usize) };
        self.order.borrow_mut().access(self.current.get(), object, access);
        if self.steps_wanted.get() {
            let _outside = Mode::outside();
            self.footprint.borrow_mut().add(object, access);
        }
        self.accesses.set(self.accesses.get() + 1);
        if self.accesses.get() == self.settings.accesses {
            let _outside = Mode::outside();
            self.fail(Failure::LIVELOCK, format!("no end after {} accesses", self.settings.accesses));
        }
    }

    fn switch_point(&self) {
        let _outside = Mode::outside();
        let me = self.current.get();
        self.count_point(me);
        self.end_step(me);
        if !self.steps_wanted.get() && !self.is_observed() && self.ready.get() == 1 << me {
            return;
        }
        self.go_to(self.decide(Some(me)));
    }

    /// The running task goes on if it was picked, or gives up the CPU.
    fn go_to(&self, next: Next) {
        match next {
            Next::Task(task) if task == self.current.get() => {}
            next => self.give_up(next),
        }
    }

    fn count_point(&self, me: usize) {
        let mut tasks = self.tasks.borrow_mut();
        let task = &mut tasks[me];
        task.points += 1;
        if task.points <= self.settings.points_per_operation {
            return;
        }
        let (name, operation) = (task.name.clone(), task.operation);
        drop(tasks);
        let budget = self.settings.points_per_operation;
        self.fail(Failure::BUDGET, format!("{operation} of {name} passes more than {budget} switch points"));
    }

    /// The running task failed. Never comes back.
    fn fail(&self, kind: &str, words: String) -> ! {
        let failure = Failure::new(kind, words);
        self.fail_with(failure)
    }

    fn fail_with(&self, failure: Failure) -> ! {
        let task = Some(self.current.get()).filter(|&task| task != MAIN);
        self.leave(RunEnd::Failed(Failure { task, ..failure }))
    }

    /// The running task panicked, and its stack is left for good.
    pub(super) fn fail_abandoned(&self, failure: Failure) -> ! {
        let _outside = Mode::outside();
        let task = Some(self.current.get());
        self.leave(RunEnd::Failed(Failure { task, ..failure }))
    }

    pub(super) fn wait(&self, word: &AtomicU32, value: u32, deadline_ns: u64) {
        let address = word as *const AtomicU32 as usize;
        self.touch(&EVENT, address, Access::Read);
        if word.load(Ordering::SeqCst) != value {
            return;
        }
        assert!(self.on_task(), "set-up, start and check have nobody to wait for");
        let _outside = Mode::outside();
        let me = self.current.get();
        let since = self.sleeps.get();
        self.sleeps.set(since + 1);
        self.tasks.borrow_mut()[me].blocked = Some(Blocked { word: address, deadline_ns, since });
        self.ready.set(self.ready.get() & !(1 << me));
        self.observe(|observer| observer.waits(TaskId(me as u16), platform::waits::of(TaskId(me as u16))));
        self.end_step(me);
        self.go_to(self.decide(None));
    }

    pub(super) fn wake(&self, word: &AtomicU32, count: u32) {
        let address = word as *const AtomicU32 as usize;
        self.touch(&EVENT, address, Access::Write);
        let mut tasks = self.tasks.borrow_mut();
        for _ in 0..count {
            let longest = tasks
                .iter_mut()
                .enumerate()
                .filter(|(_, task)| task.blocked.is_some_and(|blocked| blocked.word == address))
                .min_by_key(|(_, task)| task.blocked.map(|blocked| blocked.since));
            let Some((number, task)) = longest else { return };
            task.blocked = None;
            self.ready.set(self.ready.get() | 1 << number);
            self.observe(|observer| observer.goes_on(TaskId(number as u16)));
        }
    }

    /// The running task lets everybody else who can go on do a step first.
    pub(super) fn relax(&self) {
        if !self.on_task() {
            return;
        }
        let _outside = Mode::outside();
        let me = self.current.get();
        self.count_point(me);
        self.end_step(me);
        let others = self.ready.get() & !(1 << me);
        if others == 0 {
            return;
        }
        self.gives_way_to[me].set(others);
        self.giving_way.set(self.giving_way.get() | 1 << me);
        self.go_to(self.decide(None));
    }

    pub(super) fn choose(&self, n: u32, site: &'static str, kind: ChoiceKind) -> u32 {
        if n <= 1 || !self.on_task() || self.undisturbed.get() {
            return 0;
        }
        if kind == ChoiceKind::Fault && !self.settings.faults.contains(site) {
            return 0;
        }
        let _outside = Mode::outside();
        let value = self.strategy(|strategy| strategy.choose(n, site, kind)).unwrap_or(0);
        assert!(value < n, "the strategy chose {value} of {n} at {site}");
        self.decisions.borrow_mut().push(Decision::Choice { value, n, kind });
        self.order.borrow_mut().hear(self.current.get(), u64::from(value));
        let task = self.current();
        self.observe(|observer| observer.chosen(task, site, n, value, kind));
        value
    }

    pub(super) fn doing(&self, doing: Option<Doing>) {
        if !self.on_task() {
            return;
        }
        let _outside = Mode::outside();
        self.begin_operation(doing.map_or("waiting for work", |doing| doing.what));
        let task = self.current();
        self.observe(|observer| observer.doing(task, doing));
    }

    /// What had ended before an operation began, and what had not, decides what it may answer: a
    /// look at every client's clock.
    fn record_begin(&self) {
        let me = self.current.get();
        for other in (0..self.tasks.borrow().len()).filter(|&other| other != me) {
            self.record(&raw const CLOCKS[other] as usize, Access::Read);
        }
    }

    /// The client's clock goes on.
    fn record_end(&self) {
        self.record(&raw const CLOCKS[self.current.get()] as usize, Access::Write);
    }

    fn begin_operation(&self, operation: &'static str) {
        let mut tasks = self.tasks.borrow_mut();
        let task = &mut tasks[self.current.get()];
        task.operation = operation;
        task.points = 0;
    }

    /// Whether words are wanted: in a run that is told, and in set-up, whose names are kept. If so
    /// they follow, and what is looked at to make them is no access: the run that is told shall be
    /// the run that was not.
    #[inline]
    pub(super) fn begin_telling(&self) -> bool {
        let told = self.is_observed() || self.phase.get() == Phase::SetUp;
        self.telling.set(told);
        told
    }

    pub(super) fn tell(&self, words: fmt::Arguments<'_>) {
        let _outside = Mode::outside();
        let words = self.put_in_words(words);
        let task = self.current();
        self.observe(|observer| observer.tell(task, &words));
    }

    pub(super) fn name_object(&self, object: usize, words: fmt::Arguments<'_>) {
        let _outside = Mode::outside();
        let words = self.put_in_words(words);
        self.observe(|observer| observer.name_object(object, &words));
        if self.phase.get() == Phase::SetUp {
            self.names.borrow_mut().insert(object, words);
        }
    }

    /// Ends the telling that [`Runtime::begin_telling`] began. To put into words is part of it: what is
    /// named may look at its state for that.
    fn put_in_words(&self, words: fmt::Arguments<'_>) -> String {
        let words = words.to_string();
        self.telling.set(false);
        words
    }

    /// Pages of frames that may be handed out in all, and that are left.
    pub(super) fn frame_budget(&self) -> (usize, usize) {
        // SAFETY: an active runtime has the session.
        let out = unsafe { arena::frames_out() };
        (self.settings.frames, self.settings.frames.saturating_sub(out))
    }
}

fn running() -> &'static Runtime {
    active().unwrap_or_else(|| panic!("this thread explores nothing"))
}

/// Starts a client of the run: [`crate::Program::start`] calls it, or another client.
pub fn client(name: &str, body: impl FnOnce() + Send + 'static) {
    if let Some(foreign) = foreign() {
        return foreign.scheduler.spawn(name, Role::Client, Box::new(body));
    }
    let body: Box<dyn FnOnce()> = Box::new(body);
    let runtime = running();
    let _outside = Mode::outside();
    runtime.add_task(name.to_string(), Role::Client, body);
}

/// Runs `body` with its allocations outside the arena: for what must outlive the run. What it
/// allocates and the run never drops is leaked.
pub fn outside<R>(body: impl FnOnce() -> R) -> R {
    let _outside = Mode::outside();
    body()
}

/// Ends the run here and now, as a crash does: every task stands where it stands, and
/// [`crate::Program::check`] hears `why`.
pub fn stop(why: &'static str) -> ! {
    running().leave(RunEnd::Check(End::Stopped(why)))
}

/// The run broke a promise. Never comes back; panics when called on no task.
pub fn fail(failure: Failure) -> ! {
    if let Some(foreign) = foreign() {
        foreign.scheduler.fail(failure);
    }
    let runtime = running();
    if !runtime.on_task() {
        panic!("{failure}");
    }
    let failure = outside(|| failure.clone());
    runtime.fail_with(failure)
}

/// A free choice of the scenario, `0..n`: all answers are alike, none is a fault.
pub fn pick(n: u32, what: &'static str) -> u32 {
    choose(n, what, ChoiceKind::Free)
}

/// An answer, `0..n`, that no cell gives.
pub(super) fn choose(n: u32, site: &'static str, kind: ChoiceKind) -> u32 {
    match active() {
        Some(runtime) => runtime.choose(n, site, kind),
        None => foreign().map_or(0, |foreign| foreign.choose(n, site, kind)),
    }
}

/// For a check that looks at a sample: a number by which runs differ whose clients did not do the same in the
/// same order.
pub fn clients_order() -> u64 {
    active().and_then(|runtime| runtime.clients_order.get()).unwrap_or_default()
}

/// A client begins an operation: `words` for the diagram, `what` for the budget of switch points.
pub fn begin_operation(what: &'static str, words: fmt::Arguments<'_>) {
    let Some(runtime) = active().filter(|runtime| runtime.on_task()) else { return };
    let _outside = Mode::outside();
    runtime.begin_operation(what);
    runtime.record_begin();
    let task = runtime.current();
    runtime.observe(|observer| observer.begin(task, &words.to_string()));
}

/// The client's operation has ended.
pub fn end_operation(words: fmt::Arguments<'_>) {
    let Some(runtime) = active().filter(|runtime| runtime.on_task()) else { return };
    let task = runtime.current();
    runtime.record_end();
    runtime.observe(|observer| observer.end(task, &words.to_string()));
}

/// Whether the page at `address` is one of the frames that the host has handed out.
pub fn is_frame(address: usize) -> bool {
    match active() {
        // SAFETY: an active runtime has the session.
        Some(_) => unsafe { arena::is_frame(address) },
        None => foreign().is_some_and(|foreign| foreign.is_frame(address)),
    }
}

/// The running task, a worker, is busy for `client` from now on (`None`: for nobody).
pub fn serves(client: Option<TaskId>) {
    let Some(runtime) = active().filter(|runtime| runtime.on_task()) else { return };
    let task = runtime.current();
    runtime.observe(|observer| observer.serves(task, client));
}

/// Whether the run is told to somebody: words are only worth making then.
pub fn is_told() -> bool {
    active().is_some_and(Runtime::is_observed)
}
