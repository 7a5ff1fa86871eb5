//! `cargo xtask test --only protocols`: every variant of every protocol, chosen by mount option, in the guest.
//!
//! One boot a variant, on a small disk, with the programs that drive it. Variants are taken from the enums
//! themselves, so that a new one is booted without a word here. Those with known defects may show them, and
//! nothing else: Linux's BUG is an error of a write, a deadlock is told by who waits for whom.

use crate::compile::Guest;
use crate::progress::Chatter;
use crate::session::{self, BootDisk, FileSystem, Report, Session};
use crate::tally::Tally;
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use fs_bcachefs::WriteProtocol;
use fs_ext4inline::InlineProtocol;
use runner::ext4_image::{Geometry, Image};
use runner::qemu::Writes;
use runner::test_run::{End, Verdict};
use std::fs;
use std::time::Duration;
use vfs_server::config::{CopyProtocol, WorkerPool};
use vfs_server::mount_option::Choice;

/// Large enough for the programs; those that fill it fill it quickly.
const DISK: Geometry = Geometry { mebibytes: 48, block_size: 4096, inode_size: 256 };

/// How long a deadlock is looked at before it is asked about: the programs take a second or two.
const DEADLOCK_AFTER: Duration = Duration::from_secs(15);

/// A page of a buffer is faulted in under the file's lock, as in Linux, and one thread answers faults.
const AS_LINUX: [(&str, &str); 2] = [(CopyProtocol::OPTION, "faulting"), ("fault_workers", "1")];

const INLINE_PROGRAMS: [&str; 5] =
    ["inline_store", "inline_mkwrite", "mapped_buffers", "write_own_mapping", "inline_full_disk"];
const WRITE_PROGRAMS: [&str; 5] =
    ["append_processes", "write_own_mapping", "write_crossed", "mapped_buffers", "client_killed"];
const POOL_PROGRAMS: [&str; 3] = ["write_own_mapping", "write_crossed", "mapped_buffers"];

/// What a variant is known to do besides working.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Nothing.
    Sound,
    /// Programs may fail, after these words in the log.
    Fails { after: &'static str },
    /// This program may wait for ever; then the report of who waits for whom has these words.
    Deadlocks { program: &'static str, words: [&'static str; 2] },
}

/// A boot with a variant.
struct Variant {
    file_system: FileSystem,
    options: Vec<(String, String)>,
    programs: &'static [&'static str],
    known: Known,
}

impl Variant {
    fn new(file_system: FileSystem, options: &[(&str, &str)], programs: &'static [&'static str]) -> Self {
        let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Self { file_system, options, programs, known: Known::Sound }
    }

    fn knowing(self, known: Known) -> Self {
        Self { known, ..self }
    }

    fn title(&self) -> String {
        let options: Vec<_> = self.options.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{} {}", self.file_system.name(), options.join(","))
    }
}

/// All variants of all protocols.
fn variants() -> Result<Vec<Variant>> {
    let mini = FileSystem::named("mini").map_err(anyhow::Error::msg)?;
    let mut all = Vec::new();
    for protocol in InlineProtocol::ALL {
        let option = (InlineProtocol::OPTION, protocol.name());
        let known = match protocol {
            InlineProtocol::MkwriteUnlocked => Known::Fails { after: "BUG: ext4: " },
            _ => Known::Sound,
        };
        all.push(Variant::new(FileSystem::Ext4, &[option], &INLINE_PROGRAMS).knowing(known));
    }
    for protocol in [InlineProtocol::MkwriteInodeLock, InlineProtocol::Latched] {
        let options = [&AS_LINUX[..], &[(InlineProtocol::OPTION, protocol.name())]].concat();
        let known = match protocol {
            InlineProtocol::MkwriteInodeLock => Known::Deadlocks {
                program: "mapped_buffers",
                words: ["in fault of ", "waits for a page of its client's buffer"],
            },
            _ => Known::Sound,
        };
        all.push(Variant::new(FileSystem::Ext4, &options, &["mapped_buffers"]).knowing(known));
    }
    for protocol in WriteProtocol::ALL {
        all.push(Variant::new(FileSystem::Bcachefs, &[(WriteProtocol::OPTION, protocol.name())], &WRITE_PROGRAMS));
    }
    for &pool in WorkerPool::ALL {
        for &copy in CopyProtocol::ALL {
            let mut options = vec![(WorkerPool::OPTION, pool.name()), (CopyProtocol::OPTION, copy.name())];
            let programs = match (pool, copy) {
                (WorkerPool::Shared, CopyProtocol::Faulting) => &POOL_PROGRAMS[2..],
                _ => &POOL_PROGRAMS[..],
            };
            // As few workers as there can be: what goes wrong with some goes wrong with these soonest.
            options.extend([("fault_workers", "1"), ("request_workers", "1")]);
            let known = match (pool, copy) {
                (WorkerPool::Shared, CopyProtocol::Faulting) => Known::Deadlocks {
                    program: "mapped_buffers",
                    words: ["waits for inode lock", "waits for a page of its client's buffer"],
                },
                _ => Known::Sound,
            };
            all.push(Variant::new(mini, &options, programs).knowing(known));
        }
    }
    Ok(all)
}

