//! The implementation on our kernel and file server, by `user-rt`.

use super::{Ended, Entry, Kind, Mapping, Open, Protection, Room, Sharing, Stat, System, Whence};
use crate::errno::Errno;
use alloc::{collections::VecDeque, string::String, sync::Arc, vec::Vec};
use core::fmt;
use pager_abi::{exit::ExitStatus, server_verb::ServerVerb};
use user_rt::{
    Error,
    descriptor::{Descriptor, ROOT, STDIN},
    directory, file, kernel_scheme, memory, process,
    sync::{Condvar, Mutex},
    syscall, thread, time,
};

/// Where we are.
pub const SYSTEM: System = System::Faultline;

impl From<Error> for Errno {
    fn from(error: Error) -> Self {
        Self(error.errno)
    }
}

type Result<T> = core::result::Result<T, Errno>;

/// An open file.
pub struct File(Descriptor);

impl File {
    /// Opens `path`; `mode` is for a file that is made.
    pub fn open(path: &str, how: Open, mode: u16) -> Result<Self> {
        let access = match (how.contains(Open::READ), how.contains(Open::WRITE)) {
            (true, false) => syscall::O_RDONLY,
            (false, true) => syscall::O_WRONLY,
            (true, true) => syscall::O_RDWR,
            (false, false) => syscall::O_STAT,
        };
        let flags = [
            (Open::CREATE, syscall::O_CREAT),
            (Open::EXCLUSIVE, syscall::O_EXCL),
            (Open::TRUNCATE, syscall::O_TRUNC),
            (Open::APPEND, syscall::O_APPEND),
            (Open::DIRECTORY, syscall::O_DIRECTORY),
            (Open::NO_FOLLOW, syscall::O_NOFOLLOW),
        ];
        let flags = flags.iter().filter(|(flag, _)| how.contains(*flag)).fold(access, |all, (_, flag)| all | flag);
        Ok(Self(ROOT.open(path, flags | usize::from(mode))?))
    }

    /// Reads at `offset`.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        Ok(self.0.fd().read_at(buf, offset)?)
    }

    /// Writes at `offset`.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<usize> {
        Ok(self.0.fd().write_at(bytes, offset)?)
    }

    /// Reads at the position.
    pub fn read(&self, buf: &mut [u8]) -> Result<usize> {
        Ok(self.0.fd().read(buf)?)
    }

    /// Writes at the position.
    pub fn write(&self, bytes: &[u8]) -> Result<usize> {
        Ok(self.0.fd().write(bytes)?)
    }

    /// Reads at `offset` into `len` bytes of a mapping.
    pub fn read_mapped(&self, mapping: &Mapping, at: usize, len: usize, offset: u64) -> Result<usize> {
        // SAFETY: mapped memory is no Rust object.
        Ok(unsafe { self.0.fd().read_at_raw(mapping.at(at, len), len, offset)? })
    }

    /// Writes `len` bytes of a mapping at `offset`.
    pub fn write_mapped(&self, mapping: &Mapping, at: usize, len: usize, offset: u64) -> Result<usize> {
        // SAFETY: the memory is only read.
        Ok(unsafe { self.0.fd().write_at_raw(mapping.at(at, len), len, offset)? })
    }

    /// Moves the position.
    pub fn seek(&self, offset: i64, whence: Whence) -> Result<u64> {
        let whence = match whence {
            Whence::Start => file::Whence::Start,
            Whence::Current => file::Whence::Current,
            Whence::End => file::Whence::End,
        };
        Ok(self.0.fd().seek(offset, whence)?)
    }

    /// The first hole at or after `offset`.
    pub fn seek_hole(&self, offset: u64) -> Result<u64> {
        Ok(self.0.fd().seek_hole(offset)?)
    }

    /// The first data at or after `offset`.
    pub fn seek_data(&self, offset: u64) -> Result<u64> {
        Ok(self.0.fd().seek_data(offset)?)
    }

    /// What the inode is.
    pub fn stat(&self) -> Result<Stat> {
        Ok(stat_of(self.0.fd().stat()?))
    }

    /// Sets the size.
    pub fn truncate(&self, size: u64) -> Result<()> {
        Ok(self.0.fd().truncate(size)?)
    }

    /// Sets the permission bits.
    pub fn set_mode(&self, mode: u16) -> Result<()> {
        Ok(self.0.fd().chmod(mode)?)
    }

    /// fsync.
    pub fn sync(&self) -> Result<()> {
        Ok(self.0.fd().sync()?)
    }

    /// fdatasync.
    pub fn data_sync(&self) -> Result<()> {
        Ok(self.0.fd().data_sync()?)
    }

    /// All names of this directory.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        self.entries_from(0, usize::MAX)
    }

    /// At most `count` names, from the place that an entry's `next` named (0: the start).
    pub fn entries_from(&self, position: u64, count: usize) -> Result<Vec<Entry>> {
        let entry = |entry: directory::Entry| Entry {
            kind: match entry.kind {
                4 => Some(Kind::Directory),
                8 => Some(Kind::File),
                10 => Some(Kind::Symlink),
                0 => None,
                _ => Some(Kind::Other),
            },
            name: entry.name,
            inode: entry.inode,
            next: entry.next,
        };
        let entries = directory::entries_from(self.0.fd(), position);
        Ok(entries.take(count).map(|result| result.map(entry)).collect::<user_rt::Result<_>>()?)
    }
}

