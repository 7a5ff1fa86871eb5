//! One byte is wrong: the check that finds it is named, the rest of the disk stays in service.

mod common;

use common::*;
use fs_ext4inline::{Access, Corrupt};
use vfs_server::error::{Error, Result};
use vfs_server::fs::*;

/// A disk without checksums (so that what is wrong is seen by its own check), or with.
fn disk(checksums: bool) -> Vec<u8> {
    let features = if checksums { "inline_data" } else { "inline_data,^metadata_csum,^uninit_bg" };
    let mounted = Mounted::new(mke2fs(&["-b", "1024", "-O", features], 8), Access::ReadWrite).unwrap();
    let root = mounted.root();
    let extents = mounted.create(&root, b"extents").unwrap();
    for block in 0..40 {
        mounted.write(&extents, block * 2048, b"every other block").unwrap();
    }
    let inline = mounted.create(&root, b"inline").unwrap();
    mounted.write(&inline, 0, &pattern(1, 100)).unwrap();
    let directory = mounted.mkdir(&root, b"directory").unwrap();
    mounted.create(&directory, b"entry").unwrap();
    let indexed = mounted.mkdir(&root, b"indexed").unwrap();
    for number in 0..100 {
        mounted.symlink(&indexed, format!("a fairly long name {number}").as_bytes(), b"x").unwrap();
    }
    mounted.symlink(&root, b"link", &[b'l'; 100]).unwrap();
    mounted.unmount_clean()
}

/// Where debugfs says that the inode at `path` lies.
fn inode_offset(image: &[u8], path: &str) -> usize {
    let said = debugfs(image, &format!("imap {path}"));
    let number = |text: &str| usize::from_str_radix(text.trim_start_matches("0x").trim(), 16).unwrap();
    let block: usize = said.rsplit("block ").next().unwrap().split(',').next().unwrap().parse().unwrap();
    block * 1024 + number(said.split("offset ").nth(1).unwrap())
}

/// The byte where the file's block number `index` begins.
fn block_offset(image: &[u8], path: &str, index: u32) -> usize {
    let said = debugfs(image, &format!("bmap {path} {index}"));
    said.trim().parse::<usize>().unwrap() * 1024
}

/// The byte where the only node below the root of an extent tree begins.
fn leaf_offset(image: &[u8], path: &str) -> usize {
    let at = inode_offset(image, path) + 0x28 + 12;
    u32::from_le_bytes(image[at + 4..at + 8].try_into().unwrap()) as usize * 1024
}

fn read(mounted: &Mounted, path: &str) -> Result<()> {
    let inode = mounted.walk(path)?;
    match inode.kind {
        FileKind::Directory => {
            for (name, _) in mounted.names(&inode)? {
                inode.operations().lookup(&inode, &name)?;
            }
            Ok(())
        }
        FileKind::Symlink => inode.operations().readlink(&inode).map(drop),
        _ => {
            inode.operations().listxattr(&inode)?;
            mounted.read(&inode).map(drop)
        }
    }
}

fn expect(image: &[u8], what: &str, path: &str, kind: Corrupt) {
    let expected = Err(Error::Corrupt(kind.to_string()));
    let found = Mounted::new(image.to_vec(), Access::ReadOnly).and_then(|mounted| read(&mounted, path));
    assert_eq!(found, expected, "{what}");
    // And with writing: the rest of the disk stays in service.
    if let Ok(mounted) = Mounted::new(image.to_vec(), Access::ReadWrite) {
        assert_eq!(read(&mounted, path), expected, "{what}");
        let root = mounted.root();
        let file = mounted.create(&root, b"still serving").unwrap();
        mounted.write(&file, 0, &pattern(9, 3000)).unwrap();
        assert_eq!(mounted.read(&file).unwrap(), pattern(9, 3000));
        drop((root, file));
        mounted.abandon();
    }
}

