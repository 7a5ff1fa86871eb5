//! Everything that writes, on disks of many shapes; e2fsck has the last word each time.

mod common;

use common::*;
use fs_ext4inline::Access;
use vfs_server::error::Error;
use vfs_server::fs::*;

#[test]
fn mounting_and_unmounting_leaves_a_clean_disk() {
    on_every_shape(8, |_| ());
}

#[test]
fn a_mounted_disk_is_marked_as_in_use() {
    if !have_e2fsprogs() {
        return;
    }
    let mounted = Mounted::new(mke2fs(SHAPES[0], 8), Access::ReadWrite).unwrap();
    let image = mounted.disk.content();
    let error = Mounted::new(image.clone(), Access::ReadWrite).err().unwrap();
    assert!(error.to_string().contains("not clean"), "{error}");
    assert!(debugfs(&image, "show_super_stats -h").contains("not clean"));
    Mounted::new(image, Access::ReadOnly).unwrap();
}

#[test]
fn files_of_all_sizes_are_read_back_after_a_remount() {
    if !have_e2fsprogs() {
        return;
    }
    for shape in SHAPES {
        println!("{shape:?}");
        let mounted = Mounted::new(mke2fs(shape, 16), Access::ReadWrite).unwrap();
        let root = mounted.root();
        let sizes: Vec<usize> = [0, 1, 59, 60, 61, 64, 127, 128, 129, 384, 385, 500, 896, 897, 1023, 1024, 1025]
            .into_iter()
            .chain([2048, 4095, 4096, 4097, 10_000, 65_536, 300_000])
            .collect();
        for &size in &sizes {
            let file = mounted.create(&root, format!("f{size}").as_bytes()).unwrap();
            mounted.write(&file, 0, &pattern(size as u64, size)).unwrap();
            assert_eq!(mounted.read(&file).unwrap(), pattern(size as u64, size));
        }
        let image = mounted.unmount_clean();
        let mounted = Mounted::new(image, Access::ReadWrite).unwrap();
        for &size in &sizes {
            let file = mounted.walk(&format!("f{size}")).unwrap();
            assert_eq!(mounted.read(&file).unwrap(), pattern(size as u64, size));
        }
        mounted.unmount_clean();
    }
}

#[test]
fn a_file_grows_byte_by_byte_through_every_layout() {
    on_every_shape(8, |mounted| {
        let file = mounted.create(&mounted.root(), b"grows").unwrap();
        let whole = pattern(7, 3000);
        for (position, byte) in whole.iter().enumerate() {
            mounted.write(&file, position as u64, &[*byte]).unwrap();
            if position % 37 == 0 {
                assert_eq!(mounted.read(&file).unwrap(), whole[..=position]);
            }
        }
        assert_eq!(mounted.read(&file).unwrap(), whole);
    });
}

#[test]
fn truncation_cuts_and_grows_with_zeros() {
    on_every_shape(8, |mounted| {
        let root = mounted.root();
        for (index, size) in [1_u64, 60, 100, 128, 1000, 5000, 50_000].into_iter().enumerate() {
            for (step, to) in [0_u64, 1, 59, 61, 100, 129, 1024, 4096, 30_000, 70_000].into_iter().enumerate() {
                let file = mounted.create(&root, format!("t{index}.{step}").as_bytes()).unwrap();
                let mut expected = pattern(size, size as usize);
                mounted.write(&file, 0, &expected).unwrap();
                mounted.truncate(&file, to).unwrap();
                expected.resize(to as usize, 0);
                assert_eq!(mounted.read(&file).unwrap(), expected, "{size} to {to}");
                mounted.truncate(&file, to + 300).unwrap();
                expected.resize(to as usize + 300, 0);
                assert_eq!(mounted.read(&file).unwrap(), expected, "{size} to {to} + 300");
                mounted.unlink(&root, format!("t{index}.{step}").as_bytes()).unwrap();
            }
        }
    });
}

