//! Writes, stores and syncs, and then cuts the power: what fsync, fdatasync and msync promised must
//! be on the disk. Whoever reads the disk afterwards finds the list of the files on it.
//!
//! It ends the machine, so it is no part of the ordinary run; on Linux the caller cuts the power.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;
use userland_tests::{harness::Verify, model::pattern, prelude::*};

userland_tests::test!(run);

const SIZE: usize = 100_000;

fn run() -> Outcome {
    let dir = Scratch::new("power_cut")?;
    let mut verify = Verify::default();

    let mut bytes = pattern(1, 0, SIZE);
    let file = dir.create("fsync")?;
    check_eq!(file.write_at(&bytes, 0)?, SIZE, "write");
    file.sync()?;
    verify.add(&dir.path("fsync"), &bytes);

    let file = dir.create("fdatasync")?;
    check_eq!(file.write_at(&bytes[..5000], 0)?, 5000, "write");
    file.data_sync()?;
    verify.add(&dir.path("fdatasync"), &bytes[..5000]);

    let file = dir.create("inline")?;
    check_eq!(file.write_at(&bytes[..50], 0)?, 50, "write");
    file.sync()?;
    verify.add(&dir.path("inline"), &bytes[..50]);

    let file = dir.create("msync")?;
    check_eq!(file.write_at(&bytes, 0)?, SIZE, "write");
    file.sync()?;
    let mapping = Mapping::new(&file, 0, SIZE.next_multiple_of(4096), Protection::ReadWrite, Sharing::Shared)?;
    mapping.fill(50_000, &[9; 3000]);
    bytes[50_000..53_000].fill(9);
    mapping.sync(&file, 12 * 4096, 4096 * 2)?;
    verify.add(&dir.path("msync"), &bytes);

    verify.publish("power_cut")?;
    File::open("verify/power_cut.sha256", Open::READ, 0)?.sync()?;
    // Written, but promised by nobody: it may be there or not.
    dir.create("unsynced")?.write_at(&bytes, 0)?;
    note!("the power goes off");
    sys::cut_power()
}
