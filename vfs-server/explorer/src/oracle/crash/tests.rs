//! Good and bad disks after a crash, written down one by one; and a small file system that is sometimes wrong.

use super::super::history::{Call, Data, FileId, History, Outcome};
use super::super::{Kind, POISON, Rules, Stamp};
use super::disk_log::SECTOR;
use super::*;
use std::collections::HashSet;

const FILE: FileId = FileId(0);

fn write(history: &mut History, offset: u64, len: u64) -> Stamp {
    let stamp = history.stamp().unwrap();
    history.record(1, FILE, Call::Write { offset, len, data: Data::of(stamp) }, Outcome::Count(len));
    stamp
}

fn sync(history: &mut History) {
    history.record(1, FILE, Call::Sync, Outcome::Done);
}

fn recovered(history: &History, pieces: &[&[u8]]) -> Result<(), Kind> {
    let found = files::check(history, FILE, history.now(), &pieces.concat(), &Rules::default());
    found.map_err(|violation| violation.kind)
}

// --- the disk ------------------------------------------------------------------------------------

fn contents_of(log: &DiskLog, at: usize, sectors: usize) -> HashSet<Vec<u8>> {
    let states = CrashStates::new(log.pending(at), 1);
    let original = vec![0; sectors * SECTOR];
    let mut image = Vec::new();
    let mut found = HashSet::new();
    for state in states.iter() {
        states.write(state, &original, &mut image);
        found.insert(image.chunks(SECTOR).map(|sector| sector[0]).collect());
    }
    assert_eq!(found.len(), states.len(), "the same disk twice");
    found
}

#[test]
fn a_write_without_a_flush_may_be_lost() {
    let mut log = DiskLog::default();
    let one = log.write(1, 0, vec![1; SECTOR]);
    log.completed(2, one);
    assert_eq!(contents_of(&log, 2, 1), HashSet::from([vec![0], vec![1]]));
}

#[test]
fn a_flush_covers_what_was_completed_before_it_was_submitted() {
    let mut log = DiskLog::default();
    let early = log.write(1, 0, vec![1; SECTOR]);
    log.completed(1, early);
    let late = log.write(2, 1, vec![2; SECTOR]);
    let flush = log.flush(3);
    log.completed(4, late);
    assert_eq!(contents_of(&log, log.len(), 2).len(), 4, "the flush is not complete");
    log.completed(5, flush);
    assert_eq!(contents_of(&log, log.len(), 2), HashSet::from([vec![1, 0], vec![1, 2]]));
}

#[test]
fn sectors_of_one_write_arrive_one_by_one() {
    let mut log = DiskLog::default();
    log.write(1, 0, vec![7; 2 * SECTOR]);
    assert_eq!(contents_of(&log, 1, 2), HashSet::from([vec![0, 0], vec![0, 7], vec![7, 0], vec![7, 7]]));
}

#[test]
fn each_of_several_writes_of_a_sector_may_be_the_last_that_arrived() {
    let mut log = DiskLog::default();
    for value in 1..=3 {
        let write = log.write(1, 0, vec![value; SECTOR]);
        log.completed(1, write);
    }
    assert_eq!(contents_of(&log, log.len(), 1), HashSet::from([vec![0], vec![1], vec![2], vec![3]]));
}

#[test]
fn the_last_flushed_write_of_a_sector_stays() {
    let mut log = DiskLog::default();
    for value in 1..=3 {
        let write = log.write(1, 0, vec![value; SECTOR]);
        log.completed(1, write);
    }
    let flush = log.flush(2);
    log.completed(3, flush);
    assert_eq!(contents_of(&log, log.len(), 1), HashSet::from([vec![3]]));
    assert_eq!(contents_of(&log, log.len() - 1, 1).len(), 4);
}

#[test]
fn ten_pending_sectors_are_exhausted_and_more_are_sampled() {
    let mut log = DiskLog::default();
    for sector in 0..10 {
        log.write(1, sector, vec![1; SECTOR]);
    }
    let mut coverage = Coverage::default();
    let states = CrashStates::new(log.pending(10), 1);
    assert_eq!((states.len(), states.is_exhaustive()), (1024, true));
    coverage.add(&states);
    log.write(1, 10, vec![1; SECTOR]);
    let states = CrashStates::new(log.pending(11), 1);
    assert!(!states.is_exhaustive());
    coverage.add(&states);
    let found = contents_of(&log, 11, 11);
    for prefix in 0..=11 {
        let arrived: Vec<u8> = (0..11).map(|sector| u8::from(sector < prefix)).collect();
        assert!(found.contains(&arrived), "the prefix of {prefix}");
    }
    for sector in 0..11 {
        let only: Vec<u8> = (0..11).map(|other| u8::from(sector == other)).collect();
        let all_but: Vec<u8> = only.iter().map(|arrived| 1 - arrived).collect();
        assert!(found.contains(&only) && found.contains(&all_but), "sector {sector}");
    }
    assert_eq!((coverage.exhausted, coverage.sampled), (1, 1));
    assert_eq!(coverage.states, 1024 + found.len());
}