#[test]
fn sparse_writes_make_trees_of_many_extents() {
    on_every_shape(16, |mounted| {
        let root = mounted.root();
        let file = mounted.create(&root, b"sparse").unwrap();
        let block = mounted.fs.block_size() as u64;
        // Every other block, in an order that splits leaves in the middle too.
        let count = 900;
        for step in 0..count {
            let at = (step * 367) % count;
            mounted.write(&file, at * 2 * block, &pattern(at, 100)).unwrap();
        }
        for at in 0..count {
            let mapping = file.operations().map_blocks(&file, at * 2, 1).unwrap();
            assert!(matches!(mapping.state, MappingState::Written { .. }), "{at}: {mapping:?}");
        }
        let contents = mounted.read(&file).unwrap();
        for at in 0..count {
            let start = (at * 2 * block) as usize;
            assert_eq!(contents[start..start + 100], pattern(at, 100));
        }
        // Cut in the middle of the tree, then fill the holes, which joins extents again.
        mounted.truncate(&file, count * block).unwrap();
        for at in 0..count / 2 {
            mounted.write(&file, (at * 2 + 1) * block, &pattern(at, 50)).unwrap();
        }
        mounted.write(&file, 1 << 33, b"far").unwrap();
        mounted.truncate(&file, 5).unwrap();
        let before = mounted.fs.statfs().unwrap().free;
        mounted.unlink(&root, b"sparse").unwrap();
        assert!(mounted.fs.statfs().unwrap().free > before);
    });
}

#[test]
fn files_written_backwards_keep_their_trees_right() {
    on_every_shape(16, |mounted| {
        let file = mounted.create(&mounted.root(), b"backwards").unwrap();
        let block = mounted.fs.block_size() as u64;
        // With gaps, so that every block is an extent; then without, so that the first extent grows down.
        for at in (700..1500_u64).rev().filter(|at| at % 2 == 0).chain((0..700).rev()) {
            mounted.write(&file, at * block, &pattern(at, 20)).unwrap();
        }
        let contents = mounted.read(&file).unwrap();
        for at in (0..1500_u64).filter(|at| at % 2 == 0) {
            let start = (at * block) as usize;
            assert_eq!(contents[start..start + 20], pattern(at, 20), "{at}");
        }
    });
}

#[test]
fn allocated_blocks_stay_unwritten_until_data_is_on_the_disk() {
    on_every_shape(8, |mounted| {
        let file = mounted.create(&mounted.root(), b"file").unwrap();
        let operations = file.operations();
        operations.write_begin(&file, 0, 100_000).unwrap();
        let block = mounted.fs.block_size() as u64;
        let blocks = 100_000_u64.div_ceil(block);
        let mapping = operations.map_blocks(&file, 0, blocks).unwrap();
        assert!(matches!(mapping.state, MappingState::Unwritten { .. }), "{mapping:?}");
        file.set_size(100_000);
        // In the middle first, then the end, then the start: splits, then joins.
        for (first, count) in [(10, 1), (12, 3), (20, blocks - 20), (0, 5), (11, 1), (5, 5), (15, 5)] {
            operations.blocks_written(&file, first, count, 100_000).unwrap();
            let mapping = operations.map_blocks(&file, first, 1).unwrap();
            assert!(matches!(mapping.state, MappingState::Written { .. }), "{mapping:?}");
        }
        let mapping = operations.map_blocks(&file, 0, blocks).unwrap();
        assert!(matches!(mapping.state, MappingState::Written { .. }));
        assert_eq!(mapping.count, blocks, "the extents are one again");
        mounted.truncate(&file, 3).unwrap();
    });
}

