//! ZAP and WRPROTECT, alone and against faults in flight.

mod world;

use pager_abi::{
    fault::{Access, ProvideMmap},
    grant::MUNMAP_COUNTED,
    socket::ZapWhat,
};
use pager_core::{fake_mmu::FakeFault, *};
use syscall::schemev2::Opcode;
use world::*;

const PAGE: u64 = 4096;

fn zap(w: &World, offset: u64, length: u64) -> Revocation {
    Revocation::zap(w.socket, COOKIE, offset, length, ZapWhat::Shared)
}

fn two_sharers() -> World {
    let mut w = World::new();
    w.cache(4);
    for client in [ALICE, BOB] {
        w.map(client, 4, Rights::READ_WRITE, Sharing::Shared);
    }
    w
}

#[test]
fn no_cpu_stores_after_wrprotect_has_returned() {
    let mut w = two_sharers();
    w.store(ALICE, AT, 5);
    w.touch(BOB, AT, Access::Write);
    w.mmu.store(1, BOB, AT, 0, 6).unwrap();
    let mut revocation = Revocation::write_protect(w.socket, COOKIE, 0, PAGE);
    let progress = w.pager.revoke(&mut w.mmu, &mut revocation, &mut w.revoked);
    assert_eq!((progress, revocation.writable, revocation.dirty), (Ok(Progress::Done), 2, 2));
    w.mmu.store(1, BOB, AT, 0, 7).expect("a stale TLB still allows it: the call has not returned");
    w.shoot_down();
    assert!(w.mmu.store(1, BOB, AT, 0, 8).is_err());
    assert!(w.mmu.store(0, ALICE, AT, 0, 8).is_err());
    assert_eq!(w.load(ALICE, AT), 7);
}

#[test]
fn zap_takes_every_mapping_of_the_range_and_tells_whether_it_was_used() {
    let mut w = two_sharers();
    for n in 0..4 {
        w.load(ALICE, AT.forward(n));
        w.load(BOB, AT.forward(n));
    }
    assert!(w.revoke(zap(&w, PAGE, 2 * PAGE)).accessed);
    let there = |w: &World, n| w.mmu.translation(ALICE, AT.forward(n)).is_some();
    assert_eq!([0, 1, 2, 3].map(|n| there(&w, n)), [true, false, false, true]);
    assert!(!w.revoke(zap(&w, PAGE, 2 * PAGE)).accessed);
    let cached = w.mmu.translation(SERVER, VirtPage(CACHE + 1)).unwrap().frame;
    assert_eq!(w.mmu.references(cached), 1);
}

#[test]
fn a_range_that_ends_within_a_page_takes_the_page_but_not_its_private_copy() {
    let mut w = World::new();
    w.cache(4);
    w.map(ALICE, 4, Rights::READ_WRITE, Sharing::Private);
    w.map(BOB, 4, Rights::READ_WRITE, Sharing::Shared);
    for n in 0..4 {
        w.store(ALICE, AT.forward(n), 50 + n);
        w.load(BOB, AT.forward(n));
    }
    w.revoke(Revocation::zap(w.socket, COOKIE, PAGE + 1, 0, ZapWhat::SharedAndPrivate));
    assert_eq!([0, 1].map(|n| w.load(ALICE, AT.forward(n))), [50, 51]);
    assert_eq!([2, 3].map(|n| w.load(ALICE, AT.forward(n))), [1002, 1003]);
    let bob = [0, 1, 2, 3].map(|n| w.mmu.translation(BOB, AT.forward(n)).is_some());
    assert_eq!(bob, [true, false, false, false]);
}

#[test]
fn private_copies_survive_a_zap_of_shared_pages() {
    let mut w = World::new();
    w.cache(2);
    w.map(ALICE, 2, Rights::READ_WRITE, Sharing::Private);
    w.store(ALICE, AT, 5);
    w.load(ALICE, AT.forward(1));
    w.revoke(zap(&w, 0, 0));
    assert_eq!(w.mmu.load(0, ALICE, AT, 0), Ok(5));
    assert!(w.mmu.load(0, ALICE, AT.forward(1), 0).is_err());
}

