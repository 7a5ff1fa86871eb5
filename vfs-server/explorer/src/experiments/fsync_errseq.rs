//! fsync when the disk fails: who is told, how often, and what is on the disk when nobody is.
//!
//! Each write of data may fail (a choice of the run). An error belongs to the file: every open file of it is
//! told once, by its next fsync, whoever wrote the data and whoever had it written back. What failed stays
//! dirty and is written again by the next fsync; so when an fsync says that all is well, what its client wrote
//! before is on the disk.
//!
//! The oracle counts the errors that the server has recorded when an fsync begins and when it ends. An fsync
//! takes notice of all errors up to some moment between; it must fail if there is one among them of which its
//! open file was not told before, and only then.

use super::writeback_truncate::must;
use super::{Case, Experiment, Size, Variant};
use crate::runtime;
use crate::scenario::{Failure, Scenario};
use crate::world::disk::Pace;
use crate::world::{Actor, DiskFault, Script, Stage, file_systems};
use syscall::error::EIO;

/// The experiment.
pub static EXPERIMENT: Experiment = Experiment {
    name: "fsync-errseq",
    summary: "is every open file told of a failed write, once?",
    variants: &[Variant { name: "errseq", summary: "a counter a file, sampled at open; what failed stays dirty" }],
    cases: &[
        Case {
            name: "two-files",
            summary: "two open files of one file are written and synced while writes of the disk may fail",
            scenario: |_| two_open_files(),
            breaks: &[],
            size: Size::Small,
        },
        Case {
            name: "late",
            summary: "two open files of one file are written and synced on a disk that takes its time",
            scenario: |_| late(),
            breaks: &[],
            size: Size::Mix,
        },
        Case {
            name: "background",
            summary: "writeback meets the error before the fsync does",
            scenario: |_| background(),
            breaks: &[],
            size: Size::Small,
        },
    ],
};

/// The sector where fs-mini's data begins on the disk of the experiment: metadata is written without errors.
const DATA: u64 = 46;

/// What an open file may have been told of: errors up to a number that lies in this range.
struct Told {
    least: u64,
    most: u64,
}

/// A file that two clients have open; each owns a block of it.
fn script(name: &str) -> Script {
    Script::new(name, &file_systems::MINI).faults(&[DiskFault::WriteErrorFrom(DATA)]).set_up(|stage: &Stage| {
        for number in 0..2 {
            must(stage.actor(number).create("a"));
        }
        must(stage.actor(0).write("a", 0, 4096));
    })
}

fn two_open_files() -> Box<dyn Scenario> {
    let script = script("fsyncs of two open files while the disk may fail")
        .client("first", |_| {})
        .client("second", |_| {})
        .task("first writes and syncs", |stage| write_and_sync(stage, 0, 2))
        .task("second writes and syncs", |stage| write_and_sync(stage, 1, 1));
    Box::new(script)
}

fn late() -> Box<dyn Scenario> {
    let script = Script::new("fsyncs of two open files on a late disk", &file_systems::MINI)
        .disk(Pace::Late)
        .set_up(|stage: &Stage| {
            must(stage.actor(0).create("a"));
            must(stage.actor(1).create("a"));
        })
        .client("first", |_| {})
        .client("second", |_| {})
        .task("first writes and syncs", |stage| write_and_sync(stage, 0, 1))
        .task("second writes and syncs", |stage| write_and_sync(stage, 1, 1));
    Box::new(script)
}

fn background() -> Box<dyn Scenario> {
    let script = script("fsyncs after a writeback that may fail")
        .client("first", |_| {})
        .client("second", |_| {})
        .task("writeback", |stage| stage.server.write_back_pass())
        .task("first writes and syncs", |stage| write_and_sync(stage, 0, 1));
    Box::new(script)
}

/// Writes its block and syncs, so many times, and once more at last.
fn write_and_sync(stage: &Stage, number: usize, times: usize) {
    let me = stage.actor(number);
    let mut told = Told { least: 0, most: 0 };
    for _ in 0..times {
        let offset = 1024 * number as u64;
        must(me.write("a", offset, 1024));
        let bytes = must_read(me, offset);
        sync(stage, me, &mut told, Some(&bytes));
    }
    sync(stage, me, &mut told, None);
}

fn must_read(me: &Actor, offset: u64) -> Vec<u8> {
    me.read("a", offset, 1024).unwrap_or_else(|errno| panic!("read: errno {errno}"))
}

/// One fsync, judged. `written`: what must be on the disk if it says that all is well.
fn sync(stage: &Stage, me: &Actor, told: &mut Told, written: Option<&[u8]>) {
    let errors = || stage.server.counters().write_errors.get();
    let before = errors();
    let outcome = me.fsync("a");
    let after = errors();
    match outcome {
        Ok(()) => {
            if before > told.most {
                let words = format!("fsync says that all is well, and does not tell of error {before}");
                runtime::fail(Failure::new("error-not-told", words));
            }
            if let Some(bytes) = written
                && !stage.disk.content().chunks(bytes.len()).any(|block| block == bytes)
            {
                let words = "fsync says that all is well, and what was written is not on the disk";
                runtime::fail(Failure::new("not-durable", words));
            }
            told.least = told.least.max(before);
            told.most = told.most.min(after).max(told.least);
        }
        Err(EIO) if after > told.least => {
            told.least = before.max(told.least + 1);
            told.most = after;
        }
        Err(EIO) => {
            let words = format!("fsync tells of an error again: there was none after number {}", told.most);
            runtime::fail(Failure::new("error-told-twice", words));
        }
        Err(errno) => runtime::fail(Failure::new("failed-access", format!("fsync failed with errno {errno}"))),
    }
}