#[test]
fn an_unlinked_open_file_stays_usable_and_is_freed_at_the_end() {
    on_every_shape(8, |mounted| {
        let root = mounted.root();
        let free = mounted.fs.statfs().unwrap();
        let mut open = Vec::new();
        for number in 0..5 {
            let name = format!("open{number}").into_bytes();
            let file = mounted.create(&root, &name).unwrap();
            mounted.write(&file, 0, &pattern(number, 20_000)).unwrap();
            root.operations().unlink(&root, &name, &file, &who()).unwrap();
            open.push(file);
        }
        // What is on the disk now is what a crash would leave: e2fsck must find a list to free.
        mounted.fs.sync(SyncMode::Wait).unwrap();
        let crashed = mounted.disk.content();
        let listed = debugfs(&crashed, "show_super_stats -h");
        assert!(listed.contains("First orphan inode"), "{listed}");
        for (number, file) in open.iter().enumerate() {
            mounted.write(file, 10_000, &pattern(99, 15_000)).unwrap();
            assert_eq!(mounted.read(file).unwrap()[..10_000], pattern(number as u64, 20_000)[..10_000]);
        }
        // From the middle of the list, its head, its tail.
        for at in [2, 3, 0, 0, 0] {
            let file = open.remove(at);
            mounted.put(file).unwrap();
        }
        let after = mounted.fs.statfs().unwrap();
        assert_eq!((after.free, after.free_inodes), (free.free, free.free_inodes));
    });
}

#[test]
fn attributes_and_times_are_stored() {
    if !have_e2fsprogs() {
        return;
    }
    let mounted = Mounted::new(mke2fs(SHAPES[0], 8), Access::ReadWrite).unwrap();
    let file = mounted.create(&mounted.root(), b"file").unwrap();
    let late = Timestamp { seconds: 0x2_1234_5678, nanoseconds: 987_654_321 };
    let change = SetAttributes {
        permissions: Some(0o4751),
        uid: Some(70_000),
        gid: Some(80_000),
        atime: Some(late),
        mtime: Some(Timestamp { seconds: -5, nanoseconds: 1 }),
        now: who().now,
    };
    file.operations().setattr(&file, &change).unwrap();
    let expected = file.attributes();
    drop(file);
    let mounted = Mounted::new(mounted.unmount_clean(), Access::ReadOnly).unwrap();
    let read = mounted.walk("file").unwrap().attributes();
    assert_eq!(read, expected);
    assert_eq!((read.permissions, read.uid, read.gid, read.atime), (0o4751, 70_000, 80_000, late));
    assert_eq!(read.crtime, Some(who().now));
}

#[test]
fn a_full_disk_says_so_and_changes_nothing_else() {
    on_every_shape(8, |mounted| {
        let root = mounted.root();
        let file = mounted.create(&root, b"big").unwrap();
        let small = mounted.create(&root, b"small").unwrap();
        mounted.write(&small, 0, &pattern(1, 50)).unwrap();
        let chunk = pattern(2, 64 << 10);
        let mut position = 0;
        let error = loop {
            match mounted.write(&file, position, &chunk) {
                Ok(()) => position += chunk.len() as u64,
                Err(error) => break error,
            }
        };
        assert_eq!(error, Error::NoSpace);
        // Down to the last block.
        let block = mounted.fs.block_size() as usize;
        let part = |position: u64| &chunk[position as usize % chunk.len()..][..block];
        while mounted.write(&file, position, part(position)).is_ok() {
            position += block as u64;
        }
        let contents = mounted.read(&file).unwrap();
        assert!(contents.chunks(chunk.len()).all(|part| part == &chunk[..part.len()]));
        // A small file cannot overflow into a block, and keeps what it had.
        let grown = mounted.write(&small, 0, &pattern(5, 20_000));
        assert_eq!(grown, Err(Error::NoSpace));
        assert_eq!(mounted.read(&small).unwrap(), pattern(1, 50));
        mounted.unlink(&root, b"big").unwrap();
        mounted.write(&small, 0, &pattern(5, 20_000)).unwrap();
        assert_eq!(mounted.read(&small).unwrap(), pattern(5, 20_000));
    });
}

