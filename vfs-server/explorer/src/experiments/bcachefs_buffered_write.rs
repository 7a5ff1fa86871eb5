//! bcachefs's buffered write: which locks keep two writes of one file apart.
//!
//! Linux 6.9 took the inode lock out of the way of writes that do not extend the file (7e64c86cdc6c); it
//! was put back (e3e694094091) after data had been lost under QEMU, and the cause was never published.
//! `docs/experiments/bcachefs-buffered-write.md` tells the story.
//!
//! A write locks two folios at once here, where Linux has about 1 MiB: what happens there to large
//! writes happens to three pages.

use super::{Case, Experiment, Size, Variant};
use crate::scenario::{FaultSites, Scenario};
use crate::world::file_systems::BCACHEFS;
use crate::world::{Script, Stage};
use platform::lockdep::{FOLIO, INODE, LockClass, PAGECACHE_ADD};

/// Bytes of a page, and of a folio.
const PAGE: u64 = 4096;
const SECTOR: u64 = 512;

/// The experiment.
pub static EXPERIMENT: Experiment = Experiment {
    name: "bcachefs-buffered-write",
    summary: "Which locks keep two buffered writes of one bcachefs file apart?",
    variants: &[
        Variant { name: "inode-lock", summary: "Linux 6.12 and later: the inode lock for the whole write" },
        Variant {
            name: "lockless",
            summary: "Linux 6.9 and 6.10 (7e64c86cdc6c): folio locks only, unless the write extends the file",
        },
        Variant {
            name: "shared-inode-lock",
            summary: "the inode lock shared, all folios, the client's bytes at hand before; else exclusively",
        },
    ],
    cases: &[
        Case {
            name: "early-exit",
            summary: "K1: a write that cannot lock its folios leaves early; another client appends",
            scenario: early_exit,
            breaks: &[("lockless", LOST)],
            size: Size::Small,
        },
        Case {
            name: "failed-allocation",
            summary: "K1: there is no folio for a part of a write; another client appends",
            scenario: failed_allocation,
            breaks: &[("lockless", LOST)],
            size: Size::Small,
        },
        Case {
            name: "restart",
            summary: "TORN: a write starts over with the inode lock; another one stays within two folios",
            scenario: restart,
            breaks: &[("lockless", MIXED)],
            size: Size::Small,
        },
        Case {
            name: "missing-buffer",
            summary: "K10: pages of a writer's buffer are missing now and then; another client writes",
            scenario: missing_buffer,
            breaks: &[("inode-lock", MIXED), ("lockless", MIXED)],
            size: Size::Small,
        },
        Case {
            name: "position",
            summary: "POS: one client writes alone, and pages of its buffer are missing twice",
            scenario: position,
            breaks: &[("lockless", LOST)],
            size: Size::Small,
        },
        Case {
            name: "seek",
            summary: "K13: data is written, goes to the disk, and is looked for meanwhile",
            scenario: seek,
            breaks: &[("inode-lock", &["hole-over-data"]), ("lockless", &["hole-over-data"])],
            size: Size::Small,
        },
        Case {
            name: "truncate",
            summary: "a write within the file against a truncate",
            scenario: truncate,
            breaks: &[],
            size: Size::Small,
        },
        Case {
            name: "writeback",
            summary: "two writes of one folio and an fsync: what comes after the copy is written later",
            scenario: writeback,
            breaks: &[],
            size: Size::Small,
        },
        Case {
            name: "append-writeback",
            summary: "an append and an fsync of the folio with the end of the file",
            scenario: append_writeback,
            breaks: &[],
            size: Size::Small,
        },
        Case {
            name: "reclaim",
            summary: "a write while its folio is given back, or moved to another frame",
            scenario: reclaim,
            breaks: &[],
            size: Size::Small,
        },
        Case {
            name: "no-space",
            summary: "two writes to a hole, one of which finds no space",
            scenario: no_space,
            breaks: &[],
            size: Size::Small,
        },
        Case {
            name: "extend",
            summary: "two appends and a write up to the end, with writeback",
            scenario: extend,
            breaks: &[],
            size: Size::Mix,
        },
        Case {
            name: "mix",
            summary: "writes, appends, a truncate, writeback, reclaim and migration of folios",
            scenario: mix,
            breaks: &[("inode-lock", MIXED), ("lockless", MIXED)],
            size: Size::Mix,
        },
    ],
};

