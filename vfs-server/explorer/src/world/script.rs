//! A scenario in a few lines.
//!
//! ```ignore
//! Script::new("truncate against a load", &file_systems::EXT4)
//!     .set_up(|stage| {
//!         let truncating = stage.actor(0);
//!         truncating.create("a").unwrap();
//!         truncating.write("a", 0, 4096).unwrap();
//!         let loading = stage.actor(1);
//!         loading.open("a").unwrap();
//!         loading.map("a", 1).unwrap();
//!     })
//!     .client("truncate", |me| drop(me.truncate("a", 0)))
//!     .client("load", |me| drop(me.load("a", 8)))
//! ```
//!
//! Set-up runs once, on no task: what its clients ask for is served at once, on their own call. Each
//! run begins as set-up ended. Clients and tasks must come to an end; the server's own threads
//! (workers, writeback, completion, reclaim) run beside them. When all have ended, everything is
//! written back and compared ([`super::rest`]), and the record is checked by the oracle.

use super::actor::Actor;
use super::crash::{self, CrashTest, Recovery};
use super::disk::{Disk, DiskFault, Pace};
use super::file_systems::{FileSystemKind, Mount};
use super::log::Log;
use super::stage::Stage;
use super::{protocol_classes, rest};
use crate::oracle::Rules;
use crate::runtime;
use crate::scenario::{End, Failure, Program, Scenario, Settings};
use guest::{Client, Machine};
use platform::lockdep::LockClass;
use platform::thread::{self, ThreadKind};
use std::sync::Arc;
use vfs_server::{Config, Server};

type ClientBody = Arc<dyn Fn(&Actor) + Send + Sync>;
type StageBody = Arc<dyn Fn(&Stage) + Send + Sync>;
type Check = Arc<dyn Fn(&Stage, &End) -> Result<(), Failure> + Send + Sync>;

/// A scenario on a mounted file system.
pub struct Script {
    name: String,
    kind: &'static FileSystemKind,
    settings: Settings,
    config: Config,
    pager: pager_core::Config,
    options: Vec<(String, String)>,
    pace: Pace,
    faults: Vec<DiskFault>,
    rules: Rules,
    helpers: Helpers,
    rest: rest::Depth,
    crashes: Option<CrashTest>,
    set_up: StageBody,
    clients: Vec<Role>,
    tasks: Vec<(String, StageBody)>,
    checks: Vec<Check>,
}

/// Which of the server's own threads run beside its workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Helpers {
    /// Completion, writeback and reclaim.
    All,
    /// Completion only: dirty folios stay until somebody asks for them to be written.
    Completion,
}

#[derive(Clone)]
struct Role {
    name: String,
    /// The client whose process it is a thread of.
    process_of: Option<usize>,
    body: ClientBody,
}

impl Script {
    /// A scenario that does nothing yet, on a new file system of `kind`.
    pub fn new(name: impl Into<String>, kind: &'static FileSystemKind) -> Self {
        Self {
            name: name.into(),
            kind,
            settings: Settings { frames: 256, ..Settings::switching(&protocol_classes()) },
            config: small(),
            pager: pager_core::Config { window: 2, window_ahead: 2, ..pager_core::Config::STANDARD },
            options: Vec::new(),
            pace: Pace::AtOnce,
            faults: Vec::new(),
            rules: Rules::default(),
            helpers: Helpers::Completion,
            rest: rest::Depth::WriteBack,
            crashes: None,
            set_up: Arc::new(|_| {}),
            clients: Vec::new(),
            tasks: Vec::new(),
            checks: Vec::new(),
        }
    }