// --- files ---------------------------------------------------------------------------------------

#[test]
fn what_was_synced_is_there() {
    let mut history = History::new();
    let a = write(&mut history, 0, 1024);
    sync(&mut history);
    assert_eq!(recovered(&history, &[&a.data(1024)]), Ok(()));
    assert_eq!(recovered(&history, &[&a.data(512), &[0; 512]]), Err(Kind::LostWrite));
    assert_eq!(recovered(&history, &[&a.data(512)]), Err(Kind::WrongSize));
    assert_eq!(recovered(&history, &[&a.data(512), &[POISON; 512]]), Err(Kind::ForeignBytes));
}

#[test]
fn an_fsync_that_failed_or_was_not_answered_promises_nothing() {
    let mut history = History::new();
    write(&mut history, 0, 1024);
    history.record(1, FILE, Call::Sync, Outcome::Failed(5));
    history.begin(1, FILE, Call::Sync);
    assert_eq!(recovered(&history, &[]), Ok(()));
}

#[test]
fn a_write_that_was_under_way_when_the_fsync_began_may_be_missing() {
    let mut history = History::new();
    let stamp = history.stamp().unwrap();
    let id = history.begin(1, FILE, Call::Write { offset: 0, len: 512, data: Data::of(stamp) });
    let fsync = history.begin(2, FILE, Call::Sync);
    history.end(id, Outcome::Count(512));
    history.end(fsync, Outcome::Done);
    assert_eq!(recovered(&history, &[]), Ok(()));
    assert_eq!(recovered(&history, &[&stamp.data(512)]), Ok(()));
}

#[test]
fn what_was_seen_of_such_a_write_may_be_missing_too() {
    let mut history = History::new();
    let old = write(&mut history, 0, 512);
    let new = history.stamp().unwrap();
    let writing = history.begin(2, FILE, Call::Write { offset: 0, len: 512, data: Data::of(new) });
    history.record(1, FILE, Call::Read { offset: 0, len: 512 }, Outcome::Bytes(new.data(512)));
    sync(&mut history);
    history.end(writing, Outcome::Count(512));
    assert_eq!(recovered(&history, &[&old.data(512)]), Ok(()));
    assert_eq!(recovered(&history, &[&new.data(512)]), Ok(()));
    assert_eq!(recovered(&history, &[&[0; 512]]), Err(Kind::LostWrite));
}

#[test]
fn a_synced_write_behind_a_cut_that_was_under_way_stays() {
    let mut history = History::new();
    let old = write(&mut history, 0, 1024);
    let cutting = history.begin(2, FILE, Call::Truncate { size: 0 });
    history.record(1, FILE, Call::Read { offset: 0, len: 512 }, Outcome::Bytes(Vec::new()));
    let stamp = history.stamp().unwrap();
    history.record(1, FILE, Call::Append { len: 100, data: Data::of(stamp) }, Outcome::Count(100));
    sync(&mut history);
    history.end(cutting, Outcome::Done);
    assert_eq!(recovered(&history, &[&stamp.data(100)]), Ok(()));
    assert_eq!(recovered(&history, &[&old.data(1024), &stamp.data(100)]), Ok(()));
    assert_eq!(recovered(&history, &[&[POISON; 100]]), Err(Kind::ForeignBytes));
}

#[test]
fn an_overwrite_that_was_not_synced_may_be_there_in_part() {
    let mut history = History::new();
    let a = write(&mut history, 0, 1024);
    sync(&mut history);
    let b = write(&mut history, 0, 1024);
    assert_eq!(recovered(&history, &[&a.data(512), &b.data(1024)[512..]]), Ok(()));
    assert_eq!(recovered(&history, &[&[0; 512], &b.data(1024)[512..]]), Err(Kind::LostWrite));
}

