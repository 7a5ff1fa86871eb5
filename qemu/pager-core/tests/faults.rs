//! Faults and their answers: who gets a message, what is mapped, who goes on.

mod world;

use pager_abi::{
    fault::{Access, ProvideMmap, RequestMmap},
    socket::QUEUE_FAULT,
};
use pager_core::*;
use syscall::error::{EFAULT, EIO, ENODEV, ENOMEM, ENOSPC};
use world::*;

const SHARED: Sharing = Sharing::Shared;
const PRIVATE: Sharing = Sharing::Private;

#[test]
fn a_read_fault_is_a_message_and_its_answer_maps_a_run() {
    let mut w = World::new();
    w.cache(8);
    w.map(ALICE, 8, Rights::READ_WRITE, SHARED);
    assert!(matches!(w.fault(ALICE, AT.forward(2), Access::Read), FaultOutcome::Wait { .. }));
    assert!(w.pager.deliverable(w.socket, QUEUE_FAULT));
    let request = w.receive_fault().unwrap();
    assert_eq!((request.cookie, request.access, request.offset), (COOKIE, Access::Read, 2 * 4096));
    assert_eq!((request.record.before, request.record.after, request.pages_wanted), (2, 5, 8));
    w.provide(&request, 2, 7, false).unwrap();
    assert_eq!(w.settled(), [100]);
    for n in 0..7 {
        assert_eq!(w.mmu.load(0, ALICE, AT.forward(n), 0), Ok(1000 + n));
        assert!(w.mmu.store(0, ALICE, AT.forward(n), 0, 1).is_err(), "a clean page must not be writable");
    }
    assert!(w.mmu.load(0, ALICE, AT.forward(7), 0).is_err());
    assert_eq!(w.pager.counters(w.socket).unwrap().pages_provided, 7);
}

#[test]
fn the_first_store_to_a_mapped_page_is_page_mkwrite() {
    let mut w = World::new();
    w.cache(2);
    w.map(ALICE, 2, Rights::READ_WRITE, SHARED);
    w.load(ALICE, AT);
    w.fault(ALICE, AT, Access::Write);
    let request = w.receive_fault().unwrap();
    assert!(request.record.present);
    assert_eq!((request.access, request.pages_wanted), (Access::Write, 1));
    w.provide(&request, 0, 1, true).unwrap();
    assert_eq!(w.settled(), [100]);
    w.mmu.store(0, ALICE, AT, 0, 5).unwrap();
    assert_eq!(w.pager.counters(w.socket).unwrap().mkwrite_faults, 1);
}

#[test]
fn accesses_beyond_the_mapping_or_its_rights_fail() {
    let mut w = World::new();
    w.map(ALICE, 2, Rights::READ, SHARED);
    assert_eq!(w.fault(ALICE, AT.forward(2), Access::Read), FaultOutcome::Fail(EFAULT));
    assert_eq!(w.fault(ALICE, AT, Access::Write), FaultOutcome::Fail(EFAULT));
    assert_eq!(w.fault(ALICE, AT, Access::Execute), FaultOutcome::Fail(EFAULT));
    assert_eq!(w.fault(BOB, AT, Access::Read), FaultOutcome::Fail(EFAULT));
    assert!(w.receive(BOTH).is_none());
}

#[test]
fn faults_on_one_page_share_a_message_if_it_asks_for_enough() {
    let mut w = World::new();
    w.cache(1);
    w.map(ALICE, 1, Rights::READ_WRITE, SHARED);
    w.fault_by(1, ALICE, AT, Access::Read);
    w.fault_by(2, ALICE, AT, Access::Read);
    w.fault_by(3, ALICE, AT, Access::Write);
    w.fault_by(4, ALICE, AT, Access::Read);
    let read = w.receive_fault().unwrap();
    let write = w.receive_fault().unwrap();
    assert!(w.receive_fault().is_none());
    w.provide(&read, 0, 1, false).unwrap();
    assert_eq!(w.settled(), [1, 2, 4]);
    w.provide(&write, 0, 1, true).unwrap();
    assert_eq!(w.settled(), [3]);
    w.mmu.store(0, ALICE, AT, 0, 5).unwrap();
}