    /// The classes of objects at which tasks may be switched.
    pub fn switching(mut self, classes: &[&'static LockClass]) -> Self {
        self.settings.switching = classes.to_vec();
        self
    }

    /// Changes the bounds of a run.
    pub fn settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Changes the server's configuration, which begins as [`small`].
    pub fn config(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Changes the limits of the paging protocol.
    pub fn pager(mut self, change: impl FnOnce(&mut pager_core::Config)) -> Self {
        change(&mut self.pager);
        self
    }

    /// Mount options, `name=value` and commas: the server's and the file system's.
    pub fn options(mut self, options: &str) -> Self {
        let pairs = options.split(',').filter(|pair| !pair.is_empty());
        self.options.extend(pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name.to_string(), value.to_string())
        }));
        self
    }

    /// When operations of the disk end.
    pub fn disk(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// Lets the disk fail in these ways, as choices of the run.
    pub fn faults(mut self, faults: &[DiskFault]) -> Self {
        self.faults.extend_from_slice(faults);
        self
    }

    /// What the oracle allows.
    pub fn rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    /// Which of the server's own threads run.
    pub fn helpers(mut self, helpers: Helpers) -> Self {
        self.helpers = helpers;
        self
    }

    /// How much is looked at when all has come to rest.
    pub fn rest(mut self, depth: rest::Depth) -> Self {
        self.rest = depth;
        self
    }

    /// Looks also at some of the disks that a crash during the run may leave.
    pub fn crashes(mut self, test: CrashTest) -> Self {
        self.crashes = Some(test);
        self
    }

    /// What is done before the runs: files, mappings, what is in the cache. It must not wait.
    pub fn set_up(mut self, body: impl Fn(&Stage) + Send + Sync + 'static) -> Self {
        self.set_up = Arc::new(body);
        self
    }

    /// A client process with one thread.
    pub fn client(mut self, name: &str, body: impl Fn(&Actor) + Send + Sync + 'static) -> Self {
        self.clients.push(Role { name: name.into(), process_of: None, body: Arc::new(body) });
        self
    }

    /// Another thread of the process of client number `of`.
    pub fn thread_of(mut self, of: usize, name: &str, body: impl Fn(&Actor) + Send + Sync + 'static) -> Self {
        assert!(of < self.clients.len(), "client {of} comes later");
        self.clients.push(Role { name: name.into(), process_of: Some(of), body: Arc::new(body) });
        self
    }

    /// Something else that happens meanwhile: a pass of writeback, of reclaim, of migration.
    pub fn task(mut self, name: &str, body: impl Fn(&Stage) + Send + Sync + 'static) -> Self {
        self.tasks.push((name.into(), Arc::new(body)));
        self
    }

    /// Something else that must hold at the end.
    pub fn check(mut self, check: impl Fn(&Stage, &End) -> Result<(), Failure> + Send + Sync + 'static) -> Self {
        self.checks.push(Arc::new(check));
        self
    }

    fn mounting(&self, mount: Mount) -> impl Fn(&Arc<Disk>) -> Result<Arc<Server>, String> + 'static {
        let (config, options) = (self.config.clone(), self.options.clone());
        move |disk| {
            let mut config = config.clone();
            let mut rest = Vec::new();
            for (name, value) in &options {
                if !config.set(name, value).map_err(|error| format!("{name}={value}: {error}"))? {
                    rest.push((name.as_str(), value.as_str()));
                }
            }
            let fs = mount(disk.clone(), &rest)?;
            Server::start(fs, disk.clone(), config).map_err(|error| error.to_string())
        }
    }

    fn start_threads(&self, server: &Arc<Server>, disk: &Arc<Disk>) {
        let spawn = |name, kind, body: fn(&Server)| {
            let server = server.clone();
            assert!(thread::spawn(name, kind, move || body(&server)), "no room for a {name}");
        };
        match self.helpers {
            Helpers::All => server.start_helpers().unwrap_or_else(|error| panic!("helpers: {error}")),
            Helpers::Completion => spawn("completion", ThreadKind::IoCompletion, Server::completion_thread),
        }
        for _ in 0..server.config().fault_workers {
            spawn("fault worker", ThreadKind::FaultWorker, Server::fault_worker);
        }
        for _ in 0..server.config().request_workers {
            spawn("request worker", ThreadKind::RequestWorker, Server::request_worker);
        }
        if self.pace != Pace::AtOnce {
            let disk = disk.clone();
            assert!(thread::spawn("disk", ThreadKind::Other, move || disk.serve()), "no room for the disk");
        }
        if self.pace == Pace::HoldsBack {
            let disk = disk.clone();
            assert!(thread::spawn("slow disk", ThreadKind::Other, move || disk.serve_held()), "no room for the disk");
        }
    }

    fn actors(&self, machine: &Arc<Machine>, log: &Arc<Log>) -> Vec<Arc<Actor>> {
        let mut actors: Vec<Arc<Actor>> = Vec::new();
        for (number, role) in self.clients.iter().enumerate() {
            let client = match role.process_of {
                Some(of) => actors[of].client().thread(),
                None => Client::new(machine),
            };
            // No address is that small: these are names of what is no object.
            let caller = client.caller();
            platform::name_object!(caller as usize, "caller {caller} = {}", role.name);
            actors.push(Arc::new(Actor::new(number as u8 + 1, client, log.clone())));
        }
        actors.push(Arc::new(Actor::new(0, Client::new(machine), log.clone())));
        actors
    }
}

