//! ext4's inline data against stores through mappings: a small file lives in its inode until somebody
//! may store to a page of it, and a write may be on its way into the inode at that moment.
//!
//! The write holds the inode lock; the fault must not take it, for the write may wait for that fault.
//! What each protocol does instead is in `fs-ext4inline`'s `protocol`; the first is what Linux 4.12 to
//! 6.18 did (syzbot a158d886ca08a3fecca4).

use super::{Case, Experiment, Size, Variant};
use crate::oracle::{Data, Stamp};
use crate::scenario::{End, Failure, FaultSites, Scenario};
use crate::world::{Actor, Script, Stage, file_systems, protocol_classes};
use fs_ext4inline::{Access, Options};
use pager_abi::server_verb::ServerVerb;
use platform::lockdep::EXTENT_TREE;
use vfs_server::fs::{Inode, ReaddirControl};

/// The experiment.
pub static EXPERIMENT: Experiment = Experiment {
    name: "ext4-inline-mkwrite",
    summary: "what does a write find when the file leaves its inode under it?",
    variants: &[
        Variant {
            name: "mkwrite-unlocked",
            summary: "Linux 4.12 to 6.18: the fault clears the inline state, and restores it if there is no block",
        },
        Variant { name: "mkwrite-inode-lock", summary: "the same, with the fault waiting for the inode lock" },
        Variant { name: "mmap-time", summary: "mailed in 2023 and 2025: the file leaves its inode at mmap" },
        Variant {
            name: "decision-travels",
            summary: "Linux after 6.18: write_end obeys write_begin, or the write is done over",
        },
        Variant {
            name: "allocate-first",
            summary: "preferred on the list in 2025: nothing is destroyed before nothing can fail",
        },
        Variant { name: "latched", summary: "both, with a generation of the layout: the default here" },
    ],
    cases: &[
        Case {
            name: "full-disk",
            summary: "one client frees a block and overwrites an inline file, another stores through a mapping",
            scenario: full_disk,
            breaks: &[("mkwrite-unlocked", &[Failure::BUG])],
            size: Size::Small,
        },
        Case {
            name: "full-disk-free",
            summary: "one client overwrites an inline file, another stores through a mapping; a third frees a block",
            scenario: full_disk_free,
            breaks: &[("mkwrite-unlocked", &[Failure::BUG])],
            size: Size::Mix,
        },
        Case {
            name: "room",
            summary: "the same with room on the disk; the allocation may fail all the same",
            scenario: room,
            breaks: &[("mkwrite-unlocked", &[Failure::BUG])],
            size: Size::Small,
        },
        Case {
            name: "grow",
            summary: "one client lets the file grow within its inode while another stores",
            scenario: grow,
            breaks: &[("mkwrite-unlocked", &[Failure::BUG])],
            size: Size::Small,
        },
        Case {
            name: "outgrow",
            summary: "one client lets the file grow out of its inode while another stores: two conversions meet",
            scenario: outgrow,
            breaks: &[("mkwrite-unlocked", &[Failure::BUG])],
            size: Size::Small,
        },
        Case {
            name: "pool",
            summary: "a write whose copy faults under the inode lock, as Linux's does; a store; one worker for faults",
            scenario: pool,
            breaks: &[("mkwrite-unlocked", &[Failure::BUG]), ("mkwrite-inode-lock", &[Failure::DEADLOCK])],
            size: Size::Small,
        },
        Case {
            name: "pool-reclaim",
            summary: "the same, with reclaim as a task of its own",
            scenario: pool_reclaim,
            breaks: &[("mkwrite-unlocked", &[Failure::BUG]), ("mkwrite-inode-lock", &[Failure::DEADLOCK])],
            size: Size::Mix,
        },
        Case {
            name: "mix",
            summary: "a writer, two that store, a truncation, and a pass of writeback",
            scenario: mix,
            breaks: &[("mkwrite-unlocked", &[Failure::BUG])],
            size: Size::Mix,
        },
    ],
};

const FILE: &str = "a";
/// What is written from a mapping.
const SOURCE: &str = "b";
const PAGE: u64 = 4096;
/// Nothing fails.
const NOTHING: FaultSites = FaultSites::Only(&[]);
/// An allocation may find no block, whatever is free.
const NO_BLOCK: FaultSites = FaultSites::Only(&["ext4 allocate block"]);
/// Bytes that the file has at first: a part in `i_block`, a part in `system.data`.
const LENGTH: u64 = 80;

