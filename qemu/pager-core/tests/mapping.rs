//! Mappings that are split, protected, moved, made longer and inherited.

mod world;

use pager_abi::fault::Access;
use pager_core::*;
use world::*;

const NOTHING: Rights = Rights { read: false, write: false, execute: false };

fn new(w: &mut World, start: VirtPage, pages: u64, maximum: Rights) -> Result<(), PagerError> {
    let mapping = NewMapping {
        vspace: ALICE,
        start,
        pages,
        file: FilePage(0),
        protection: Rights::READ,
        maximum,
        sharing: Sharing::Shared,
    };
    w.pager.map(w.socket, COOKIE, &mapping)
}

#[test]
fn impossible_mappings_are_refused_and_their_grants_go_back() {
    let mut w = World::new();
    assert_eq!(new(&mut w, AT, 0, Rights::READ), Err(PagerError::BadRange));
    assert_eq!(new(&mut w, AT, u64::MAX, Rights::READ), Err(PagerError::BadRange));
    assert_eq!(new(&mut w, VirtPage(1 << 35), 1, Rights::READ), Err(PagerError::BadRange));
    assert_eq!(new(&mut w, AT, 1, NOTHING), Err(PagerError::Forbidden));
    assert_eq!(w.receive(BOTH).unwrap().args[1], 4);
    new(&mut w, AT, 4, Rights::READ).unwrap();
    assert_eq!(new(&mut w, AT.forward(3), 4, Rights::READ), Err(PagerError::Overlap));
    assert_eq!(w.pager.mapping_in(ALICE, AT.forward(1), 1), Some((AT, 4)));
}

#[test]
fn a_hole_in_a_mapping_leaves_its_two_ends_on_their_file_pages() {
    let mut w = World::new();
    w.cache(6);
    w.map(ALICE, 6, Rights::READ_WRITE, Sharing::Shared);
    (0..6).for_each(|n| _ = w.load(ALICE, AT.forward(n)));
    w.unmap(ALICE, AT.forward(2), 2);
    assert!(matches!(w.fault(ALICE, AT.forward(2), Access::Read), FaultOutcome::Fail(_)));
    assert!(matches!(w.fault(ALICE, AT.forward(3), Access::Read), FaultOutcome::Fail(_)));
    assert_eq!([0, 1, 4, 5].map(|n| w.load(ALICE, AT.forward(n))), [1000, 1001, 1004, 1005]);
    w.store(ALICE, AT.forward(4), 9);
    w.unmap(ALICE, VirtPage(0), 1 << 35);
    assert_eq!(w.mmu.frames_in_use(), 6);
}

#[test]
fn mprotect_is_bounded_by_the_maximum_protection_as_a_whole() {
    let mut w = World::new();
    w.cache(2);
    new(&mut w, AT, 1, Rights::READ_WRITE).unwrap();
    new(&mut w, AT.forward(1), 1, Rights::READ).unwrap();
    assert_eq!(w.protect(ALICE, AT, 2, Rights::READ_WRITE), Err(PagerError::Forbidden));
    assert!(matches!(w.fault(ALICE, AT, Access::Write), FaultOutcome::Fail(_)), "nothing was changed");
    w.protect(ALICE, AT, 1, Rights::READ_WRITE).unwrap();
    w.store(ALICE, AT, 3);
}

#[test]
fn mprotect_never_makes_a_shared_page_writable_without_the_server() {
    let mut w = World::new();
    w.cache(1);
    w.map(ALICE, 1, Rights::READ_WRITE, Sharing::Shared);
    w.store(ALICE, AT, 3);
    w.protect(ALICE, AT, 1, Rights::READ).unwrap();
    assert!(w.mmu.store(0, ALICE, AT, 0, 4).is_err());
    assert!(matches!(w.fault(ALICE, AT, Access::Write), FaultOutcome::Fail(_)));
    w.protect(ALICE, AT, 1, Rights::READ_WRITE).unwrap();
    assert!(w.mmu.store(0, ALICE, AT, 0, 4).is_err());
    assert!(matches!(w.fault(ALICE, AT, Access::Write), FaultOutcome::Wait { .. }));
    assert!(w.receive_fault().unwrap().record.present);
}

#[test]
fn a_private_copy_outlives_the_loss_of_all_rights() {
    let mut w = World::new();
    w.cache(3);
    w.map(ALICE, 3, Rights::READ_WRITE, Sharing::Private);
    w.store(ALICE, AT.forward(1), 5);
    w.protect(ALICE, AT.forward(1), 1, NOTHING).unwrap();
    assert!(matches!(w.fault(ALICE, AT.forward(1), Access::Read), FaultOutcome::Fail(_)));
    w.protect(ALICE, AT.forward(1), 1, Rights::READ_WRITE).unwrap();
    assert_eq!(w.load(ALICE, AT.forward(1)), 5);
    assert_eq!(w.pager.mapping_in(ALICE, AT, 1), Some((AT, 3)), "the three are one mapping again");
}