#[test]
fn a_load_does_not_fail_because_a_store_found_no_space() {
    let mut w = World::new();
    w.map(ALICE, 1, Rights::READ_WRITE, SHARED);
    w.fault_by(1, ALICE, AT, Access::Write);
    w.fault_by(2, ALICE, AT, Access::Read);
    let request = w.receive_fault().unwrap();
    w.fail(request.tag, ENOSPC).unwrap();
    let wakes = w.wakes();
    assert!(matches!(wakes[..], [(1, Wake::FaultFailed(ENOSPC)), (2, Wake::FaultSettled)]), "{wakes:?}");
}

#[test]
fn a_store_to_a_mapped_private_page_is_copied_without_a_message() {
    let mut w = World::new();
    w.cache(1);
    w.map(ALICE, 1, Rights::READ_WRITE, PRIVATE);
    w.map(BOB, 1, Rights::READ_WRITE, SHARED);
    assert_eq!((w.load(ALICE, AT), w.load(BOB, AT)), (1000, 1000));
    assert_eq!(w.fault(ALICE, AT, Access::Write), FaultOutcome::Flush);
    assert!(w.receive(BOTH).is_none());
    w.shoot_down();
    assert_eq!(w.fault(ALICE, AT, Access::Write), FaultOutcome::Resume);
    w.store(ALICE, AT, 5);
    assert_eq!((w.load(ALICE, AT), w.load(BOB, AT)), (5, 1000));
    assert_eq!(w.mmu.load(0, ALICE, AT, 1), Ok(1000), "the rest of the page is the file's");
}

#[test]
fn a_store_to_an_absent_private_page_asks_to_read_and_copies_on_arrival() {
    let mut w = World::new();
    w.cache(1);
    w.map(ALICE, 1, Rights::READ_WRITE, PRIVATE);
    w.fault(ALICE, AT, Access::Write);
    let request = w.receive_fault().unwrap();
    assert_eq!(request.access, Access::Read);
    assert!(request.record.private && !request.record.present);
    w.provide(&request, 0, 1, false).unwrap();
    assert_eq!(w.settled(), [100]);
    w.mmu.store(0, ALICE, AT, 0, 5).unwrap();
    let cached = w.mmu.translation(SERVER, VirtPage(CACHE)).unwrap().frame;
    assert_eq!(w.mmu.peek(cached, 0), 1000);
    assert_eq!(w.mmu.references(cached), 1, "nothing maps the file's page");
}

#[test]
fn provide_never_replaces_a_private_copy_and_never_makes_a_private_page_writable() {
    let mut w = World::new();
    w.cache(3);
    w.map(ALICE, 3, Rights::READ_WRITE, PRIVATE);
    w.store(ALICE, AT.forward(1), 5);
    // The copy loses its translation (as after mprotect), so that it lies inside a window.
    w.protect(ALICE, AT, 3, Rights::default()).unwrap();
    w.protect(ALICE, AT, 3, Rights::READ_WRITE).unwrap();
    w.fault(ALICE, AT, Access::Read);
    let request = w.receive_fault().unwrap();
    w.provide(&request, 0, 3, true).unwrap();
    w.settled();
    assert_eq!(w.load(ALICE, AT.forward(1)), 5);
    assert_eq!(w.load(ALICE, AT.forward(2)), 1002);
    assert!(w.mmu.store(0, ALICE, AT.forward(2), 0, 1).is_err());
}

#[test]
fn memory_that_the_server_may_not_give_is_refused_and_the_access_fails() {
    let mut w = World::new();
    w.cache(1);
    w.map(ALICE, 4, Rights::READ_WRITE, SHARED);
    let device = VirtPage(0x9999);
    w.mmu.give_anonymous_page(SERVER, device, Rights::READ_WRITE);
    for (address, before, count) in [
        (device.address(), 0, 1),
        (0x5000_0000, 0, 1),
        (CACHE * 4096, 0, 2),
        (CACHE * 4096, 0, 99),
        (CACHE * 4096, 1, 2),
    ] {
        w.fault(ALICE, AT, Access::Read);
        let request = w.receive_fault().unwrap();
        let provide = ProvideMmap { tag: request.tag, address, before, count, writable: false };
        assert_eq!(w.answer(&provide.to_cqe()), Err(PagerError::BadAnswer));
        assert!(matches!(w.wakes()[..], [(100, Wake::FaultFailed(EIO))]));
        w.unmap(ALICE, AT, 4);
        w.map(ALICE, 4, Rights::READ_WRITE, SHARED);
    }
    assert_eq!(w.pager.counters(w.socket).unwrap().refused_answers, 5);
}

