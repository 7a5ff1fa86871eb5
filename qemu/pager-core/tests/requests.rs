//! Requests: order, caps, buffers, RETRY and bounce, cancellation, the end of either side.

mod world;

use pager_abi::{
    Tag,
    fault::{Access, regular_cqe, retry_cqe},
    grant::{MaxProtection, lazy_extra},
    socket::{QUEUE_FAULT, QUEUE_ORDINARY},
};
use pager_core::*;
use syscall::{
    error::{ENODEV, Error},
    schemev2::{Cqe, Opcode, Sqe},
};
use world::*;

const BUFFER: VirtPage = VirtPage(0x800);
const SERVER_PAGE: VirtPage = VirtPage(0x50);

fn submit(w: &mut World, vspace: VspaceId, opcode: Opcode, buffer: Option<Buffer>) -> Result<Tag, PagerError> {
    let sqe = Sqe { opcode: opcode as u8, caller: 1, ..Sqe::default() };
    let waiter = WaiterId(u64::from(vspace.0) * 100);
    w.pager.submit(w.socket, &NewRequest { sqe, vspace, waiter, buffer }, 0)
}

fn fsync(w: &mut World, vspace: VspaceId) -> Tag {
    submit(w, vspace, Opcode::Fsync, None).unwrap()
}

/// A request with a buffer of `pages` whole pages from `BUFFER` on.
fn with_buffer(w: &mut World, opcode: Opcode, pages: u64, rights: Rights) -> Tag {
    let buffer = Buffer { address: BUFFER.address(), length: pages * 4096, rights };
    submit(w, ALICE, opcode, Some(buffer)).unwrap()
}

fn copy(w: &World, tag: Tag, offset: u64, length: u64, direction: CopyDirection) -> Result<CopyUnit, PagerError> {
    let address = SERVER_PAGE.address() + offset % 4096;
    w.pager.copy_unit(&w.mmu, w.socket, SERVER, tag, offset, address, length, direction)
}

const WRITE_ONLY: Rights = Rights { read: false, write: true, execute: false };

#[test]
fn clients_take_turns_and_a_client_has_four_requests_delivered_at_most() {
    let mut w = World::new();
    let alice: Vec<_> = (0..6).map(|_| fsync(&mut w, ALICE)).collect();
    let bob: Vec<_> = (0..2).map(|_| fsync(&mut w, BOB)).collect();
    let order: Vec<_> = std::iter::from_fn(|| w.receive(BOTH)).map(|sqe| Tag(sqe.tag)).collect();
    assert_eq!(order, [alice[0], bob[0], alice[1], bob[1], alice[2], alice[3]]);
    assert!(!w.pager.deliverable(w.socket, BOTH));
    w.answer(&regular_cqe(alice[2], 0)).unwrap();
    assert!(w.pager.deliverable(w.socket, QUEUE_ORDINARY) && !w.pager.deliverable(w.socket, QUEUE_FAULT));
    assert_eq!(w.receive(BOTH).unwrap().tag, alice[4].0);
    assert!(w.receive(BOTH).is_none());
}

#[test]
fn faults_have_a_queue_and_a_cap_of_their_own() {
    let mut w = World::new();
    w.map(ALICE, 8, Rights::READ, Sharing::Shared);
    (0..6).for_each(|_| _ = fsync(&mut w, ALICE));
    (0..3).for_each(|n| _ = w.fault_by(n, ALICE, AT.forward(n), Access::Read));
    assert_eq!(std::iter::from_fn(|| w.receive(QUEUE_ORDINARY)).count(), 4);
    assert_eq!(std::iter::from_fn(|| w.receive(QUEUE_FAULT)).count(), 2);
}

#[test]
fn outstanding_tags_are_capped() {
    let mut w = World::with(Config { outstanding: 3, ..Config::default() });
    let first = fsync(&mut w, ALICE);
    fsync(&mut w, ALICE);
    fsync(&mut w, ALICE);
    assert_eq!(submit(&mut w, ALICE, Opcode::Fsync, None), Err(PagerError::TooManyTags));
    fsync(&mut w, BOB);
    w.receive(BOTH);
    w.answer(&regular_cqe(first, 0)).unwrap();
    fsync(&mut w, ALICE);
}

