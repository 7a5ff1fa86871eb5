//! The checksums of ext4 (`checksums.rst`): crc32c without a final inversion, chained by seeds.
//!
//! File system seed -> inode seed (number, generation) -> the inode's extent, directory and hash
//! tree blocks. Bitmaps, descriptors and attribute blocks hang on the file system seed.

use crc::{Algorithm, Crc, Table};

/// crc32c as ext4 chains it: the state goes in and out without inversion.
const CRC32C_RAW: Algorithm<u32> = Algorithm {
    width: 32,
    poly: 0x1edc_6f41,
    init: 0xffff_ffff,
    refin: true,
    refout: true,
    xorout: 0,
    check: 0x1cf9_6d7c,
    residue: 0xb798_b438,
};

static CRC32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC32C_RAW);

/// crc16 with the polynomial 0x8005, of the older descriptor checksum (feature uninit_bg).
static CRC16: Crc<u16> = Crc::<u16>::new(&crc::CRC_16_ARC);

/// Continues the crc32c `seed` over `bytes`.
pub fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    let mut digest = CRC32C.digest_with_initial(seed.reverse_bits());
    digest.update(bytes);
    digest.finalize()
}

/// Continues the crc16 `seed` over `bytes`.
pub fn crc16(seed: u16, bytes: &[u8]) -> u16 {
    let mut digest = CRC16.digest_with_initial(seed.reverse_bits());
    digest.update(bytes);
    digest.finalize()
}

/// Longest message that [`crc32c_patched`] knows: a block.
const SHIFT_MAX: usize = 4096;

/// x^(8n) modulo the polynomial, bits reflected: what n zero bytes behind a message multiply it by.
static SHIFTS: [u32; SHIFT_MAX + 1] = {
    const POLYNOMIAL: u32 = CRC32C_RAW.poly.reverse_bits();
    let mut shifts = [0; SHIFT_MAX + 1];
    // 1, reflected.
    let mut power = 0x8000_0000_u32;
    let mut bytes = 0;
    while bytes <= SHIFT_MAX {
        shifts[bytes] = power;
        let mut bit = 0;
        while bit < 8 {
            power = (power >> 1) ^ (POLYNOMIAL & 0_u32.wrapping_sub(power & 1));
            bit += 1;
        }
        bytes += 1;
    }
    shifts
};

/// a * b modulo the polynomial, bits reflected.
fn multiply(a: u32, mut b: u32) -> u32 {
    const POLYNOMIAL: u32 = CRC32C_RAW.poly.reverse_bits();
    let mut product = 0;
    for bit in (0..32).rev() {
        product ^= b & 0_u32.wrapping_sub((a >> bit) & 1);
        b = (b >> 1) ^ (POLYNOMIAL & 0_u32.wrapping_sub(b & 1));
    }
    product
}

/// The crc32c of a message after some of its bytes changed: `delta` is their old XOR their new value, and
/// `behind` bytes (at most 4096) follow them. crc32c is linear, so the rest need not be looked at.
pub fn crc32c_patched(old: u32, delta: &[u8], behind: usize) -> u32 {
    old ^ multiply(crc32c(0, delta), SHIFTS[behind])
}

/// The seed of everything that belongs to inode `number`.
pub fn inode_seed(fs_seed: u32, number: u32, generation: u32) -> u32 {
    crc32c(crc32c(fs_seed, &number.to_le_bytes()), &generation.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_has_the_published_check_value() {
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
    }

    #[test]
    fn crc32c_chains() {
        let whole = crc32c(0x1234_5678, b"hello world");
        assert_eq!(whole, crc32c(crc32c(0x1234_5678, b"hello "), b"world"));
    }

    #[test]
    fn a_patched_checksum_is_that_of_the_patched_message() {
        let old: [u8; 200] = core::array::from_fn(|at| (at * 37 % 251) as u8);
        for (start, length) in [(0, 1), (0, 200), (17, 40), (199, 1), (50, 0)] {
            let mut new = old;
            let mut delta = [0; 200];
            for at in start..start + length {
                delta[at] = (at * 91 % 256) as u8;
                new[at] ^= delta[at];
            }
            let patched = crc32c_patched(crc32c(77, &old), &delta[start..start + length], 200 - start - length);
            assert_eq!(patched, crc32c(77, &new));
        }
    }

    #[test]
    fn crc16_chains_and_has_the_published_check_value() {
        // CRC-16/MODBUS: the same polynomial started with all ones.
        assert_eq!(crc16(!0, b"123456789"), 0x4b37);
        assert_eq!(crc16(!0, b"123456789"), crc16(crc16(!0, b"1234"), b"56789"));
    }
}
