//! Any two operations on one file, and whatever the server does meanwhile.
//!
//! The other experiments ask about races that somebody has thought of. This one picks: what each of
//! two clients does, and what the server does beside them, are choices of the run, so that every
//! combination meets every interleaving that the budget allows.

use super::writeback_truncate::must;
use super::{Case, Experiment, Size, Variant};
use crate::runtime;
use crate::scenario::{FaultSites, Scenario};
use crate::world::{Actor, CrashTest, FileSystemKind, Script, Stage, file_systems};

/// The experiment.
pub static EXPERIMENT: Experiment = Experiment {
    name: "any-two",
    summary: "does any operation meet any other one that nobody has thought of?",
    variants: &[
        Variant { name: "mini", summary: "on fs-mini, whose disk is mounted after crashes, too" },
        Variant { name: "ext4", summary: "on ext4 with inline data, inline=latched" },
        Variant { name: "bcachefs", summary: "on bcachefs's write path, write=shared-inode-lock" },
    ],
    cases: &[
        Case {
            name: "pages",
            summary: "a file of two pages, one operation of each client",
            scenario: |fs| any(fs, 2 * PAGE, 1, Errors::None),
            breaks: &[],
            size: Size::Mix,
        },
        Case {
            name: "tail",
            summary: "a file that ends within a page, one operation of each client",
            scenario: |fs| any(fs, PAGE + 700, 1, Errors::None),
            breaks: &[],
            size: Size::Mix,
        },
        Case {
            name: "small",
            summary: "a file that fits its inode, one operation of each client",
            scenario: |fs| any(fs, 40, 1, Errors::None),
            breaks: &[],
            size: Size::Mix,
        },
        Case {
            name: "longer",
            summary: "a file that ends within a page, two operations of each client",
            scenario: |fs| any(fs, PAGE + 700, 2, Errors::None),
            breaks: &[],
            size: Size::Mix,
        },
        Case {
            name: "errors",
            summary: "the same where memory, the disk's space and pages of buffers may be missing",
            scenario: |fs| any(fs, PAGE + 700, 2, Errors::Anywhere),
            breaks: &[],
            size: Size::Mix,
        },
    ],
};

const PAGE: u64 = 4096;

/// Whether calls may fail for a reason of the server's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Errors {
    None,
    Anywhere,
}

/// What a client may do. That it fails (a load past the end, a full disk) is no failure of the run.
const OPERATIONS: &[fn(&Actor)] = &[
    |me| _ = me.write(FILE, 0, 512),
    |me| _ = me.write(FILE, PAGE - 100, 300),
    |me| _ = me.write(FILE, PAGE + 600, 300),
    |me| _ = me.write(FILE, 2 * PAGE + 100, 200),
    |me| _ = me.append(FILE, 600),
    |me| _ = me.truncate(FILE, 0),
    |me| _ = me.truncate(FILE, 300),
    |me| _ = me.truncate(FILE, PAGE),
    |me| _ = me.truncate(FILE, 2 * PAGE + 10),
    |me| _ = me.read(FILE, 0, 3 * PAGE),
    |me| _ = me.load(FILE, 0),
    |me| _ = me.load(FILE, PAGE + 512),
    |me| _ = me.store(FILE, 8),
    |me| _ = me.store(FILE, PAGE + 696),
    |me| _ = me.fsync(FILE),
    |me| _ = me.seek_data(FILE, 0),
    |me| _ = me.seek_hole(FILE, 0),
];

/// What the server may do meanwhile.
const DUTIES: &[fn(&Stage)] = &[
    |_| {},
    |stage| stage.server.write_back_pass(),
    |stage| _ = stage.server.drop_caches(),
    |stage| _ = stage.server.migrate_folios(),
    |stage| {
        stage.server.write_back_pass();
        stage.server.drop_caches();
    },
];

const FILE: &str = "a";

fn any(fs: &str, size: u64, operations: usize, errors: Errors) -> Box<dyn Scenario> {
    let kind: &'static FileSystemKind = match fs {
        "ext4" => &file_systems::EXT4,
        "bcachefs" => &file_systems::BCACHEFS,
        _ => &file_systems::MINI,
    };
    let client = move |me: &Actor| {
        for _ in 0..operations {
            OPERATIONS[runtime::pick(OPERATIONS.len() as u32, "what the client does") as usize](me);
        }
    };
    let mut script = Script::new(format!("any-two on {fs}"), kind)
        .settings(|settings| {
            if errors == Errors::None {
                settings.faults = FaultSites::Only(&[]);
            }
        })
        .set_up(move |stage| {
            let (one, other) = (stage.actor(0), stage.actor(1));
            must(one.create(FILE));
            must(one.write(FILE, 0, size));
            must(one.map(FILE, 3));
            must(other.open(FILE));
            must(other.map(FILE, 3));
        })
        .client("one", client)
        .client("other", client)
        .task("server", |stage| DUTIES[runtime::pick(DUTIES.len() as u32, "what the server does") as usize](stage));
    if fs == "mini" {
        script = script.crashes(CrashTest { points: 1, states: 1, again: 0 });
    }
    Box::new(script)
}
