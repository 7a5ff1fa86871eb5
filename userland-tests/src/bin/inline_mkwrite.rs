//! One process writes an inline file, another stores through a mapping of it, for as long as it takes
//! until the contents have left the inode and for a while after: nothing of either is lost, whatever
//! protocol the mount option `inline=` names.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use userland_tests::{model::Model, prelude::*};

userland_tests::test!(run);

const FILES: u64 = 48;
/// Writes and stores of each file.
const STEPS: u64 = 24;
/// Where the stores go; the writes go before and behind.
const STORED_AT: usize = 16;
/// Bytes at the start.
const LENGTH: usize = 40;

fn run() -> Outcome {
    if sys::SYSTEM == sys::System::Linux {
        return skip("Linux 4.12 to 6.18 may crash here: this is the race that it has");
    }
    let dir = Scratch::new("inline_mkwrite")?;
    let probe = dir.create("probe")?;
    probe.write_at(&[0xee; LENGTH], 0)?;
    // Where blocks are allocated late, it has one now.
    probe.sync()?;
    if sys::stat(&dir.path("probe"))?.blocks > 0 {
        return skip("this file system keeps no file in its inode");
    }
    let (mut at_mmap, mut at_store) = (0, 0);
    for number in 0..FILES {
        match one_file(&dir, &format!("f{number}"), number)? {
            Left::AtMmap => at_mmap += 1,
            Left::AtStore => at_store += 1,
        }
    }
    check!(at_mmap == 0 || at_store == 0, "some files left the inode at mmap, some at the first store");
    note!(
        "{FILES} files written and stored to at once; {at_mmap} left the inode at mmap, {at_store} at the first store"
    );
    Ok(())
}

/// When the contents of a file left its inode.
enum Left {
    AtMmap,
    AtStore,
}

fn one_file(dir: &Scratch, name: &str, number: u64) -> Result<Left, Failure> {
    let file = dir.create(name)?;
    check_eq!(file.write_at(&[0xee; LENGTH], 0)?, LENGTH, "write");
    check_eq!(sys::stat(&dir.path(name))?.blocks, 0, "blocks of a file of {LENGTH} bytes");
    let steps = Steps::new()?;
    let child = in_child(|| {
        let file = dir.open(name)?;
        let mapping = Mapping::new(&file, 0, 4096, Protection::ReadWrite, Sharing::Shared)?;
        steps.set(0, 1);
        steps.wait(1, 1)?;
        for step in 1..=STEPS {
            mapping.store_u64(STORED_AT, step);
            sys::yield_now();
        }
        Ok(())
    })?;
    steps.wait(0, 1)?;
    let blocks_when_mapped = sys::stat(&dir.path(name))?.blocks;
    let mut model = Model(vec![0xee; LENGTH]);
    let mut write = |bytes: &[u8], position: usize| -> Outcome {
        check_eq!(file.write_at(bytes, position as u64)?, bytes.len(), "write of {name}");
        model.write(position, bytes);
        Ok(())
    };
    steps.set(1, 1);
    // The first writes meet the conversion at another point in each file.
    for _ in 0..number {
        sys::yield_now();
    }
    for step in 1..=STEPS {
        write(&step.to_le_bytes(), 0)?;
        // Longer by two bytes each time, and short enough for the inode in the end.
        write(&[step as u8; 4], LENGTH + 2 * step as usize - 2)?;
    }
    child.join()?;
    model.write(STORED_AT, &STEPS.to_le_bytes());
    model.compare(&file, 4096, name)?;
    file.sync()?;
    sys::drop_caches()?;
    model.compare(&file, 4096, &format!("{name} read from the disk"))?;
    check!(sys::stat(&dir.path(name))?.blocks > 0, "{name} has no block after a store");
    Ok(if blocks_when_mapped > 0 { Left::AtMmap } else { Left::AtStore })
}
