//! The first store into a mapped inline file: its few bytes live in the inode, and must move to a
//! block without anything lost, whoever else is looking.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use userland_tests::{
    harness::Verify,
    model::{Model, pattern},
    prelude::*,
};

userland_tests::test!(run);

fn run() -> Outcome {
    let dir = Scratch::new("inline_store")?;
    let mut verify = Verify::default();
    for size in [1, 2, 59, 60, 61, 100, 128, 150, 156, 160] {
        one_store(&dir, size, &mut verify)?;
    }
    note!("a store into mapped files of 1 to 160 bytes, then fsync, growth and truncation");
    others_look(&dir)?;
    written_first(&dir)?;
    verify.publish("inline_store")
}

fn one_store(dir: &Scratch, size: usize, verify: &mut Verify) -> Outcome {
    let name = format!("size-{size}");
    let file = dir.create(&name)?;
    let mut model = Model(pattern(size as u64, 0, size));
    check_eq!(file.write_at(&model.0, 0)?, size, "write");
    file.sync()?;
    let mapping = Mapping::new(&file, 0, 4096, Protection::ReadWrite, Sharing::Shared)?;
    check_eq!(mapping.load(0), model.0[0], "load before the store");
    mapping.store(size - 1, 0x55);
    model.0[size - 1] = 0x55;
    // Behind the end: it may be seen, but is not the file's.
    mapping.store(size + 10, 0x66);
    model.compare(&file, 4096, &format!("{size} bytes after the store"))?;
    file.sync()?;
    model.compare(&file, 4096, &format!("{size} bytes after fsync"))?;

    let bytes = pattern(99, 300, 50);
    check_eq!(file.write_at(&bytes, 300)?, 50, "write that grows it");
    model.write(300, &bytes);
    model.compare(&file, 4096, &format!("{size} bytes grown to 350: what was stored behind the end is gone"))?;
    file.truncate(size as u64 / 2)?;
    model.truncate(size / 2);
    model.compare(&file, 4096, "cut to half")?;
    drop(mapping);
    verify.add(&dir.path(&name), &model.0);
    Ok(())
}

/// While one process stores, another reads and writes the same inline file.
fn others_look(dir: &Scratch) -> Outcome {
    for round in 0..30u64 {
        let name = format!("race-{}", round % 3);
        let file = dir.create(&name)?;
        check_eq!(file.write_at(&[1; 50], 0)?, 50, "write");
        let steps = Steps::new()?;
        let child = in_child(|| {
            let file = dir.open(&name)?;
            let mapping = Mapping::new(&file, 0, 4096, Protection::ReadWrite, Sharing::Shared)?;
            steps.set(0, 1);
            steps.wait(1, 1)?;
            mapping.store(0, 2);
            Ok(())
        })?;
        steps.wait(0, 1)?;
        steps.set(1, 1);
        match round % 3 {
            0 => check_eq!(file.write_at(&[3; 20], 20)?, 20, "write inside"),
            1 => check_eq!(file.write_at(&[3; 200], 30)?, 200, "write that overflows the inode"),
            _ => file.sync()?,
        }
        child.join()?;
        let mut model = Model(vec![1; 50]);
        model.0[0] = 2;
        match round % 3 {
            0 => model.write(20, &[3; 20]),
            1 => model.write(30, &[3; 200]),
            _ => {}
        }
        model.compare(&file, 4096, &format!("round {round}: store against write"))?;
    }
    note!("30 races of the first store with a write inside, a write that grows, and fsync");
    Ok(())
}

/// The page is in the mapping before the file has any byte.
fn written_first(dir: &Scratch) -> Outcome {
    let file = dir.create("empty")?;
    let mapping = Mapping::new(&file, 0, 4096, Protection::ReadWrite, Sharing::Shared)?;
    check_eq!(file.write_at(b"abc", 0)?, 3, "write");
    check_eq!(mapping.load(1), b'b', "load of what was written inline");
    mapping.store(1, b'B');
    check_eq!(file.write_at(b"def", 3)?, 3, "write after the store");
    check_eq!(mapping.load(4), b'e', "load of it");
    Model(b"aBcdef".to_vec()).compare(&file, 4096, "in the end")?;
    note!("a mapping that is older than the file's first byte");
    Ok(())
}
