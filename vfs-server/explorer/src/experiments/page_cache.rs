//! The generic page cache against itself: who may look at a folio, dirty it, clean it or give it back, and when.
//!
//! Each case is one cell of the conflict tables in `vfs-server/src/file/write.rs`, `fault.rs`, `writeback.rs` and
//! `reclaim.rs`, on a real file system; the mutants of these cases take one of their rules away each.

use super::{Case, Experiment, Size, Variant};
use crate::scenario::{FaultSites, Scenario};
use crate::world::disk::Pace;
use crate::world::script::Helpers;
use crate::world::{CrashTest, Script, Stage, file_systems};
use guest::CallResult;

/// The table's entry.
pub static EXPERIMENT: Experiment = Experiment {
    name: "page-cache",
    summary: "Does what was written stay written while writeback and reclaim go about their work?",
    variants: &[Variant {
        name: "folio-lock",
        summary: "the server's protocol: what decides is looked at under the folio lock",
    }],
    cases: &[
        Case {
            name: "two-appends",
            summary: "two clients append to one file",
            scenario: |_| two_appends(),
            breaks: &[],
            size: Size::Small,
        },
        Case {
            name: "store-against-extension",
            summary: "one client stores past the end of a file in its last page, another lets it grow over that",
            scenario: |_| store_against_extension(),
            breaks: &[],
            size: Size::Small,
        },
        Case {
            name: "store-against-reclaim",
            summary: "one client stores to a clean page for the first time while reclaim takes its folio",
            scenario: |_| store_against_reclaim(),
            breaks: &[],
            size: Size::Small,
        },
        Case {
            name: "write-against-reclaim",
            summary: "one client writes into a clean folio while reclaim takes it",
            scenario: |_| write_against_reclaim(),
            breaks: &[],
            size: Size::Small,
        },
        Case {
            name: "extension-against-writeback",
            summary: "one client appends within a dirty page while that is written back",
            scenario: |_| extension_against_writeback(),
            breaks: &[],
            size: Size::Small,
        },
        Case {
            name: "store-against-writeback",
            summary: "one client stores twice to a mapped page while a pass of writeback takes it",
            scenario: |_| store_against_writeback(),
            breaks: &[],
            size: Size::Small,
        },
        Case {
            name: "fsync-against-writeback",
            summary: "one client writes and fsyncs while a pass of writeback has begun with it; the disk is slow, then stops",
            scenario: |_| fsync_against_writeback(),
            breaks: &[],
            size: Size::Mix,
        },
        Case {
            name: "fsync-against-cut",
            summary: "one client writes and fsyncs while another cuts the file; then the machine may crash",
            scenario: |_| fsync_against_cut(),
            breaks: &[],
            size: Size::Mix,
        },
        Case {
            name: "seek-against-writeback",
            summary: "one client writes and looks for a hole while a pass of writeback takes the page",
            scenario: |_| seek_against_writeback(),
            breaks: &[],
            size: Size::Small,
        },
        Case {
            name: "read-against-truncate",
            summary: "one client reads, another loads, a third cuts what they read, on a disk that takes its time",
            scenario: |_| read_against_truncate(),
            breaks: &[],
            size: Size::Mix,
        },
        Case {
            name: "scarce-memory",
            summary: "two clients want four pages of a cache of three: they wait for reclaim, and that for writeback",
            scenario: |_| scarce_memory(),
            breaks: &[],
            size: Size::Mix,
        },
    ],
};

const PAGE: u64 = 4096;

fn two_appends() -> Box<dyn Scenario> {
    let script = script("two-appends")
        .set_up(|stage: &Stage| {
            let (first, second) = (stage.actor(0), stage.actor(1));
            must(first.create("a"));
            must(first.write("a", 0, 2048));
            must(second.open("a"));
        })
        .client("appends", |me| _ = must(me.append("a", 512)))
        .client("appends too", |me| _ = must(me.append("a", 700)));
    Box::new(script)
}

/// On a disk that has room: who of the clients fails is in the wrong.
fn script(case: &str) -> Script {
    Script::new(format!("page-cache/{case}"), &file_systems::EXT4)
        .settings(|settings| settings.faults = FaultSites::Only(&[]))
}

/// The second client has the file's only page mapped, and in its TLB for stores.
fn stored_to(stage: &Stage, size: u64) {
    let (owner, mapper) = (stage.actor(0), stage.actor(1));
    must(owner.create("a"));
    must(owner.write("a", 0, size));
    must(mapper.open("a"));
    must(mapper.map("a", 1));
    must(mapper.store("a", 0));
}

fn store_against_extension() -> Box<dyn Scenario> {
    let script = script("store-against-extension")
        .set_up(|stage: &Stage| stored_to(stage, 1000))
        .client("grows", |me| must(me.truncate("a", 3000)))
        .client("stores", |me| {
            _ = must(me.store("a", 1504));
            _ = must(me.store("a", 2504));
        });
    Box::new(script)
}

/// A clean page that the second client has mapped and not touched.
fn clean_page(stage: &Stage) {
    let (owner, mapper) = (stage.actor(0), stage.actor(1));
    must(owner.create("a"));
    must(owner.write("a", 0, PAGE));
    must(mapper.open("a"));
    must(mapper.map("a", 1));
    stage.sync();
}