#[test]
fn inodes_run_out_with_a_named_error() {
    if !have_e2fsprogs() {
        return;
    }
    let mounted = Mounted::new(mke2fs(&["-b", "1024", "-N", "64", "-O", "inline_data"], 8), Access::ReadWrite).unwrap();
    let root = mounted.root();
    let mut made = 0;
    let error = loop {
        match mounted.create(&root, format!("f{made}").as_bytes()) {
            Ok(_) => made += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error, Error::NoSpace);
    assert!(made > 10);
    assert_eq!(mounted.fs.statfs().unwrap().free_inodes, 0);
    for number in 0..made {
        mounted.unlink(&root, format!("f{number}").as_bytes()).unwrap();
    }
    mounted.unmount_clean();
}

#[test]
fn a_mapping_converts_an_inline_file_without_losing_a_byte() {
    on_every_shape(8, |mounted| {
        let root = mounted.root();
        for size in [0_usize, 1, 50, 60, 61, 128] {
            let file = mounted.create(&root, format!("m{size}").as_bytes()).unwrap();
            mounted.write(&file, 0, &pattern(size as u64, size)).unwrap();
            file.operations().prepare_mmap(&file).unwrap();
            if size == 0 {
                continue;
            }
            // The first store.
            file.operations().page_mkwrite(&file, 0, size as u64).unwrap();
            let mapping = file.operations().map_blocks(&file, 0, 1).unwrap();
            assert_ne!(mapping.state, MappingState::Inline);
            assert_eq!(mounted.read(&file).unwrap(), pattern(size as u64, size));
            // A write after it does not go inline again.
            let begun = file.operations().write_begin(&file, 0, 10).unwrap();
            assert_eq!(begun.target, WriteTarget::Blocks);
        }
    });
}

#[test]
fn a_conversion_without_a_free_block_changes_nothing() {
    if !have_e2fsprogs() {
        return;
    }
    let mounted = Mounted::new(mke2fs(SHAPES[0], 8), Access::ReadWrite).unwrap();
    let root = mounted.root();
    let small = mounted.create(&root, b"small").unwrap();
    mounted.write(&small, 0, &pattern(1, 100)).unwrap();
    let hog = mounted.create(&root, b"hog").unwrap();
    let mut position = 0;
    for size in [100_000_usize, 1024] {
        while mounted.write(&hog, position, &pattern(2, size)).is_ok() {
            position += size as u64;
        }
    }
    // A conversion needs less than a write: let others take the very last blocks.
    let mut number = 0;
    loop {
        let other = mounted.create(&root, format!("other{number}").as_bytes()).unwrap();
        mounted.write(&other, 0, b"x").unwrap();
        if other.operations().page_mkwrite(&other, 0, 1).is_err() {
            break;
        }
        number += 1;
    }
    assert_eq!(small.operations().page_mkwrite(&small, 0, 100), Err(Error::NoSpace));
    assert_eq!(mounted.read(&small).unwrap(), pattern(1, 100));
    assert_eq!(small.operations().map_blocks(&small, 0, 1).unwrap().state, MappingState::Inline);
    mounted.unmount_clean();
}

#[test]
fn a_write_that_decided_on_another_layout_starts_over() {
    if !have_e2fsprogs() {
        return;
    }
    let mounted = Mounted::new(mke2fs(SHAPES[0], 8), Access::ReadWrite).unwrap();
    let file = mounted.create(&mounted.root(), b"file").unwrap();
    mounted.write(&file, 0, &pattern(1, 30)).unwrap();
    let begun = file.operations().write_begin(&file, 30, 10).unwrap();
    assert_eq!(begun.target, WriteTarget::Inline);
    file.operations().page_mkwrite(&file, 0, 30).unwrap();
    let outcome = file.operations().write_end_inline(&file, 30, &[7; 10], 40, begun).unwrap();
    assert_eq!(outcome, InlineWritten::Restart);
    assert_eq!(mounted.read(&file).unwrap(), pattern(1, 30));
    mounted.unmount_clean();
}

#[test]
fn nothing_is_written_to_a_read_only_mount() {
    if !have_e2fsprogs() {
        return;
    }
    let image = mke2fs(SHAPES[0], 8);
    let mounted = Mounted::new(image.clone(), Access::ReadOnly).unwrap();
    let root = mounted.root();
    assert_eq!(mounted.create(&root, b"file").err(), Some(Error::ReadOnly));
    assert_eq!(mounted.rmdir(&root, b"lost+found").err(), Some(Error::ReadOnly));
    drop(root);
    assert!(mounted.unmount() == image);
}