#[test]
fn a_request_takes_one_answer_and_only_while_the_server_has_it() {
    let mut w = World::new();
    let tag = fsync(&mut w, ALICE);
    assert_eq!(w.answer(&regular_cqe(tag, 0)), Err(PagerError::NoSuchTag));
    w.receive(BOTH);
    w.answer(&regular_cqe(tag, 7)).unwrap();
    assert!(matches!(w.wakes()[..], [(100, Wake::Answer(Cqe { result: 7, .. }))]));
    assert_eq!(w.answer(&regular_cqe(tag, 0)), Err(PagerError::NoSuchTag));
    assert_eq!(w.pager.counters(w.socket).unwrap().refused_answers, 2);
}

#[test]
fn a_tag_of_another_socket_is_unknown() {
    let mut w = World::new();
    let tag = fsync(&mut w, ALICE);
    w.receive(BOTH);
    w.socket = w.pager.open_socket().unwrap();
    assert_eq!(w.answer(&regular_cqe(tag, 0)), Err(PagerError::NoSuchTag));
    assert_eq!(copy(&w, tag, 0, 1, CopyDirection::In), Err(PagerError::NoSuchTag));
}

#[test]
fn copy_goes_by_the_translations_and_rights_of_the_buffer() {
    let mut w = World::new();
    let server = w.mmu.give_anonymous_page(SERVER, SERVER_PAGE, Rights::READ_WRITE);
    let first = w.mmu.give_anonymous_page(ALICE, BUFFER, Rights::READ);
    let tag = with_buffer(&mut w, Opcode::Write, 2, Rights::READ);
    assert_eq!(copy(&w, tag, 0, 8, CopyDirection::In), Err(PagerError::NoSuchTag), "the server has it not yet");
    w.receive(BOTH);
    w.mmu.poke(first, 1, 77);
    let unit = copy(&w, tag, 8, 8, CopyDirection::In).unwrap();
    w.mmu.copy(&unit);
    assert_eq!(w.mmu.peek(server, 1), 77);
    assert_eq!(copy(&w, tag, 0, 8, CopyDirection::Out), Err(PagerError::BadRange), "a Write's buffer is read only");
    assert_eq!(copy(&w, tag, 8188, 8, CopyDirection::In), Err(PagerError::BadRange));
    assert_eq!(copy(&w, tag, u64::MAX, 8, CopyDirection::In), Err(PagerError::BadRange));
    assert_eq!(copy(&w, tag, 4096, 8, CopyDirection::In).unwrap().length, 0, "the second page is not there");
}

#[test]
fn a_copy_of_up_to_a_page_is_all_or_nothing() {
    let mut w = World::new();
    w.mmu.give_anonymous_page(SERVER, SERVER_PAGE, Rights::READ_WRITE);
    w.mmu.give_anonymous_page(SERVER, SERVER_PAGE.forward(1), Rights::READ_WRITE);
    w.mmu.give_anonymous_page(ALICE, BUFFER, Rights::READ);
    let tag = with_buffer(&mut w, Opcode::Write, 3, Rights::READ);
    w.receive(BOTH);
    assert_eq!(copy(&w, tag, 2048, 4096, CopyDirection::In).unwrap().length, 0);
    // A longer one goes page by page of the client: the rest of the first page is there.
    let unit =
        w.pager.copy_unit(&w.mmu, w.socket, SERVER, tag, 2048, SERVER_PAGE.address() + 100, 5000, CopyDirection::In);
    assert_eq!(unit.unwrap().length, 2048);
    w.mmu.give_anonymous_page(ALICE, BUFFER.forward(1), Rights::READ);
    let unit = w
        .pager
        .copy_unit(&w.mmu, w.socket, SERVER, tag, 2048, SERVER_PAGE.address() + 100, 4096, CopyDirection::In)
        .unwrap();
    assert_eq!(unit.length, 4096);
    assert_eq!(unit.pieces().map(|piece| piece.length).collect::<Vec<_>>(), [2048, 1948, 100]);
}