/// How lost data shows.
const LOST: &[&str] = &["lost-write", "stale-bytes", "foreign-bytes"];
/// How two writes show that are mixed.
const MIXED: &[&str] = &["torn-write", "stale-bytes", "lost-write", "foreign-bytes", "no-order"];

/// What writes are kept apart by.
const CLASSES: &[&LockClass] = &[&INODE, &PAGECACHE_ADD, &FOLIO];

/// A page of the client's buffer is missing.
const MISSING_BUFFER: FaultSites = FaultSites::Only(&["client buffer"]);
/// There is no folio to be had.
const NO_FOLIO: FaultSites = FaultSites::Only(&["folio allocation"]);
/// Nothing fails.
const NONE: FaultSites = FaultSites::Only(&[]);

/// A mount with this protocol.
fn script(case: &str, write: &str, faults: FaultSites) -> Script {
    Script::new(format!("bcachefs-buffered-write/{case}"), &BCACHEFS)
        .options(&format!("write={write},folios=2"))
        .switching(CLASSES)
        .settings(|settings| settings.faults = faults)
}

/// A file with `len` bytes, written back, that all clients of the scenario have open.
fn file(clients: usize, len: u64) -> impl Fn(&Stage) + Send + Sync {
    move |stage| {
        let first = stage.actor(0);
        let made = first.create("a").and_then(|()| if len > 0 { first.write("a", 0, len).map(|_| ()) } else { Ok(()) });
        made.unwrap_or_else(|errno| panic!("set-up: errno {errno}"));
        for client in 1..clients {
            stage.actor(client).open("a").unwrap_or_else(|errno| panic!("set-up: errno {errno}"));
        }
    }
}

fn early_exit(write: &str) -> Box<dyn Scenario> {
    let size = PAGE + SECTOR;
    Box::new(
        script("early-exit", write, NONE)
            .options("folios=1")
            .set_up(file(2, size))
            .client("overwrite", move |me| _ = me.write("a", 0, size))
            .client("append", |me| _ = me.append("a", SECTOR)),
    )
}

fn failed_allocation(write: &str) -> Box<dyn Scenario> {
    let size = SECTOR;
    Box::new(
        script("failed-allocation", write, NO_FOLIO)
            .set_up(move |stage| {
                file(2, size)(stage);
                stage.sync();
                stage.drop_caches();
            })
            .client("overwrite", move |me| _ = me.write("a", 0, size))
            .client("append", |me| _ = me.append("a", SECTOR)),
    )
}

fn restart(write: &str) -> Box<dyn Scenario> {
    Box::new(
        script("restart", write, NONE)
            .set_up(file(2, 3 * PAGE))
            .client("large write", |me| _ = me.write("a", 0, 3 * PAGE))
            .client("small write", |me| _ = me.write("a", PAGE + PAGE / 2, PAGE)),
    )
}

fn missing_buffer(write: &str) -> Box<dyn Scenario> {
    Box::new(
        script("missing-buffer", write, MISSING_BUFFER)
            .set_up(file(2, PAGE))
            .client("write", |me| _ = me.write("a", 0, PAGE))
            .client("other write", |me| _ = me.write("a", 0, PAGE)),
    )
}

fn position(write: &str) -> Box<dyn Scenario> {
    Box::new(
        script("position", write, MISSING_BUFFER)
            .set_up(file(1, 2 * PAGE))
            .client("write", |me| _ = me.write("a", 0, 2 * PAGE)),
    )
}

