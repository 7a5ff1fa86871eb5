//! What the bytes of an operation look like, so that a look at one byte says whose it is.
//!
//! A byte holds the operation's number in its upper five bits and a hash of the byte's index in the operation's
//! data in the lower three: one byte names the operation, eight bytes name the place to one in 2^24. Zero is
//! nobody's, so it is what holes and the space beyond the end read as.

/// The mark in the data of one operation of a history: 1..=[`Stamp::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(u8);

/// What free sectors of a disk are filled with before a run: no operation's bytes.
pub const POISON: u8 = 0xfa;

/// Indices whose hash is tabled; the pattern repeats after it. A prime, so that bytes which are displaced by a
/// power of two never look right.
const PERIOD: usize = 8191;

static INDEX_HASH: [u8; PERIOD] = index_hashes();

const fn index_hashes() -> [u8; PERIOD] {
    let mut table = [0; PERIOD];
    let mut index = 0;
    while index < PERIOD {
        table[index] = ((index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61) as u8;
        index += 1;
    }
    table
}

impl Stamp {
    /// The most operations with data of one history; the number above it is [`POISON`]'s.
    pub const MAX: u8 = 30;

    /// The `number`th stamp, from 1 on; `None` past [`Stamp::MAX`].
    pub fn new(number: u8) -> Option<Self> {
        (1..=Self::MAX).contains(&number).then_some(Self(number))
    }

    /// Whose byte this is, if anybody's.
    pub fn of_byte(byte: u8) -> Option<Self> {
        Self::new(byte >> 3)
    }

    /// Its number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// Fills `bytes` with the operation's data from `index` on.
    pub fn fill(self, index: u64, bytes: &mut [u8]) {
        let mut at = (index % PERIOD as u64) as usize;
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = rest.len().min(PERIOD - at);
            let (now, later) = rest.split_at_mut(count);
            for (byte, hash) in now.iter_mut().zip(&INDEX_HASH[at..]) {
                *byte = self.0 << 3 | hash;
            }
            (rest, at) = (later, 0);
        }
    }

    /// The operation's data, `len` bytes of it from its start.
    pub fn data(self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.fill(0, &mut bytes);
        bytes
    }

    /// Whether `bytes` are the operation's data from `index` on.
    pub fn matches(self, index: u64, bytes: &[u8]) -> bool {
        if bytes.first().is_some_and(|&byte| byte >> 3 != self.0) {
            return false;
        }
        let mut at = (index % PERIOD as u64) as usize;
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = rest.len().min(PERIOD - at);
            let (now, later) = rest.split_at(count);
            let wrong =
                now.iter().zip(&INDEX_HASH[at..]).fold(0, |wrong, (byte, hash)| wrong | byte ^ (self.0 << 3 | hash));
            if wrong != 0 {
                return false;
            }
            (rest, at) = (later, 0);
        }
        true
    }
}

/// Whether all bytes are zero.
pub fn is_zero(bytes: &[u8]) -> bool {
    bytes.first().is_none_or(|&byte| byte == 0) && bytes.iter().fold(0, |any, byte| any | byte) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_recognised_and_displaced_data_is_not() {
        let stamp = Stamp::new(7).unwrap();
        let bytes = stamp.data(20_000);
        assert!(stamp.matches(0, &bytes));
        assert!(stamp.matches(9_000, &bytes[9_000..]));
        for displaced in [1, 8, 512, 1024, 4096, 8192, 16_384] {
            assert!(!stamp.matches(displaced, &bytes[..512]), "{displaced}");
        }
        assert!(!Stamp::new(8).unwrap().matches(0, &bytes));
    }

    #[test]
    fn neither_zero_nor_poison_is_anybodys() {
        assert_eq!(Stamp::of_byte(0), None);
        assert_eq!(Stamp::of_byte(POISON), None);
        assert!(
            (1..=Stamp::MAX).all(|number| !Stamp::new(number)
                .unwrap()
                .data(4096)
                .iter()
                .any(|&byte| byte == 0 || byte == POISON))
        );
        assert_eq!(Stamp::new(Stamp::MAX + 1), None);
    }
}