#[test]
fn superblocks() {
    if !have_e2fsprogs() {
        return;
    }
    let image = disk(false);
    let patches: &[(&str, usize, &[u8], Corrupt)] = &[
        ("magic", 0x38, &[0, 0], Corrupt::SuperMagic),
        ("block size", 0x18, &[9], Corrupt::BlockSize),
        ("inode size", 0x58, &[100, 0], Corrupt::InodeSize),
        ("inode size 0", 0x58, &[0, 0], Corrupt::InodeSize),
        ("blocks", 0x4, &[0xff, 0xff, 0xff, 0], Corrupt::LargerThanDevice),
        ("no blocks", 0x4, &[0, 0, 0, 0], Corrupt::BlocksCount),
        ("blocks in a group", 0x20, &[0, 0, 0, 0], Corrupt::BlocksPerGroup),
        ("inodes in a group", 0x28, &[0, 0, 0, 0], Corrupt::InodesPerGroup),
        ("inodes", 0x0, &[1, 0, 0, 0], Corrupt::InodesCount),
        ("first data block", 0x14, &[7], Corrupt::FirstDataBlock),
        ("first inode", 0x54, &[1, 0], Corrupt::FirstInode),
        ("descriptor size", 0xfe, &[33, 0], Corrupt::DescSize),
        ("free blocks", 0xc, &[0xff, 0xff, 0xff, 0], Corrupt::FreeBlocksCount),
        ("hash version", 0xfc, &[77], Corrupt::DefHashVersion),
        ("journal", 0xe0, &[0xff, 0xff, 0xff, 0], Corrupt::JournalInode),
    ];
    for (what, offset, bytes, kind) in patches {
        let mut broken = image.clone();
        broken[1024 + offset..1024 + offset + bytes.len()].copy_from_slice(bytes);
        expect(&broken, what, "", *kind);
    }
    let mut broken = disk(true);
    broken[1024 + 0x78] ^= 1;
    expect(&broken, "volume name", "", Corrupt::SuperChecksum);
}

#[test]
fn features_are_refused_by_name() {
    if !have_e2fsprogs() {
        return;
    }
    let image = disk(false);
    let refuse = |offset: usize, bit: u32, access: Access, name: &str| {
        let mut broken = image.clone();
        let at = 1024 + offset;
        let flags = u32::from_le_bytes(broken[at..at + 4].try_into().unwrap()) | bit;
        broken[at..at + 4].copy_from_slice(&flags.to_le_bytes());
        let error = Mounted::new(broken, access).err().unwrap().to_string();
        assert!(error.contains(name), "{name}: {error}");
    };
    refuse(0x60, 0x4, Access::ReadOnly, "needs_recovery");
    refuse(0x60, 0x8, Access::ReadOnly, "journal_dev");
    refuse(0x60, 0x10, Access::ReadOnly, "meta_bg");
    refuse(0x60, 0x100, Access::ReadOnly, "mmp");
    refuse(0x60, 0x400, Access::ReadOnly, "ea_inode");
    refuse(0x60, 0x1_0000, Access::ReadOnly, "encrypt");
    refuse(0x60, 0x2_0000, Access::ReadOnly, "casefold");
    refuse(0x60, 0x8000_0000, Access::ReadOnly, "incompatible");
    refuse(0x64, 0x200, Access::ReadOnly, "bigalloc");
    refuse(0x64, 0x100, Access::ReadWrite, "quota");
    refuse(0x64, 0x2000, Access::ReadWrite, "project");
    refuse(0x64, 0x8000, Access::ReadWrite, "verity");
    refuse(0x64, 0x8000_0000, Access::ReadWrite, "read-only compatible");
    refuse(0x64, 0x1_0000, Access::ReadWrite, "orphan_present");
}

#[test]
fn group_descriptors() {
    if !have_e2fsprogs() {
        return;
    }
    let image = disk(false);
    let patches: &[(&str, usize, &[u8], Corrupt)] = &[
        ("block bitmap", 0, &[0, 0, 0, 0], Corrupt::GroupBlockBitmap),
        ("inode bitmap", 4, &[0xff, 0xff, 0xff, 0], Corrupt::GroupInodeBitmap),
        ("inode table", 8, &[0xf0, 0x1f, 0, 0], Corrupt::GroupInodeTable),
        ("free inodes", 14, &[0xff, 0xff], Corrupt::GroupCounts),
    ];
    for (what, offset, bytes, kind) in patches {
        let mut broken = image.clone();
        broken[2048 + offset..2048 + offset + bytes.len()].copy_from_slice(bytes);
        expect(&broken, what, "", *kind);
    }
    let mut broken = disk(true);
    broken[2048 + 16] ^= 1;
    expect(&broken, "used directories", "", Corrupt::GroupChecksum);
}

