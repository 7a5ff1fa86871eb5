//! The power goes while files and names change: is what was acknowledged there afterwards?
//!
//! The clients' operations race each other and writeback as everywhere; then some of the disks are looked at
//! that a crash may leave at some point of the run. fs-mini promises contents and names; its mount tidies up,
//! and is interrupted too. ext4 without a journal promises only what fsync has acknowledged, and only while
//! nothing but contents changes.

use super::writeback_truncate::{must, sound};
use super::{Case, Experiment, Size, Variant};
use crate::scenario::Scenario;
use crate::world::disk::Pace;
use crate::world::{CrashTest, Script, Stage, file_systems};
use platform::lockdep::{EXTENT_TREE, FOLIO, INODE, INVALIDATE};

/// The experiment.
pub static EXPERIMENT: Experiment = Experiment {
    name: "power-cut",
    summary: "is what fsync has acknowledged there when the machine stops, whenever that is?",
    variants: &[Variant { name: "own-order", summary: "each file system's own order of writes and flushes" }],
    cases: &[
        Case {
            name: "replace",
            summary: "one client replaces a file by a new one, as editors do, another overwrites the old one",
            scenario: |_| replace(),
            breaks: &[],
            size: Size::Mix,
        },
        Case {
            name: "rename",
            summary: "one client moves a synced file over another one, the second syncs",
            scenario: |_| rename(),
            breaks: &[],
            size: Size::Small,
        },
        Case {
            name: "unlink",
            summary: "one client unlinks a file that another has open and writes, and makes a new one",
            scenario: |_| unlink(),
            breaks: &[],
            size: Size::Mix,
        },
        Case {
            name: "names",
            summary: "two clients make, move and unlink files in one directory; both sync",
            scenario: |_| names(),
            breaks: &[],
            size: Size::Mix,
        },
        Case {
            name: "cut",
            summary: "one client cuts a file and appends to it while a pass of writeback runs, on a slow disk",
            scenario: |_| cut(),
            breaks: &[],
            size: Size::Mix,
        },
        Case {
            name: "stores",
            summary: "one client stores through a mapping, another writes, both sync; ext4 on a slow disk",
            scenario: |_| stores(),
            breaks: &[],
            size: Size::Mix,
        },
    ],
};

const PAGE: u64 = 4096;

/// Names change, and are committed, under the file system's own lock.
fn script(name: &str) -> Script {
    Script::new(name, &file_systems::MINI)
        .switching(&[&INODE, &INVALIDATE, &FOLIO, &EXTENT_TREE])
        .crashes(CrashTest { points: 1, states: 1, again: 1 })
        .check(|stage, _| sound(stage))
}

/// `old` has contents, and both clients have it open.
fn old(stage: &Stage) {
    must(stage.actor(0).create("old"));
    must(stage.actor(0).write("old", 0, 1024));
    must(stage.actor(1).open("old"));
}

fn replace() -> Box<dyn Scenario> {
    let script = script("a file is replaced")
        .set_up(old)
        .client("replace", |me| {
            must(me.create("new"));
            must(me.write("new", 0, 1500));
            must(me.fsync("new"));
            must(me.rename("new", "old"));
            must(me.fsync("new"));
        })
        .client("overwrite", |me| {
            must(me.write("old", 512, 512));
            must(me.fsync("old"));
        });
    Box::new(script)
}

fn rename() -> Box<dyn Scenario> {
    let script = script("a file takes another's name")
        .crashes(CrashTest { points: 64, states: 4, again: 1 })
        .set_up(|stage: &Stage| {
            old(stage);
            must(stage.actor(0).create("new"));
        })
        .client("rename", |me| must(me.rename("new", "old")))
        .client("sync", |me| must(me.syncfs()));
    Box::new(script)
}

fn unlink() -> Box<dyn Scenario> {
    let script = script("an open file is unlinked")
        .set_up(old)
        .client("unlink", |me| {
            must(me.unlink("old"));
            must(me.create("new"));
            must(me.write("new", 0, 600));
            must(me.syncfs());
        })
        .client("write", |me| {
            must(me.write("old", 512, PAGE));
            must(me.fsync("old"));
        });
    Box::new(script)
}

fn names() -> Box<dyn Scenario> {
    let script = script("names change")
        .set_up(|stage: &Stage| {
            old(stage);
            must(stage.actor(1).create("other"));
        })
        .client("move", |me| {
            must(me.rename("old", "moved"));
            must(me.rename("old", "again"));
            must(me.fsync("old"));
        })
        .client("make", |me| {
            must(me.create("new"));
            must(me.unlink("other"));
            must(me.syncfs());
        });
    Box::new(script)
}

fn cut() -> Box<dyn Scenario> {
    let script = script("a file is cut and grows")
        .disk(Pace::HoldsBack)
        .set_up(|stage: &Stage| {
            must(stage.actor(0).create("a"));
            must(stage.actor(0).write("a", 0, PAGE + 900));
        })
        .client("cut, append", |me| {
            must(me.write("a", 500, 1000));
            must(me.truncate("a", 1000));
            must(me.fsync("a"));
            must(me.append("a", 700));
        })
        .task("writeback", |stage| stage.server.write_back_pass());
    Box::new(script)
}

fn stores() -> Box<dyn Scenario> {
    let script = Script::new("crashes under stores and writes", &file_systems::EXT4)
        .crashes(CrashTest { points: 1, states: 2, again: 0 })
        .disk(Pace::Late)
        .set_up(|stage: &Stage| {
            must(stage.actor(0).create("a"));
            must(stage.actor(0).write("a", 0, 2 * PAGE));
            must(stage.actor(1).open("a"));
            must(stage.actor(0).map("a", 2));
            must(stage.actor(0).load("a", 0));
        })
        .client("store", |me| {
            must(me.store("a", 8));
            must(me.fsync("a"));
            must(me.store("a", PAGE));
        })
        .client("write", |me| {
            must(me.write("a", 1024, 512));
            must(me.fsync("a"));
        });
    Box::new(script)
}
