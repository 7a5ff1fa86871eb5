//! Listens to a replay and has it recorded.
//!
//! Owns: which task is which lane and whom it serves, the numbers of the steps, and asking the
//! lock-order checker what the tasks hold. Does not own: words and names ([`super::recorder`]).

use super::recorder::{HeldLock, Names, Recorder};
use super::told::{self, Broken, FolioState, LaneId, Mapped, Title, ToldRun};
use super::waits;
use crate::runtime::{ChoiceKind, Observer, Role, Switch};
use crate::scenario::Failure;
use platform::host::Access;
use platform::lockdep::{self, LockClass};
use platform::thread::{TaskId, ThreadKind};
use platform::waits::{Doing, Wait};
use std::collections::{BTreeMap, HashMap, HashSet};

/// What a worker waits for when it has answered (`guest::machine`).
const BETWEEN_REQUESTS: &str = "a message";

/// Names of smaller "objects" are of what has no address.
pub const NO_ADDRESS: usize = 1 << 20;

/// Listens to one run.
pub struct Listener<'a> {
    recorder: Recorder,
    lanes: BTreeMap<TaskId, LaneId>,
    /// Tasks that are busy with an operation of the server.
    busy: HashSet<TaskId>,
    /// Clients by the kernel's names of them, and by the names of their lanes.
    callers: HashMap<u64, String>,
    clients: HashMap<String, LaneId>,
    running: Option<LaneId>,
    /// Folios as set-up left them.
    at_start: Vec<(String, Option<FolioState>)>,
    step: u32,
    /// The step has begun, and nothing of it was heard yet.
    is_fresh: bool,
    broken: Option<Broken>,
    at_step: &'a mut dyn FnMut(u32),
}

impl<'a> Listener<'a> {
    /// Listens from the start of a run on; `at_step` is called in each step, by the
    /// task that does it.
    pub fn new(title: Title, at_step: &'a mut dyn FnMut(u32)) -> Self {
        Self {
            recorder: Recorder::new(title, Names::default()),
            lanes: BTreeMap::new(),
            busy: HashSet::new(),
            callers: HashMap::new(),
            clients: HashMap::new(),
            running: None,
            at_start: Vec::new(),
            step: 1,
            is_fresh: true,
            broken: None,
            at_step,
        }
    }

    /// What was heard.
    pub fn finish(self) -> ToldRun {
        let mut run = self.recorder.finish(self.broken);
        let waits = waits::lines(&run);
        if let Some(broken) = run.broken.as_mut().filter(|broken| broken.kind == Failure::DEADLOCK) {
            broken.summary = "nobody can go on".to_owned();
            broken.details = waits;
        }
        run
    }

    /// The lane of a client, if it has one.
    fn client(&self, caller: u64) -> Option<LaneId> {
        self.clients.get(self.callers.get(&caller)?).copied()
    }

    /// A folio's state is told by whoever runs; set-up's by whoever runs first.
    fn folio(&mut self, folio: &str, state: Option<FolioState>) {
        match self.running {
            Some(lane) => self.recorder.folio(lane, folio, state),
            None => self.at_start.push((folio.to_owned(), state)),
        }
    }

    /// A worker has answered.
    fn end_doing(&mut self, task: TaskId, lane: LaneId) {
        if self.busy.remove(&task) {
            self.recorder.end(lane, "");
            self.recorder.serves(lane, None);
        }
    }

    /// The lane of a task, which holds now what the checker says.
    fn lane(&mut self, task: TaskId) -> Option<LaneId> {
        let lane = *self.lanes.get(&task)?;
        if std::mem::take(&mut self.is_fresh) {
            (self.at_step)(self.step);
        }
        let mut held: Vec<HeldLock> = Vec::new();
        lockdep::for_each_held(task, |class, object| held.push((class, object)));
        self.recorder.held(lane, &held);
        Some(lane)
    }
}

