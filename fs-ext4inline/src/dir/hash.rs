//! Hashes of names for hash trees (`directory.rst`, "Hash Tree Directories"): half MD4 and TEA over
//! the name packed into words, or a simple legacy hash; each with `char` signed or unsigned.
//!
//! Checked in the tests against `debugfs -R dx_hash`.

use crate::error::{Corrupt, Result};
use crate::format::directory::{DX_HASH_HALF_MD4, DX_HASH_LEGACY, DX_HASH_TEA};

/// Which hash function a tree uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashKind {
    /// A multiplication hash of ext3's first days.
    Legacy,
    /// Three rounds cut down from MD4.
    HalfMd4,
    /// Tiny encryption algorithm.
    Tea,
}

/// Whether the bytes of a name count as signed when they are widened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CharSign {
    /// As `char` of x86.
    Signed,
    /// As `char` of ARM.
    Unsigned,
}

/// Everything that a hash depends on besides the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hasher {
    /// Function.
    pub kind: HashKind,
    /// Signedness of bytes.
    pub sign: CharSign,
    /// `s_hash_seed`; all zero means the default.
    pub seed: [u32; 4],
}

/// The largest hash a name may have; above it is "end of directory".
const HTREE_EOF: u32 = 0x7fff_ffff << 1;

impl HashKind {
    /// The function of an on-disk version; 3 to 5 are the unsigned forms of 0 to 2, which only memory uses.
    pub fn from_version(version: u8) -> Result<Self> {
        match version {
            DX_HASH_LEGACY => Ok(Self::Legacy),
            DX_HASH_HALF_MD4 => Ok(Self::HalfMd4),
            DX_HASH_TEA => Ok(Self::Tea),
            _ => Err(Corrupt::HtreeHash.into()),
        }
    }

    /// The on-disk version.
    pub fn version(self) -> u8 {
        match self {
            Self::Legacy => DX_HASH_LEGACY,
            Self::HalfMd4 => DX_HASH_HALF_MD4,
            Self::Tea => DX_HASH_TEA,
        }
    }
}

impl Hasher {
    /// The (even) major hash of `name`, by which a tree is ordered.
    pub fn hash(&self, name: &[u8]) -> u32 {
        let mut state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
        if self.seed != [0; 4] {
            state = self.seed;
        }
        let hash = match self.kind {
            HashKind::Legacy => self.legacy(name),
            HashKind::HalfMd4 => {
                // An empty name never gets here (names have 1..=255 bytes).
                let mut rest = name;
                while !rest.is_empty() {
                    half_md4(&mut state, &self.pack::<8>(rest));
                    rest = &rest[rest.len().min(32)..];
                }
                state[1]
            }
            HashKind::Tea => {
                let mut rest = name;
                while !rest.is_empty() {
                    tea(&mut state, &self.pack::<4>(rest));
                    rest = &rest[rest.len().min(16)..];
                }
                state[0]
            }
        };
        let hash = hash & !1;
        if hash == HTREE_EOF { (0x7fff_ffff - 1) << 1 } else { hash }
    }

    fn widen(&self, byte: u8) -> u32 {
        match self.sign {
            CharSign::Signed => byte as i8 as u32,
            CharSign::Unsigned => byte as u32,
        }
    }

    /// Packs the first `4 * N` bytes of `name` big end first; what is missing is filled with the length.
    fn pack<const N: usize>(&self, name: &[u8]) -> [u32; N] {
        let length = name.len() as u32;
        let mut pad = length | (length << 8);
        pad |= pad << 16;
        let mut words = [pad; N];
        let used = name.len().min(4 * N);
        for (word, chunk) in words.iter_mut().zip(name[..used].chunks(4)) {
            *word = chunk.iter().fold(pad, |value, &byte| self.widen(byte).wrapping_add(value << 8));
        }
        words
    }

    fn legacy(&self, name: &[u8]) -> u32 {
        let (mut current, mut previous) = (0x12a3_fe2d_u32, 0x37ab_e8f9_u32);
        for &byte in name {
            let mut hash = previous.wrapping_add(current ^ self.widen(byte).wrapping_mul(7_152_373));
            if hash & 0x8000_0000 != 0 {
                hash = hash.wrapping_sub(0x7fff_ffff);
            }
            previous = current;
            current = hash;
        }
        current << 1
    }
}

fn half_md4(state: &mut [u32; 4], input: &[u32; 8]) {
    const ROUNDS: [(u32, [usize; 8], [u32; 4]); 3] = [
        (0, [0, 1, 2, 3, 4, 5, 6, 7], [3, 7, 11, 19]),
        (0x5a82_7999, [1, 3, 5, 7, 0, 2, 4, 6], [3, 5, 9, 13]),
        (0x6ed9_eba1, [3, 7, 2, 6, 1, 5, 0, 4], [3, 9, 11, 15]),
    ];
    let [mut a, mut b, mut c, mut d] = *state;
    for (round, (constant, order, shifts)) in ROUNDS.into_iter().enumerate() {
        for (step, index) in order.into_iter().enumerate() {
            let mixed = match round {
                0 => d ^ (b & (c ^ d)),
                1 => (b & c).wrapping_add((b ^ c) & d),
                _ => b ^ c ^ d,
            };
            let next =
                a.wrapping_add(mixed).wrapping_add(input[index]).wrapping_add(constant).rotate_left(shifts[step % 4]);
            (a, d, c, b) = (d, c, b, next);
        }
    }
    for (word, add) in state.iter_mut().zip([a, b, c, d]) {
        *word = word.wrapping_add(add);
    }
}

fn tea(state: &mut [u32; 4], input: &[u32; 4]) {
    let (mut b0, mut b1) = (state[0], state[1]);
    let [a, b, c, d] = *input;
    let mut sum = 0_u32;
    for _ in 0..16 {
        sum = sum.wrapping_add(0x9e37_79b9);
        b0 = b0.wrapping_add((b1 << 4).wrapping_add(a) ^ b1.wrapping_add(sum) ^ (b1 >> 5).wrapping_add(b));
        b1 = b1.wrapping_add((b0 << 4).wrapping_add(c) ^ b0.wrapping_add(sum) ^ (b0 >> 5).wrapping_add(d));
    }
    state[0] = state[0].wrapping_add(b0);
    state[1] = state[1].wrapping_add(b1);
}