#[test]
fn space_that_was_not_synced_is_zero_or_written() {
    let mut history = History::new();
    let a = write(&mut history, 0, 512);
    sync(&mut history);
    let b = write(&mut history, 512, 512);
    assert_eq!(recovered(&history, &[&a.data(512)]), Ok(()));
    assert_eq!(recovered(&history, &[&a.data(512), &[0; 512]]), Ok(()));
    assert_eq!(recovered(&history, &[&a.data(512), &b.data(512)]), Ok(()));
    assert_eq!(recovered(&history, &[&a.data(512), &[POISON; 512]]), Err(Kind::ForeignBytes));
    assert_eq!(recovered(&history, &[&a.data(512), &b.data(512), &[0; 8]]), Err(Kind::WrongSize));
}

#[test]
fn what_was_overwritten_and_synced_does_not_come_back() {
    let mut history = History::new();
    let a = write(&mut history, 0, 512);
    sync(&mut history);
    write(&mut history, 0, 512);
    sync(&mut history);
    assert_eq!(recovered(&history, &[&a.data(512)]), Err(Kind::StaleBytes));
}

#[test]
fn a_cut_that_was_synced_stays() {
    let mut history = History::new();
    let a = write(&mut history, 0, 1024);
    history.record(1, FILE, Call::Truncate { size: 512 }, Outcome::Done);
    sync(&mut history);
    assert_eq!(recovered(&history, &[&a.data(512)]), Ok(()));
    assert_eq!(recovered(&history, &[&a.data(1024)]), Err(Kind::WrongSize));
}

#[test]
fn appends_that_were_not_synced_lie_behind_each_other() {
    let mut history = History::new();
    let a = write(&mut history, 0, 100);
    sync(&mut history);
    let stamps: Vec<_> = (0..2)
        .map(|client| {
            let stamp = history.stamp().unwrap();
            history.begin(client, FILE, Call::Append { len: 50, data: Data::of(stamp) });
            stamp
        })
        .collect();
    let (x, y) = (stamps[0].data(50), stamps[1].data(50));
    assert_eq!(recovered(&history, &[&a.data(100), &y, &x]), Ok(()));
    assert_eq!(recovered(&history, &[&a.data(100), &x]), Ok(()));
    assert_eq!(recovered(&history, &[&a.data(90), &x]), Err(Kind::StaleBytes));
}

#[test]
fn of_two_concurrent_writes_that_were_synced_one_wins_everywhere() {
    let mut history = History::new();
    let stamps = [history.stamp().unwrap(), history.stamp().unwrap()];
    let ids = stamps.map(|stamp| history.begin(1, FILE, Call::Write { offset: 0, len: 1024, data: Data::of(stamp) }));
    for id in ids {
        history.end(id, Outcome::Count(1024));
    }
    sync(&mut history);
    let [a, b] = stamps.map(|stamp| stamp.data(1024));
    assert_eq!(recovered(&history, &[&a]), Ok(()));
    assert_eq!(recovered(&history, &[&b]), Ok(()));
    assert_eq!(recovered(&history, &[&a[..512], &b[512..]]), Err(Kind::StaleBytes));
}

// --- names ---------------------------------------------------------------------------------------

fn tree(names: &[(&str, u8)]) -> Tree {
    names.iter().map(|&(path, file)| (path.to_string(), FileId(file))).collect()
}

/// One after the other; the moments are 1, 2, ...
fn names(initial: &[(&str, u8)], calls: &[NameCall]) -> NameHistory {
    let mut history = NameHistory::new(tree(initial));
    for (index, call) in calls.iter().enumerate() {
        let id = history.begin(2 * index as u32 + 1, call.clone());
        history.end(2 * index as u32 + 2, id, true);
    }
    history
}

fn create(path: &str, file: u8) -> NameCall {
    NameCall::Create { path: path.into(), file: FileId(file) }
}

fn rename(from: &str, to: &str) -> NameCall {
    NameCall::Rename { from: from.into(), to: to.into() }
}

#[test]
fn the_tree_is_a_prefix() {
    let history = names(&[], &[create("/a", 1), create("/b", 2), rename("/b", "/a")]);
    for good in [&[][..], &[("/a", 1)], &[("/a", 1), ("/b", 2)], &[("/a", 2)]] {
        assert!(names::check(&history, 100, &tree(good)).is_ok(), "{good:?}");
    }
    for bad in [&[("/b", 2)][..], &[("/b", 1)], &[("/a", 2), ("/b", 2)]] {
        assert!(names::check(&history, 100, &tree(bad)).is_err(), "{bad:?}");
    }
}