#[test]
fn a_server_gives_no_more_rights_than_it_has() {
    let mut w = World::new();
    w.cache(1);
    w.mmu.protect(SERVER, VirtPage(CACHE), Rights::READ);
    w.map(ALICE, 1, Rights::READ_WRITE, SHARED);
    w.fault(ALICE, AT, Access::Write);
    let request = w.receive_fault().unwrap();
    assert_eq!(w.provide(&request, 0, 1, true), Err(PagerError::BadAnswer));
}

#[test]
fn another_frame_for_a_mapped_page_is_refused() {
    let mut w = World::new();
    w.cache(1);
    w.map(ALICE, 1, Rights::READ_WRITE, SHARED);
    w.load(ALICE, AT);
    w.fault(ALICE, AT, Access::Write);
    let request = w.receive_fault().unwrap();
    w.mmu.give_server_page(SERVER, VirtPage(0x7777), 3);
    let provide = ProvideMmap { tag: request.tag, address: 0x7777 * 4096, before: 0, count: 1, writable: true };
    assert_eq!(w.answer(&provide.to_cqe()), Err(PagerError::BadAnswer));
    assert_eq!(w.load(ALICE, AT), 1000);
}

#[test]
fn a_fault_takes_one_answer() {
    let mut w = World::new();
    w.cache(1);
    w.map(ALICE, 1, Rights::READ_WRITE, SHARED);
    w.fault(ALICE, AT, Access::Read);
    let request = w.receive_fault().unwrap();
    w.provide(&request, 0, 1, false).unwrap();
    assert_eq!(w.provide(&request, 0, 1, true), Err(PagerError::NoSuchTag));
    w.unmap(ALICE, AT, 1);
    w.map(ALICE, 1, Rights::READ_WRITE, SHARED);
    w.fault(ALICE, AT, Access::Read);
    assert_eq!(w.provide(&request, 0, 1, true), Err(PagerError::NoSuchTag), "an old tag names no new fault");
}

#[test]
fn an_answer_to_a_mapping_that_went_away_maps_nothing() {
    let mut w = World::new();
    w.cache(2);
    w.map(ALICE, 2, Rights::READ_WRITE, SHARED);
    w.fault(ALICE, AT, Access::Read);
    let request = w.receive_fault().unwrap();
    w.unmap(ALICE, AT, 2);
    w.provide(&request, 0, 1, false).unwrap();
    assert_eq!(w.settled(), [100]);
    assert!(w.mmu.load(0, ALICE, AT, 0).is_err());
    assert_eq!(w.fault(ALICE, AT, Access::Read), FaultOutcome::Fail(EFAULT));
}

#[test]
fn out_of_memory_fails_the_access_and_leaks_nothing() {
    let mut w = World::new();
    w.cache(1);
    w.map(ALICE, 1, Rights::READ_WRITE, PRIVATE);
    w.mmu.limit_frames(w.mmu.frames_in_use());
    w.fault(ALICE, AT, Access::Write);
    let request = w.receive_fault().unwrap();
    w.provide(&request, 0, 1, false).unwrap();
    assert!(matches!(w.wakes()[..], [(100, Wake::FaultFailed(ENOMEM))]));
    w.die(ALICE);
    assert_eq!(w.mmu.frames_in_use(), 1);
}

#[test]
fn a_killed_thread_leaves_its_fault_to_the_others() {
    let mut w = World::new();
    w.cache(1);
    w.map(ALICE, 1, Rights::READ_WRITE, SHARED);
    let FaultOutcome::Wait { tag, .. } = w.fault_by(1, ALICE, AT, Access::Read) else { panic!() };
    w.fault_by(2, ALICE, AT, Access::Read);
    w.pager.detach(tag, WaiterId(1), &mut w.revoked);
    let request = w.receive_fault().unwrap();
    w.provide(&request, 0, 1, false).unwrap();
    assert_eq!(w.settled(), [2]);
}

#[test]
fn a_queued_fault_of_a_killed_thread_is_never_delivered() {
    let mut w = World::new();
    w.map(ALICE, 1, Rights::READ_WRITE, SHARED);
    let FaultOutcome::Wait { tag, .. } = w.fault(ALICE, AT, Access::Read) else { panic!() };
    w.pager.detach(tag, WaiterId(100), &mut w.revoked);
    assert!(w.receive(BOTH).is_none());
}

