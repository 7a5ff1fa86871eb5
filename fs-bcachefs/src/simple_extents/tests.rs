//! The map against one entry a sector.

use super::*;
use alloc::vec::Vec;
use linux as _;

const FILES: u64 = 3;
const FILE_SECTORS: u64 = 40;
const DEVICE_SECTORS: u64 = 64;

/// The same, one entry a sector.
#[derive(Default)]
struct Model {
    /// (file, sector) -> (device sector, written)
    sectors: BTreeMap<(Ino, u64), (u64, bool)>,
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

fn range(random: &mut Random) -> (u64, u64) {
    let first = random.below(FILE_SECTORS);
    (first, 1 + random.below(FILE_SECTORS - first))
}

/// Reserves and places a range, as a write and its writeback do.
fn place_all(extents: &SimpleExtents, model: &mut Model, ino: Ino, first: u64, count: u64) {
    let missing = (first..first + count).filter(|&sector| !model.sectors.contains_key(&(ino, sector))).count() as u64;
    let free = extents.space().free;
    match extents.reserve(missing) {
        Ok(()) => assert!(missing <= free),
        Err(error) => return assert_eq!((error, missing > free), (Error::NoSpace, true)),
    }
    let mut at = first;
    let mut used = 0;
    while at < first + count {
        let place = extents.place(ino, at..first + count).unwrap();
        assert!(place.reservations == 0 || place.reservations == place.sectors);
        used += place.reservations;
        for offset in 0..place.sectors {
            let device = place.device_sector + offset;
            let old = model.sectors.insert((ino, at + offset), (device, false));
            match old {
                Some((old, written)) => {
                    assert_eq!((old, place.reservations), (device, 0));
                    model.sectors.insert((ino, at + offset), (device, written));
                }
                None => assert_eq!(place.reservations, place.sectors),
            }
        }
        at += place.sectors;
    }
    assert_eq!(used, missing);
}

fn compare(extents: &SimpleExtents, model: &Model) {
    extents.check().unwrap();
    for ino in 0..FILES {
        let mut at = 0;
        while at < FILE_SECTORS {
            let extent = extents.lookup(ino, at, FILE_SECTORS - at);
            for offset in 0..extent.sectors {
                let expected = match model.sectors.get(&(ino, at + offset)) {
                    None => ExtentState::Hole,
                    Some(&(device, true)) => ExtentState::Written { device_sector: device - offset },
                    Some(&(device, false)) => ExtentState::InFlight { device_sector: device - offset },
                };
                assert_eq!(extent.state, expected, "file {ino} sector {}", at + offset);
            }
            at += extent.sectors;
        }
        let sectors = model.sectors.keys().filter(|(file, _)| *file == ino).count() as u64;
        assert_eq!(extents.sectors(ino), sectors);
    }
    let devices: Vec<u64> = model.sectors.values().map(|(device, _)| *device).collect();
    assert!(devices.iter().all(|device| devices.iter().filter(|other| *other == device).count() == 1));
    assert_eq!(extents.space().free, DEVICE_SECTORS - devices.len() as u64);
}

#[test]
fn it_agrees_with_one_entry_a_sector() {
    for seed in 1..40 {
        let mut random = Random(seed * 0x9e37_79b9);
        let extents = SimpleExtents::new(DEVICE_SECTORS);
        let mut model = Model::default();
        for _ in 0..300 {
            let ino = random.below(FILES);
            let (first, count) = range(&mut random);
            match random.below(4) {
                0 | 1 => place_all(&extents, &mut model, ino, first, count),
                2 => {
                    extents.written(ino, first..first + count);
                    for (_, state) in model.sectors.range_mut((ino, first)..(ino, first + count)) {
                        state.1 = true;
                    }
                }
                _ => {
                    extents.truncate(ino, first);
                    model.sectors.retain(|&(file, sector), _| file != ino || sector < first);
                }
            }
            compare(&extents, &model);
        }
    }
}

#[test]
fn what_is_not_reserved_is_not_placed() {
    let extents = SimpleExtents::new(8);
    extents.reserve(4).unwrap();
    extents.reserve(4).unwrap();
    assert_eq!(extents.reserve(1), Err(Error::NoSpace));
    extents.release(4);
    extents.release(4);
    extents.check().unwrap();
    extents.reserve(2).unwrap();
    assert_eq!(extents.check(), Err(Error::Corrupt(Corrupt::ReservationLeft)));
    extents.release(2);
    assert_eq!(extents.place(1, 0..1), Err(Error::Corrupt(Corrupt::NotReserved)));
}

#[test]
#[cfg_attr(debug_assertions, should_panic = "more reservations are given back than there are")]
fn a_reservation_given_back_twice_is_missed() {
    let extents = SimpleExtents::new(8);
    extents.reserve(2).unwrap();
    extents.release(2);
    extents.release(2);
    assert_eq!(extents.place(1, 0..1), Err(Error::Corrupt(Corrupt::NotReserved)));
}