#[test]
fn copy_out_needs_a_writable_translation() {
    let mut w = World::new();
    w.cache(1);
    w.mmu.give_anonymous_page(SERVER, SERVER_PAGE, Rights::READ_WRITE);
    w.map(ALICE, 1, Rights::READ_WRITE, Sharing::Shared);
    w.load(ALICE, AT);
    let buffer = Buffer { address: AT.address(), length: 4096, rights: WRITE_ONLY };
    assert_eq!(w.pager.first_missing(&w.mmu, ALICE, &buffer, 0), Some(AT.address()));
    let tag = submit(&mut w, ALICE, Opcode::Read, Some(buffer)).unwrap();
    w.receive(BOTH);
    assert_eq!(copy(&w, tag, 0, 8, CopyDirection::Out).unwrap().length, 0);
    w.touch(ALICE, AT, Access::Write);
    assert_eq!(w.pager.first_missing(&w.mmu, ALICE, &buffer, 0), None);
    assert_eq!(copy(&w, tag, 0, 8, CopyDirection::Out).unwrap().length, 8);
}

#[test]
fn retry_queues_the_same_tag_again_and_the_second_at_one_page_bounces() {
    let mut w = World::new();
    let server = w.mmu.give_anonymous_page(SERVER, SERVER_PAGE, Rights::READ_WRITE);
    let tag = with_buffer(&mut w, Opcode::Write, 2, Rights::READ);
    w.receive(BOTH);
    w.answer(&retry_cqe(tag, 4096)).unwrap();
    assert!(matches!(w.wakes()[..], [(100, Wake::Prefault { offset: 4096 })]));
    assert!(w.receive(BOTH).is_none());
    assert_eq!(w.answer(&regular_cqe(tag, 0)), Err(PagerError::NoSuchTag), "RETRY was the answer");
    w.pager.requeue(tag, 0).unwrap();
    assert_eq!(w.receive(BOTH).unwrap().tag, tag.0);

    w.answer(&retry_cqe(tag, 4100)).unwrap();
    let wakes = w.wakes();
    assert!(matches!(wakes[..], [(100, Wake::Bounce { offset: 4100 })]), "{wakes:?}");
    w.pager.begin_bounce(&mut w.mmu, tag, 4100, &mut w.revoked).unwrap();
    let step = |w: &World, at| w.pager.bounce_step(&w.mmu, tag, BounceDirection::Fill, at, u64::MAX).unwrap();
    let missing = BUFFER.forward(1);
    assert_eq!(step(&w, 0), BounceStep::Missing { address: missing.address() });
    let frame = w.mmu.give_anonymous_page(ALICE, missing, Rights::READ);
    w.mmu.poke(frame, 0, 42);
    let BounceStep::Copy { unit, next } = step(&w, 0) else { panic!() };
    w.mmu.copy(&unit);
    assert_eq!((next, step(&w, next)), (8192, BounceStep::Done));
    w.pager.requeue(tag, 0).unwrap();
    w.receive(BOTH);
    // Eviction no longer matters.
    w.mmu.unmap(ALICE, missing);
    let unit = copy(&w, tag, 4096, 8, CopyDirection::In).unwrap();
    w.mmu.copy(&unit);
    assert_eq!(w.mmu.peek(server, 0), 42);
    w.answer(&regular_cqe(tag, 8192)).unwrap();
    assert!(matches!(w.wakes()[..], [(100, Wake::Answer(_))]));
    w.shoot_down();
    assert_eq!(w.mmu.frames_in_use(), 2, "the bounce buffer is free again");
}

