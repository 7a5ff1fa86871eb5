//! Crashes: what the disk may hold if the machine stops, and whether what was synced is on it then.
//!
//! A run is not stopped for it. Its disk has a log of writes and flushes, and each point of that log
//! is a point at which the machine could have stopped; each combination of the sectors that were
//! pending there is a disk that may be found afterwards. Each is mounted anew, by a server of its own
//! on a machine of its own; every file is read and held against what was synced, and the tree against
//! what was done to names. A mount that writes (it recovers something) is stopped again, at points of
//! its own log: the next one must find the same.
//!
//! One run has more of those disks than it is worth: a run takes [`CrashTest::points`] of its points,
//! chosen by what happened in it, so that the runs together cover them.

use super::disk::Disk;
use super::rest::read_all;
use super::stage::Stage;
use super::tree;
use crate::oracle::crash::{CrashStates, DiskLog, Tree, files, names};
use crate::oracle::{FileId, Moment, Rules, Violation};
use crate::runtime;
use crate::scenario::Failure;
use guest::{Client, Machine, kernel};
use platform::block::BlockDevice;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Add;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use syscall::flag::O_RDONLY;
use vfs_server::Server;

/// How many disks of each run are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashTest {
    /// Points of the log.
    pub points: usize,
    /// Disks of each.
    pub states: usize,
    /// Points of a recovery of each at which the machine stops again.
    pub again: usize,
}

/// Disks that were looked at after crashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looked {
    /// All of them.
    pub disks: u64,
    /// Those that a crash within a recovery has left.
    pub in_recovery: u64,
}

// Statics are not undone with a run.
static DISKS: AtomicU64 = AtomicU64::new(0);
static IN_RECOVERY: AtomicU64 = AtomicU64::new(0);

impl Looked {
    /// By this process so far.
    pub fn so_far() -> Self {
        Self { disks: DISKS.load(Ordering::Relaxed), in_recovery: IN_RECOVERY.load(Ordering::Relaxed) }
    }

    /// Since `before`.
    pub fn since(self, before: Self) -> Self {
        Self { disks: self.disks - before.disks, in_recovery: self.in_recovery - before.in_recovery }
    }
}

impl Add for Looked {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { disks: self.disks + other.disks, in_recovery: self.in_recovery + other.in_recovery }
    }
}

/// How a disk that was in use is mounted again.
pub(super) struct Recovery {
    pub mount: Mounting,
    /// What is wrong with the disk once it was unmounted, where there is such a check.
    pub check: Option<fn(Arc<dyn BlockDevice>) -> Option<String>>,
    pub pager: pager_core::Config,
}

/// Mounts a disk and starts a server on it.
pub(super) type Mounting = Box<dyn Fn(&Arc<Disk>) -> Result<Arc<Server>, String>>;

/// The kernel that was installed before, which comes back when dropped.
struct Installed(Option<Arc<dyn kernel::Kernel>>);

impl Drop for Installed {
    fn drop(&mut self) {
        kernel::install(self.0.take());
    }
}

/// What a mount finds.
struct Recovered {
    tree: Tree,
    /// The contents of the files that the record knows.
    files: BTreeMap<FileId, Vec<u8>>,
    /// What the mount did to the disk.
    log: DiskLog,
}

/// Looks at some of the disks that crashes during this run may leave. On no task.
pub(super) fn check(stage: &Stage, test: CrashTest, recovery: &Recovery, rules: &Rules) -> Result<(), Failure> {
    let log = stage.disk.log();
    let original = stage.disk.at_set_up();
    let end = stage.log.look(|history| history.now());
    // Runs that differ begin at different points and disks.
    let varied = runtime::clients_order() >> 8;
    let (mut image, mut second) = (Vec::new(), Vec::new());
    for (at, states) in crashes(&log, test.points, varied) {
        for nth in spread(test.states, states.len(), varied / 7) {
            let Some(state) = states.iter().nth(nth) else { continue };
            states.write(state, &original, &mut image);
            let told = |failure: Failure| {
                let words = states.in_words(state);
                failure.after(&format!("a crash before disk event {at} of {}, {words}", log.len()))
            };
            let recovered = recover(stage, recovery, &image).map_err(told)?;
            recovered.check(stage, log.moment(at, end), rules).map_err(told)?;
            for (at, states) in crashes(&recovered.log, test.again, varied / 11) {
                let nth = varied as usize / 13 % states.len();
                let Some(state) = states.iter().nth(nth) else { continue };
                states.write(state, &image, &mut second);
                let told_again = |failure: Failure| {
                    let (words, len) = (states.in_words(state), recovered.log.len());
                    told(failure.after(&format!("another one before event {at} of {len} of the recovery, {words}")))
                };
                IN_RECOVERY.fetch_add(1, Ordering::Relaxed);
                let again = recover(stage, recovery, &second).map_err(told_again)?;
                recovered.must_be(&again).map_err(told_again)?;
            }
        }
    }
    Ok(())
}