#[test]
fn bitmaps() {
    if !have_e2fsprogs() {
        return;
    }
    for (checksums, kind) in [(true, Corrupt::BlockBitmapChecksum), (false, Corrupt::BlockBitmapCount)] {
        let mut broken = disk(checksums);
        let block = u32::from_le_bytes(broken[2048..2052].try_into().unwrap()) as usize;
        broken[block * 1024 + 1000] ^= 1;
        let mounted = Mounted::new(broken, Access::ReadWrite).unwrap();
        let root = mounted.root();
        let file = mounted.create(&root, b"file").unwrap();
        let written = mounted.write(&file, 0, &pattern(1, 2000));
        assert_eq!(written, Err(Error::Corrupt(kind.to_string())));
        drop((root, file));
        mounted.abandon();
    }
    for (checksums, kind) in [(true, Corrupt::InodeBitmapChecksum), (false, Corrupt::InodeBitmapCount)] {
        let mut broken = disk(checksums);
        let block = u32::from_le_bytes(broken[2052..2056].try_into().unwrap()) as usize;
        broken[block * 1024 + 200] ^= 1;
        // Even a look at an inode asks whether it is in use.
        let error = Mounted::new(broken, Access::ReadWrite).unwrap().get(2).err();
        assert_eq!(error, Some(Error::Corrupt(kind.to_string())));
    }
}

#[test]
fn inodes() {
    if !have_e2fsprogs() {
        return;
    }
    let image = disk(false);
    let patches: &[(&str, &str, usize, &[u8], Corrupt)] = &[
        ("mode", "extents", 0, &[0, 0xf0], Corrupt::InodeMode),
        ("extra size", "extents", 0x80, &[0xff, 0xff], Corrupt::InodeExtraSize),
        ("size", "extents", 0x6c, &[0, 0, 0xff, 0xff], Corrupt::InodeFileSize),
        ("attribute block", "extents", 0x68, &[0xff, 0xff, 0xff, 0xff], Corrupt::InodeFileAcl),
        ("inline and extents", "extents", 0x23, &[0x10], Corrupt::InodeFlags),
        ("extents magic", "extents", 0x28, &[0], Corrupt::ExtentMagic),
        ("extents count", "extents", 0x2a, &[9], Corrupt::ExtentEntries),
        ("extents room", "extents", 0x2c, &[9], Corrupt::ExtentMax),
        ("extents depth", "extents", 0x2e, &[9], Corrupt::ExtentDepth),
        ("extents child", "extents", 0x38, &[0xff, 0xff, 0xff, 0xff], Corrupt::ExtentBlocks),
        ("extents child in metadata", "extents", 0x38, &[3, 0, 0, 0], Corrupt::ExtentBlocks),
        ("inline size", "directory", 4, &[200, 0], Corrupt::InlineSize),
        ("inline attribute's name", "inline", 0xa0 + 4 + 16, b"x", Corrupt::InlineAttribute),
        ("inline attributes' magic", "inline", 0xa0, &[1], Corrupt::InlineAttribute),
        ("inline value's place", "inline", 0xa0 + 4 + 2, &[0xff, 0xff], Corrupt::XattrValue),
        ("inline value's size", "inline", 0xa0 + 4 + 8, &[0xff, 0xff, 0xff, 0xff], Corrupt::XattrValue),
        ("inline value over entries", "inline", 0xa0 + 4 + 2, &[0, 0], Corrupt::XattrOverlap),
        ("inline name's length", "inline", 0xa0 + 4, &[0xff], Corrupt::XattrEntry),
        ("directory size", "indexed", 4, &[1, 2], Corrupt::DirectorySize),
        ("directory parent", "directory", 0x28, &[0xff, 0xff, 0xff, 0xff], Corrupt::DirectoryInode),
        ("inline record", "directory", 0x2c + 4, &[0xff, 0xff], Corrupt::DirectoryRecLen),
        ("inline inode", "directory", 0x2c, &[0xff, 0xff, 0xff, 0xff], Corrupt::DirectoryInode),
        ("link length", "link", 4, &[0, 0, 1], Corrupt::SymlinkLength),
    ];
    for (what, path, offset, bytes, kind) in patches {
        let mut broken = image.clone();
        let at = inode_offset(&image, path) + offset;
        broken[at..at + bytes.len()].copy_from_slice(bytes);
        expect(&broken, what, path, *kind);
    }
    let mut broken = disk(true);
    let at = inode_offset(&broken, "extents") + 0x18;
    broken[at] ^= 1;
    expect(&broken, "checksum", "extents", Corrupt::InodeChecksum);
}

