//! Sets of a folio's blocks, as bits.

use core::ops::Range;

/// Bits `range.start..range.end`.
pub fn block_bits(range: Range<u32>) -> u64 {
    match range.end.saturating_sub(range.start) {
        0 => 0,
        count if count >= 64 => u64::MAX,
        count => ((1 << count) - 1) << range.start,
    }
}

/// The runs of consecutive set bits, ascending.
pub fn block_runs(mut bits: u64) -> impl Iterator<Item = Range<u32>> {
    core::iter::from_fn(move || {
        if bits == 0 {
            return None;
        }
        let start = bits.trailing_zeros();
        let count = (bits >> start).trailing_ones();
        bits &= !block_bits(start..start + count);
        Some(start..start + count)
    })
}
