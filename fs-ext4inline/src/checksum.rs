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
    fn crc16_chains_and_has_the_published_check_value() {
        // CRC-16/MODBUS: the same polynomial started with all ones.
        assert_eq!(crc16(!0, b"123456789"), 0x4b37);
        assert_eq!(crc16(!0, b"123456789"), crc16(crc16(!0, b"1234"), b"56789"));
    }
}