fn script(name: &str, variant: &str) -> Script {
    let mut classes = protocol_classes();
    // Where the contents are.
    classes.push(&EXTENT_TREE);
    Script::new(format!("{name}, inline={variant}"), &file_systems::EXT4)
        .options(&format!("inline={variant},deadline_ms=0"))
        .switching(&classes)
}

/// No block is lost or given twice: what the files on the disk use and what the bitmaps leave free is as
/// much as set-up noted. It mounts the disk anew, which takes longer than a run.
fn blocks_add_up(stage: &Stage, end: &End) -> Result<(), Failure> {
    if *end != End::Quiet {
        return Ok(());
    }
    let blocks = blocks_on_disk(stage).map_err(|error| Failure::new("damaged", error.to_string()))?.to_string();
    match stage.notes().first() {
        Some(noted) if *noted != blocks => {
            let words = "the blocks in use and the free ones are not as many as before";
            Err(Failure::new("leak", words).expected(noted, blocks))
        }
        _ => Ok(()),
    }
}

/// Blocks that the files use, and free ones, as the disk has them.
fn blocks_on_disk(stage: &Stage) -> Result<u64, vfs_server::Error> {
    let fs = fs_ext4inline::mount(stage.disk.clone(), Access::ReadOnly, Options::default())?;
    let sectors_per_block = u64::from(fs.block_size()) / platform::block::SECTOR_SIZE;
    let root = Inode::new(fs.read_inode(fs.root())?);
    let mut files = Vec::new();
    root.operations().readdir(&root, 0, &mut |entry| {
        files.push(entry.ino);
        ReaddirControl::Continue
    })?;
    let mut blocks = fs.statfs()?.free;
    for ino in files {
        blocks += fs.read_inode(ino)?.attributes.sectors / sectors_per_block;
    }
    Ok(blocks)
}

/// An inline file that the first client has open and the others map and have looked at.
fn mapped_file(stage: &Stage, mapping: usize) {
    stage.sync();
    let blocks = blocks_on_disk(stage).unwrap_or_else(|error| panic!("the new disk: {error}"));
    stage.note(blocks.to_string());
    let writer = stage.actor(0);
    writer.create(FILE).unwrap_or_else(|errno| panic!("create: errno {errno}"));
    writer.write(FILE, 0, LENGTH).unwrap_or_else(|errno| panic!("write: errno {errno}"));
    for number in 1..=mapping {
        let storer = stage.actor(number);
        storer.open(FILE).unwrap_or_else(|errno| panic!("open: errno {errno}"));
        storer.map(FILE, 1).unwrap_or_else(|errno| panic!("mmap: errno {errno}"));
        storer.load(FILE, 0).unwrap_or_else(|errno| panic!("load: errno {errno}"));
    }
}

/// A block that can be given back.
fn spare_block(spare: &Actor) {
    spare.create("spare").unwrap_or_else(|errno| panic!("create: errno {errno}"));
    spare.write("spare", 0, 512).unwrap_or_else(|errno| panic!("write: errno {errno}"));
}

/// Takes every block that an ordinary allocation can get.
fn fill(stage: &Stage) {
    let client = stage.observer().client();
    for number in 0.. {
        let path = format!("fill{number}");
        let descriptor = client
            .open(&path, syscall::flag::O_RDWR | syscall::flag::O_CREAT | 0o644)
            .unwrap_or_else(|errno| panic!("{path}: errno {errno}"));
        let mut size = 0;
        // Large pieces, then small ones; a new file when even those need more than is left.
        for piece in [8 << 10, 1 << 10] {
            while let Ok(count) = client.write(descriptor, size, &vec![0x77; piece]) {
                size += count as u64;
                stage.sync();
                stage.drop_caches();
            }
        }
        client.close(descriptor);
        stage.sync();
        if size == 0 {
            return;
        }
    }
}

/// Two clients: what there is of room comes from the one that writes.
fn full_disk(variant: &str) -> Box<dyn Scenario> {
    let script = script("write against store on a full disk", variant)
        .settings(|settings| settings.faults = NO_BLOCK)
        .set_up(|stage| {
            mapped_file(stage, 1);
            spare_block(stage.actor(0));
            fill(stage);
        })
        .client("free, write", |me| {
            _ = me.truncate("spare", 0);
            _ = me.write(FILE, 8, 16);
        })
        .client("store", |me| _ = me.store(FILE, 64))
        .check(blocks_add_up);
    Box::new(script)
}

