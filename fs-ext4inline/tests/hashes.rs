//! Hashes of names agree with debugfs's, which are Linux's.

mod common;

use common::*;
use fs_ext4inline::Access;
use fs_ext4inline::dir::hash::{CharSign, HashKind, Hasher};

const SEED: [u32; 4] = [0x0102_0304, 0x0506_0708, 0x090a_0b0c, 0x0d0e_0f10];

/// What `debugfs -R "dx_hash -h KIND NAME"` of e2fsprogs 1.47 printed (signed bytes).
#[test]
fn hashes_have_their_known_values() {
    let long = [b'x'; 70];
    let known: &[(HashKind, &[u8], u32)] = &[
        (HashKind::Legacy, b"a", 0xe74b_53e2),
        (HashKind::Legacy, b"hello", 0x3225_2546),
        (HashKind::Legacy, &long, 0x4b65_d2c4),
        (HashKind::HalfMd4, b"a", 0xd5fa_7d7a),
        (HashKind::HalfMd4, b"file_number_1234", 0x3d6c_66ac),
        (HashKind::HalfMd4, &long, 0x43b7_ab42),
        (HashKind::Tea, b"a", 0x6d0e_a4c0),
        (HashKind::Tea, b"file_number_1234", 0xdc19_4076),
        (HashKind::Tea, &long, 0x0c01_8b94),
        (HashKind::HalfMd4, "na\u{ef}ve".as_bytes(), 0x1b42_012a),
        (HashKind::Tea, "na\u{ef}ve".as_bytes(), 0x784c_5732),
    ];
    for &(kind, name, hash) in known {
        let hasher = Hasher { kind, sign: CharSign::Signed, seed: [0; 4] };
        assert_eq!(hasher.hash(name), hash, "{kind:?} {name:x?}");
    }
}

#[test]
fn hashes_agree_with_debugfs_on_many_names() {
    if !have_e2fsprogs() {
        return;
    }
    let image = mke2fs(&["-b", "1024"], 8);
    let uuid: Vec<u8> = SEED.iter().flat_map(|word| word.to_le_bytes()).collect();
    let hex: Vec<String> = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    let uuid = [&hex[..4], &hex[4..6], &hex[6..8], &hex[8..10], &hex[10..]].map(|part| part.concat()).join("-");
    for (kind, name) in [(HashKind::Legacy, "legacy"), (HashKind::HalfMd4, "half_md4"), (HashKind::Tea, "tea")] {
        for file in
            ["a", "hello", "sixteen_bytes_ab", "a_name_that_is_longer_than_thirty_two_bytes", "na\u{ef}ve\u{fc}"]
        {
            let printed = debugfs(&image, &format!("dx_hash -h {name} -s {uuid} {file}"));
            let hash = printed.split("0x").nth(1).and_then(|rest| rest.split(' ').next()).expect("a hash");
            let hasher = Hasher { kind, sign: CharSign::Signed, seed: SEED };
            let expected = u32::from_str_radix(hash, 16).unwrap();
            assert_eq!(hasher.hash(file.as_bytes()), expected, "{name} {file}");
        }
    }
}

/// debugfs hashes with signed bytes only; e2fsck -D indexes as the superblock says.
#[test]
fn trees_of_every_kind_that_e2fsck_made_are_searched() {
    if !have_e2fsprogs() {
        return;
    }
    let names: Vec<String> = (0..200).map(|number| format!("n\u{e4}me \u{2713} {number}")).collect();
    let tree = ScratchTree::new();
    for name in &names {
        std::fs::write(tree.0.join(name), b"").unwrap();
    }
    let image = mke2fs(&["-b", "1024", "-d", tree.0.to_str().unwrap()], 8);
    for version in ["legacy", "half_md4", "tea"] {
        for flags in [1, 2] {
            let requests = format!("ssv def_hash_version {version}\nssv flags {flags}\n");
            let scratch = Scratch::new(&debugfs_write(&image, &requests));
            let checked = tool("e2fsck").args(["-fyD"]).arg(&scratch.0).output().unwrap();
            assert!(matches!(checked.status.code(), Some(0 | 1)), "{checked:?}");
            let image = std::fs::read(&scratch.0).unwrap();
            assert!(debugfs(&image, "htree_dump /").contains("Root node dump"));
            let mounted = Mounted::new(image, Access::ReadWrite).unwrap();
            let root = mounted.root();
            for name in &names {
                assert!(mounted.lookup(&root, name.as_bytes()).is_ok(), "version {version} flags {flags}: {name}");
            }
            for number in 0..200 {
                mounted.symlink(&root, format!("n\u{f6}w {number}").as_bytes(), b"x").unwrap();
            }
            mounted.unmount_clean();
        }
    }
}

/// A leaf is split between two names of one hash: the second is found in the next leaf.
#[test]
fn names_of_one_hash_are_found_on_both_sides_of_a_split() {
    if !have_e2fsprogs() {
        return;
    }
    let image = mke2fs(&["-b", "1024", "-N", "2000"], 8);
    let word = |at: usize| u32::from_le_bytes(image[1024 + at..1028 + at].try_into().unwrap());
    let sign = if word(0x160) & 2 != 0 { CharSign::Unsigned } else { CharSign::Signed };
    assert_eq!(image[1024 + 0xfc], 1, "half MD4");
    let hasher = Hasher { kind: HashKind::HalfMd4, sign, seed: [0xec, 0xf0, 0xf4, 0xf8].map(word) };
    // Names of one length, by hash; among so many some share one.
    let mut names: Vec<(u32, String)> =
        (0..200_000).map(|number| format!("{number:014}")).map(|name| (hasher.hash(name.as_bytes()), name)).collect();
    names.sort();
    let twin = (100..names.len() - 100).find(|&at| names[at].0 == names[at + 1].0).expect("two names of one hash");

    let mounted = Mounted::new(image, Access::ReadWrite).unwrap();
    let root = mounted.root();
    // A leaf holds 42 of them: in one of these the middle lies between the two.
    let mut split_between = 0;
    for before in 17..25 {
        let directory = mounted.mkdir(&root, format!("{before} before").as_bytes()).unwrap();
        let chosen = &names[twin - before..twin - before + 44];
        for (_, name) in chosen {
            mounted.symlink(&directory, name.as_bytes(), b"x").unwrap();
        }
        for (_, name) in chosen {
            assert!(mounted.lookup(&directory, name.as_bytes()).is_ok(), "{name} with {before} before");
            let again = mounted.symlink(&directory, name.as_bytes(), b"x").err();
            assert_eq!(again, Some(vfs_server::Error::Exists));
        }
        mounted.fs.sync(vfs_server::fs::SyncMode::Wait).unwrap();
        let dump = debugfs(&mounted.disk.content(), &format!("htree_dump \"/{before} before\""));
        split_between += dump.contains(&format!("0x{:08x}", names[twin].0 | 1)) as u32;
        for (_, name) in chosen {
            mounted.unlink(&directory, name.as_bytes()).unwrap();
        }
    }
    assert!(split_between > 0, "no split lay between the two");
    mounted.unmount_clean();
}
