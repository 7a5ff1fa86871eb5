//! The implementation on Linux, by libc.
//!
//! This file has files, clocks and output; [`memory`] has mappings, [`process`] processes and threads.

mod memory;
mod process;

pub(super) use memory::RawMapping;
pub use process::{Child, Receiver, Sender, Thread, channel, fork, spawn_thread};

use super::{Entry, Kind, Mapping, Open, Room, Stat, System, Whence};
use crate::errno::Errno;
use std::{
    ffi::CString,
    fmt,
    io::{Read, Write},
    mem::MaybeUninit,
};

/// Where we are.
pub const SYSTEM: System = System::Linux;

type Result<T> = std::result::Result<T, Errno>;

fn last_error() -> Errno {
    Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

/// libc's way to say error.
fn result<T: PartialEq + From<i8>>(value: T) -> Result<T> {
    if value == T::from(-1) { Err(last_error()) } else { Ok(value) }
}

fn c_path(path: &str) -> Result<CString> {
    // The empty path is the root directory on our kernel.
    CString::new(if path.is_empty() { "." } else { path }).map_err(|_| Errno::EINVAL)
}

/// An open file.
pub struct File(libc::c_int);

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours.
        unsafe { libc::close(self.0) };
    }
}

impl File {
    /// Opens `path`; `mode` is for a file that is made.
    pub fn open(path: &str, how: Open, mode: u16) -> Result<Self> {
        let access = match (how.contains(Open::READ), how.contains(Open::WRITE)) {
            (true, false) => libc::O_RDONLY,
            (false, true) => libc::O_WRONLY,
            (true, true) => libc::O_RDWR,
            (false, false) => libc::O_PATH,
        };
        let flags = [
            (Open::CREATE, libc::O_CREAT),
            (Open::EXCLUSIVE, libc::O_EXCL),
            (Open::TRUNCATE, libc::O_TRUNC),
            (Open::APPEND, libc::O_APPEND),
            (Open::DIRECTORY, libc::O_DIRECTORY),
            (Open::NO_FOLLOW, libc::O_NOFOLLOW),
        ];
        let flags = flags.iter().filter(|(flag, _)| how.contains(*flag)).fold(access, |all, (_, flag)| all | flag);
        // SAFETY: the path is a C string.
        let fd = unsafe { libc::open(c_path(path)?.as_ptr(), flags | libc::O_CLOEXEC, libc::c_uint::from(mode)) };
        result(fd).map(Self)
    }