#[test]
fn a_bounced_read_is_drained_by_the_caller_before_its_tag_is_free() {
    let mut w = World::new();
    let server = w.mmu.give_anonymous_page(SERVER, SERVER_PAGE, Rights::READ_WRITE);
    w.mmu.poke(server, 0, 42);
    let tag = with_buffer(&mut w, Opcode::Read, 1, WRITE_ONLY);
    for _ in 0..2 {
        w.receive(BOTH);
        w.answer(&retry_cqe(tag, 0)).unwrap();
        if let [(_, Wake::Bounce { offset })] = w.wakes()[..] {
            w.pager.begin_bounce(&mut w.mmu, tag, offset, &mut w.revoked).unwrap();
        }
        w.pager.requeue(tag, 0).unwrap();
    }
    w.receive(BOTH);
    let unit = copy(&w, tag, 0, 4096, CopyDirection::Out).unwrap();
    w.mmu.copy(&unit);
    w.answer(&regular_cqe(tag, 8)).unwrap();
    assert!(matches!(w.wakes()[..], [(100, Wake::AnswerAndDrain(_))]));
    assert_eq!(w.answer(&regular_cqe(tag, 8)), Err(PagerError::NoSuchTag));
    let frame = w.mmu.give_anonymous_page(ALICE, BUFFER, Rights::READ_WRITE);
    let step = w.pager.bounce_step(&w.mmu, tag, BounceDirection::Drain, 0, 8).unwrap();
    let BounceStep::Copy { unit, next: 8 } = step else { panic!("{step:?}") };
    w.mmu.copy(&unit);
    assert_eq!(w.mmu.peek(frame, 0), 42);
    w.pager.drained(tag, &mut w.revoked).unwrap();
    w.shoot_down();
    assert_eq!(w.mmu.frames_in_use(), 2);
}

#[test]
fn retry_beyond_the_buffer_fails_the_request() {
    let mut w = World::new();
    let tag = with_buffer(&mut w, Opcode::Write, 1, Rights::READ);
    w.receive(BOTH);
    assert_eq!(w.answer(&retry_cqe(tag, 4096)), Err(PagerError::BadAnswer));
    assert!(matches!(w.wakes()[..], [(100, Wake::Answer(_))]));
}

#[test]
fn a_killed_client_keeps_its_tag_until_the_answer_and_the_server_is_told() {
    let mut w = World::with(Config { outstanding: 1, ..Config::default() });
    w.mmu.give_anonymous_page(SERVER, SERVER_PAGE, Rights::READ_WRITE);
    w.mmu.give_anonymous_page(ALICE, BUFFER, Rights::READ);
    let tag = with_buffer(&mut w, Opcode::Write, 1, Rights::READ);
    w.receive(BOTH);
    w.pager.detach(tag, WaiterId(100), &mut w.revoked);
    let cancel = w.receive(BOTH).unwrap();
    assert_eq!((cancel.opcode, cancel.tag), (Opcode::Cancel as u8, tag.0));
    assert_eq!(copy(&w, tag, 0, 8, CopyDirection::In), Err(PagerError::Cancelled));
    assert_eq!(submit(&mut w, ALICE, Opcode::Fsync, None), Err(PagerError::TooManyTags), "the tag is reserved");
    w.answer(&regular_cqe(tag, 0)).unwrap();
    assert!(matches!(w.pager.next_event(), Some(Event::Orphan { .. })));
    assert!(w.pager.next_event().is_none());
    fsync(&mut w, ALICE);
}

#[test]
fn an_answer_before_the_cancel_takes_the_cancel_back() {
    let mut w = World::new();
    let tag = fsync(&mut w, ALICE);
    w.receive(BOTH);
    w.pager.detach(tag, WaiterId(100), &mut w.revoked);
    w.answer(&regular_cqe(tag, 0)).unwrap();
    assert!(w.receive(BOTH).is_none());
}

