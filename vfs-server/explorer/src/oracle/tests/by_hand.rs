//! Good and bad histories, written down one by one.

use super::*;
use syscall::error::{EFAULT, EIO, ENXIO};

#[test]
fn nothing_happened() {
    Script::default().is_fine();
}

#[test]
fn a_write_is_found_at_the_end() {
    let mut s = Script::default();
    let a = s.written(1, 0, 1000);
    s.end(&[&a.data(1000)]);
    s.is_fine();
}

#[test]
fn a_lost_append_is_named() {
    let mut s = Script::default();
    let a = s.written(1, 0, 6);
    let b = s.appended(2, 4);
    s.end(&[&a.data(6), &[0, 0], &part(b, 2, 4)]);
    let words = s.is_wrong(Kind::LostWrite);
    assert_eq!(
        words,
        "the append [6,10) of client 2 was acknowledged, and its bytes 6..8 are zero at the end: \
         no order of the operations explains that"
    );
}

#[test]
fn concurrent_writes_may_come_in_either_order() {
    for winner in 0..2 {
        let mut s = Script::default();
        let (a, a_stamp) = s.write(1, 0, 1024);
        let (b, b_stamp) = s.write(2, 0, 1024);
        s.count(a, 1024);
        s.count(b, 1024);
        s.end(&[&[a_stamp, b_stamp][winner].data(1024)]);
        s.is_fine();
    }
}

#[test]
fn a_later_write_wins() {
    let mut s = Script::default();
    let a = s.written(1, 0, 1024);
    s.written(2, 0, 1024);
    s.end(&[&a.data(1024)]);
    s.is_wrong(Kind::StaleBytes);
}

#[test]
fn a_torn_write_is_wrong() {
    let mut s = Script::default();
    let (a, a_stamp) = s.write(1, 0, 1024);
    let (b, b_stamp) = s.write(2, 0, 1024);
    s.count(a, 1024);
    s.count(b, 1024);
    s.end(&[&a_stamp.data(512), &part(b_stamp, 512, 1024)]);
    s.is_wrong(Kind::Torn);
}

#[test]
fn rounds_may_be_torn_apart_but_come_in_order() {
    let torn = |first_wins: bool| {
        let mut s = Script::default();
        s.rules.round_max = 512;
        let (a, a_stamp) = s.write(1, 0, 1024);
        let (b, b_stamp) = s.write(2, 0, 1024);
        s.count(a, 1024);
        s.count(b, 1024);
        let (first, second) = if first_wins { (a_stamp, b_stamp) } else { (b_stamp, a_stamp) };
        s.end(&[&first.data(512), &part(second, 512, 1024)]);
        s
    };
    torn(true).is_fine();
    torn(false).is_fine();
}

#[test]
fn a_write_that_was_cut_for_want_of_memory_is_two_rounds() {
    let mut s = Script::default();
    let (a, a_stamp) = s.write(1, 0, 1024);
    let (b, b_stamp) = s.write(2, 0, 1024);
    s.history.cut(a, 512);
    s.count(a, 1024);
    s.count(b, 1024);
    s.end(&[&b_stamp.data(512), &part(a_stamp, 512, 1024)]);
    s.is_fine();
}

#[test]
fn a_read_takes_each_granule_at_its_own_time() {
    let mut s = Script::default();
    let a = s.written(1, 0, 1024);
    let read = s.begin(2, Call::Read { offset: 0, len: 1024 });
    let b = s.written(1, 0, 1024);
    s.bytes(read, &[&a.data(512), &part(b, 512, 1024)]);
    s.end(&[&b.data(1024)]);
    s.is_fine();
    s.rules.reads = ReadRule::Atomic;
    s.is_wrong(Kind::Torn);
}

#[test]
fn a_granule_is_not_torn() {
    let mut s = Script::default();
    let a = s.written(1, 0, 512);
    let read = s.begin(2, Call::Read { offset: 0, len: 512 });
    let b = s.written(1, 0, 512);
    s.bytes(read, &[&a.data(256), &part(b, 256, 512)]);
    s.is_wrong(Kind::StaleBytes);
}

#[test]
fn what_was_seen_stays_seen() {
    let mut s = Script::default();
    let a = s.written(1, 0, 512);
    let (b, b_stamp) = s.write(1, 0, 512);
    let first = s.begin(2, Call::Read { offset: 0, len: 512 });
    s.bytes(first, &[&b_stamp.data(512)]);
    let second = s.begin(2, Call::Read { offset: 0, len: 512 });
    s.bytes(second, &[&a.data(512)]);
    s.count(b, 512);
    s.is_wrong(Kind::NoOrder);
}