    /// Reads at `offset`.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        // SAFETY: the buffer is ours to be written.
        let count = unsafe { libc::pread(self.0, buf.as_mut_ptr().cast(), buf.len(), offset as i64) };
        result(count).map(|count| count as usize)
    }

    /// Writes at `offset`.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<usize> {
        // SAFETY: the bytes are only read.
        let count = unsafe { libc::pwrite(self.0, bytes.as_ptr().cast(), bytes.len(), offset as i64) };
        result(count).map(|count| count as usize)
    }

    /// Reads at the position.
    pub fn read(&self, buf: &mut [u8]) -> Result<usize> {
        // SAFETY: the buffer is ours to be written.
        let count = unsafe { libc::read(self.0, buf.as_mut_ptr().cast(), buf.len()) };
        result(count).map(|count| count as usize)
    }

    /// Writes at the position.
    pub fn write(&self, bytes: &[u8]) -> Result<usize> {
        // SAFETY: the bytes are only read.
        let count = unsafe { libc::write(self.0, bytes.as_ptr().cast(), bytes.len()) };
        result(count).map(|count| count as usize)
    }

    /// Reads at `offset` into `len` bytes of a mapping.
    pub fn read_mapped(&self, mapping: &Mapping, at: usize, len: usize, offset: u64) -> Result<usize> {
        // SAFETY: mapped memory is no Rust object.
        let count = unsafe { libc::pread(self.0, mapping.at(at, len).cast(), len, offset as i64) };
        result(count).map(|count| count as usize)
    }

    /// Writes `len` bytes of a mapping at `offset`.
    pub fn write_mapped(&self, mapping: &Mapping, at: usize, len: usize, offset: u64) -> Result<usize> {
        // SAFETY: the memory is only read.
        let count = unsafe { libc::pwrite(self.0, mapping.at(at, len).cast(), len, offset as i64) };
        result(count).map(|count| count as usize)
    }

    /// Moves the position.
    pub fn seek(&self, offset: i64, whence: Whence) -> Result<u64> {
        let whence = match whence {
            Whence::Start => libc::SEEK_SET,
            Whence::Current => libc::SEEK_CUR,
            Whence::End => libc::SEEK_END,
        };
        self.seek_by(offset, whence)
    }

    /// The first hole at or after `offset`.
    pub fn seek_hole(&self, offset: u64) -> Result<u64> {
        self.seek_by(offset as i64, libc::SEEK_HOLE)
    }

    /// The first data at or after `offset`.
    pub fn seek_data(&self, offset: u64) -> Result<u64> {
        self.seek_by(offset as i64, libc::SEEK_DATA)
    }

    fn seek_by(&self, offset: i64, whence: libc::c_int) -> Result<u64> {
        // SAFETY: no memory is touched.
        result(unsafe { libc::lseek(self.0, offset, whence) }).map(|position| position as u64)
    }

    /// What the inode is.
    pub fn stat(&self) -> Result<Stat> {
        let mut stat = MaybeUninit::uninit();
        // SAFETY: the structure has room for what is written.
        result(unsafe { libc::fstat(self.0, stat.as_mut_ptr()) })?;
        // SAFETY: the call has filled it.
        Ok(stat_of(unsafe { stat.assume_init() }))
    }

    /// Sets the size.
    pub fn truncate(&self, size: u64) -> Result<()> {
        // SAFETY: no memory is touched.
        result(unsafe { libc::ftruncate(self.0, size as i64) }).map(|_| ())
    }

    /// Sets the permission bits.
    pub fn set_mode(&self, mode: u16) -> Result<()> {
        // SAFETY: no memory is touched.
        result(unsafe { libc::fchmod(self.0, u32::from(mode)) }).map(|_| ())
    }

    /// fsync.
    pub fn sync(&self) -> Result<()> {
        // SAFETY: no memory is touched.
        result(unsafe { libc::fsync(self.0) }).map(|_| ())
    }

    /// fdatasync.
    pub fn data_sync(&self) -> Result<()> {
        // SAFETY: no memory is touched.
        result(unsafe { libc::fdatasync(self.0) }).map(|_| ())
    }

    /// All names of this directory.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        self.entries_from(0, usize::MAX)
    }

    /// At most `count` names, from the place that an entry's `next` named (0: the start).
    pub fn entries_from(&self, position: u64, count: usize) -> Result<Vec<Entry>> {
        self.seek_by(position as i64, libc::SEEK_SET)?;
        let mut entries = Vec::new();
        let mut bytes = vec![0u8; 4096];
        loop {
            // SAFETY: the buffer is ours to be written.
            let got = unsafe { libc::syscall(libc::SYS_getdents64, self.0, bytes.as_mut_ptr(), bytes.len()) };
            let got = result(got)? as usize;
            if got == 0 {
                return Ok(entries);
            }
            let mut rest = &bytes[..got];
            while !rest.is_empty() {
                // linux_dirent64: inode, next, length (u16), type (u8), name
                let word = |at: usize| u64::from_ne_bytes(rest[at..at + 8].try_into().expect("8 bytes"));
                let length = usize::from(u16::from_ne_bytes([rest[16], rest[17]]));
                let name = rest[19..length].split(|&byte| byte == 0).next().unwrap_or(&[]);
                let kind = match rest[18] {
                    libc::DT_DIR => Some(Kind::Directory),
                    libc::DT_REG => Some(Kind::File),
                    libc::DT_LNK => Some(Kind::Symlink),
                    libc::DT_UNKNOWN => None,
                    _ => Some(Kind::Other),
                };
                let name = String::from_utf8_lossy(name).into_owned();
                entries.push(Entry { name, inode: word(0), kind, next: word(8) });
                if entries.len() == count {
                    return Ok(entries);
                }
                rest = &rest[length..];
            }
        }
    }
}

fn stat_of(stat: libc::stat) -> Stat {
    Stat {
        inode: stat.st_ino,
        kind: match stat.st_mode & libc::S_IFMT {
            libc::S_IFREG => Kind::File,
            libc::S_IFDIR => Kind::Directory,
            libc::S_IFLNK => Kind::Symlink,
            _ => Kind::Other,
        },
        mode: (stat.st_mode & 0o7777) as u16,
        links: stat.st_nlink as u32,
        size: stat.st_size as u64,
        blocks: stat.st_blocks as u64,
        modified_ns: stat.st_mtime as u64 * 1_000_000_000 + stat.st_mtime_nsec as u64,
    }
}

/// What is at `path`; a symbolic link itself.
pub fn stat(path: &str) -> Result<Stat> {
    let mut stat = MaybeUninit::uninit();
    // SAFETY: the path is a C string, the structure has room for what is written.
    result(unsafe { libc::lstat(c_path(path)?.as_ptr(), stat.as_mut_ptr()) })?;
    // SAFETY: the call has filled it.
    Ok(stat_of(unsafe { stat.assume_init() }))
}

/// mkdir.
pub fn make_directory(path: &str, mode: u16) -> Result<()> {
    // SAFETY: the path is a C string; so in the calls below.
    result(unsafe { libc::mkdir(c_path(path)?.as_ptr(), u32::from(mode)) }).map(|_| ())
}

