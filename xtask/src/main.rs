//! `cargo xtask`: everything one does with Faultline, from one program on the host.
//!
//! Owns: the commands, what they install and build, what they show. Does not own: how a guest is
//! run and judged (`qemu/runner`).
//!
//! | module | what |
//! |---|---|
//! | [`boot`] | our kernel, a disk, the test programs: one boot with all its checks |
//! | [`test`] | all of it, with one total |
//! | [`host_tests`] | its part on this machine |
//! | [`fixtures`] | test disks that Linux fills |
//! | [`contract`] | its comparison with the Redox kernel |
//! | [`power_cut`] | its check of what fsync promised |
//! | [`corruption`] | its corrupted disks |
//! | [`protocols`] | its boots of every variant, by mount option |
//! | [`bench`], [`budget`] | instructions per operation, beside Linux's and the design's budget |
//! | [`soak`] | until it fails |
//! | [`explore`] | builds the explorer and passes on to it |
//! | [`new_fs`] | a file system of one's own, begun as a copy of fs-mini |
//! | [`session`] | what every boot of ours has in common |
//! | [`linux_tests`] | the same test programs on Linux |
//! | [`interchange`] | Linux reads ours, we read Linux's |
//! | [`doctor`] | what is there, what is missing |
//! | [`tally`] | what many runs came to |
//! | [`prerequisites`] | programs and targets: found, listed, installed |
//! | [`compile`] | builds the guest's programs |
//! | [`workspace`] | where things are |
//! | [`progress`] | what a run shows while it goes on |

mod bench;
mod boot;
mod budget;
mod compile;
mod contract;
mod corruption;
mod doctor;
mod explore;
mod fixtures;
mod host_tests;
mod interchange;
mod linux_tests;
mod new_fs;
mod power_cut;
mod prerequisites;
mod progress;
mod protocols;
mod session;
mod soak;
mod tally;
mod test;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Builds, boots, tests and measures Faultline.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Boot the kernel in QEMU, mount a disk, run the test programs, check the disk.
    Boot(boot::Options),
    /// Run the test programs, built for Linux, on Linux's ext4 in a VM.
    LinuxTests(linux_tests::Options),
    /// Have Linux read what the guest wrote, and the guest read what Linux wrote.
    Interchange(interchange::Options),
    /// Run all tests: on this machine, on our kernel, on Linux, and disks between the two.
    Test(test::Options),
    /// Measure instructions per operation, beside Linux in the same QEMU and the design's budget.
    Bench(bench::Options),
    /// Make test disks: of every shape, unclean, corrupted.
    Fixtures(fixtures::Options),
    /// Boot the tests again and again until one fails.
    Soak(soak::Options),
    /// Run the server's code under every interleaving; `explore --help` has its own options.
    Explore(explore::Options),
    /// Begin a file system of your own: copy the template fs-mini, and enter it where file systems are listed.
    NewFs(new_fs::Options),
    /// Say what is installed, what is missing, and what that disables.
    Doctor,
}

/// How a command that ran to its end went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All that was asked for is so.
    Good,
    /// Something is not, and has been said.
    Bad,
    /// Something is missing on this machine, and has been listed.
    Missing,
}

impl Verdict {
    /// Good only if both are.
    pub fn and(self, other: Self) -> Self {
        if self == Self::Good { other } else { self }
    }
}

fn main() -> ExitCode {
    let verdict = match Arguments::parse().command {
        Command::Boot(options) => boot::run(&options),
        Command::LinuxTests(options) => linux_tests::run(&options),
        Command::Interchange(options) => interchange::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Soak(options) => soak::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Fixtures(options) => fixtures::run(&options),
        Command::Explore(options) => explore::run(&options),
        Command::NewFs(options) => new_fs::run(&options),
        Command::Doctor => doctor::run(),
    };
    match verdict {
        Ok(Verdict::Good) => ExitCode::SUCCESS,
        Ok(Verdict::Bad) => ExitCode::from(1),
        Ok(Verdict::Missing) => ExitCode::from(2),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(1)
        }
    }
}