/// Two reads in a row of what a write over two pages is about to change; `seen` of the new bytes each.
fn reads_during_a_write(seen: [[bool; 2]; 2]) -> Script {
    let mut s = Script::default();
    let a = s.written(1, 0, 8192);
    let (b, b_stamp) = s.write(1, 4096 - 512, 1024);
    for [first, second] in seen {
        let read = s.begin(2, Call::Read { offset: 4096 - 512, len: 1024 });
        let granule = |new: bool, from: usize| match new {
            true => part(b_stamp, from, from + 512),
            false => part(a, 4096 - 512 + from, 4096 + from),
        };
        s.bytes(read, &[&granule(first, 0), &granule(second, 512)]);
    }
    s.count(b, 1024);
    s
}

#[test]
fn a_write_over_two_pages_may_be_seen_page_by_page() {
    reads_during_a_write([[true, false], [true, false]]).is_fine();
    reads_during_a_write([[false, false], [true, true]]).is_fine();
    reads_during_a_write([[true, false], [false, false]]).is_wrong(Kind::NoOrder);
    reads_during_a_write([[false, true], [false, true]]).is_wrong(Kind::NoOrder);
}

#[test]
fn a_write_over_two_pages_is_one_to_other_writes() {
    let mut s = Script::default();
    let (a, a_stamp) = s.write(1, 0, 8192);
    let (b, b_stamp) = s.write(2, 0, 8192);
    let read = s.begin(3, Call::Read { offset: 0, len: 512 });
    s.bytes(read, &[&a_stamp.data(512)]);
    s.count(a, 8192);
    s.count(b, 8192);
    s.end(&[&b_stamp.data(4096), &part(a_stamp, 4096, 8192)]);
    s.is_wrong(Kind::Torn);
}

#[test]
fn an_append_over_two_pages_grows_page_by_page() {
    let sizes = |seen: [u64; 2]| {
        let mut s = Script::default();
        let a = s.written(1, 0, 4000);
        let (b, b_stamp) = s.append(1, 5000);
        for seen in seen {
            let size = s.begin(2, Call::Size);
            s.count(size, seen);
        }
        s.count(b, 5000);
        s.end(&[&a.data(4000), &b_stamp.data(5000)]);
        s
    };
    sizes([4000, 9000]).is_fine();
    sizes([4096, 8192]).is_fine();
    sizes([4096, 4096]).is_fine();
    sizes([8192, 4096]).is_wrong(Kind::NoOrder);
    sizes([4000, 5000]).is_wrong(Kind::WrongSize);
}

#[test]
fn a_cut_takes_bytes_away_for_good() {
    let mut s = Script::default();
    let a = s.written(1, 0, 1024);
    s.truncated(1, 512);
    s.truncated(1, 1024);
    s.end(&[&a.data(512), &[0; 512]]);
    s.is_fine();
    let mut s = Script::default();
    let a = s.written(1, 0, 1024);
    s.truncated(1, 512);
    s.truncated(1, 1024);
    s.end(&[&a.data(1024)]);
    let words = s.is_wrong(Kind::StaleBytes);
    assert!(words.starts_with("the truncate to 512 of client 1 took away what was at 512"), "{words}");
}

#[test]
fn a_read_fits_some_size() {
    let mut s = Script::default();
    let a = s.written(1, 0, 1000);
    let read = s.begin(2, Call::Read { offset: 0, len: 4096 });
    s.truncated(1, 300);
    s.bytes(read, &[&a.data(300)]);
    s.is_fine();
    let mut s = Script::default();
    let a = s.written(1, 0, 1000);
    let read = s.begin(2, Call::Read { offset: 0, len: 4096 });
    s.truncated(1, 300);
    s.bytes(read, &[&a.data(700)]);
    s.is_wrong(Kind::WrongSize);
}

