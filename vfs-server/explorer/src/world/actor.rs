//! A client whose operations are recorded, with its files by name.
//!
//! Each operation is noted in the log before it begins and after it has ended, told to whoever
//! watches the run, and counts as one operation for the budget of switch points. The bytes that it
//! stores are its own: see [`crate::oracle::stamp`].

use super::log::Log;
use crate::oracle::crash::NameCall;
use crate::oracle::{Call, Data, Outcome, Stamp};
use crate::runtime;
use guest::{CallResult, Client, Mapping};
use pager_abi::file_verb::FileVerb;
use pager_core::{Rights, Sharing};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use syscall::flag::{O_CREAT, O_EXCL, O_RDWR};

/// A client of the run. Offsets and lengths are bytes; errors are errno numbers.
pub struct Actor {
    number: u8,
    client: Client,
    log: Arc<Log>,
    open: Mutex<BTreeMap<String, Open>>,
}

/// A file that is open, and mapped perhaps. It is known by the path at which it was opened, wherever it is moved to.
#[derive(Clone)]
struct Open {
    descriptor: u64,
    mapping: Option<Mapping>,
    /// Where it is now, for all that this client knows.
    name: String,
}

impl Actor {
    pub(super) fn new(number: u8, client: Client, log: Arc<Log>) -> Self {
        Self { number, client, log, open: Mutex::new(BTreeMap::new()) }
    }