/// Boots them all.
///
/// # Errors
/// Something on the host went wrong.
pub fn check(workspace: &Workspace, guest: &Guest, tally: &mut Tally) -> Result<()> {
    println!("Boot: every protocol, by mount option");
    for variant in variants()? {
        let result = boot(workspace, guest, &variant)?;
        match result {
            Ok(Seen::Well) => tally.check(&variant.title(), Ok(())),
            Ok(Seen::Defect(what)) => tally.check(&format!("{}: its known defect, {what}", variant.title()), Ok(())),
            Err(error) => tally.check(&variant.title(), Err(error)),
        }
    }
    tally.check("a protocol that there is not: refused, with those that there are", refused(workspace, guest)?);
    Ok(())
}

/// What a variant did, of what it may do.
enum Seen {
    Well,
    Defect(String),
}

fn session(workspace: &Workspace, variant: &Variant) -> Result<(Session, BootDisk)> {
    let programs = variant.programs.iter().map(|name| name.to_string()).collect();
    let mut session = Session::new(&variant.title(), workspace.run_folder("protocols")?, programs);
    session.file_system = variant.file_system;
    session.options = variant.options.clone();
    let disk = match variant.file_system {
        FileSystem::Ext4 => {
            let image = Image::make(&session.folder.join("disk.img"), DISK, None)?;
            BootDisk { image, writes: Writes::Kept }
        }
        FileSystem::Own(kind) => session::fresh_own_disk(kind, &session.folder, DISK)?,
        FileSystem::Bcachefs => {
            session.options.push(("volume".into(), "scratch".into()));
            session::blank_disk(&session.folder, DISK.mebibytes)?
        }
    };
    if let Known::Deadlocks { .. } = variant.known {
        session.limits.step = DEADLOCK_AFTER;
        // The server tells by itself as well: with all workers stuck nobody can ask it.
        session.options.push(("deadline_ms".into(), "2000".into()));
    }
    Ok((session, disk))
}

fn boot(workspace: &Workspace, guest: &Guest, variant: &Variant) -> Result<Result<Seen>> {
    let (session, disk) = session(workspace, variant)?;
    let report = session.run(guest, &disk, Chatter::Nothing)?;
    if report.is_success() {
        return Ok(Ok(Seen::Well));
    }
    let log = fs::read_to_string(&report.log).with_context(|| format!("reading {}", report.log.display()))?;
    Ok(judge(variant.known, &report, &log))
}

/// A run that did not go well: may it be so?
fn judge(known: Known, report: &Report, log: &str) -> Result<Seen> {
    let failed: Vec<_> = report
        .outcome
        .tests
        .iter()
        .filter_map(|(name, verdict)| match verdict {
            Verdict::Failed(why) => Some((name.as_str(), why.as_str())),
            _ => None,
        })
        .collect();
    let otherwise = || format!("{failed:?}, {:?}; see {}", report.outcome.end, report.log.display());
    match known {
        Known::Sound => anyhow::bail!("{}", otherwise()),
        Known::Fails { after } => {
            let said = |line: &&str| line.contains(after) || line.contains("##fl fail");
            let line = log.lines().find(said).filter(|line| line.contains(after)).with_context(otherwise)?;
            Ok(Seen::Defect(line.trim().to_string()))
        }
        Known::Deadlocks { program, words } => {
            ensure!(failed == [(program, "hung")], "{}", otherwise());
            ensure!(matches!(report.outcome.end, End::Hung { .. }), "{}", otherwise());
            let told: Vec<_> = words
                .iter()
                .map(|words| log.lines().find(|line| line.contains(words)).with_context(otherwise))
                .collect::<Result<_>>()?;
            for line in &told {
                println!("        | {}", line.trim());
            }
            Ok(Seen::Defect("a deadlock".to_string()))
        }
    }
}

/// A typing error must not mount something else.
fn refused(workspace: &Workspace, guest: &Guest) -> Result<Result<()>> {
    let variant = Variant::new(FileSystem::Ext4, &[(InlineProtocol::OPTION, "latch")], &["paths"]);
    let (session, disk) = session(workspace, &variant)?;
    let report = session.run_guest(guest, Some(&disk), Chatter::Nothing)?;
    let log = fs::read_to_string(&report.log)?;
    let names = InlineProtocol::ALL.map(InlineProtocol::name).join(", ");
    let told = log.contains(&format!("inline cannot be \"latch\"; it is one of: {names}"));
    Ok(match (told, &report.outcome.end) {
        (true, End::Shutdown(code)) if *code != 0 => Ok(()),
        (_, end) => Err(anyhow::anyhow!("{end:?}; see {}", report.log.display())),
    })
}
