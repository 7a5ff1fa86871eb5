//! The parts of a run: machine, server, disk, actors, and the record.

use super::actor::Actor;
use super::disk::Disk;
use super::log::Log;
use super::tree;
use guest::Machine;
use pager_abi::server_verb::ServerVerb;
use std::sync::{Arc, Mutex, MutexGuard};
use syscall::flag::O_RDONLY;
use vfs_server::Server;

/// Everything that a scenario's set-up, clients, tasks and checks can reach. It lies in the arena and
/// is as set-up left it when a run begins.
pub struct Stage {
    /// The kernel with its clients.
    pub machine: Arc<Machine>,
    /// The server on the mounted file system.
    pub server: Arc<Server>,
    /// Its disk.
    pub disk: Arc<Disk>,
    /// What clients did.
    pub log: Arc<Log>,
    actors: Vec<Arc<Actor>>,
    /// What a scenario's tasks note for its checks.
    notes: Mutex<Vec<String>>,
    /// Paths of the files that were there at the end of set-up.
    files_at_set_up: Mutex<Vec<String>>,
}

impl Stage {
    pub(super) fn new(
        machine: Arc<Machine>,
        server: Arc<Server>,
        disk: Arc<Disk>,
        log: Arc<Log>,
        actors: Vec<Arc<Actor>>,
    ) -> Self {
        Self {
            machine,
            server,
            disk,
            log,
            actors,
            notes: Mutex::new(Vec::new()),
            files_at_set_up: Mutex::new(Vec::new()),
        }
    }

    /// A client of the scenario, in the order in which the script names them.
    pub fn actor(&self, number: usize) -> &Arc<Actor> {
        &self.actors[number]
    }

    /// The clients of the scenario, then the one that looks when all has come to rest.
    pub fn actors(&self) -> &[Arc<Actor>] {
        &self.actors
    }

    /// The client that looks when all has come to rest; set-up may use it too.
    pub fn observer(&self) -> &Arc<Actor> {
        match self.actors.last() {
            Some(observer) => observer,
            None => unreachable!("a stage has an observer at least"),
        }
    }

    /// For set-up: writes everything back and completes it, without a task.
    pub fn sync(&self) {
        self.server.write_back_pass();
        while self.server.complete_pending() > 0 {}
        if let Err(errno) = self.observer().client().call(0, [pager_abi::file_verb::FileVerb::Syncfs as u64, 0, 0], 0) {
            panic!("syncfs in set-up: errno {errno}");
        }
    }

    /// Paths of the files that were there at the end of set-up.
    pub fn files_at_set_up(&self) -> Vec<String> {
        self.files_at_set_up.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Set-up has ended and is synced: notes which files there are, and says which inode has which
    /// path, for reports (an object 0 with " = " is an alias).
    pub(super) fn note_files(&self) {
        let client = self.observer().client();
        let mut files = self.files_at_set_up.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        for path in self.log.paths() {
            let stat = client.open(&path, O_RDONLY).and_then(|descriptor| {
                let stat = client.stat(descriptor);
                client.close(descriptor);
                stat
            });
            if let Ok(stat) = stat {
                platform::name_object!(0x1000 + stat.st_ino as usize, "inode {} = /{path}", stat.st_ino);
                self.log.note_synced(self.log.file(&path));
                files.push(path);
            }
        }
    }

    /// For the end of set-up: from now on names are followed.
    pub(super) fn follow_names(&self) {
        let found = tree::walk(self.observer().client()).unwrap_or_else(|errno| panic!("the tree: errno {errno}"));
        self.log.follow_names(&found);
    }

    /// Drops what of the page cache is clean; pages.
    pub fn drop_caches(&self) -> usize {
        let call = self.observer().client().call(0, [ServerVerb::DropCaches as u64, 0, 0], 0);
        call.map_or(0, |(pages, _)| pages)
    }

    /// Notes something for the checks of the scenario.
    pub fn note(&self, what: impl Into<String>) {
        self.notes_mut().push(what.into());
    }

    /// What was noted, in order.
    pub fn notes(&self) -> Vec<String> {
        self.notes_mut().clone()
    }

    fn notes_mut(&self) -> MutexGuard<'_, Vec<String>> {
        self.notes.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
