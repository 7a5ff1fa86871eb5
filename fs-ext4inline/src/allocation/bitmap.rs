//! Bits of an allocation bitmap: set is in use, bit 0 of byte 0 is the first object.

use crate::checksum::crc32c_patched;

/// Whether bit `at` is set.
pub fn is_set(bitmap: &[u8], at: u32) -> bool {
    bitmap[at as usize / 8] & (1 << (at % 8)) != 0
}

/// Whether all of `count` bits from `at` on are set.
pub fn all_set(bitmap: &[u8], at: u32, count: u32) -> bool {
    (at..at + count).all(|bit| is_set(bitmap, bit))
}

/// Sets `count` bits from `at` on.
pub fn set(bitmap: &mut [u8], at: u32, count: u32) {
    for_each_byte(at, count, |byte, mask| bitmap[byte] |= mask);
}

/// Clears `count` bits from `at` on.
#[cfg(test)]
fn clear(bitmap: &mut [u8], at: u32, count: u32) {
    for_each_byte(at, count, |byte, mask| bitmap[byte] &= !mask);
}

/// Flips `count` bits from `at` on, which are all set or all clear, and lets `checksum`, which is over
/// the first `covered` bytes, follow.
pub fn flip(bitmap: &mut [u8], at: u32, count: u32, checksum: &mut u32, covered: usize) {
    let start = at as usize / 8;
    let mut delta = alloc::vec![0; (at + count).div_ceil(8) as usize - start];
    for_each_byte(at % 8, count, |byte, mask| delta[byte] |= mask);
    let end = start + delta.len();
    bitmap[start..end].iter_mut().zip(&delta).for_each(|(byte, mask)| *byte ^= mask);
    *checksum = crc32c_patched(*checksum, &delta, covered - end);
}

fn for_each_byte(at: u32, count: u32, mut each: impl FnMut(usize, u8)) {
    let (mut at, end) = (at, at + count);
    while at < end {
        let in_byte = (8 - at % 8).min(end - at);
        let mask = ((1_u16 << in_byte) - 1) << (at % 8);
        each(at as usize / 8, mask as u8);
        at += in_byte;
    }
}

/// Clear bits among the first `bits`.
pub fn count_clear(bitmap: &[u8], bits: u32) -> u32 {
    let whole = bits as usize / 8;
    let set: u32 = bitmap[..whole].iter().map(|byte| byte.count_ones()).sum();
    let rest = (!bits.is_multiple_of(8)).then(|| (bitmap[whole] & ((1 << (bits % 8)) - 1)).count_ones());
    bits - set - rest.unwrap_or(0)
}

/// The first bit from `at` on, below `bits`, that is clear (`wanted` 0) or set (1).
fn next(bitmap: &[u8], mut at: u32, bits: u32, wanted: u8) -> Option<u32> {
    let skip = if wanted == 0 { 0xff } else { 0 };
    while at < bits {
        // Whole words and bytes of the other value are skipped at once.
        if at.is_multiple_of(64) && at + 64 <= bits {
            let byte = at as usize / 8;
            if bitmap[byte..byte + 8] == [skip; 8] {
                at += 64;
                continue;
            }
        }
        let byte = bitmap[at as usize / 8];
        if at.is_multiple_of(8) && byte == skip {
            at += 8;
            continue;
        }
        let wanted_bits = if wanted == 0 { !byte } else { byte } >> (at % 8);
        if wanted_bits == 0 {
            at = (at / 8 + 1) * 8;
            continue;
        }
        let found = at + wanted_bits.trailing_zeros();
        return (found < bits).then_some(found);
    }
    None
}

/// The first clear bit from `at` on, below `bits`.
pub fn next_clear(bitmap: &[u8], at: u32, bits: u32) -> Option<u32> {
    next(bitmap, at, bits, 0)
}

/// A run of clear bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// First bit.
    pub start: u32,
    /// Bits, at least 1.
    pub count: u32,
}

/// The first run of `wanted` clear bits from `from` on (then from the start), or the longest one.
pub fn find_run(bitmap: &[u8], bits: u32, from: u32, wanted: u32) -> Option<Run> {
    let from = if from < bits { from } else { 0 };
    let mut best: Option<Run> = None;
    for (mut at, end) in [(from, bits), (0, from)] {
        while let Some(start) = next(bitmap, at, end, 0) {
            // A run that began before `from` may go on past it: only the second part's end is a limit.
            let limit = bits.min(start.saturating_add(wanted));
            let stop = next(bitmap, start, limit, 1).unwrap_or(limit);
            let run = Run { start, count: stop - start };
            if run.count >= wanted {
                return Some(run);
            }
            if best.is_none_or(|best| best.count < run.count) {
                best = Some(run);
            }
            at = stop;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_set_and_cleared_exactly() {
        for at in 0..70 {
            for count in 0..70 {
                let mut bitmap = [0_u8; 20];
                set(&mut bitmap, at, count);
                let is_inside = |bit| bit >= at && bit < at + count;
                assert!((0..160).all(|bit| is_set(&bitmap, bit) == is_inside(bit)));
                assert_eq!(count_clear(&bitmap, 160), 160 - count);
                clear(&mut bitmap, at, count);
                assert_eq!(bitmap, [0; 20]);
            }
        }
    }

    #[test]
    fn a_checksum_follows_flips() {
        use crate::checksum::crc32c;
        let mut bitmap = [0_u8; 32];
        let mut checksum = crc32c(9, &bitmap[..30]);
        for (at, count) in [(0, 1), (3, 20), (100, 3), (100, 3), (232, 8), (5, 1)] {
            flip(&mut bitmap, at, count, &mut checksum, 30);
            assert_eq!(checksum, crc32c(9, &bitmap[..30]));
        }
        assert_eq!(bitmap.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1 + 20 + 8 - 1);
    }

    #[test]
    fn runs_are_found_from_the_goal_on_and_then_from_the_start() {
        let mut bitmap = [0xff_u8; 32];
        clear(&mut bitmap, 3, 2);
        clear(&mut bitmap, 90, 10);
        clear(&mut bitmap, 200, 4);
        assert_eq!(find_run(&bitmap, 256, 0, 1), Some(Run { start: 3, count: 1 }));
        assert_eq!(find_run(&bitmap, 256, 0, 4), Some(Run { start: 90, count: 4 }));
        assert_eq!(find_run(&bitmap, 256, 95, 4), Some(Run { start: 95, count: 4 }));
        assert_eq!(find_run(&bitmap, 256, 101, 4), Some(Run { start: 200, count: 4 }));
        assert_eq!(find_run(&bitmap, 256, 101, 10), Some(Run { start: 90, count: 10 }));
        assert_eq!(find_run(&bitmap, 256, 0, 11), Some(Run { start: 90, count: 10 }));
        assert_eq!(find_run(&bitmap, 202, 201, 9), Some(Run { start: 90, count: 9 }));
        assert_eq!(find_run(&[0xff; 32], 256, 0, 1), None);
        assert_eq!(find_run(&[0xff; 32], 256, 999, 1), None);
    }
}