/// A server that is small enough to be explored: it has room for what a handful of operations need,
/// and nothing happens in it that nobody asked for.
pub fn small() -> Config {
    Config {
        cache_pages: 16,
        folio_order_max: 0,
        readahead_pages: 1,
        fault_workers: 2,
        request_workers: 2,
        writeback_workers: 1,
        dirty_limit_pages: 8,
        bounce_buffers: 4,
        idle_inodes: 16,
        names: 16,
        ..Config::default()
    }
}

impl Scenario for Script {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn settings(&self) -> Settings {
        self.settings.clone()
    }

    fn set_up(&self) -> Box<dyn Program> {
        let image = runtime::outside(|| (self.kind.image)());
        let log = Arc::new(Log::new());
        let disk = Disk::new(image, self.pace, &self.faults, &log);
        let machine = Machine::start(guest::Setup { pager: self.pager, is_handed_out: runtime::is_frame });
        let mount = self.mounting(self.kind.mount);
        let server = mount(&disk).unwrap_or_else(|error| panic!("{} cannot be mounted: {error}", self.kind.name));
        let actors = self.actors(&machine, &log);
        let stage = Arc::new(Stage::new(machine, server, disk, log, actors));
        let serving = stage.server.clone();
        stage.machine.serve_inline(Some(Arc::new(move || serving.serve_one() || serving.complete_pending() > 0)));
        (self.set_up)(&stage);
        stage.sync();
        stage.note_files();
        if self.crashes.is_some() {
            stage.follow_names();
        }
        stage.machine.serve_inline(None);
        stage.disk.set_up_ended();
        self.start_threads(&stage.server, &stage.disk);
        Box::new(Play {
            stage,
            clients: self.clients.clone(),
            tasks: self.tasks.clone(),
            checks: self.checks.clone(),
            rules: self.rules,
            rest: self.rest,
            crashes: self.crashes.map(|test| {
                let remount = self.kind.remount;
                let remount = remount.unwrap_or_else(|| panic!("{} survives no crash", self.kind.name));
                let (mount, check) = (Box::new(self.mounting(remount)), self.kind.check);
                (test, Recovery { mount, check, pager: self.pager })
            }),
        })
    }
}

/// A script that was set up.
struct Play {
    stage: Arc<Stage>,
    clients: Vec<Role>,
    tasks: Vec<(String, StageBody)>,
    checks: Vec<Check>,
    rules: Rules,
    rest: rest::Depth,
    crashes: Option<(CrashTest, Recovery)>,
}

impl Program for Play {
    fn start(&self) {
        for (number, role) in self.clients.iter().enumerate() {
            let (actor, body) = (self.stage.actor(number).clone(), role.body.clone());
            runtime::client(&role.name, move || body(&actor));
        }
        for (name, body) in &self.tasks {
            let (stage, body) = (self.stage.clone(), body.clone());
            runtime::client(name, move || body(&stage));
        }
    }

    fn settle(&self) {
        if let Err(failure) = rest::settle(&self.stage, self.rest) {
            runtime::fail(failure);
        }
    }

    fn check(&self, end: &End) -> Result<(), Failure> {
        if *end == End::Quiet {
            rest::check(&self.stage, &self.rules)?;
        }
        if let Some((test, recovery)) = &self.crashes {
            crash::check(&self.stage, *test, recovery, &self.rules)?;
        }
        self.checks.iter().try_for_each(|check| check(&self.stage, end))
    }

    fn shut_down(&self) {
        // What it could not write is the run's business, and that was checked.
        _ = self.stage.server.unmount();
        self.stage.machine.close();
    }
}