#[test]
fn extent_nodes_and_directory_blocks() {
    if !have_e2fsprogs() {
        return;
    }
    let image = disk(false);
    let leaf = leaf_offset(&image, "extents");
    let (root, names) = (block_offset(&image, "indexed", 0), block_offset(&image, "indexed", 1));
    let patches: &[(&str, &str, usize, &[u8], Corrupt)] = &[
        ("leaf magic", "extents", leaf, &[0], Corrupt::ExtentMagic),
        ("leaf depth", "extents", leaf + 6, &[1], Corrupt::ExtentDepth),
        ("leaf order", "extents", leaf + 24, &[0, 0, 0, 0], Corrupt::ExtentOrder),
        ("leaf length", "extents", leaf + 16, &[0, 0], Corrupt::ExtentLength),
        ("leaf blocks", "extents", leaf + 20, &[0xff, 0xff, 0xff, 0xff], Corrupt::ExtentBlocks),
        ("dot", "indexed", root + 8, b"x", Corrupt::DirectoryDots),
        ("root hash", "indexed", root + 28, &[99], Corrupt::HtreeHash),
        ("root info", "indexed", root + 29, &[99], Corrupt::HtreeRoot),
        ("root depth", "indexed", root + 30, &[9], Corrupt::HtreeDepth),
        ("root limit", "indexed", root + 32, &[1, 0], Corrupt::HtreeCount),
        ("root count", "indexed", root + 34, &[0, 0], Corrupt::HtreeCount),
        ("root child", "indexed", root + 36, &[0xff, 0xff], Corrupt::HtreeBlock),
        ("root child 0", "indexed", root + 36, &[0, 0, 0, 0], Corrupt::HtreeBlock),
        ("record length", "indexed", names + 4, &[3, 0], Corrupt::DirectoryRecLen),
        ("record over the end", "indexed", names + 4, &[0xfc, 0xff], Corrupt::DirectoryRecLen),
        ("name's length", "indexed", names + 6, &[0xff], Corrupt::DirectoryName),
        ("name", "indexed", names + 8, b"/", Corrupt::DirectoryName),
        ("inode", "indexed", names, &[0xff, 0xff, 0xff, 0xff], Corrupt::DirectoryInode),
    ];
    for (what, path, at, bytes, kind) in patches {
        let mut broken = image.clone();
        broken[*at..*at + bytes.len()].copy_from_slice(bytes);
        expect(&broken, what, path, *kind);
    }
    let image = disk(true);
    for (path, at, kind) in [
        ("extents", leaf_offset(&image, "extents") + 8, Corrupt::ExtentChecksum),
        ("indexed", block_offset(&image, "indexed", 0) + 38, Corrupt::HtreeBlock),
        ("indexed", block_offset(&image, "indexed", 0) + 40, Corrupt::HtreeChecksum),
        ("indexed", block_offset(&image, "indexed", 1) + 9, Corrupt::DirectoryChecksum),
    ] {
        let mut broken = image.clone();
        broken[at] ^= 1;
        let found = Mounted::new(broken.clone(), Access::ReadOnly).and_then(|mounted| read(&mounted, path));
        let named = |kind: Corrupt| Err(Error::Corrupt(kind.to_string()));
        // The checksum is looked at first where both are wrong.
        assert!(found == named(kind) || found == named(Corrupt::HtreeChecksum), "{path} {kind}: {found:?}");
    }
}