#[test]
fn a_synced_name_is_there_with_all_before_it() {
    let history = names(&[], &[create("/a", 1), create("/b", 2), NameCall::Sync(FileId(2)), create("/c", 3)]);
    assert!(names::check(&history, 100, &tree(&[("/a", 1), ("/b", 2)])).is_ok());
    let error = names::check(&history, 100, &tree(&[("/a", 1)])).unwrap_err();
    assert_eq!(error.kind, Kind::WrongTree);
    assert!(error.to_string().contains("create /b"), "{error}");
    assert!(names::check(&history, 4, &tree(&[("/a", 1)])).is_ok(), "a crash before the fsync");
}

#[test]
fn a_renames_target_is_old_or_new_never_neither() {
    let history = names(&[("/old", 1), ("/new", 2)], &[rename("/new", "/old")]);
    assert!(names::check(&history, 100, &tree(&[("/old", 1), ("/new", 2)])).is_ok());
    assert!(names::check(&history, 100, &tree(&[("/old", 2)])).is_ok());
    assert!(names::check(&history, 100, &tree(&[("/new", 2)])).is_err());
}

#[test]
fn a_directory_moves_with_what_is_in_it() {
    let history = names(&[("/d", 1), ("/d/a", 2), ("/dx", 3)], &[rename("/d", "/e"), NameCall::SyncAll]);
    assert!(names::check(&history, 100, &tree(&[("/e", 1), ("/e/a", 2), ("/dx", 3)])).is_ok());
    assert!(names::check(&history, 100, &tree(&[("/e", 1), ("/d/a", 2), ("/dx", 3)])).is_err());
}

#[test]
fn concurrent_operations_may_be_swapped() {
    let mut history = NameHistory::new(Tree::new());
    let a = history.begin(1, create("/a", 1));
    let b = history.begin(2, create("/b", 2));
    history.end(3, a, true);
    history.end(4, b, true);
    assert!(names::check(&history, 100, &tree(&[("/a", 1)])).is_ok());
    assert!(names::check(&history, 100, &tree(&[("/b", 2)])).is_ok());
}

// --- the two together ----------------------------------------------------------------------------

/// A file system of two sectors: the file's only granule is in one of sectors 1 and 2, and sector 0 says in which.
/// A write goes to the other one, then sector 0 is switched; with or without a flush between.
fn shadow_paging(flush_between: bool) -> Result<Coverage, String> {
    let mut history = History::new();
    let mut log = DiskLog::default();
    let mut device = vec![0; 3 * SECTOR];
    let first = write(&mut history, 0, 512);
    sync(&mut history);
    device[SECTOR..2 * SECTOR].copy_from_slice(&first.data(512));
    device[0] = 1;
    let original = device;
    let second = write(&mut history, 0, 512);
    let fsync = history.begin(1, FILE, Call::Sync);
    let data = log.write(history.now(), 2, second.data(512));
    log.completed(history.now(), data);
    if flush_between {
        let flush = log.flush(history.now());
        log.completed(history.now(), flush);
    }
    let mut root = vec![0; SECTOR];
    root[0] = 2;
    let switch = log.write(history.now(), 0, root);
    log.completed(history.now(), switch);
    let flush = log.flush(history.now());
    log.completed(history.now(), flush);
    history.end(fsync, Outcome::Done);

    let mut coverage = Coverage::default();
    let mut image = Vec::new();
    for at in 0..=log.len() {
        let states = CrashStates::new(log.pending(at), 1);
        coverage.add(&states);
        for state in states.iter() {
            states.write(state, &original, &mut image);
            let used = usize::from(image[0]) * SECTOR;
            let moment = log.moment(at, history.now());
            files::check(&history, FILE, moment, &image[used..][..SECTOR], &Rules::default())
                .map_err(|violation| format!("{}: {violation}", states.in_words(state)))?;
        }
    }
    Ok(coverage)
}

#[test]
fn a_missing_flush_is_found() {
    let coverage = shadow_paging(true).unwrap();
    assert_eq!(coverage.sampled, 0);
    let words = shadow_paging(false).unwrap_err();
    assert!(
        words.starts_with("1 of 2 pending sectors have arrived: 0: the write [0,512) of client 1 was synced"),
        "{words}"
    );
}