fn stat_of(stat: syscall::Stat) -> Stat {
    Stat {
        inode: stat.st_ino,
        kind: match stat.st_mode & syscall::MODE_TYPE {
            syscall::MODE_FILE => Kind::File,
            syscall::MODE_DIR => Kind::Directory,
            syscall::MODE_SYMLINK => Kind::Symlink,
            _ => Kind::Other,
        },
        mode: stat.st_mode & syscall::MODE_PERM,
        links: stat.st_nlink,
        size: stat.st_size,
        blocks: stat.st_blocks,
        modified_ns: stat.st_mtime * 1_000_000_000 + u64::from(stat.st_mtime_nsec),
    }
}

/// What is at `path`; a symbolic link itself.
pub fn stat(path: &str) -> Result<Stat> {
    Ok(stat_of(ROOT.stat_at(path)?))
}

/// mkdir.
pub fn make_directory(path: &str, mode: u16) -> Result<()> {
    Ok(ROOT.make_directory(path, mode)?)
}

/// symlink.
pub fn make_symlink(path: &str, target: &str) -> Result<()> {
    Ok(ROOT.make_symlink(path, target)?)
}

/// readlink.
pub fn read_symlink(path: &str) -> Result<String> {
    Ok(ROOT.read_symlink(path)?)
}

/// unlink.
pub fn unlink(path: &str) -> Result<()> {
    Ok(ROOT.unlink(path)?)
}

/// rmdir.
pub fn remove_directory(path: &str) -> Result<()> {
    Ok(ROOT.remove_directory(path)?)
}

/// rename.
pub fn rename(from: &str, to: &str) -> Result<()> {
    Ok(ROOT.rename(from, to)?)
}

/// link.
pub fn link(from: &str, to: &str) -> Result<()> {
    Ok(ROOT.link(from, to)?)
}

/// statvfs.
pub fn room() -> Result<Room> {
    let stat = ROOT.stat_vfs()?;
    Ok(Room { block_size: u64::from(stat.f_bsize), blocks: stat.f_blocks, free: stat.f_bfree })
}

/// syncfs.
pub fn sync_all() -> Result<()> {
    Ok(ROOT.syncfs()?)
}

/// The value of the argument `key=value`.
pub fn argument(key: &str) -> Option<String> {
    user_rt::args::value(key).map(String::from)
}

/// One of the server's counters.
pub fn counter(name: &str) -> Option<u64> {
    let text = ROOT.server_text(ServerVerb::Counters).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// All of the server's counters, one a line.
pub fn counters_text() -> Result<String> {
    Ok(ROOT.server_text(ServerVerb::Counters)?)
}

/// Who waits for whom in the server.
pub fn server_waits() -> Result<String> {
    Ok(ROOT.server_text(ServerVerb::Waits)?)
}

/// What the kernel's contexts do, and what they wait for.
pub fn kernel_waits() -> Result<String> {
    Ok(kernel_scheme::text("context")?)
}

/// The next byte of the keyboard; `None` if there is none any more.
pub fn read_key() -> Option<u8> {
    let mut key = [0];
    STDIN.read(&mut key).ok().filter(|&count| count == 1).map(|_| key[0])
}

/// A queue from one thread to another.
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let queue = Arc::new(Queue { items: Mutex::new(VecDeque::new()), filled: Condvar::new() });
    (Sender(queue.clone()), Receiver(queue))
}

struct Queue<T> {
    items: Mutex<VecDeque<T>>,
    filled: Condvar,
}

/// The end that puts in.
pub struct Sender<T>(Arc<Queue<T>>);

/// The end that takes out.
pub struct Receiver<T>(Arc<Queue<T>>);

impl<T> Sender<T> {
    /// Puts `item` in.
    pub fn send(&self, item: T) {
        self.0.items.lock().push_back(item);
        self.0.filled.notify_one();
    }
}