fn seek(write: &str) -> Box<dyn Scenario> {
    Box::new(
        script("seek", write, NONE)
            .set_up(file(2, 0))
            .client("write, seek", |me| {
                if me.write("a", 0, PAGE).is_ok() {
                    _ = me.seek_data("a", 0);
                }
            })
            .client("fsync", |me| _ = me.fsync("a")),
    )
}

fn truncate(write: &str) -> Box<dyn Scenario> {
    Box::new(
        script("truncate", write, NONE)
            .set_up(file(2, 2 * PAGE))
            .client("write", |me| _ = me.write("a", PAGE / 2, PAGE))
            .client("truncate", |me| _ = me.truncate("a", PAGE + PAGE / 4)),
    )
}

fn writeback(write: &str) -> Box<dyn Scenario> {
    Box::new(
        script("writeback", write, NONE)
            .set_up(file(2, PAGE))
            .client("write, fsync", |me| {
                if me.write("a", 0, PAGE / 2).is_ok() {
                    _ = me.fsync("a");
                }
            })
            .client("write", |me| _ = me.write("a", PAGE / 4, PAGE / 2)),
    )
}

fn append_writeback(write: &str) -> Box<dyn Scenario> {
    Box::new(
        script("append-writeback", write, NONE)
            .set_up(file(2, PAGE / 2))
            .client("append", |me| _ = me.append("a", PAGE))
            .client("write, fsync", |me| {
                if me.write("a", 0, PAGE / 4).is_ok() {
                    _ = me.fsync("a");
                }
            }),
    )
}

fn reclaim(write: &str) -> Box<dyn Scenario> {
    Box::new(
        script("reclaim", write, NONE)
            .set_up(file(2, PAGE))
            .client("write", |me| _ = me.write("a", PAGE / 4, PAGE / 2))
            .task("migration", |stage| _ = stage.server.migrate_folios())
            .task("reclaim", |stage| _ = stage.server.drop_caches()),
    )
}

fn no_space(write: &str) -> Box<dyn Scenario> {
    Box::new(
        script("no-space", write, FaultSites::Only(&["disk reservation"]))
            .set_up(move |stage| {
                file(2, 0)(stage);
                stage.actor(0).truncate("a", 4 * PAGE).unwrap_or_else(|errno| panic!("set-up: errno {errno}"));
            })
            .client("write", |me| _ = me.write("a", 0, 2 * PAGE))
            .client("other write", |me| _ = me.write("a", 2 * PAGE, 2 * PAGE)),
    )
}

fn extend(write: &str) -> Box<dyn Scenario> {
    Box::new(
        script("extend", write, NONE)
            .set_up(file(3, PAGE + PAGE / 2))
            .client("append", |me| _ = me.append("a", PAGE))
            .client("other append", |me| _ = me.append("a", PAGE / 2))
            .client("write", |me| _ = me.write("a", PAGE, PAGE / 2))
            .task("writeback", |stage| stage.server.write_back_pass()),
    )
}

fn mix(write: &str) -> Box<dyn Scenario> {
    Box::new(
        script("mix", write, FaultSites::All)
            .set_up(file(3, PAGE + PAGE / 2))
            .client("writes", |me| {
                _ = me.write("a", 0, PAGE + PAGE / 2);
                _ = me.write("a", PAGE, PAGE / 2);
            })
            .client("extends", |me| {
                _ = me.write("a", PAGE + PAGE / 2, PAGE);
                _ = me.write("a", PAGE / 2, PAGE);
            })
            .client("appends, cuts", |me| {
                _ = me.append("a", PAGE / 2);
                _ = me.truncate("a", 2 * PAGE + PAGE / 4);
            })
            .task("writeback", |stage| {
                stage.server.write_back_pass();
                stage.server.write_back_pass();
            })
            .task("reclaim, migration", |stage| {
                stage.server.drop_caches();
                stage.server.migrate_folios();
                stage.server.drop_caches();
            }),
    )
}