#[test]
fn no_fault_is_sent_to_a_dead_server() {
    let mut w = World::new();
    w.map(ALICE, 1, Rights::READ_WRITE, SHARED);
    w.close();
    assert_eq!(w.fault(ALICE, AT, Access::Read), FaultOutcome::Fail(ENODEV));
}

#[test]
fn a_sequence_of_loads_is_given_more_and_more_ahead() {
    let mut w = World::new();
    w.cache(200);
    w.map(ALICE, 200, Rights::READ, SHARED);
    let mut page = 0;
    let mut asked = Vec::new();
    while page < 100 {
        w.fault(ALICE, AT.forward(page), Access::Read);
        let request = w.receive_fault().unwrap();
        assert_eq!(request.record.before, 0);
        asked.push(request.pages_wanted);
        w.provide(&request, 0, request.pages_wanted, false).unwrap();
        w.settled();
        page += u64::from(request.pages_wanted);
    }
    assert_eq!(asked, [8, 8, 16, 32, 32, 32]);
    // A jump begins anew, with the block around it.
    w.fault(ALICE, AT.forward(150), Access::Read);
    let request = w.receive_fault().unwrap();
    assert_eq!((request.record.before, request.record.after), (6, 1));
}

#[test]
fn a_fault_passes_the_queue_if_a_receiver_waits_and_the_cap_allows_it() {
    let mut w = World::new();
    w.cache(8);
    w.map(ALICE, 8, Rights::READ, SHARED);
    for n in 0..2 {
        let (outcome, asked) = w.fault_to_receiver(100 + n, ALICE, AT.forward(n), Access::Read);
        let FaultOutcome::Wait { tag, .. } = outcome else { panic!("{outcome:?}") };
        assert!(asked);
        let request = RequestMmap::from_sqe(&w.pager.delivered(tag).unwrap()).unwrap();
        assert_eq!((request.tag, request.offset), (tag, n * 4096));
    }
    assert_eq!(w.pager.counters(w.socket).unwrap().read_faults, 2);
    // Two are in the server's hands: the third waits, whoever waits for it.
    let (_, asked) = w.fault_to_receiver(102, ALICE, AT.forward(2), Access::Read);
    assert!(!asked);
    assert!(w.receive_fault().is_none());
    // One that is queued keeps its turn: no later one overtakes it.
    let FaultOutcome::Wait { tag, .. } = w.fault_to_receiver(103, ALICE, AT, Access::Read).0 else { panic!() };
    let first = RequestMmap::from_sqe(&w.pager.delivered(tag).unwrap()).unwrap();
    w.provide(&first, 0, 1, false).unwrap();
    assert_eq!(w.settled(), [100, 103], "the fourth joined the first");
    let (_, asked) = w.fault_to_receiver(104, ALICE, AT.forward(4), Access::Read);
    assert!(!asked);
    assert_eq!(w.receive_fault().unwrap().offset, 2 * 4096);
}

#[test]
fn a_late_fault_fails_and_its_answer_finds_nobody() {
    let mut w = World::new();
    w.cache(2);
    w.map(ALICE, 2, Rights::READ, SHARED);
    w.fault(ALICE, AT, Access::Read);
    let late = w.receive_fault().unwrap();
    w.fault_by(101, ALICE, AT, Access::Read);
    assert!(w.pager.fail_late(late.tag, ENODEV));
    assert!(matches!(w.wakes()[..], [(100, Wake::FaultFailed(ENODEV)), (101, Wake::FaultFailed(ENODEV))]));
    assert!(!w.pager.fail_late(late.tag, ENODEV), "nobody waits any more");
    w.provide(&late, 0, 1, false).unwrap();
    assert!(w.settled().is_empty());
    assert!(w.mmu.load(0, ALICE, AT, 0).is_err(), "nothing is mapped for nobody");
    assert_eq!(w.fail(late.tag, ENODEV), Err(PagerError::NoSuchTag), "it was answered");
    // One that no receiver has taken is gone at once.
    let FaultOutcome::Wait { tag, .. } = w.fault(ALICE, AT.forward(1), Access::Read) else { panic!() };
    assert!(w.pager.fail_late(tag, ENODEV));
    assert_eq!(w.wakes().len(), 1);
    assert!(w.receive_fault().is_none());
    w.load(ALICE, AT);
}
