//! Writeback against truncate: a write to the disk that is on its way when its blocks are cut off.
//!
//! Writeback takes neither the inode lock nor the invalidate lock: it copies dirty blocks under the folio
//! lock and sets the writeback bit, and its completion tells the file system how far the file reaches on the
//! disk. Truncate waits for the bit under its own locks before anything is freed. What could go wrong: blocks
//! that are freed under the write and belong to another file when it arrives, a size on the disk that comes
//! back, bytes behind the end that are there again when the file grows.

use super::{Case, Experiment, Size, Variant};
use crate::scenario::{Failure, FaultSites, Scenario};
use crate::world::disk::Pace;
use crate::world::{CrashTest, Disk, Script, Stage, file_systems};
use fs_mini::Problem;
use syscall::flag::{O_CREAT, O_RDWR};

/// The experiment.
pub static EXPERIMENT: Experiment = Experiment {
    name: "writeback-truncate",
    summary: "does a write that is on its way to the disk survive that its blocks are cut off?",
    variants: &[Variant { name: "waits-for-writeback", summary: "truncate waits for the writeback bit of each folio" }],
    cases: &[
        Case {
            name: "cut",
            summary: "one client cuts a dirty file and lets it grow again while a pass of writeback runs",
            scenario: |_| cut_and_grow(),
            breaks: &[],
            size: Size::Small,
        },
        Case {
            name: "reuse",
            summary: "one client cuts a dirty file to nothing, another writes a file to a nearly full disk",
            scenario: |_| blocks_go_to_another_file(),
            breaks: &[],
            size: Size::Small,
        },
        Case {
            name: "reuse-at-once",
            summary: "one client writes a file and cuts it to nothing, another writes and fsyncs the next, on ext4",
            scenario: |_| blocks_are_reused_at_once(),
            breaks: &[],
            size: Size::Mix,
        },
        Case {
            name: "late-size",
            summary: "one client cuts off what lies behind a page that is being written back; the machine stops",
            scenario: |_| cut_behind_a_write(),
            breaks: &[],
            size: Size::Mix,
        },
        Case {
            name: "append",
            summary: "one client cuts into a page, another appends to it, while a pass of writeback runs",
            scenario: |_| cut_against_append(),
            breaks: &[],
            size: Size::Mix,
        },
        Case {
            name: "append-store",
            summary: "one client appends within the last page, another stores to that page, and it is written back",
            scenario: |_| append_against_store(),
            breaks: &[],
            size: Size::Small,
        },
        Case {
            name: "read",
            summary: "one client cuts a file, another reads what is cut off",
            scenario: |_| cut_against_read(),
            breaks: &[],
            size: Size::Small,
        },
        Case {
            name: "extend",
            summary: "one client overwrites the start of a file and then extends it while a pass of writeback runs",
            scenario: |_| extend(),
            breaks: &[],
            size: Size::Small,
        },
        Case {
            name: "stores",
            summary: "one client stores to one page again and again while a pass of writeback runs",
            scenario: |_| stores(),
            breaks: &[],
            size: Size::Small,
        },
    ],
};

const PAGE: u64 = 4096;

/// A file of two dirty pages on a disk that takes its time.
fn dirty_file(name: &str) -> Script {
    Script::new(name, &file_systems::MINI)
        .disk(Pace::Late)
        .set_up(|stage: &Stage| {
            let me = stage.actor(0);
            must(me.create("a"));
            must(me.write("a", 0, 2 * PAGE));
        })
        .check(|stage, _| sound(stage))
}

fn cut_and_grow() -> Box<dyn Scenario> {
    let script = dirty_file("a dirty file is cut and grows while it is written back")
        .client("truncate", |me| {
            must(me.write("a", 0, 2 * PAGE));
            must(me.truncate("a", 1000));
            must(me.truncate("a", PAGE));
            must(me.read("a", 0, PAGE));
        })
        .task("writeback", |stage| stage.server.write_back_pass());
    Box::new(script)
}

/// What is left on the disk is about one file's worth: the second file gets the first one's blocks.
fn blocks_go_to_another_file() -> Box<dyn Scenario> {
    let script = Script::new("blocks of a cut file go to another", &file_systems::MINI)
        .disk(Pace::AnyOrder)
        .set_up(|stage: &Stage| {
            let (cutting, writing) = (stage.actor(0), stage.actor(1));
            must(cutting.create("a"));
            must(cutting.write("a", 0, PAGE));
            must(writing.create("b"));
            fill_the_rest(stage);
        })
        .client("truncate", |me| {
            must(me.write("a", 0, PAGE));
            must(me.truncate("a", 0));
        })
        // There is room for it only when the other's blocks are free.
        .client("write", |me| {
            if me.write("b", 0, PAGE).is_ok() {
                must(me.fsync("b"));
            }
        })
        .task("writeback", |stage| stage.server.write_back_pass())
        .check(|stage, _| sound(stage));
    Box::new(script)
}