/// symlink.
pub fn make_symlink(path: &str, target: &str) -> Result<()> {
    let target = CString::new(target).map_err(|_| Errno::EINVAL)?;
    // SAFETY: two C strings.
    result(unsafe { libc::symlink(target.as_ptr(), c_path(path)?.as_ptr()) }).map(|_| ())
}

/// readlink.
pub fn read_symlink(path: &str) -> Result<String> {
    let mut text = vec![0u8; 4096];
    // SAFETY: the buffer is ours to be written.
    let count = unsafe { libc::readlink(c_path(path)?.as_ptr(), text.as_mut_ptr().cast(), text.len()) };
    text.truncate(result(count)? as usize);
    String::from_utf8(text).map_err(|_| Errno::EILSEQ)
}

/// unlink.
pub fn unlink(path: &str) -> Result<()> {
    // SAFETY: a C string.
    result(unsafe { libc::unlink(c_path(path)?.as_ptr()) }).map(|_| ())
}

/// rmdir.
pub fn remove_directory(path: &str) -> Result<()> {
    // SAFETY: a C string.
    result(unsafe { libc::rmdir(c_path(path)?.as_ptr()) }).map(|_| ())
}

/// rename.
pub fn rename(from: &str, to: &str) -> Result<()> {
    // SAFETY: two C strings.
    result(unsafe { libc::rename(c_path(from)?.as_ptr(), c_path(to)?.as_ptr()) }).map(|_| ())
}

/// link.
pub fn link(from: &str, to: &str) -> Result<()> {
    // SAFETY: two C strings.
    result(unsafe { libc::link(c_path(from)?.as_ptr(), c_path(to)?.as_ptr()) }).map(|_| ())
}

/// statvfs.
pub fn room() -> Result<Room> {
    let mut stat = MaybeUninit::uninit();
    // SAFETY: a C string, and room for what is written.
    result(unsafe { libc::statvfs(c".".as_ptr(), stat.as_mut_ptr()) })?;
    // SAFETY: the call has filled it.
    let stat = unsafe { stat.assume_init() };
    Ok(Room { block_size: stat.f_frsize, blocks: stat.f_blocks, free: stat.f_bfree })
}

/// syncfs.
pub fn sync_all() -> Result<()> {
    let here = File::open("", Open::READ | Open::DIRECTORY, 0)?;
    // SAFETY: no memory is touched.
    result(unsafe { libc::syncfs(here.0) }).map(|_| ())
}

/// The value of the argument `key=value`.
pub fn argument(key: &str) -> Option<String> {
    std::env::args().find_map(|argument| argument.strip_prefix(key)?.strip_prefix('=').map(String::from))
}

/// Linux has none of our server's counters.
pub fn counter(_name: &str) -> Option<u64> {
    None
}

/// Linux has none of our server's counters.
pub fn counters_text() -> Result<String> {
    Err(Errno::EOPNOTSUPP)
}

/// There is no server.
pub fn server_waits() -> Result<String> {
    Err(Errno::EOPNOTSUPP)
}

/// Linux does not say.
pub fn kernel_waits() -> Result<String> {
    Err(Errno::EOPNOTSUPP)
}

/// The next byte of the keyboard; `None` if there is none any more.
pub fn read_key() -> Option<u8> {
    let mut key = [0];
    std::io::stdin().read_exact(&mut key).ok().map(|()| key[0])
}

/// Drops clean pages; only root may, and for others it is not needed.
pub fn drop_caches() -> Result<()> {
    let _ = std::fs::write("/proc/sys/vm/drop_caches", "1");
    Ok(())
}

/// Lets others run.
pub fn yield_now() {
    std::thread::yield_now();
}

/// Instructions from reset to the first program: Linux does not tell.
pub fn instructions_to_first_program() -> Option<u64> {
    None
}

/// Nanoseconds of a clock that never goes back.
pub fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is ours to be written.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The time-stamp counter; instructions under QEMU's `-icount shift=0`.
pub fn instructions() -> u64 {
    // SAFETY: RDTSC touches no memory.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Ends the machine as it stands: here, that is the caller's part.
pub fn cut_power() -> ! {
    std::process::exit(0)
}

/// Bytes of a page.
pub fn page_size() -> usize {
    4096
}

/// Output as it is.
pub fn print_text(text: fmt::Arguments) {
    let mut out = std::io::stdout().lock();
    // Nobody is left to tell if it fails.
    let _ = out.write_all(text.to_string().as_bytes()).and_then(|()| out.flush());
}

/// A line of output.
pub fn print_line(line: fmt::Arguments) {
    let mut text = line.to_string();
    text.push('\n');
    // One write, as on our kernel; nobody is left to tell if it fails.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}
