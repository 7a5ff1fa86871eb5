//! When all clients have ended: what is read, written back and compared.
//!
//! Every file is read whole, which the oracle takes as the last operation of the run. Then all is
//! written back, the cache is emptied and every file is read again: the disk must hold what the cache
//! held. At last nothing may be left that leads to memory which was given back.

use super::stage::Stage;
use crate::oracle::{self, FileId, Rules};
use crate::scenario::Failure;
use guest::kernel::Kernel;
use guest::{CallResult, Client};
use syscall::error::ENOENT;
use syscall::flag::O_RDONLY;

/// How much is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The files as clients see them.
    Read,
    /// Also what the disk holds when all was written back.
    WriteBack,
}

/// Bytes that are read at a time: more than most files of scenarios have, so that one read says that
/// there are no more, and few pages of buffer.
const CHUNK: usize = 3 * 4096;

/// Runs undisturbed, as a task.
pub(super) fn settle(stage: &Stage, depth: Depth) -> Result<(), Failure> {
    stage.disk.drain();
    let mut files = Vec::new();
    for path in stage.log.all_paths() {
        if let Some((file, descriptor, bytes)) = read_whole(stage, &path)? {
            stage.log.settle(file, bytes.clone());
            files.push((path, file, descriptor, bytes));
        }
    }
    if depth == Depth::Read {
        return Ok(());
    }
    let client = stage.observer().client();
    for (_, file, descriptor, _) in &files {
        // An error of the run is its client's business; what can be written is written.
        if client.fsync(*descriptor).is_ok() {
            stage.log.note_synced(*file);
        }
    }
    if stage.log.follows_names() {
        // The last crash finds everything.
        let _ = stage.observer().syncfs();
    }
    stage.drop_caches();
    let left = stage.server.cached_pages();
    if left > 0 {
        return Err(Failure::new("leak", format!("{left} pages stay in the cache though all is clean and at rest")));
    }
    for (path, _, descriptor, bytes) in &files {
        let again = read_all(client, *descriptor).map_err(|errno| unreadable(path, errno))?;
        if let Some(difference) = difference(bytes, &again) {
            let words = format!("{path}: the disk does not hold what the cache held: {difference}");
            return Err(Failure::new("cache-differs-from-disk", words));
        }
    }
    Ok(())
}

/// Which file is at a path, open, with its bytes.
fn read_whole(stage: &Stage, path: &str) -> Result<Option<(FileId, u64, Vec<u8>)>, Failure> {
    let client = stage.observer().client();
    let descriptor = match client.open(path, O_RDONLY) {
        Ok(descriptor) => descriptor,
        Err(ENOENT) => return Ok(None),
        Err(errno) => return Err(unreadable(path, errno)),
    };
    let bytes = read_all(client, descriptor).map_err(|errno| unreadable(path, errno))?;
    let mut file = stage.log.file(path);
    if stage.log.follows_names() {
        let ino = client.stat(descriptor).map_err(|errno| unreadable(path, errno))?.st_ino;
        let nobodys = || Failure::new("wrong-tree", format!("{path} is inode {ino}, which nobody has made"));
        file = stage.log.file_of_inode(ino).ok_or_else(nobodys)?;
    }
    Ok(Some((file, descriptor, bytes)))
}

/// All bytes of a file.
pub(super) fn read_all(client: &Client, descriptor: u64) -> CallResult<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let more = client.read(descriptor, bytes.len() as u64, CHUNK)?;
        bytes.extend_from_slice(&more);
        if more.len() < CHUNK {
            return Ok(bytes);
        }
    }
}

fn unreadable(path: &str, errno: i32) -> Failure {
    Failure::new("unreadable", format!("{path} cannot be read when all has come to rest: errno {errno}"))
}

fn difference(cache: &[u8], disk: &[u8]) -> Option<String> {
    if cache.len() != disk.len() {
        return Some(format!("{} bytes in the cache, {} on the disk", cache.len(), disk.len()));
    }
    let at = cache.iter().zip(disk).position(|(cache, disk)| cache != disk)?;
    Some(format!("byte {at} is {:#04x} in the cache and {:#04x} on the disk", cache[at], disk[at]))
}

/// What must hold then, on no task.
pub(super) fn check(stage: &Stage, rules: &Rules) -> Result<(), Failure> {
    if let Some(words) = stage.machine.dangling() {
        return Err(Failure::new("dangling-translation", words));
    }
    // A message without an answer is a client that never ends; the other half is counted.
    let refused = stage.machine.counters().map_or(0, |counters| counters.refused_answers);
    if refused > 0 {
        return Err(Failure::new("answered-twice", format!("{refused} answers were refused: nobody waited for them")));
    }
    stage.log.look(|history| oracle::check(history, rules)).map_err(|violation| {
        Failure::new(violation.kind.name(), violation.to_string())
            .expected(violation.expected.clone(), violation.seen.clone())
    })
}