/// ext4 without a journal gives blocks away as soon as they are free: the first ones to whoever comes next.
fn blocks_are_reused_at_once() -> Box<dyn Scenario> {
    let script = Script::new("blocks of a cut file go to another at once", &file_systems::EXT4)
        .settings(|settings| settings.faults = FaultSites::Only(&[]))
        .disk(Pace::HoldsBack)
        .set_up(|stage: &Stage| {
            must(stage.actor(0).create("a"));
            must(stage.actor(1).create("b"));
        })
        .client("cut", |me| {
            must(me.write("a", 0, PAGE));
            must(me.truncate("a", 0));
        })
        .client("write", |me| {
            must(me.write("b", 0, PAGE));
            must(me.fsync("b"));
        })
        .task("writeback", |stage| stage.server.write_back_pass());
    Box::new(script)
}

/// The cut waits for the pages that it takes away; the write of the one before them may end after it.
fn cut_behind_a_write() -> Box<dyn Scenario> {
    let script = Script::new("a cut behind a page that is written back", &file_systems::MINI)
        .disk(Pace::HoldsBack)
        .crashes(CrashTest { points: 1, states: 1, again: 1 })
        .set_up(|stage: &Stage| {
            must(stage.actor(0).create("a"));
            must(stage.actor(0).write("a", 0, 2 * PAGE));
        })
        .client("cut", |me| {
            must(me.write("a", 0, 1024));
            must(me.truncate("a", PAGE));
        })
        .task("writeback", |stage| stage.server.write_back_pass());
    Box::new(script)
}

/// Takes all free blocks, by writes that are no part of the record.
fn fill_the_rest(stage: &Stage) {
    let client = stage.observer().client();
    let file = client.open("rest", O_RDWR | O_CREAT | 0o644).unwrap_or_else(|errno| panic!("open: errno {errno}"));
    let (mut at, mut step) = (0, PAGE as usize);
    while step >= 1024 {
        match client.write(file, at, &vec![0xff; step]) {
            Ok(count) if count == step => at += step as u64,
            _ => step /= 2,
        }
        stage.sync();
        stage.drop_caches();
    }
    client.close(file);
}

fn cut_against_append() -> Box<dyn Scenario> {
    let script = dirty_file("a cut against an append and writeback")
        .client("truncate", |me| {
            must(me.write("a", 0, PAGE + 100));
            must(me.truncate("a", PAGE + 50));
        })
        .client("append", |me| {
            must(me.open("a"));
            must(me.append("a", 700));
        })
        .task("writeback", |stage| stage.server.write_back_pass());
    Box::new(script)
}

fn append_against_store() -> Box<dyn Scenario> {
    let script = Script::new("an append against a store to the last page", &file_systems::MINI)
        .set_up(|stage: &Stage| {
            let (appending, storing) = (stage.actor(0), stage.actor(1));
            must(appending.create("a"));
            must(appending.write("a", 0, 1000));
            must(storing.open("a"));
            must(storing.map("a", 1));
        })
        .client("append", |me| must(me.append("a", 2000)))
        .client("store", |me| {
            must(me.store("a", 8));
            // Within the file or not: the oracle knows.
            _ = me.store("a", 2048);
            _ = me.load("a", 2048);
        })
        .task("writeback", |stage| stage.server.write_back_pass())
        .check(|stage, _| sound(stage));
    Box::new(script)
}

fn cut_against_read() -> Box<dyn Scenario> {
    let script =
        dirty_file("a cut against a read").client("truncate", |me| must(me.truncate("a", 1000))).client("read", |me| {
            must(me.open("a"));
            must(me.read("a", 0, 2 * PAGE));
        });
    Box::new(script)
}

fn extend() -> Box<dyn Scenario> {
    let script = Script::new("an extension against writeback", &file_systems::MINI)
        .set_up(|stage: &Stage| {
            must(stage.actor(0).create("a"));
            must(stage.actor(0).write("a", 0, 300));
        })
        .client("write", |me| {
            must(me.write("a", 0, 100));
            must(me.append("a", 400));
        })
        .task("writeback", |stage| stage.server.write_back_pass())
        .check(|stage, _| sound(stage));
    Box::new(script)
}

fn stores() -> Box<dyn Scenario> {
    let script = Script::new("stores against writeback", &file_systems::MINI)
        .set_up(|stage: &Stage| {
            let me = stage.actor(0);
            must(me.create("a"));
            must(me.write("a", 0, PAGE));
            must(me.map("a", 1));
        })
        .client("store", |me| {
            must(me.store("a", 0));
            must(me.store("a", 8));
            must(me.store("a", 16));
        })
        .task("writeback", |stage| stage.server.write_back_pass())
        .check(|stage, _| sound(stage));
    Box::new(script)
}

/// A call that nothing in the case can make fail.
pub(super) fn must<T>(result: guest::CallResult<T>) {
    if let Err(errno) = result {
        panic!("a call failed with errno {errno}");
    }
}

/// What the last commit left on the disk has no fault but such as the next mount puts in order.
pub(super) fn sound(stage: &Stage) -> Result<(), Failure> {
    let left_behind = |problem: &Problem| matches!(problem, Problem::Orphan(_) | Problem::Tail(_));
    match fs_mini::check(Disk::of_bytes(stage.disk.content())).iter().find(|problem| !left_behind(problem)) {
        None => Ok(()),
        Some(problem) => Err(Failure::new("corrupt-disk", problem.to_string())),
    }
}