fn store_against_reclaim() -> Box<dyn Scenario> {
    let script = script("store-against-reclaim")
        .set_up(clean_page)
        .client("looks on", |_| {})
        .client("stores", |me| {
            _ = must(me.store("a", 0));
            _ = must(me.store("a", 8));
        })
        .task("reclaim", |stage| _ = stage.server.drop_caches());
    Box::new(script)
}

fn write_against_reclaim() -> Box<dyn Scenario> {
    let script = script("write-against-reclaim")
        .set_up(clean_page)
        .client("writes", |me| _ = must(me.write("a", 1024, 1024)))
        .client("reads", |me| _ = must(me.read("a", 0, PAGE)))
        .task("reclaim", |stage| _ = stage.server.drop_caches());
    Box::new(script)
}

fn extension_against_writeback() -> Box<dyn Scenario> {
    let script = script("extension-against-writeback")
        .set_up(clean_page)
        .client("appends", |me| {
            _ = must(me.truncate("a", 0));
            _ = must(me.append("a", 512));
            _ = must(me.append("a", 1024));
        })
        .task("writeback", |stage| stage.server.write_back_pass());
    Box::new(script)
}

fn store_against_writeback() -> Box<dyn Scenario> {
    let script = script("store-against-writeback")
        .set_up(|stage: &Stage| stored_to(stage, PAGE))
        .client("writes", |me| _ = must(me.write("a", 1024, 512)))
        .client("stores", |me| {
            _ = must(me.store("a", 8));
            _ = must(me.store("a", 16));
        })
        .task("writeback", |stage| stage.server.write_back_pass());
    Box::new(script)
}

fn fsync_against_writeback() -> Box<dyn Scenario> {
    let script = script("fsync-against-writeback")
        .disk(Pace::HoldsBack)
        .crashes(CrashTest { points: 2, states: 4, again: 0 })
        .set_up(clean_page)
        .client("writes, fsyncs", |me| {
            _ = must(me.write("a", 0, 1024));
            must(me.fsync("a"));
        })
        .client("looks on", |_| {})
        .task("writeback", |stage| stage.server.write_back_pass());
    Box::new(script)
}

fn fsync_against_cut() -> Box<dyn Scenario> {
    // A cut that nobody has synced may leave anything on an ext4 without a journal.
    let script = Script::new("page-cache/fsync-against-cut", &file_systems::MINI)
        .settings(|settings| settings.faults = FaultSites::Only(&[]))
        .crashes(CrashTest { points: 2, states: 2, again: 0 })
        .set_up(|stage: &Stage| {
            let (writing, cutting) = (stage.actor(0), stage.actor(1));
            must(writing.create("a"));
            must(writing.write("a", 0, 2 * PAGE));
            must(cutting.open("a"));
            stage.sync();
        })
        .client("writes, fsyncs", |me| {
            _ = must(me.write("a", PAGE, 512));
            must(me.fsync("a"));
        })
        .client("cuts", |me| must(me.truncate("a", 0)));
    Box::new(script)
}

fn seek_against_writeback() -> Box<dyn Scenario> {
    let script = script("seek-against-writeback")
        .set_up(|stage: &Stage| must(stage.actor(0).create("a")))
        .client("writes, seeks", |me| {
            _ = must(me.write("a", 0, PAGE));
            _ = must(me.seek_hole("a", 0));
        })
        .task("writeback", |stage| stage.server.write_back_pass());
    Box::new(script)
}

fn read_against_truncate() -> Box<dyn Scenario> {
    let script = script("read-against-truncate")
        .disk(Pace::Late)
        .set_up(|stage: &Stage| {
            let (reader, loader, cutter) = (stage.actor(0), stage.actor(1), stage.actor(2));
            must(reader.create("a"));
            must(reader.write("a", 0, 2 * PAGE));
            must(loader.open("a"));
            must(loader.map("a", 2));
            must(cutter.open("a"));
            stage.sync();
            stage.drop_caches();
        })
        .client("reads", |me| _ = must(me.read("a", 0, 2 * PAGE)))
        // Past the end or not: the oracle knows.
        .client("loads", |me| _ = me.load("a", PAGE))
        .client("cuts", |me| must(me.truncate("a", 100)));
    Box::new(script)
}

fn scarce_memory() -> Box<dyn Scenario> {
    let script = script("scarce-memory")
        .helpers(Helpers::All)
        .config(|config| (config.cache_pages, config.dirty_limit_pages) = (3, 1))
        .set_up(|stage: &Stage| {
            for (number, path) in ["a", "b"].into_iter().enumerate() {
                must(stage.actor(number).create(path));
                must(stage.actor(number).write(path, 0, PAGE));
                stage.sync();
            }
        })
        .client("one", |me| {
            _ = must(me.write("a", 0, 2 * PAGE));
            _ = must(me.read("a", 0, 2 * PAGE));
        })
        .client("two", |me| {
            _ = must(me.write("b", PAGE, PAGE));
            _ = must(me.read("b", 0, 2 * PAGE));
        });
    Box::new(script)
}

/// A call that nothing in the case can make fail.
fn must<T>(result: CallResult<T>) -> T {
    result.unwrap_or_else(|errno| panic!("a valid call failed with errno {errno}"))
}
