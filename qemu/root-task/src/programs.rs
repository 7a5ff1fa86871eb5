//! Runs programs of the archive one after another and keeps count.
//!
//! A program that knows what failed, or why it cannot run here, prints its own verdict line and
//! says so by its exit code; every other end is put into words here.

use alloc::{format, string::String};
use pager_abi::exit::ExitStatus;
use root_task::boot_archive::Archive;
use user_rt::{first_process, println, spawn, time};

/// Exit code of a program that has printed its `fail` line.
const REPORTED_FAILURE: u64 = 1;

/// Exit code of a program that has printed its `skip` line.
const REPORTED_SKIP: u64 = 77;

/// How many programs ended how.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    passed: u32,
    failed: u32,
}

impl Tally {
    /// The machine's exit code for it.
    pub fn code(self) -> u8 {
        u8::from(self.failed > 0)
    }
}

/// Runs `names` in turn, with a line before and after each, and one at the end.
pub fn run_all<'a>(archive: Archive, names: impl Iterator<Item = &'a str>) -> Tally {
    let mut tally = Tally::default();
    // The programs have the kernel's descriptors that this process has; only it knows this one.
    let right = format!("scheme-creation={:#x}", first_process::metadata().scheme_creation.0);
    for name in names {
        println!("##fl start {name}");
        let start = time::monotonic_ns();
        match run(archive, name, &[&right]) {
            Ok(ExitStatus::Exited { code: 0 }) => {
                println!("##fl pass {name} ns={}", time::monotonic_ns() - start);
                tally.passed += 1;
            }
            Ok(ExitStatus::Exited { code: REPORTED_SKIP }) => {}
            Ok(ExitStatus::Exited { code: REPORTED_FAILURE }) => tally.failed += 1,
            ended => {
                println!("##fl fail {name} {}", in_words(ended));
                tally.failed += 1;
            }
        }
    }
    println!("##fl done passed={} failed={}", tally.passed, tally.failed);
    tally
}

/// Runs the interactive shell until it is left.
pub fn run_shell(archive: Archive) -> Tally {
    match run(archive, "shell", &[]) {
        Ok(ExitStatus::Exited { code: 0 }) => Tally { passed: 1, failed: 0 },
        ended => {
            println!("root-task: the shell {}", in_words(ended));
            Tally { passed: 0, failed: 1 }
        }
    }
}

fn run(archive: Archive, name: &str, args: &[&str]) -> Result<ExitStatus, String> {
    let image = archive.find(&format!("bin/{name}")).ok_or("is not in the boot archive")?;
    let child = spawn::spawn(image, args).map_err(|error| format!("does not start: {error}"))?;
    child.wait().map_err(|error| format!("cannot be waited for: {error}"))
}

fn in_words(ended: Result<ExitStatus, String>) -> String {
    match ended {
        Ok(ExitStatus::Exited { code }) => format!("ended with code {code}"),
        Ok(ExitStatus::Killed) => "was killed (a panic in a thread other than its first, perhaps)".into(),
        Ok(ExitStatus::Fault { errno, address, access }) => {
            format!("faulted at {address:#x} (access {access}, errno {errno})")
        }
        Ok(ExitStatus::Exception { vector, address }) => format!("raised exception {vector} at {address:#x}"),
        Err(reason) => reason,
    }
}
