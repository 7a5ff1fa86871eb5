//! A test program's frame: its verdict, its checks, its own directory.
//!
//! The exit codes are root-task's: 0 passed, 1 failed and said why, 77 skipped and said why.

use crate::{
    errno::Errno,
    model::write_all,
    sys::{self, Ended, File, Kind, Open},
};
use alloc::{format, string::String};
use core::{fmt, panic::Location};
use sha2::{Digest, Sha256};

const FAILED: i32 = 1;
const SKIPPED: i32 = 77;

/// What a test comes to.
pub type Outcome = Result<(), Failure>;

/// Why a test did not pass.
#[derive(Debug)]
pub enum Failure {
    /// A check did not hold, or a call failed that should not.
    Failed(String),
    /// It has no meaning here.
    Skipped(String),
}

impl From<Errno> for Failure {
    #[track_caller]
    fn from(errno: Errno) -> Self {
        let place = Location::caller();
        Self::Failed(format!("{errno} at {}:{}", place.file(), place.line()))
    }
}

impl From<String> for Failure {
    fn from(what: String) -> Self {
        Self::Failed(what)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (Self::Failed(why) | Self::Skipped(why)) = self;
        f.write_str(why)
    }
}

/// Ends the test without a verdict on what it tests.
pub fn skip(why: &str) -> Outcome {
    Err(Failure::Skipped(why.into()))
}

/// Makes `$run` (a `fn() -> Outcome`) the program.
#[macro_export]
macro_rules! test {
    ($run:path) => {
        $crate::program!(__test);

        fn __test() -> i32 {
            $crate::harness::run(env!("CARGO_BIN_NAME"), $run)
        }
    };
}

/// As [`test!`], for a test of our kernel's paging protocol, which Linux does not have: `$run` is in a
/// module that is there on our kernel only.
#[macro_export]
macro_rules! pager_test {
    ($run:path) => {
        #[cfg(target_os = "none")]
        $crate::test!($run);

        #[cfg(not(target_os = "none"))]
        $crate::test!(__not_here);

        #[cfg(not(target_os = "none"))]
        fn __not_here() -> $crate::harness::Outcome {
            $crate::harness::skip("Linux has no paging protocol")
        }
    };
}

/// Makes `$main` (a `fn() -> i32`) the program on both systems.
#[macro_export]
macro_rules! program {
    ($main:path) => {
        #[cfg(target_os = "none")]
        $crate::user_rt::entry!($main);

        #[cfg(not(target_os = "none"))]
        fn main() {
            ::std::process::exit($main())
        }
    };
}

/// Runs a test and reports; the exit code.
pub fn run(name: &str, test: fn() -> Outcome) -> i32 {
    match test() {
        Ok(()) => 0,
        Err(Failure::Failed(why)) => {
            sys::print_line(format_args!("##fl fail {name} {}", why.replace('\n', "; ")));
            FAILED
        }
        Err(Failure::Skipped(why)) => {
            sys::print_line(format_args!("##fl skip {name} {why}"));
            SKIPPED
        }
    }
}

/// Says what has just been checked.
#[macro_export]
macro_rules! note {
    ($($arg:tt)*) => { $crate::sys::print_line(format_args!("  {}", format_args!($($arg)*))) };
}

/// Fails the test unless `$holds`.
#[macro_export]
macro_rules! check {
    ($holds:expr, $($arg:tt)*) => {
        if !$holds {
            return Err($crate::harness::Failure::Failed(
                ::alloc::format!("{} ({}:{})", format_args!($($arg)*), file!(), line!())));
        }
    };
}

/// Fails the test unless both sides are equal.
#[macro_export]
macro_rules! check_eq {
    ($left:expr, $right:expr, $($arg:tt)*) => {
        match (&$left, &$right) {
            (left, right) => $crate::check!(
                left == right, "{}: {:?}, not {:?}", format_args!($($arg)*), left, right),
        }
    };
}

/// Runs `f` in a process of its own; what it comes to there is its exit code.
pub fn in_child(f: impl FnOnce() -> Outcome) -> Result<sys::Child, Errno> {
    sys::fork(|| match f() {
        Ok(()) => 0,
        Err(failure) => {
            sys::print_line(format_args!("  child: {failure}"));
            FAILED
        }
    })
}

impl sys::Child {
    /// Waits for its end and wants it to be a good one.
    #[track_caller]
    pub fn join(self) -> Outcome {
        let place = Location::caller();
        match self.wait()? {
            Ended::Exited(0) => Ok(()),
            ended => Err(Failure::Failed(format!("the child at {}:{} ended: {ended:?}", place.file(), place.line()))),
        }
    }
}

/// The test's own directory, empty at first. It stays on the disk, for whoever checks that.
pub struct Scratch(String);

impl Scratch {
    /// Makes the directory `NAME.d`, without what an earlier run left there.
    pub fn new(name: &str) -> Result<Self, Failure> {
        let path = format!("{name}.d");
        match remove_tree(&path) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(Failure::Failed(format!("cannot clean {path}: {errno}"))),
        }
        sys::make_directory(&path, 0o755)?;
        Ok(Self(path))
    }

    /// The path of `name` in it.
    pub fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.0)
    }

    /// Creates the file `name` in it, for reading and writing.
    pub fn create(&self, name: &str) -> Result<File, Errno> {
        File::open(&self.path(name), Open::READ | Open::WRITE | Open::CREATE | Open::TRUNCATE, 0o644)
    }

    /// Opens the file `name` in it, for reading and writing.
    pub fn open(&self, name: &str) -> Result<File, Errno> {
        File::open(&self.path(name), Open::READ | Open::WRITE, 0)
    }
}

/// Removes what is at `path`, and all that is in it.
pub fn remove_tree(path: &str) -> Result<(), Errno> {
    if sys::stat(path)?.kind != Kind::Directory {
        return sys::unlink(path);
    }
    let directory = File::open(path, Open::READ | Open::DIRECTORY, 0)?;
    for entry in directory.entries()? {
        if entry.name != "." && entry.name != ".." {
            remove_tree(&format!("{path}/{}", entry.name))?;
        }
    }
    sys::remove_directory(path)
}

/// A list of files with the SHA-256 of what must be in them: left on the disk as
/// `verify/NAME.sha256`, in sha256sum's format, for whoever reads the disk after the run.
#[derive(Default)]
pub struct Verify(String);

impl Verify {
    /// Adds a file that must hold `bytes` in the end.
    pub fn add(&mut self, path: &str, bytes: &[u8]) -> &mut Self {
        for byte in Sha256::digest(bytes) {
            self.0 += &format!("{byte:02x}");
        }
        self.0 += &format!("  {path}\n");
        self
    }

    /// Leaves the list on the disk.
    pub fn publish(&self, name: &str) -> Outcome {
        match sys::make_directory("verify", 0o755) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        let how = Open::WRITE | Open::CREATE | Open::TRUNCATE;
        let list = File::open(&format!("verify/{name}.sha256"), how, 0o644)?;
        Ok(write_all(&list, self.0.as_bytes(), 0)?)
    }
}
