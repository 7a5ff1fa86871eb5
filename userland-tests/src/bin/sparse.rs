//! Sparse files: holes read as zeroes and take no room, far offsets work, data in the middle of a
//! hole does not disturb its neighbours.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use userland_tests::{
    model::{pattern, same_bytes},
    prelude::*,
};

userland_tests::test!(run);

fn run() -> Outcome {
    let dir = Scratch::new("sparse")?;
    islands(&dir)?;
    far_away(&dir)?;
    mapped_hole(&dir)
}

/// Small writes far apart: what is between them is zero, and no block is there.
fn islands(dir: &Scratch) -> Outcome {
    let file = dir.create("islands")?;
    let offsets = [70_000u64, 5, 1_000_001, 300_000, 299_990, 4096 * 500];
    for &offset in &offsets {
        check_eq!(file.write_at(&pattern(offset, offset as usize, 10), offset)?, 10, "write at {offset}");
    }
    for &offset in &offsets {
        let mut buf = [0xee; 10];
        check_eq!(file.read_at(&mut buf, offset)?, 10, "read at {offset}");
        same_bytes(&buf, &pattern(offset, offset as usize, 10), "an island")?;
    }
    let mut hole = vec![0xee; 100_000];
    check_eq!(file.read_at(&mut hole, 400_000)?, 100_000, "read of a hole");
    check!(hole.iter().all(|&byte| byte == 0), "a hole reads as zeroes");
    file.sync()?;
    let stat = file.stat()?;
    check_eq!(stat.size, 4096 * 500 + 10, "size");
    check!(stat.blocks * 512 < 100_000, "{} units of 512 bytes are too many for 6 islands", stat.blocks);
    note!("6 islands of 10 bytes in 2 MB, {} bytes allocated", stat.blocks * 512);

    check_eq!(file.seek_data(0)?, 0, "first data");
    let hole = file.seek_hole(0)?;
    check!((15..70_000).contains(&hole), "the first hole begins at {hole}");
    let data = file.seek_data(hole)?;
    check!((hole..=70_000).contains(&data), "the second data begins at {data}");
    check_eq!(file.seek_data(stat.size), Err(Errno::ENXIO), "data behind the end");
    note!("SEEK_HOLE and SEEK_DATA find them");
    Ok(())
}

/// Offsets that need more than 32 bits.
fn far_away(dir: &Scratch) -> Outcome {
    let file = dir.create("far")?;
    for shift in [31, 32, 33, 40] {
        let offset = (1u64 << shift) - 3;
        check_eq!(file.write_at(&pattern(shift, 0, 6), offset)?, 6, "write over 2^{shift}");
    }
    for shift in [31, 32, 33, 40] {
        let mut buf = [0; 6];
        check_eq!(file.read_at(&mut buf, (1u64 << shift) - 3)?, 6, "read over 2^{shift}");
        same_bytes(&buf, &pattern(shift, 0, 6), "across the border")?;
    }
    check_eq!(file.stat()?.size, (1 << 40) + 3, "size");
    file.truncate(100)?;
    check_eq!(file.stat()?.size, 100, "size after truncation");
    note!("writes across 2^31 to 2^40, and truncation of it all");
    Ok(())
}

/// A hole that is mapped, loaded from, and then stored to in one place.
fn mapped_hole(dir: &Scratch) -> Outcome {
    let file = dir.create("mapped")?;
    file.truncate(64 * 4096)?;
    let mapping = Mapping::new(&file, 0, 64 * 4096, Protection::ReadWrite, Sharing::Shared)?;
    check!(mapping.bytes(0, 64 * 4096).iter().all(|&byte| byte == 0), "a mapped hole is zeroes");
    mapping.store(40 * 4096 + 17, 9);
    file.sync()?;
    let mut buf = vec![0xee; 64 * 4096];
    check_eq!(file.read_at(&mut buf, 0)?, 64 * 4096, "read");
    check_eq!(buf[40 * 4096 + 17], 9, "the stored byte");
    check_eq!(buf.iter().filter(|&&byte| byte != 0).count(), 1, "bytes that are not zero");
    check!(file.stat()?.blocks * 512 <= 64 << 10, "one stored byte allocates little");
    note!("a mapped hole of 64 pages: loads of zeroes, a store into one page");
    Ok(())
}