#[test]
fn a_granule_that_is_being_cut_may_end_in_zeros() {
    let read_meanwhile = |zeros: std::ops::Range<usize>| {
        let mut s = Script::default();
        let a = s.written(1, 0, 1000);
        let read = s.begin(2, Call::Read { offset: 0, len: 1000 });
        s.truncated(1, 700);
        let mut bytes = a.data(1000);
        bytes[zeros].fill(0);
        s.bytes(read, &[&bytes]);
        s
    };
    read_meanwhile(700..1000).is_fine();
    read_meanwhile(1000..1000).is_fine();
    read_meanwhile(699..1000).is_wrong(Kind::LostWrite);
    read_meanwhile(700..900).is_wrong(Kind::StaleBytes);
    // Not if the cut was over before the read began, nor if nobody cuts.
    let mut s = Script::default();
    let a = s.written(1, 0, 1000);
    s.truncated(1, 700);
    let read = s.begin(2, Call::Read { offset: 0, len: 1000 });
    s.bytes(read, &[&a.data(700), &[0; 300]]);
    s.is_wrong(Kind::WrongSize);
}

#[test]
fn a_cut_may_overtake_a_read_between_two_pages() {
    let mut s = Script::default();
    let a = s.written(1, 0, 8192);
    let read = s.begin(2, Call::Read { offset: 0, len: 8192 });
    s.truncated(1, 0);
    s.bytes(read, &[&a.data(4096)]);
    s.is_fine();
    s.rules.reads = ReadRule::Atomic;
    s.is_wrong(Kind::WrongSize);
}

#[test]
fn the_size_at_the_end_must_be_right() {
    let mut s = Script::default();
    let a = s.written(1, 0, 512);
    s.end(&[&a.data(512), &[0; 512]]);
    let words = s.is_wrong(Kind::WrongSize);
    assert!(words.contains("512 bytes long, and it is 1024 bytes long at the end"), "{words}");
}

#[test]
fn appends_find_their_place_among_each_other() {
    let order = |first_is_a: bool| {
        let mut s = Script::default();
        let (a, a_stamp) = s.append(1, 300);
        let (b, b_stamp) = s.append(2, 700);
        s.count(a, 300);
        s.count(b, 700);
        let (x, y) = (a_stamp.data(300), b_stamp.data(700));
        if first_is_a {
            s.end(&[&x, &y])
        } else {
            s.end(&[&y, &x])
        }
        s
    };
    order(true).is_fine();
    order(false).is_fine();
    let mut s = Script::default();
    let (a, _) = s.append(1, 300);
    let (b, b_stamp) = s.append(2, 300);
    s.count(a, 300);
    s.count(b, 300);
    s.end(&[&b_stamp.data(300)]);
    s.is_wrong(Kind::WrongSize);
}

#[test]
fn a_short_write_may_have_left_any_granules_behind() {
    let with = |bytes: &[&[u8]], stamp_first: bool| {
        let mut s = Script::default();
        let a = s.written(1, 0, 2048);
        let (b, b_stamp) = s.write(2, 0, 2048);
        s.count(b, 512);
        let (old, new) = (a.data(2048), b_stamp.data(2048));
        let pick = |granule: usize, from_new: bool| {
            let source = if from_new { &new } else { &old };
            source[granule * 512..][..512].to_vec()
        };
        s.end(&[&pick(0, stamp_first), &pick(1, false), &pick(2, true), &pick(3, false), bytes.concat().as_slice()]);
        s
    };
    with(&[], true).is_fine();
    // What it was told to have written must be there.
    with(&[], false).is_wrong(Kind::StaleBytes);
}

#[test]
fn a_failed_write_may_not_come_late() {
    let mut s = Script::default();
    s.written(1, 0, 512);
    let (failed, failed_stamp) = s.write(2, 0, 512);
    s.history.end(failed, Outcome::Failed(EIO));
    s.written(1, 0, 512);
    s.end(&[&failed_stamp.data(512)]);
    s.is_wrong(Kind::StaleBytes);
}

#[test]
fn a_failed_write_does_not_make_the_file_longer() {
    let mut s = Script::default();
    let (failed, stamp) = s.write(2, 0, 512);
    s.history.end(failed, Outcome::Failed(EIO));
    s.end(&[&stamp.data(512)]);
    s.is_wrong(Kind::WrongSize);
}

#[test]
fn an_unanswered_write_may_have_happened() {
    for happened in [0, 512, 1024] {
        let mut s = Script::default();
        let (_, stamp) = s.write(2, 0, 1024);
        s.end(&[&stamp.data(happened)]);
        s.is_fine();
    }
}

