//! Crashes: what the disk may hold if the machine stops, and whether what was synced is on it then.
//!
//! A run is not stopped for it. Its disk has a log of writes and flushes, and each point of that log
//! is a point at which the machine could have stopped; each combination of the sectors that were
//! pending there is a disk that may be found afterwards. Each is mounted anew, by a server of its own
//! on a machine of its own, and every file is read and held against what was synced.
//!
//! One run has more of those disks than it is worth: a run takes [`CrashTest::points`] of its points,
//! chosen by what happened in it, so that the runs together cover them.

use super::disk::Disk;
use super::rest::read_all;
use super::stage::Stage;
use crate::oracle::crash::{CrashStates, files};
use crate::oracle::{FileId, Rules};
use crate::runtime;
use crate::scenario::Failure;
use guest::{Client, Machine, kernel};
use std::sync::Arc;
use syscall::error::ENOENT;
use syscall::flag::O_RDONLY;
use vfs_server::Server;

/// How many disks of each run are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashTest {
    /// Points of the log.
    pub points: usize,
    /// Disks of each.
    pub states: usize,
}

/// How a disk that was in use is mounted again.
pub(super) struct Recovery {
    pub mount: Mounting,
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

/// Looks at some of the disks that crashes during this run may leave. On no task.
pub(super) fn check(stage: &Stage, test: CrashTest, recovery: &Recovery, rules: &Rules) -> Result<(), Failure> {
    let log = stage.disk.log();
    let original = stage.disk.at_set_up();
    let end = stage.log.look(|history| history.now());
    // Runs differ in their moments, so that they begin at different points and disks.
    let varied =
        (0..=log.len()).fold(0u64, |sum, at| sum.wrapping_mul(31).wrapping_add(u64::from(log.moment(at, end))));
    let mut image = Vec::new();
    for nth in 0..test.points.min(log.len() + 1) {
        let at = (varied as usize + nth * (log.len() / test.points + 1)) % (log.len() + 1);
        let states = CrashStates::new(log.pending(at), varied);
        for nth in 0..test.states.min(states.len()) {
            let which = (varied as usize / 7 + nth * (states.len() / test.states + 1)) % states.len();
            let Some(state) = states.iter().nth(which) else { continue };
            states.write(state, &original, &mut image);
            let circumstances =
                || format!("a crash before disk event {at} of {}, {}", log.len(), states.in_words(state));
            let recovered = recover(stage, recovery, &image)
                .map_err(|words| Failure::new("crash-unmountable", format!("{words} after {}", circumstances())))?;
            for (file, bytes) in recovered {
                let moment = log.moment(at, end);
                let checked = stage.log.look(|history| files::check(history, file, moment, &bytes, rules));
                checked.map_err(|violation| {
                    let words = format!("{violation}, after {}", circumstances());
                    Failure::new(format!("crash-{}", violation.kind.name()), words)
                        .expected(violation.expected.clone(), violation.seen.clone())
                })?;
            }
        }
    }
    Ok(())
}

/// Mounts a disk that was in use and reads every file that was there at the end of set-up.
fn recover(stage: &Stage, recovery: &Recovery, image: &[u8]) -> Result<Vec<(FileId, Vec<u8>)>, String> {
    let _installed = Installed(kernel::current());
    let disk = Disk::of_bytes(image.to_vec());
    let machine = Machine::start(guest::Setup { pager: recovery.pager, is_handed_out: runtime::is_frame });
    let server = (recovery.mount)(&disk)?;
    let serving = server.clone();
    machine.serve_inline(Some(Arc::new(move || serving.serve_one() || serving.complete_pending() > 0)));
    let client = Client::new(&machine);
    let mut recovered = Vec::new();
    for path in stage.files_at_set_up() {
        let descriptor = match client.open(&path, O_RDONLY) {
            Ok(descriptor) => descriptor,
            Err(ENOENT) => return Err(format!("/{path} is gone")),
            Err(errno) => return Err(format!("/{path} cannot be opened (errno {errno})")),
        };
        let bytes = read_all(&client, descriptor).map_err(|errno| format!("/{path} cannot be read (errno {errno})"))?;
        recovered.push((stage.log.file(&path), bytes));
    }
    Ok(recovered)
}
