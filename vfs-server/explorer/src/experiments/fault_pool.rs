//! Who answers page faults: threads of their own, or whoever is free.
//!
//! A write that faults its buffer in under the inode lock (as Linux does; here with `copy=faulting`) waits for
//! somebody to answer the fault. When every worker may serve requests, all of them can be writes that wait: one
//! for the answer, the others for the inode lock that it holds. No lock is taken in a wrong order, nothing is
//! wrong with any of the locks; what is missing is a thread. A worker that serves nothing but faults ends it, and
//! so does the rule that no lock is held while a page of a buffer is missing (`copy=retry`).

use super::writeback_truncate::{must, sound};
use super::{Case, Experiment, Size, Variant};
use crate::oracle::{Data, Stamp};
use crate::scenario::Scenario;
use crate::world::{Actor, Script, Stage, file_systems};

/// The experiment.
pub static EXPERIMENT: Experiment = Experiment {
    name: "fault-pool",
    summary: "can all workers wait for a fault that none of them is free to answer?",
    variants: &[
        Variant { name: "dedicated", summary: "a worker for faults alone; buffers are faulted in under locks" },
        Variant { name: "shared", summary: "all workers answer everything; buffers are faulted in under locks" },
        Variant { name: "shared-retry", summary: "all workers answer everything; no lock is held over a fault" },
    ],
    cases: &[Case {
        name: "two-writes",
        summary: "two clients write one file from mappings that they have not touched; there are two workers",
        scenario: |variant| two_writes(variant),
        breaks: &[("shared", &["deadlock"])],
        size: Size::Small,
    }],
};

fn two_writes(variant: &str) -> Box<dyn Scenario> {
    let options = match variant {
        "shared" => "copy=faulting,pool=shared",
        "shared-retry" => "copy=retry,pool=shared",
        _ => "copy=faulting,pool=dedicated",
    };
    let script = Script::new(format!("two writes and two workers, {variant}"), &file_systems::MINI)
        .options(options)
        .config(|config| (config.fault_workers, config.request_workers) = (1, 1))
        .set_up(|stage: &Stage| {
            must(stage.actor(0).create("a"));
            must(stage.actor(0).write("a", 0, 2048));
            must(stage.actor(0).create("b"));
            must(stage.actor(0).write("b", 0, 4096));
            for number in 0..2 {
                must(stage.actor(number).open("a"));
                must(stage.actor(number).open("b"));
                must(stage.actor(number).map("b", 1));
            }
        })
        .client("write", |me| write_from_b(me, 0))
        .client("write too", |me| write_from_b(me, 1024))
        // The kernel has brought the page in before it queues the request: reclaim takes it away again.
        .task("reclaim", |stage| _ = stage.server.drop_caches())
        .check(|stage, _| sound(stage));
    Box::new(script)
}

fn write_from_b(me: &Actor, at: u64) {
    // Set-up's second write is what is in `b`.
    let Some(stamp) = Stamp::new(2) else { return };
    must(me.write_from("a", at, 1024, ("b", at), Data { stamp, index: at }));
}