#[test]
fn a_mapping_granted_to_a_dead_client_goes_back() {
    let mut w = World::new();
    let tag = submit(&mut w, ALICE, Opcode::MmapPrep, None).unwrap();
    w.receive(BOTH);
    w.pager.detach(tag, WaiterId(100), &mut w.revoked);
    w.receive(BOTH);
    let extra = lazy_extra(MaxProtection { read: true, write: false, execute: false });
    w.answer(&Cqe { flags: 0, extra_raw: [extra, 0, 0], tag: tag.0, result: COOKIE.0 }).unwrap();
    let munmap = w.receive(BOTH).unwrap();
    assert_eq!((munmap.opcode, munmap.args[0], munmap.args[1]), (Opcode::Munmap as u8, COOKIE.0, 1));
}

#[test]
fn a_dead_client_leaves_nothing_behind() {
    let mut w = World::new();
    w.cache(2);
    w.map(ALICE, 2, Rights::READ_WRITE, Sharing::Private);
    w.store(ALICE, AT, 1);
    w.load(ALICE, AT.forward(1));
    let delivered = fsync(&mut w, ALICE);
    w.receive(BOTH);
    fsync(&mut w, ALICE);
    w.die(ALICE);
    assert_eq!(w.mmu.frames_in_use(), 2);
    let notices: Vec<_> = std::iter::from_fn(|| w.receive(BOTH)).map(|sqe| sqe.opcode).collect();
    assert_eq!(notices, [Opcode::Cancel as u8, Opcode::Munmap as u8]);
    w.answer(&regular_cqe(delivered, 0)).unwrap();
    // The number is used again, by a client that knows nothing of the first.
    w.map(ALICE, 2, Rights::READ, Sharing::Shared);
    assert_eq!(w.load(ALICE, AT), 1000);
}

#[test]
fn a_dead_server_fails_everything_and_takes_its_pages_back() {
    let mut w = World::new();
    w.cache(600);
    w.map(ALICE, 600, Rights::READ_WRITE, Sharing::Shared);
    w.map(BOB, 600, Rights::READ_WRITE, Sharing::Private);
    (0..599).for_each(|n| w.touch(ALICE, AT.forward(n), Access::Read));
    w.store(BOB, AT, 5);
    w.load(BOB, AT.forward(1));
    let tag = fsync(&mut w, ALICE);
    w.receive(BOTH);
    fsync(&mut w, BOB);
    w.fault_by(3, ALICE, AT.forward(599), Access::Read);
    w.close();
    let wakes = w.wakes();
    assert_eq!(wakes.len(), 3);
    for (waiter, why) in wakes {
        match why {
            Wake::FaultFailed(errno) => assert_eq!((waiter, errno), (3, ENODEV)),
            Wake::Answer(cqe) => assert_eq!(Error::demux(cqe.result as usize), Err(Error::new(ENODEV))),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(w.mmu.load(0, BOB, AT, 0), Ok(5), "a private copy is the client's own");
    assert_eq!(w.mmu.frames_in_use(), 601);
    assert_eq!(w.answer(&regular_cqe(tag, 0)), Err(PagerError::ServerDead));
    assert_eq!(submit(&mut w, ALICE, Opcode::Fsync, None), Err(PagerError::ServerDead));
    w.die(ALICE);
    w.die(BOB);
    assert_eq!(w.mmu.frames_in_use(), 600);
}

#[test]
fn waits_name_the_waiter_and_the_server_thread() {
    let mut w = World::new();
    w.map(ALICE, 1, Rights::READ_WRITE, Sharing::Shared);
    w.fault_by(0x77, ALICE, AT, Access::Write);
    w.receive_fault().unwrap();
    fsync(&mut w, BOB);
    let mut text = String::new();
    w.pager.write_waits(w.socket, 10, &mut text).unwrap().unwrap();
    assert!(text.contains("thread 0x77 (store)") && text.contains("server thread 0x63 has it for 10"), "{text}");
    assert!(text.contains("thread 0xc8 waits for request"), "{text}");
    assert_eq!(w.pager.overdue(1).count(), 2);
    assert_eq!(w.pager.overdue(0).count(), 0);
}