fn full_disk_free(variant: &str) -> Box<dyn Scenario> {
    let script = script("write against store on a full disk, and room", variant)
        .set_up(|stage| {
            mapped_file(stage, 1);
            spare_block(stage.actor(2));
            fill(stage);
        })
        .client("write", |me| _ = me.write(FILE, 8, 16))
        .client("store", |me| _ = me.store(FILE, 64))
        .client("free", |me| _ = me.truncate("spare", 0))
        .check(blocks_add_up);
    Box::new(script)
}

fn room(variant: &str) -> Box<dyn Scenario> {
    let script = script("write against store", variant)
        .set_up(|stage| mapped_file(stage, 1))
        .client("write", |me| _ = me.write(FILE, 8, 16))
        .client("store", |me| _ = me.store(FILE, 64));
    Box::new(script)
}

fn grow(variant: &str) -> Box<dyn Scenario> {
    let script = script("growth against stores", variant)
        .set_up(|stage| mapped_file(stage, 1))
        .client("write", |me| _ = me.write(FILE, LENGTH, 32))
        .client("store", |me| _ = me.store(FILE, 64));
    Box::new(script)
}

fn outgrow(variant: &str) -> Box<dyn Scenario> {
    let script = script("growth out of the inode against stores", variant)
        .set_up(|stage| mapped_file(stage, 1))
        .client("write", |me| _ = me.write(FILE, 128, 64))
        .client("store", |me| _ = me.store(FILE, 64));
    Box::new(script)
}

/// The writer's bytes are in its mapping of another file, of which the other client takes the page away. The fault
/// that brings it back needs a worker; the only one for faults may be converting the file that is written.
fn pool(variant: &str) -> Box<dyn Scenario> {
    let script = script_of_pool("write from a mapping against store", variant)
        .settings(|settings| settings.faults = NOTHING)
        .client("write", write_from_mapping)
        .client("reclaim, store", |me| {
            _ = me.client().call(0, [ServerVerb::DropCaches as u64, 0, 0], 0);
            _ = me.store(FILE, 64);
        });
    Box::new(script)
}

/// The same with reclaim at any moment: it may also take the page that is being stored to.
fn pool_reclaim(variant: &str) -> Box<dyn Scenario> {
    let script = script_of_pool("write from a mapping against store and reclaim", variant)
        .client("write", write_from_mapping)
        .client("store", |me| _ = me.store(FILE, 64))
        .task("reclaim", |stage| _ = stage.drop_caches());
    Box::new(script)
}

fn script_of_pool(name: &str, variant: &str) -> Script {
    script(name, variant).options("copy=faulting,fault_workers=1").set_up(|stage| {
        mapped_file(stage, 1);
        let writer = stage.actor(0);
        writer.create(SOURCE).unwrap_or_else(|errno| panic!("create: errno {errno}"));
        writer.write(SOURCE, 0, PAGE).unwrap_or_else(|errno| panic!("write: errno {errno}"));
        writer.map(SOURCE, 1).unwrap_or_else(|errno| panic!("mmap: errno {errno}"));
        writer.load(SOURCE, 0).unwrap_or_else(|errno| panic!("load: errno {errno}"));
    })
}

fn write_from_mapping(me: &Actor) {
    // Set-up's second write.
    let Some(stamp) = Stamp::new(2) else { return };
    _ = me.write_from(FILE, 0, 16, (SOURCE, 0), Data::of(stamp));
}

fn mix(variant: &str) -> Box<dyn Scenario> {
    let script = script("everything at once", variant)
        .set_up(|stage| mapped_file(stage, 3))
        .client("write", |me| {
            _ = me.write(FILE, 0, 40);
            _ = me.append(FILE, 20);
        })
        .client("store", |me| {
            _ = me.store(FILE, 8);
            _ = me.store(FILE, 64);
        })
        .client("store too", |me| {
            _ = me.store(FILE, 16);
            _ = me.read(FILE, 0, 128);
        })
        .client("truncate", |me| {
            _ = me.truncate(FILE, 30);
            _ = me.write(FILE, 24, 40);
        })
        .task("writeback", |stage| stage.server.write_back_pass())
        .check(blocks_add_up);
    Box::new(script)
}