/// At most `count` of the points of a log, and the disks of each.
fn crashes(log: &DiskLog, count: usize, varied: u64) -> impl Iterator<Item = (usize, CrashStates<'_>)> {
    spread(count, log.len() + 1, varied).map(move |at| (at, CrashStates::new(log.pending(at), varied)))
}

/// At most `count` numbers below `len`, evenly spread, the first of which varies.
fn spread(count: usize, len: usize, varied: u64) -> impl Iterator<Item = usize> {
    (0..count.min(len)).map(move |nth| (varied as usize + nth * ((len - 1) / count + 1)) % len)
}

/// Mounts a disk that was in use, reads everything that has a name, and unmounts it.
fn recover(stage: &Stage, recovery: &Recovery, image: &[u8]) -> Result<Recovered, Failure> {
    DISKS.fetch_add(1, Ordering::Relaxed);
    let unmountable = |words: String| Failure::new("crash-unmountable", words);
    let _installed = Installed(kernel::current());
    let disk = Disk::of_bytes_logged(image.to_vec());
    let machine = Machine::start(guest::Setup { pager: recovery.pager, is_handed_out: runtime::is_frame });
    let server = (recovery.mount)(&disk).map_err(unmountable)?;
    let mut recovered = Recovered { tree: Tree::new(), files: BTreeMap::new(), log: disk.log() };
    let serving = server.clone();
    machine.serve_inline(Some(Arc::new(move || serving.serve_one() || serving.complete_pending() > 0)));
    let client = Client::new(&machine);
    let unreadable = |what: &str, errno| unmountable(format!("{what} cannot be read (errno {errno})"));
    for (path, ino) in tree::walk(&client).map_err(|errno| unreadable("the tree", errno))? {
        let Some(file) = stage.log.file_of_inode(ino) else {
            let words = format!("/{path} is inode {ino}, which nobody has made");
            return Err(Failure::new("crash-wrong-tree", words));
        };
        if stage.log.knows(file) {
            let bytes = client.open(&path, O_RDONLY).and_then(|descriptor| {
                let bytes = read_all(&client, descriptor);
                client.close(descriptor);
                bytes
            });
            recovered.files.insert(file, bytes.map_err(|errno| unreadable(&path, errno))?);
        }
        recovered.tree.insert(path, file);
    }
    if let Some(check) = recovery.check {
        server.unmount().map_err(|error| unmountable(format!("it cannot be unmounted: {error}")))?;
        if let Some(problem) = check(disk) {
            return Err(Failure::new("crash-corrupt", problem));
        }
    }
    Ok(recovered)
}

impl Recovered {
    /// Whether that may be found after a crash at `moment`.
    fn check(&self, stage: &Stage, moment: Moment, rules: &Rules) -> Result<(), Failure> {
        stage.log.look_names(|history| names::check(history, moment, &self.tree)).unwrap_or(Ok(())).map_err(broken)?;
        self.files.iter().try_for_each(|(&file, bytes)| {
            stage.log.look(|history| files::check(history, file, moment, bytes, rules)).map_err(broken)
        })
    }

    /// A recovery that was interrupted and done anew finds what this one has found.
    fn must_be(&self, again: &Self) -> Result<(), Failure> {
        if self.tree == again.tree && self.files == again.files {
            return Ok(());
        }
        let sizes = |recovered: &Self| -> Vec<String> {
            let size = |file| recovered.files.get(file).map_or(0, Vec::len);
            recovered.tree.iter().map(|(path, file)| format!("/{path} of {} bytes", size(file))).collect()
        };
        let words = "a recovery that was interrupted, done again, finds something else";
        Err(Failure::new("crash-in-recovery", words).expected(sizes(self).join(", "), sizes(again).join(", ")))
    }
}

fn broken(violation: Violation) -> Failure {
    Failure::new(format!("crash-{}", violation.kind.name()), violation.to_string())
        .expected(violation.expected.clone(), violation.seen.clone())
}
