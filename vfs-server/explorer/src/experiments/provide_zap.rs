//! Pages on their way to a client against the server that takes them back: rule 2 of the paging protocol.
//!
//! A fault is answered some time after the server has chosen the page. Meanwhile the page may have been cut off,
//! written back or reclaimed, the client's CPU may still have an old translation, the client may have given up, or
//! its mapping may have ended. All of it is decided in `pager-core` by marks on the records of faults in flight; the
//! mutants of these cases take one rule of that away each.

use super::{Case, Experiment, Size, Variant};
use crate::runtime;
use crate::scenario::{Failure, FaultSites};
use crate::world::{Actor, Script, Stage, file_systems};
use guest::CallResult;
use platform::lockdep::{FOLIO, INODE, INVALIDATE};
use syscall::error::{EFAULT, EINTR};

/// The table's entry.
pub static EXPERIMENT: Experiment = Experiment {
    name: "provide-zap",
    summary: "Do pages that are on their way to a client survive that the server takes them back?",
    variants: &[Variant { name: "in-flight-marks", summary: "ZAP and WRPROTECT mark the faults that they overtake" }],
    cases: &[
        Case {
            name: "fault-against-truncate",
            summary: "one client loads a page that is not mapped yet, another cuts it off",
            scenario: |_| Box::new(fault_against_truncate()),
            breaks: &[],
            size: Size::Small,
        },
        Case {
            name: "tlb-against-truncate",
            summary: "one client loads a page again and again through its TLB, another cuts it off",
            scenario: |_| Box::new(tlb_against_truncate()),
            breaks: &[],
            size: Size::Small,
        },
        Case {
            name: "store-against-writeback",
            summary: "one client stores to a page for the first time, another fsyncs it",
            scenario: |_| Box::new(store_against_writeback()),
            breaks: &[],
            size: Size::Small,
        },
        Case {
            name: "interrupted-read",
            summary: "a read is interrupted while the server has it, and another client reads another file",
            scenario: |_| Box::new(interrupted_read()),
            breaks: &[],
            size: Size::Small,
        },
        Case {
            name: "munmap-against-mmap",
            summary: "one client ends the only mapping of a file, another makes a new one",
            scenario: |_| Box::new(munmap_against_mmap()),
            breaks: &[],
            size: Size::Small,
        },
        Case {
            name: "fault-against-reclaim",
            summary: "one client loads a page, reclaim gives its folio back, another client makes use of the memory",
            scenario: |_| Box::new(fault_against_reclaim()),
            breaks: &[],
            size: Size::Mix,
        },
    ],
};

const PAGE: u64 = 4096;

/// On a disk that has room: who of the clients fails is in the wrong.
fn script(case: &str) -> Script {
    Script::new(format!("provide-zap/{case}"), &file_systems::EXT4)
        .settings(|settings| settings.faults = FaultSites::Only(&[]))
}

/// `a` holds a page of data, which the second client has mapped and not touched.
fn a_mapped_page(case: &str) -> Script {
    script(case)
        .switching(&[&INODE, &INVALIDATE, &FOLIO, &guest::PAGER, &guest::TLB])
        .config(|config| config.fault_workers = 1)
        .set_up(|stage: &Stage| {
            let (owner, mapper) = (stage.actor(0), stage.actor(1));
            must(owner.create("a"));
            must(owner.write("a", 0, PAGE));
            must(mapper.open("a"));
            must(mapper.map("a", 1));
        })
}

fn fault_against_truncate() -> Script {
    a_mapped_page("fault-against-truncate")
        .client("truncates", |me| must(me.truncate("a", 0)))
        .client("loads", |me| loads(me, 1))
}

fn tlb_against_truncate() -> Script {
    a_mapped_page("tlb-against-truncate")
        .client("truncates", |me| must(me.truncate("a", 0)))
        .client("loads", |me| loads(me, 3))
}

/// A load finds the page, or that it is past the end; the oracle knows when it may find which.
fn loads(me: &Actor, times: usize) {
    for _ in 0..times {
        match me.load("a", 0) {
            Ok(_) | Err(EFAULT) => {}
            Err(errno) => failed_access("load", errno),
        }
    }
}

fn store_against_writeback() -> Script {
    a_mapped_page("store-against-writeback")
        .client("syncs", |me| {
            must(me.write("a", 512, 512));
            must(me.fsync("a"));
        })
        .client("stores", |me| {
            for word in 0..2 {
                if let Err(errno) = me.store("a", word * 8) {
                    failed_access("store", errno);
                }
            }
        })
}

fn interrupted_read() -> Script {
    script("interrupted-read")
        .switching(&[&FOLIO, &guest::PAGER])
        .set_up(|stage: &Stage| {
            for (client, path) in [(0, "a"), (1, "b")] {
                let client = stage.actor(client);
                must(client.create(path));
                must(client.write(path, 0, 2 * PAGE));
            }
        })
        .client("is interrupted", |me| match me.read("a", 0, 2 * PAGE) {
            Ok(_) | Err(EINTR) => {}
            Err(errno) => failed_access("read", errno),
        })
        .client("reads", |me| must(me.read("b", 0, PAGE).map(drop)))
        .task("signal", |stage| _ = stage.actor(0).client().interrupt())
}

fn munmap_against_mmap() -> Script {
    script("munmap-against-mmap")
        .switching(&[&INODE, &INVALIDATE, &FOLIO, &guest::PAGER])
        .set_up(|stage: &Stage| {
            let (first, second) = (stage.actor(0), stage.actor(1));
            must(first.create("a"));
            must(first.write("a", 0, PAGE));
            must(first.map("a", 1));
            must(second.open("a"));
        })
        .client("unmaps", |me| me.unmap("a"))
        .client("maps", |me| {
            must(me.map("a", 1));
            if let Err(errno) = me.load("a", 0) {
                failed_access("load", errno);
            }
        })
}

fn fault_against_reclaim() -> Script {
    a_mapped_page("fault-against-reclaim")
        .client("makes use of the memory", |me| {
            must(me.create("b"));
            must(me.write("b", 0, PAGE).map(drop));
        })
        .client("loads", |me| {
            for _ in 0..2 {
                if let Err(errno) = me.load("a", 0) {
                    failed_access("load", errno);
                }
            }
        })
        .task("reclaim", |stage| _ = stage.server.drop_caches())
}

/// A call that nothing in the case can make fail.
fn must<T>(result: CallResult<T>) {
    if let Err(errno) = result {
        failed_access("call", errno);
    }
}

fn failed_access(what: &str, errno: i32) {
    runtime::fail(Failure::new("failed-access", format!("a {what} of a valid range failed with errno {errno}")));
}
