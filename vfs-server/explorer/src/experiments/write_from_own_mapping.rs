//! write(2) whose buffer is a mapping of a file: of the one that is written, or of one that is written from a
//! mapping of this one.
//!
//! A missing page of the buffer needs a fault to be answered while the write is under way. Under `retry` the
//! server drops every lock, the kernel faults the page in and sends the request again; under `faulting` the page
//! is faulted in under the inode lock, as Linux does. The fault path of a file system that takes no inode lock
//! there (fs-mini) survives both; what could go wrong is a deadlock, a page that two mappings take from each
//! other for ever, and a write that is half done when it starts again.

use super::writeback_truncate::{must, sound};
use super::{Case, Experiment, Size, Variant};
use crate::oracle::{Data, Stamp};
use crate::scenario::Scenario;
use crate::world::{Script, Stage, file_systems};

/// The experiment.
pub static EXPERIMENT: Experiment = Experiment {
    name: "write-from-own-mapping",
    summary: "does a write whose buffer is a mapped file come to an end, and is it whole?",
    variants: &[
        Variant { name: "retry", summary: "every lock is dropped until the page of the buffer is there" },
        Variant { name: "faulting", summary: "the page is faulted in under the inode lock, as in Linux" },
    ],
    cases: &[
        Case {
            name: "same-page",
            summary: "one client writes to a page from that page's mapping while clean folios are given back",
            scenario: |variant| same_page(variant),
            breaks: &[],
            size: Size::Small,
        },
        Case {
            name: "other-page",
            summary: "one client writes to a file from its mapping of another page of it, another stores to that file",
            scenario: |variant| other_page(variant),
            breaks: &[],
            size: Size::Small,
        },
        Case {
            name: "crossed",
            summary: "two clients write two files, each from its mapping of the other's",
            scenario: |variant| crossed(variant),
            breaks: &[],
            size: Size::Mix,
        },
    ],
};

const PAGE: u64 = 4096;

fn script(name: &str, variant: &str) -> Script {
    Script::new(format!("{name}, {variant}"), &file_systems::MINI).options(&format!("copy={variant}"))
}

/// What set-up's write of that number has stored at `index`.
fn written(number: u8, index: u64) -> Data {
    let stamp = Stamp::new(number).unwrap_or_else(|| panic!("set-up has no write {number}"));
    Data { stamp, index }
}

/// A file of two pages, mapped by all clients and touched by none.
fn mapped(stage: &Stage, clients: usize) {
    must(stage.actor(0).create("a"));
    must(stage.actor(0).write("a", 0, 2 * PAGE));
    for number in 0..clients {
        must(stage.actor(number).open("a"));
        must(stage.actor(number).map("a", 2));
    }
}

fn same_page(variant: &str) -> Box<dyn Scenario> {
    let script = script("a write from its own page", variant)
        .set_up(|stage| mapped(stage, 1))
        .client("write", |me| {
            must(me.write_from("a", 0, 1024, ("a", 2048), written(1, 2048)));
            must(me.read("a", 0, 1024));
        })
        .task("reclaim", |stage| _ = stage.server.drop_caches())
        .check(|stage, _| sound(stage));
    Box::new(script)
}

fn other_page(variant: &str) -> Box<dyn Scenario> {
    let script = script("a write from another page of its file", variant)
        .set_up(|stage| mapped(stage, 2))
        .client("write", |me| must(me.write_from("a", 0, 2048, ("a", PAGE), written(1, PAGE))))
        .client("store", |me| {
            must(me.store("a", 8));
            must(me.load("a", 1024));
        })
        .check(|stage, _| sound(stage));
    Box::new(script)
}

fn crossed(variant: &str) -> Box<dyn Scenario> {
    let script = script("two writes from mappings of each other's file", variant)
        .set_up(|stage| {
            for (number, own) in [(0, "a"), (1, "b")] {
                must(stage.actor(number).create(own));
                must(stage.actor(number).write(own, 0, PAGE));
            }
            for (number, other) in [(0, "b"), (1, "a")] {
                must(stage.actor(number).open(other));
                must(stage.actor(number).map(other, 1));
            }
        })
        .client("write a", |me| must(me.write_from("a", 0, 1024, ("b", 2048), written(2, 2048))))
        .client("write b", |me| must(me.write_from("b", 0, 1024, ("a", 2048), written(1, 2048))))
        .task("reclaim", |stage| _ = stage.server.drop_caches())
        .check(|stage, _| sound(stage));
    Box::new(script)
}