#[test]
fn a_store_past_the_end_may_vanish_but_not_stay() {
    let mut s = Script::default();
    let a = s.written(1, 0, 100);
    let (store, stamp) = s.store(2, 104, 8);
    s.done(store);
    let load = s.begin(2, Call::Load { offset: 104, len: 8 });
    s.bytes(load, &[&stamp.data(8)]);
    s.truncated(1, 200);
    s.end(&[&a.data(100), &[0; 100]]);
    s.is_fine();
    let mut s = Script::default();
    let a = s.written(1, 0, 100);
    let (store, stamp) = s.store(2, 104, 8);
    s.done(store);
    s.truncated(1, 200);
    s.end(&[&a.data(100), &[0; 4], &stamp.data(8), &[0; 88]]);
    s.is_wrong(Kind::StaleBytes);
}

#[test]
fn a_page_that_was_cut_off_cannot_be_loaded() {
    let mut s = Script::default();
    let a = s.written(1, 0, 8192);
    s.truncated(1, 4096);
    let load = s.begin(2, Call::Load { offset: 4096, len: 8 });
    s.bytes(load, &[&part(a, 4096, 4104)]);
    s.is_wrong(Kind::StaleBytes);
    let mut s = Script::default();
    s.written(1, 0, 8192);
    s.truncated(1, 4096);
    let load = s.begin(2, Call::Load { offset: 4096, len: 8 });
    s.history.end(load, Outcome::Failed(EFAULT));
    s.is_fine();
    let mut s = Script::default();
    s.written(1, 0, 8192);
    let load = s.begin(2, Call::Load { offset: 4096, len: 8 });
    s.history.end(load, Outcome::Failed(EFAULT));
    s.is_wrong(Kind::WrongAccess);
}

#[test]
fn a_store_that_was_made_is_not_lost() {
    let mut s = Script::default();
    let a = s.written(1, 0, 512);
    let (store, _) = s.store(2, 8, 8);
    s.done(store);
    s.end(&[&a.data(512)]);
    let words = s.is_wrong(Kind::StaleBytes);
    assert!(words.starts_with("the store [8,16) of client 2 was acknowledged"), "{words}");
}

#[test]
fn data_on_its_way_to_the_disk_is_no_hole() {
    let mut s = Script::default();
    s.written(1, 0, 512);
    let seek = s.begin(2, Call::SeekData { from: 0 });
    s.history.end(seek, Outcome::Failed(ENXIO));
    s.is_wrong(Kind::DataAsHole);
    let mut s = Script::default();
    s.written(1, 1024, 512);
    let seek = s.begin(2, Call::SeekData { from: 0 });
    s.count(seek, 1024);
    let seek = s.begin(2, Call::SeekHole { from: 1024 });
    s.count(seek, 1536);
    s.is_fine();
}

#[test]
fn the_disks_old_contents_are_nobodys() {
    let mut s = Script::default();
    let a = s.written(1, 0, 1024);
    s.end(&[&a.data(512), &[POISON; 512]]);
    s.is_wrong(Kind::ForeignBytes);
}

#[test]
fn another_files_bytes_are_named() {
    let mut s = Script::default();
    let other = s.history.stamp().unwrap();
    s.history.record(1, FileId(1), Call::Write { offset: 0, len: 512, data: Data::of(other) }, Outcome::Count(512));
    s.written(1, 0, 512);
    s.end(&[&other.data(512)]);
    let words = s.is_wrong(Kind::ForeignBytes);
    assert!(words.contains("another file's"), "{words}");
}

#[test]
fn bytes_from_another_place_are_wrong() {
    let mut s = Script::default();
    let a = s.written(1, 0, 1024);
    s.end(&[&part(a, 512, 1024), &part(a, 512, 1024)]);
    let words = s.is_wrong(Kind::ForeignBytes);
    assert!(words.contains("another place"), "{words}");
}

#[test]
fn a_write_from_a_mapping_carries_what_was_stored_there() {
    let mut s = Script::default();
    let a = s.written(1, 0, 512);
    let call = Call::Write { offset: 512, len: 256, data: Data { stamp: a, index: 128 } };
    let id = s.begin(1, call);
    s.count(id, 256);
    s.end(&[&a.data(512), &part(a, 128, 384)]);
    s.is_fine();
}

#[test]
fn zeroing_is_atomic_with_its_size() {
    let mut s = Script::default();
    let a = s.written(1, 0, 512);
    let id = s.begin(1, Call::Zero { offset: 256, len: 512, size: Sizing::Grows });
    s.done(id);
    s.end(&[&a.data(256), &[0; 512]]);
    s.is_fine();
}