#[test]
fn a_provide_that_a_zap_overtook_maps_nothing_and_the_fault_is_sent_again() {
    let mut w = two_sharers();
    w.fault(ALICE, AT, Access::Read);
    let late = w.receive_fault().unwrap();
    w.revoke(zap(&w, 0, PAGE));
    w.provide(&late, 0, 1, false).unwrap();
    assert!(w.settled().is_empty(), "the client goes on waiting");
    assert!(w.mmu.translation(ALICE, AT).is_none());
    let again = w.receive_fault().unwrap();
    assert_eq!((again.tag, again.offset), (late.tag, 0));
    w.provide(&again, 0, 1, false).unwrap();
    assert_eq!(w.settled(), [100]);
    assert_eq!(w.load(ALICE, AT), 1000);
    assert_eq!(w.pager.counters(w.socket).unwrap().resent_faults, 1);
}

#[test]
fn a_zap_of_neighbours_cuts_the_run_and_leaves_the_faulting_page() {
    let mut w = two_sharers();
    w.fault(ALICE, AT.forward(1), Access::Read);
    let request = w.receive_fault().unwrap();
    w.revoke(zap(&w, 2 * PAGE, PAGE));
    w.provide(&request, 1, 4, false).unwrap();
    w.settled();
    let there = [0, 1, 2, 3].map(|n| w.mmu.translation(ALICE, AT.forward(n)).is_some());
    assert_eq!(there, [true, true, false, false]);
}

#[test]
fn a_provide_that_a_wrprotect_overtook_maps_read_only() {
    let mut w = two_sharers();
    w.fault(ALICE, AT, Access::Write);
    let late = w.receive_fault().unwrap();
    w.revoke(Revocation::write_protect(w.socket, COOKIE, 0, PAGE));
    w.provide(&late, 0, 2, true).unwrap();
    assert_eq!(w.settled(), [100]);
    assert_eq!(w.mmu.store(0, ALICE, AT, 0, 1), Err(FakeFault { page: AT, access: Access::Write }));
    w.mmu.store(0, ALICE, AT.forward(1), 0, 1).expect("its neighbour was not write-protected");
    w.fault(ALICE, AT, Access::Write);
    assert!(w.receive_fault().unwrap().record.present, "the store is seen again");
}

#[test]
fn a_fault_that_is_still_queued_needs_no_mark() {
    let mut w = two_sharers();
    w.fault(ALICE, AT, Access::Read);
    w.revoke(zap(&w, 0, PAGE));
    let request = w.receive_fault().unwrap();
    w.provide(&request, 0, 1, false).unwrap();
    assert_eq!(w.settled(), [100]);
}

#[test]
fn a_long_zap_goes_in_bounded_steps_across_mappings() {
    let mut w = World::new();
    w.cache(700);
    for client in [ALICE, BOB] {
        w.map(client, 700, Rights::READ, Sharing::Shared);
        for n in 0..700 {
            w.touch(client, AT.forward(n), Access::Read);
        }
    }
    let mut revocation = zap(&w, 0, 0);
    let mut steps = 0;
    loop {
        let progress = w.pager.revoke(&mut w.mmu, &mut revocation, &mut w.revoked).unwrap();
        assert!(w.revoked.flush.len() <= REVOKE_MAX);
        steps += 1;
        w.shoot_down();
        // The walk goes on where it was, whatever becomes of the mappings meanwhile.
        if steps == 1 {
            w.unmap(ALICE, AT.forward(600), 50);
        }
        if progress == Progress::Done {
            break;
        }
    }
    assert_eq!(steps, 3);
    assert_eq!(w.mmu.next_present(ALICE, VirtPage(0), VirtPage(1 << 35)), None);
    assert_eq!(w.mmu.next_present(BOB, VirtPage(0), VirtPage(1 << 35)), None);
}

