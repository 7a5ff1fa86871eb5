//! Truncate against page faults on the pages that it cuts off.
//!
//! Truncate holds the inode lock and the invalidate lock exclusively, publishes the size, then takes
//! the pages back (ZAP) and drops the folios; a fault holds the invalidate lock shared, and no inode
//! lock. What could go wrong: an answer that was on its way when the pages were taken back, a CPU
//! whose TLB still leads to a dropped folio, a folio that is found dropped after its lock was won, a
//! store that ends up past the new end and comes back when the file grows again.

use super::{Case, Experiment, Size, Variant};
use crate::scenario::Scenario;
use crate::world::{Script, Stage, file_systems};

/// The experiment.
pub static EXPERIMENT: Experiment = Experiment {
    name: "truncate-fault",
    summary: "can a page fault reach a page that truncate cuts off?",
    variants: &[Variant { name: "zap-under-invalidate", summary: "the server's protocol: as Linux's" }],
    cases: &[
        Case {
            name: "load",
            summary: "one client cuts a mapped file while another loads from it",
            scenario: |_| truncate_against_load(),
            breaks: &[],
            size: Size::Small,
        },
        Case {
            name: "store",
            summary: "one client cuts a mapped file while another stores to what stays and to what goes",
            scenario: |_| truncate_against_store(),
            breaks: &[],
            size: Size::Small,
        },
        Case {
            name: "cut-and-grow",
            summary: "one client cuts a file and lets it grow again while another stores and a pass of writeback runs",
            scenario: |_| cut_and_grow(),
            breaks: &[],
            size: Size::Mix,
        },
    ],
};

const PAGE: u64 = 4096;

/// A file of two pages that both clients have open, mapped by the second, its pages touched once: the
/// TLB of its CPU leads to them.
fn mapped_file(stage: &Stage) {
    let (cutting, faulting) = (stage.actor(0), stage.actor(1));
    cutting.create("a").unwrap_or_else(|errno| panic!("create: errno {errno}"));
    cutting.write("a", 0, 2 * PAGE).unwrap_or_else(|errno| panic!("write: errno {errno}"));
    faulting.open("a").unwrap_or_else(|errno| panic!("open: errno {errno}"));
    faulting.map("a", 2).unwrap_or_else(|errno| panic!("mmap: errno {errno}"));
    for page in 0..2 {
        faulting.load("a", page * PAGE).unwrap_or_else(|errno| panic!("load: errno {errno}"));
    }
}

fn truncate_against_load() -> Box<dyn Scenario> {
    let script = Script::new("truncate against loads", &file_systems::EXT4)
        .set_up(mapped_file)
        .client("truncate", |me| _ = me.truncate("a", 1000))
        .client("load", |me| {
            // The first page stays, the second goes: an error is an answer too.
            _ = me.load("a", PAGE + 8);
            _ = me.load("a", 8);
        });
    Box::new(script)
}

fn truncate_against_store() -> Box<dyn Scenario> {
    let script = Script::new("truncate against stores", &file_systems::EXT4)
        .set_up(mapped_file)
        .client("truncate", |me| _ = me.truncate("a", 1000))
        .client("store", |me| {
            _ = me.store("a", PAGE + 8);
            _ = me.store("a", 8);
        });
    Box::new(script)
}

fn cut_and_grow() -> Box<dyn Scenario> {
    let script = Script::new("cut and grow against stores and writeback", &file_systems::EXT4)
        .set_up(mapped_file)
        .client("truncate", |me| {
            _ = me.truncate("a", 1000);
            _ = me.truncate("a", 2 * PAGE);
            _ = me.read("a", 0, 2 * PAGE);
        })
        .client("store", |me| {
            _ = me.store("a", 2000);
            _ = me.load("a", PAGE + 16);
        })
        .task("writeback", |stage| stage.server.write_back_pass());
    Box::new(script)
}
