//! Runs made by hand, for the tests of the renderings.

use super::recorder::{Names, Recorder};
use super::told::{Broken, FolioState, Mapped, Switch, Title, ToldRun};

const DIRTY: FolioState = FolioState { uptodate: true, dirty: true, writeback: false, mapped: Mapped::Not };

/// An early exit trims the page cache to a size that a competitor has extended.
pub fn lost_write() -> ToldRun {
    let title = Title {
        experiment: "bcachefs-buffered-write".into(),
        variant: "lockless".into(),
        scenario: "a write that cannot lock all its folios against an append".into(),
        replay: "faultline-explore replay lost-write.schedule".into(),
    };
    let mut names = Names::default();
    names.name_object(0x10, "inode lock of inode 12");
    names.alias("inode 12", "/a");
    let mut run = Recorder::new(title, names);
    let one = run.add_lane("client 1", "");
    let two = run.add_lane("client 2", "");
    run.add_lane("writeback", "");
    run.decide(1, one, Switch::Takes);
    run.begin(one, "write(/a, [0,6))");
    run.tell(one, "reads i_size of inode 12: 6");
    run.decide(4, one, Switch::Stays);
    run.held(one, &[("folio lock", 0x30)]);
    run.chosen(one, "no memory for folio 1", 1, 2);
    run.decide(9, two, Switch::Preempts);
    run.begin(two, "append(/a, 4 bytes)");
    run.held(two, &[("inode lock", 0x10)]);
    run.decide(11, two, Switch::Stays);
    run.tell(two, "copies [6,10) to folio 1");
    run.folio(two, "folio 1 of inode 12", Some(DIRTY));
    run.decide(14, two, Switch::Stays);
    run.tell(two, "i_size of inode 12: 6 -> 10");
    run.held(two, &[]);
    run.end(two, "4");
    run.decide(15, one, Switch::Takes);
    run.tell(one, "leaves early: trims the page cache to 6, with the add side of the pagecache lock held shared");
    run.folio(one, "folio 1 of inode 12", None);
    run.decide(16, one, Switch::Stays);
    run.waits_for_lock(one, ("inode lock", 0x10), Some(two));
    run.held(one, &[("inode lock", 0x10)]);
    run.tell(one, "starts over under the inode lock");
    run.held(one, &[]);
    run.end(one, "6");
    run.finish(Some(Broken {
        kind: "lost-write".into(),
        summary: "an acknowledged write of inode 12 is gone".into(),
        details: vec![
            "read(/a, [6,10)) must give the 4 bytes of client 2's append, acknowledged at step 14".into(),
            "it gives zeros".into(),
        ],
        lane: None,
    }))
}

/// A write that holds the inode lock faults on its buffer, whose fault wants the inode lock.
pub fn deadlock() -> ToldRun {
    let title = Title {
        experiment: "ext4-inline-mkwrite".into(),
        variant: "mkwrite-inode-lock".into(),
        scenario: "write from a mapping of the same file".into(),
        replay: String::new(),
    };
    let mut names = Names::default();
    names.name_object(0x10, "inode lock of /a");
    let mut run = Recorder::new(title, names);
    let client = run.add_lane("client 1", "");
    let worker = run.add_lane("worker 1", "answers requests");
    let fault = run.add_lane("fault worker", "answers page faults");
    run.decide(1, client, Switch::Takes);
    run.begin(client, "write(/a, [0,8), from a mapping of /a)");
    run.waits_for_event(client, "the answer to request 1", Some(worker));
    run.decide(2, worker, Switch::Takes);
    run.begin(worker, "serves the write");
    run.held(worker, &[("inode lock", 0x10)]);
    run.decide(5, worker, Switch::Stays);
    run.tell(worker, "copies from the client's buffer, which is not resident");
    run.waits_for_event(worker, "the page at 0x7000 of client 1", Some(fault));
    run.decide(6, fault, Switch::Takes);
    run.begin(fault, "page_mkwrite(/a, page 0)");
    run.waits_for_lock(fault, ("inode lock", 0x10), Some(worker));
    run.finish(Some(Broken {
        kind: "deadlock".into(),
        summary: "nobody can go on".into(),
        details: vec![
            "worker 1 waits for the page at 0x7000 of client 1, which the fault worker answers".into(),
            "fault worker waits for inode lock of /a, held by worker 1".into(),
        ],
        lane: Some(fault),
    }))
}