#[test]
fn nothing_moves_or_is_inherited_while_private_copies_are_being_taken() {
    let mut w = World::new();
    w.cache(600);
    w.map(ALICE, 600, Rights::READ_WRITE, Sharing::Private);
    for n in 0..600 {
        w.store(ALICE, AT.forward(n), n);
    }
    let mut revocation = Revocation::zap(w.socket, COOKIE, 0, 0, ZapWhat::SharedAndPrivate);
    assert_eq!(w.pager.revoke(&mut w.mmu, &mut revocation, &mut w.revoked), Ok(Progress::More));
    w.shoot_down();
    let to = VirtPage(0x10);
    assert_eq!(w.pager.relocate(&mut w.mmu, ALICE, AT, 600, to, &mut w.revoked), Ok(Progress::More));
    assert_eq!(w.pager.inherit(&mut w.mmu, ALICE, BOB, &mut w.revoked), Ok(Progress::More));
    w.shoot_down();
    assert_eq!(w.pager.revoke(&mut w.mmu, &mut revocation, &mut w.revoked), Ok(Progress::Done));
    w.shoot_down();
    assert_eq!(w.mmu.frames_in_use(), 600, "only the server's pages are left");
    assert_eq!(w.pager.relocate(&mut w.mmu, ALICE, AT, 600, VirtPage(0x10_000), &mut w.revoked), Ok(Progress::Done));
}

#[test]
fn an_unknown_cookie_has_nothing_to_take() {
    let mut w = World::new();
    let revocation = w.revoke(Revocation::write_protect(w.socket, pager_abi::Cookie(1), 0, 0));
    assert_eq!(revocation.writable, 0);
}

#[test]
fn grants_go_back_counted_when_the_last_mapping_is_gone() {
    let mut w = two_sharers();
    w.unmap(ALICE, AT, 4);
    assert!(w.receive(BOTH).is_none(), "another mapping needs the object");
    assert_eq!(w.pager.next_noticed(), None);
    w.unmap(BOB, AT, 4);
    assert_eq!(w.pager.next_noticed(), Some(w.socket));
    assert_eq!(w.pager.next_noticed(), None);
    let sqe = w.receive(BOTH).unwrap();
    assert_eq!(sqe.opcode, Opcode::Munmap as u8);
    assert_eq!(sqe.args[..3], [COOKIE.0, 2, MUNMAP_COUNTED]);
    assert!(w.receive(BOTH).is_none());
}

#[test]
fn a_grant_that_comes_before_the_munmap_is_delivered_joins_it() {
    let mut w = World::new();
    w.map(ALICE, 1, Rights::READ, Sharing::Shared);
    w.unmap(ALICE, AT, 1);
    w.map(BOB, 1, Rights::READ, Sharing::Shared);
    assert!(w.receive(BOTH).is_none(), "the object is in use again");
    w.unmap(BOB, AT, 1);
    assert_eq!(w.receive(BOTH).unwrap().args[..2], [COOKIE.0, 2]);
}

#[test]
fn a_fault_in_flight_keeps_the_grant_until_it_is_answered() {
    let mut w = World::new();
    w.cache(1);
    w.map(ALICE, 1, Rights::READ, Sharing::Shared);
    w.fault(ALICE, AT, Access::Read);
    let request = w.receive_fault().unwrap();
    w.unmap(ALICE, AT, 1);
    assert!(w.receive(BOTH).is_none());
    let provide = ProvideMmap { tag: request.tag, address: CACHE * PAGE, before: 0, count: 1, writable: false };
    w.answer(&provide.to_cqe()).unwrap();
    assert_eq!(w.receive(BOTH).unwrap().opcode, Opcode::Munmap as u8);
}