#[test]
fn a_moved_mapping_shows_the_same_pages_and_keeps_its_copies() {
    let mut w = World::new();
    w.cache(6);
    w.map(ALICE, 6, Rights::READ_WRITE, Sharing::Private);
    w.store(ALICE, AT.forward(2), 5);
    w.load(ALICE, AT.forward(3));
    let to = VirtPage(0x9000);
    let moved = w.pager.relocate(&mut w.mmu, ALICE, AT.forward(1), 4, to, &mut w.revoked);
    assert_eq!(moved, Ok(Progress::Done));
    w.shoot_down();
    assert_eq!([0, 1, 2, 3].map(|n| w.load(ALICE, to.forward(n))), [1001, 5, 1003, 1004]);
    assert_eq!([0, 5].map(|n| w.load(ALICE, AT.forward(n))), [1000, 1005]);
    assert!(matches!(w.fault(ALICE, AT.forward(2), Access::Read), FaultOutcome::Fail(_)));
    let taken = w.pager.relocate(&mut w.mmu, ALICE, AT, 1, to, &mut w.revoked);
    assert_eq!(taken, Err(PagerError::Overlap));
}

#[test]
fn an_extended_mapping_shows_the_file_further_on() {
    let mut w = World::new();
    w.cache(4);
    w.map(ALICE, 2, Rights::READ, Sharing::Shared);
    w.pager.extend(ALICE, AT.forward(2), 2).unwrap();
    assert_eq!(w.load(ALICE, AT.forward(3)), 1003);
    assert_eq!(w.pager.extend(ALICE, AT.forward(3), 2), Err(PagerError::Overlap));
    assert_eq!(w.pager.extend(BOB, AT, 2), Err(PagerError::NotMapped));
}

#[test]
fn a_child_shares_shared_mappings_and_copies_private_ones() {
    let mut w = World::new();
    w.cache(4);
    w.map(ALICE, 2, Rights::READ_WRITE, Sharing::Private);
    let shared = NewMapping {
        vspace: ALICE,
        start: AT.forward(2),
        pages: 2,
        file: FilePage(2),
        protection: Rights::READ_WRITE,
        maximum: Rights::READ_WRITE,
        sharing: Sharing::Shared,
    };
    w.pager.map(w.socket, COOKIE, &shared).unwrap();
    w.store(ALICE, AT, 5);
    w.store(ALICE, AT.forward(2), 6);
    w.inherit(ALICE, BOB);
    let frames = w.mmu.frames_in_use();
    assert_eq!([0, 1, 2, 3].map(|n| w.load(BOB, AT.forward(n))), [5, 1001, 6, 1003]);
    assert_eq!(w.mmu.frames_in_use(), frames, "nothing is copied before somebody stores");
    w.store(BOB, AT, 7);
    w.store(ALICE, AT, 8);
    w.store(BOB, AT.forward(3), 9);
    assert_eq!((w.load(ALICE, AT), w.load(BOB, AT), w.load(ALICE, AT.forward(3))), (8, 7, 9));
    w.die(ALICE);
    assert_eq!([0, 1, 2, 3].map(|n| w.load(BOB, AT.forward(n))), [7, 1001, 6, 9]);
    w.die(BOB);
    assert_eq!(w.mmu.frames_in_use(), 4);
}

#[test]
fn a_child_that_outlives_its_parent_owns_the_copies_alone() {
    let mut w = World::new();
    w.cache(1);
    w.map(ALICE, 1, Rights::READ_WRITE, Sharing::Private);
    w.store(ALICE, AT, 5);
    w.inherit(ALICE, BOB);
    w.die(ALICE);
    let frames = w.mmu.frames_in_use();
    w.store(BOB, AT, 6);
    assert_eq!(w.mmu.frames_in_use(), frames, "no copy is needed for one owner");
}

#[test]
fn a_parent_stores_no_more_to_what_its_child_inherited() {
    let mut w = World::new();
    w.cache(1);
    w.map(ALICE, 1, Rights::READ_WRITE, Sharing::Private);
    w.store(ALICE, AT, 5);
    w.inherit(ALICE, BOB);
    assert!(w.mmu.store(0, ALICE, AT, 0, 6).is_err(), "the parent's CPU kept its right to store");
    w.store(ALICE, AT, 6);
    assert_eq!(w.load(BOB, AT), 5);
}
