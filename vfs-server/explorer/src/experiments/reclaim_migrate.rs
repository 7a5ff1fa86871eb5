//! Reclaim and migration against everybody who uses a folio.
//!
//! Both take the folio lock by trying, take the folio out of all clients (ZAP) and out of the index; reclaim
//! gives its memory back, migration puts a copy in its place. Whoever found the folio before and waited for
//! its lock must look whether it is still the file's. What could go wrong: a write, a store or a dirty bit
//! that stays behind on the old folio, a client that goes on with the old memory.

use super::writeback_truncate::{must, sound};
use super::{Case, Experiment, Size, Variant};
use crate::scenario::Scenario;
use crate::world::disk::Pace;
use crate::world::{CrashTest, Script, Stage, file_systems};

/// The experiment.
pub static EXPERIMENT: Experiment = Experiment {
    name: "reclaim-migrate",
    summary: "does anything stay behind on a folio that is given back or moved?",
    variants: &[Variant {
        name: "zap-under-folio-lock",
        summary: "the folio lock, ZAP, a last look, out of the index",
    }],
    cases: &[
        Case {
            name: "reclaim-store",
            summary: "one client stores to and loads from a mapped page while reclaim gives clean folios back",
            scenario: |_| reclaim_against_store(),
            breaks: &[],
            size: Size::Small,
        },
        Case {
            name: "reclaim-write",
            summary: "one client writes and reads, another fsyncs, reclaim gives folios back, and the disk holds a write back",
            scenario: |_| reclaim_against_write(),
            breaks: &[],
            size: Size::Mix,
        },
        Case {
            name: "migrate-store",
            summary: "one client stores to and loads from a mapped page while its folio moves",
            scenario: |_| migrate_against_store(),
            breaks: &[],
            size: Size::Small,
        },
        Case {
            name: "migrate-write",
            summary: "one client writes, another reads, while folios move and are written back",
            scenario: |_| migrate_against_write(),
            breaks: &[],
            size: Size::Mix,
        },
        Case {
            name: "migrate-cut",
            summary: "one client cuts a file and lets it grow again while its folio moves",
            scenario: |_| migrate_against_cut(),
            breaks: &[],
            size: Size::Small,
        },
        Case {
            name: "migrate-fsync",
            summary: "one client writes and fsyncs while the folio moves; then the machine may crash",
            scenario: |_| migrate_against_fsync(),
            breaks: &[],
            size: Size::Small,
        },
        Case {
            name: "both",
            summary: "stores and writes while folios are written back, moved and given back",
            scenario: |_| both(),
            breaks: &[],
            size: Size::Mix,
        },
    ],
};

const PAGE: u64 = 4096;

/// A clean file of a page, mapped by the second client, whose TLB leads to it.
fn mapped(stage: &Stage) {
    let (writing, storing) = (stage.actor(0), stage.actor(1));
    must(writing.create("a"));
    must(writing.write("a", 0, PAGE));
    must(storing.open("a"));
    must(storing.map("a", 1));
    must(storing.load("a", 0));
    stage.sync();
}

fn stores(me: &crate::world::Actor) {
    must(me.store("a", 8));
    must(me.load("a", 8));
}

fn reclaim_against_store() -> Box<dyn Scenario> {
    let script = Script::new("reclaim against a store", &file_systems::MINI)
        .set_up(mapped)
        .client("read", |me| must(me.read("a", 0, 512)))
        .client("store", stores)
        .task("reclaim", |stage| _ = stage.server.drop_caches());
    Box::new(script.check(|stage, _| sound(stage)))
}

fn reclaim_against_write() -> Box<dyn Scenario> {
    let script = Script::new("reclaim against a write", &file_systems::MINI)
        .disk(Pace::HoldsBack)
        .set_up(mapped)
        .client("write", |me| {
            must(me.write("a", 0, 1024));
            must(me.read("a", 0, 1024));
        })
        .client("fsync", |me| must(me.fsync("a")))
        .task("reclaim", |stage| _ = stage.server.drop_caches());
    Box::new(script.check(|stage, _| sound(stage)))
}

fn migrate_against_store() -> Box<dyn Scenario> {
    let script = Script::new("migration against a store", &file_systems::MINI)
        .set_up(mapped)
        .client("read", |me| must(me.read("a", 0, 512)))
        .client("store", stores)
        .task("migrate", |stage| _ = stage.server.migrate_folios());
    Box::new(script.check(|stage, _| sound(stage)))
}

fn migrate_against_write() -> Box<dyn Scenario> {
    let script = Script::new("migration against a write", &file_systems::MINI)
        .disk(Pace::Late)
        .set_up(mapped)
        .client("write", |me| {
            must(me.write("a", 512, 1024));
            must(me.read("a", 512, 1024));
        })
        .client("read", |me| must(me.read("a", 512, 1024)))
        .task("migrate", |stage| _ = stage.server.migrate_folios())
        .task("writeback", |stage| stage.server.write_back_pass());
    Box::new(script.check(|stage, _| sound(stage)))
}

fn migrate_against_cut() -> Box<dyn Scenario> {
    let script = Script::new("migration against a cut", &file_systems::MINI)
        .set_up(mapped)
        .client("cut", |me| {
            must(me.truncate("a", 0));
            must(me.truncate("a", PAGE));
            must(me.read("a", 0, 512));
        })
        .task("migrate", |stage| _ = stage.server.migrate_folios());
    Box::new(script.check(|stage, _| sound(stage)))
}

fn migrate_against_fsync() -> Box<dyn Scenario> {
    let script = Script::new("migration against an fsync", &file_systems::MINI)
        .set_up(mapped)
        .crashes(CrashTest { points: 2, states: 4, again: 0 })
        .client("write", |me| {
            must(me.write("a", 0, 512));
            must(me.fsync("a"));
        })
        .task("migrate", |stage| _ = stage.server.migrate_folios());
    Box::new(script)
}

fn both() -> Box<dyn Scenario> {
    let script = Script::new("reclaim and migration against stores and writes", &file_systems::MINI)
        .set_up(mapped)
        .client("write", |me| must(me.write("a", 1024, 1024)))
        .client("store", stores)
        .task("writeback", |stage| stage.server.write_back_pass())
        .task("migrate", |stage| _ = stage.server.migrate_folios())
        .task("reclaim", |stage| _ = stage.server.drop_caches());
    Box::new(script.check(|stage, _| sound(stage)))
}