    /// The client itself, for calls that the oracle does not know.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Whose number is in the log.
    pub fn number(&self) -> u8 {
        self.number
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<String, Open>> {
        self.open.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn file(&self, path: &str) -> Open {
        let open = self.files().get(path).cloned();
        open.unwrap_or_else(|| panic!("client {} has not opened {path}", self.number))
    }

    /// The descriptor of an open file.
    pub fn descriptor(&self, path: &str) -> u64 {
        self.file(path).descriptor
    }

    // --- files -------------------------------------------------------------------------------

    /// Opens a file for reading and writing.
    pub fn open(&self, path: &str) -> CallResult<()> {
        self.open_with(path, O_RDWR)
    }

    /// Creates an empty file and opens it.
    pub fn create(&self, path: &str) -> CallResult<()> {
        let flags = O_RDWR | O_CREAT | 0o644;
        if !self.log.follows_names() {
            return self.open_with(path, flags);
        }
        let file = self.log.file(path);
        let call = NameCall::Create { path: path.into(), file };
        self.naming(call, || {
            self.open_with(path, flags | O_EXCL)?;
            let stat = self.client.stat(self.descriptor(path))?;
            self.log.note_inode(file, stat.st_ino);
            Ok(())
        })
    }

    /// Moves an open file's name; whoever has it open goes on to know it by its old one.
    pub fn rename(&self, path: &str, to: &str) -> CallResult<()> {
        let Open { descriptor, name, .. } = self.file(path);
        let call = NameCall::Rename { from: name.clone(), to: to.into() };
        self.naming(call, || {
            self.plain("rename", format_args!("rename {name} to {to}"), || self.client.rename(descriptor, to))
        })?;
        self.files().entry(path.to_string()).and_modify(|open| open.name = to.into());
        Ok(())
    }

    /// Gives an open file another name.
    pub fn link(&self, path: &str, to: &str) -> CallResult<()> {
        let Open { descriptor, .. } = self.file(path);
        let call = NameCall::Link { file: self.log.file(path), path: to.into() };
        self.naming(call, || {
            self.plain("link", format_args!("link {path} as {to}"), || self.client.link(descriptor, to))
        })
    }

    /// Takes a name away.
    pub fn unlink(&self, name: &str) -> CallResult<()> {
        let call = NameCall::Remove { path: name.into() };
        self.naming(call, || self.plain("unlink", format_args!("unlink {name}"), || self.client.unlink(name, 0)))
    }

    /// All files and names are on the disk on return.
    pub fn syncfs(&self) -> CallResult<()> {
        let verb = [FileVerb::Syncfs as u64, 0, 0];
        self.naming(NameCall::SyncAll, || {
            self.plain("syncfs", format_args!("syncfs"), || self.client.call(0, verb, 0).map(|_| ()))
        })
    }

    /// Opens a file with Redox's flags.
    pub fn open_with(&self, path: &str, flags: usize) -> CallResult<()> {
        let descriptor = self.plain("open", format_args!("open {path}"), || self.client.open(path, flags))?;
        self.log.file(path);
        let open = Open { descriptor, mapping: None, name: path.into() };
        self.files().insert(path.to_string(), open);
        Ok(())
    }

    /// Closes a file.
    pub fn close(&self, path: &str) {
        if let Some(open) = self.files().remove(path) {
            self.client.close(open.descriptor);
        }
    }

    /// Takes over an open file and its mapping from another thread of the same process.
    pub fn share(&self, of: &Actor, path: &str) {
        self.files().insert(path.to_string(), of.file(path));
    }

    /// Writes `len` bytes of its own.
    pub fn write(&self, path: &str, offset: u64, len: u64) -> CallResult<u64> {
        let (file, stamp) = (self.file(path), self.log.data());
        let call = Call::Write { offset, len, data: Data::of(stamp) };
        self.writes(path, call, |client| client.write(file.descriptor, offset, &stamp.data(len as usize)))
    }

    /// Writes `len` bytes of its own at the end.
    pub fn append(&self, path: &str, len: u64) -> CallResult<u64> {
        let (file, stamp) = (self.file(path), self.log.data());
        let call = Call::Append { len, data: Data::of(stamp) };
        self.writes(path, call, |client| client.append(file.descriptor, &stamp.data(len as usize)))
    }

    /// Writes `len` bytes that lie in its mapping of `from` at `at`, where `data` is.
    pub fn write_from(&self, path: &str, offset: u64, len: u64, from: (&str, u64), data: Data) -> CallResult<u64> {
        let file = self.file(path);
        let address = self.address(from.0, from.1);
        let call = Call::Write { offset, len, data };
        self.writes(path, call, |client| client.write_memory(file.descriptor, offset, address, len))
    }

    /// Reads.
    pub fn read(&self, path: &str, offset: u64, len: u64) -> CallResult<Vec<u8>> {
        let file = self.file(path);
        let read = || self.client.read(file.descriptor, offset, len as usize);
        self.recorded(path, "read", Call::Read { offset, len }, read, |bytes| Outcome::Bytes(bytes.clone()))
    }

    /// Cuts or extends.
    pub fn truncate(&self, path: &str, size: u64) -> CallResult<()> {
        let file = self.file(path);
        let call = Call::Truncate { size };
        self.recorded(path, "truncate", call, || self.client.truncate(file.descriptor, size), |()| Outcome::Done)
    }

    /// Everything is on the disk on return.
    pub fn fsync(&self, path: &str) -> CallResult<()> {
        let file = self.file(path);
        self.naming(NameCall::Sync(self.log.file(path)), || {
            self.recorded(path, "fsync", Call::Sync, || self.client.fsync(file.descriptor), |()| Outcome::Done)
        })
    }

    /// The size.
    pub fn size(&self, path: &str) -> CallResult<u64> {
        let file = self.file(path);
        self.recorded(path, "stat", Call::Size, || self.client.size(file.descriptor), |&size| Outcome::Count(size))
    }

    /// Where data begins, at or after `from`.
    pub fn seek_data(&self, path: &str, from: u64) -> CallResult<u64> {
        self.seek(path, FileVerb::SeekData, from, Call::SeekData { from })
    }

    /// Where a hole begins, at or after `from`.
    pub fn seek_hole(&self, path: &str, from: u64) -> CallResult<u64> {
        self.seek(path, FileVerb::SeekHole, from, Call::SeekHole { from })
    }

    fn seek(&self, path: &str, verb: FileVerb, from: u64, call: Call) -> CallResult<u64> {
        let file = self.file(path);
        let seek = || self.client.call(file.descriptor, [verb as u64, from, 0], 0).map(|(at, _)| at as u64);
        self.recorded(path, "seek", call, seek, |&at| Outcome::Count(at))
    }

    // --- mappings ----------------------------------------------------------------------------

    /// Maps the first pages of an open file, shared, for loads and stores.
    pub fn map(&self, path: &str, pages: u64) -> CallResult<()> {
        self.map_with(path, pages, Rights::READ_WRITE, Sharing::Shared)
    }

    /// Maps the first pages of an open file.
    pub fn map_with(&self, path: &str, pages: u64, rights: Rights, sharing: Sharing) -> CallResult<()> {
        let file = self.file(path);
        let map = || self.client.map(file.descriptor, 0, pages, rights, sharing);
        let mapping = self.plain("mmap", format_args!("mmap {path}"), map)?;
        self.files().entry(path.to_string()).and_modify(|open| open.mapping = Some(mapping));
        Ok(())
    }

    /// Ends the mapping of a file.
    pub fn unmap(&self, path: &str) {
        let mapping = self.files().get_mut(path).and_then(|open| open.mapping.take());
        if let Some(mapping) = mapping {
            let _ = self.plain("munmap", format_args!("munmap {path}"), || {
                self.client.unmap(mapping);
                Ok(())
            });
        }
    }

    /// The address of a byte of a file in its mapping.
    pub fn address(&self, path: &str, offset: u64) -> u64 {
        let mapping = self.file(path).mapping;
        let mapping = mapping.unwrap_or_else(|| panic!("client {} has not mapped {path}", self.number));
        mapping.address + offset
    }

    /// Loads 8 aligned bytes.
    pub fn load(&self, path: &str, offset: u64) -> CallResult<Vec<u8>> {
        let address = self.address(path, offset);
        let load = || self.client.load(address, 8);
        self.recorded(path, "load", Call::Load { offset, len: 8 }, load, |bytes| Outcome::Bytes(bytes.clone()))
    }

    /// Stores 8 aligned bytes of its own.
    pub fn store(&self, path: &str, offset: u64) -> CallResult<Stamp> {
        let address = self.address(path, offset);
        let stamp = self.log.data();
        let call = Call::Store { offset, len: 8, data: Data::of(stamp) };
        self.recorded(path, "store", call, || self.client.store(address, &stamp.data(8)), |()| Outcome::Done)?;
        Ok(stamp)
    }

    // --- records -----------------------------------------------------------------------------

    fn writes(&self, path: &str, call: Call, write: impl FnOnce(&Client) -> CallResult<usize>) -> CallResult<u64> {
        let write = || write(&self.client).map(|count| count as u64);
        self.recorded(path, "write", call, write, |&count| Outcome::Count(count))
    }

    /// Records a change of names, or a sync of them, where names are followed.
    fn naming<R>(&self, call: NameCall, body: impl FnOnce() -> CallResult<R>) -> CallResult<R> {
        let id = self.log.begin_name(call);
        let result = body();
        self.log.end_name(id, result.is_ok());
        result
    }

    fn recorded<R>(
        &self,
        path: &str,
        what: &'static str,
        call: Call,
        body: impl FnOnce() -> CallResult<R>,
        outcome: impl FnOnce(&R) -> Outcome,
    ) -> CallResult<R> {
        runtime::begin_operation(what, format_args!("{call} of {path}"));
        let id = self.log.begin(self.number, self.log.file(path), call);
        let result = body();
        let outcome = match &result {
            Ok(value) => outcome(value),
            Err(errno) => Outcome::Failed(*errno),
        };
        runtime::end_operation(format_args!("{}", Told(&outcome)));
        self.log.end(id, outcome);
        result
    }

    /// An operation that the oracle does not know.
    fn plain<R>(
        &self,
        what: &'static str,
        words: fmt::Arguments<'_>,
        body: impl FnOnce() -> CallResult<R>,
    ) -> CallResult<R> {
        runtime::begin_operation(what, words);
        let result = body();
        match &result {
            Ok(_) => runtime::end_operation(format_args!("ok")),
            Err(errno) => runtime::end_operation(format_args!("errno {errno}")),
        }
        result
    }
}

/// An outcome in a few words.
struct Told<'a>(&'a Outcome);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Outcome::Done => f.write_str("ok"),
            Outcome::Count(count) => write!(f, "{count}"),
            Outcome::Failed(errno) => write!(f, "errno {errno}"),
            Outcome::Bytes(bytes) => match bytes.first() {
                None => f.write_str("nothing"),
                Some(first) if bytes.iter().all(|byte| byte == first) => {
                    write!(f, "{} bytes, all {first:#04x}", bytes.len())
                }
                Some(first) => match Stamp::of_byte(*first) {
                    Some(stamp) => write!(f, "{} bytes, the first of operation {}", bytes.len(), stamp.number()),
                    None => write!(f, "{} bytes, the first {first:#04x}", bytes.len()),
                },
            },
        }
    }
}