impl<T> Receiver<T> {
    /// Takes the next item out, waiting for it.
    pub fn receive(&self) -> T {
        let mut items = self.0.items.lock();
        loop {
            match items.pop_front() {
                Some(item) => return item,
                None => self.0.filled.wait(&mut items),
            }
        }
    }
}

/// Has the server drop every clean folio.
pub fn drop_caches() -> Result<()> {
    ROOT.server_do(ServerVerb::DropCaches)?;
    Ok(())
}

pub(super) struct RawMapping {
    inner: memory::Mapping,
    file_offset: u64,
}

impl RawMapping {
    pub(super) fn of_file(
        file: &File,
        offset: u64,
        len: usize,
        protection: Protection,
        sharing: Sharing,
    ) -> Result<Self> {
        let sharing = match sharing {
            Sharing::Shared => memory::Sharing::Shared,
            Sharing::Private => memory::Sharing::Private,
        };
        let inner = memory::Mapping::new(file.0.fd(), offset, len, rights(protection), sharing)?;
        Ok(Self { inner, file_offset: offset })
    }

    pub(super) fn shared_memory(len: usize) -> Result<Self> {
        Ok(Self { inner: memory::Mapping::anonymous(len, memory::Sharing::Shared)?, file_offset: 0 })
    }

    pub(super) fn base(&self) -> *mut u8 {
        self.inner.at(0, 0)
    }

    pub(super) fn protect(&self, address: *mut u8, len: usize, protection: Protection) -> Result<()> {
        Ok(self.inner.protect(address as usize - self.base() as usize, len, rights(protection))?)
    }

    pub(super) fn sync(&self, file: &File, offset: usize, _address: *mut u8, len: usize) -> Result<()> {
        Ok(file.0.fd().msync(self.file_offset + offset as u64, len as u64)?)
    }
}

fn rights(protection: Protection) -> memory::Protection {
    match protection {
        Protection::None => memory::Protection::None,
        Protection::Read => memory::Protection::Read,
        Protection::ReadWrite => memory::Protection::ReadWrite,
    }
}

/// A forked process.
pub struct Child(process::Child);

/// Runs `f` in a process of its own; its value is the exit code.
pub fn fork(f: impl FnOnce() -> i32) -> Result<Child> {
    Ok(Child(process::fork(f)?))
}

impl Child {
    /// Waits for its end.
    pub fn wait(&self) -> Result<Ended> {
        Ok(match self.0.wait()? {
            ExitStatus::Exited { code } => Ended::Exited(code as i32),
            ExitStatus::Killed => Ended::Killed,
            ExitStatus::Fault { errno, .. } => Ended::Fault { errno: Some(errno) },
            ExitStatus::Exception { .. } => Ended::Other,
        })
    }

    /// Ends it.
    pub fn kill(&self) -> Result<()> {
        Ok(self.0.kill()?)
    }
}

/// A thread that can be waited for.
pub struct Thread<T>(thread::JoinHandle<T>);

/// Runs `f` on a thread of its own.
pub fn spawn_thread<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Result<Thread<T>> {
    Ok(Thread(thread::spawn(f)?))
}

impl<T> Thread<T> {
    /// Lets it run on alone.
    pub fn detach(self) {
        self.0.detach();
    }

    /// Waits for its result; an error if it ended without one.
    pub fn join(self) -> Result<T> {
        self.0.join().map_err(|_| Errno::EFAULT)
    }
}

/// Lets others run.
pub fn yield_now() {
    time::yield_now();
}

/// Nanoseconds of a clock that never goes back.
pub fn monotonic_ns() -> u64 {
    time::monotonic_ns()
}

/// The time-stamp counter; instructions under QEMU's `-icount shift=0`.
pub fn instructions() -> u64 {
    time::instructions()
}

/// Instructions from the machine's reset to the first program, where [`instructions`] counts them.
pub fn instructions_to_first_program() -> Option<u64> {
    let text = user_rt::kernel_scheme::text("cpu").ok()?;
    text.lines().find_map(|line| line.strip_prefix("first_program_tsc "))?.parse().ok()
}

/// Ends the machine as it stands.
pub fn cut_power() -> ! {
    user_rt::power::off(0)
}

/// Bytes of a page.
pub fn page_size() -> usize {
    pager_abi::PAGE_SIZE as usize
}

/// Output as it is.
pub fn print_text(text: fmt::Arguments) {
    user_rt::console::print(text);
}

/// A line of output.
pub fn print_line(line: fmt::Arguments) {
    user_rt::console::print_line(line);
}