impl Observer for Listener<'_> {
    fn task(&mut self, task: TaskId, name: &str, role: Role) {
        let lane = self.recorder.add_lane(name, role_words(role));
        match role {
            Role::Client => drop(self.clients.insert(name.to_owned(), lane)),
            Role::Settle => self.recorder.rests(lane),
            Role::Server(_) => {}
        }
        self.lanes.insert(task, lane);
    }

    fn switch(&mut self, task: TaskId, switch: Switch, _number: Option<usize>) {
        let Some(lane) = self.lanes.get(&task).copied() else { return };
        self.recorder.decide(self.step, lane, switch_of(switch));
        self.running = Some(lane);
        for (folio, state) in std::mem::take(&mut self.at_start) {
            self.recorder.folio(lane, &folio, state);
        }
    }

    fn access(&mut self, task: TaskId, _class: &'static LockClass, _object: usize, _access: Access, _switching: bool) {
        self.lane(task);
    }

    fn step_ended(&mut self, _task: TaskId) {
        // All of them: a task may have released a lock that another one acquired.
        for task in self.lanes.keys().copied().collect::<Vec<_>>() {
            self.lane(task);
        }
        self.step += 1;
        self.is_fresh = true;
        self.recorder.at_step(self.step);
    }

    fn waits(&mut self, task: TaskId, wait: Option<Wait>) {
        let (Some(lane), Some(wait)) = (self.lane(task), wait) else { return };
        if wait.what == BETWEEN_REQUESTS {
            self.end_doing(task, lane);
        }
        let holder = wait.holder.and_then(|holder| self.lanes.get(&holder)).copied();
        if std::ptr::eq(wait.class, &lockdep::EVENT) {
            self.recorder.waits_for_event(lane, wait.what, holder);
        } else {
            self.recorder.waits_for_lock(lane, (wait.class.name, wait.object), holder);
        }
    }

    fn tell(&mut self, task: TaskId, words: &str) {
        if let Some(lane) = self.lane(task) {
            self.recorder.tell(lane, words);
        }
    }

    fn begin(&mut self, task: TaskId, words: &str) {
        if let Some(lane) = self.lane(task) {
            self.recorder.begin(lane, words);
        }
    }

    fn end(&mut self, task: TaskId, words: &str) {
        if let Some(lane) = self.lane(task) {
            self.recorder.end(lane, words);
        }
    }

    fn doing(&mut self, task: TaskId, doing: Option<Doing>) {
        let Some(lane) = self.lane(task) else { return };
        self.end_doing(task, lane);
        if let Some(doing) = doing {
            let client = self.client(doing.caller);
            self.recorder.serves(lane, client);
            self.recorder.begin(lane, &doing_words(&doing));
            self.busy.insert(task);
        }
    }

    fn chosen(&mut self, task: TaskId, site: &str, n: u32, value: u32, kind: ChoiceKind) {
        // What a free choice came to is told by what follows it.
        if kind == ChoiceKind::Fault
            && let Some(lane) = self.lane(task)
        {
            self.recorder.chosen(lane, site, value, n);
        }
    }

    fn name_object(&mut self, object: usize, words: &str) {
        match words.split_once(" = ") {
            // No object, but what is known by another name: "caller 3 = reader", "inode 12 = /a".
            Some((from, to)) if object < NO_ADDRESS => {
                match from.strip_prefix("caller ").and_then(|id| id.parse().ok()) {
                    Some(caller) => drop(self.callers.insert(caller, to.to_owned())),
                    None => self.recorder.names().alias(from, to),
                }
            }
            Some((folio, state)) => self.folio(folio, folio_state(state)),
            None => self.recorder.names().name_object(object, words),
        }
    }

    fn failed(&mut self, failure: &Failure) {
        let lane = failure.task.map(LaneId).filter(|lane| lane.0 < self.lanes.len());
        self.broken = Some(Broken { lane, ..broken(failure) });
    }
}

fn role_words(role: Role) -> &'static str {
    match role {
        Role::Client => "",
        Role::Server(ThreadKind::FaultWorker) => "answers page faults",
        Role::Server(ThreadKind::RequestWorker) => "answers requests",
        Role::Server(ThreadKind::Writeback) => "writes dirty folios",
        Role::Server(ThreadKind::IoCompletion) => "finishes I/O",
        Role::Server(ThreadKind::Reclaim) => "takes clean folios back",
        Role::Server(ThreadKind::Other) => "",
        Role::Settle => "brings everything to rest",
    }
}

fn switch_of(switch: Switch) -> told::Switch {
    match switch {
        Switch::Stays => told::Switch::Stays,
        Switch::Preempts => told::Switch::Preempts,
        Switch::First | Switch::Takes => told::Switch::Takes,
    }
}

fn doing_words(doing: &Doing) -> String {
    match doing.inode {
        0 => doing.what.to_owned(),
        inode => format!("{} of inode {inode}", doing.what),
    }
}

/// Of the server's words for it (`Folio::tell_state`).
fn folio_state(words: &str) -> Option<FolioState> {
    let has = |wanted| words.split(' ').any(|word| word == wanted);
    let mapped = match (has("mapped-rw"), has("mapped-ro")) {
        (true, _) => Mapped::Writable,
        (false, true) => Mapped::ReadOnly,
        (false, false) => Mapped::Not,
    };
    let state = FolioState { uptodate: has("uptodate"), dirty: has("dirty"), writeback: has("writeback"), mapped };
    (!has("gone")).then_some(state)
}

fn broken(failure: &Failure) -> Broken {
    // What the sentence says already is not said again.
    let is_new = |words: &&String| !failure.words.contains(words.as_str());
    let line =
        |head: &str, words: &Option<String>| words.as_ref().filter(is_new).map(|words| format!("{head}: {words}"));
    let mut words = failure.words.lines().map(str::trim_end);
    let summary = words.next().unwrap_or_default().to_owned();
    let rest = words.filter(|line| !line.is_empty()).map(str::to_owned);
    let details = rest.chain(line("expected", &failure.expected)).chain(line("seen", &failure.seen)).collect();
    Broken { kind: failure.kind.clone(), summary, details, lane: None }
}
