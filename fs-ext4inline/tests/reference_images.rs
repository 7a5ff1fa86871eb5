//! Every file of the reference images is read as their manifest, written by Linux, says.

mod common;

use std::collections::BTreeMap;

use common::*;
use fs_ext4inline::Access;
use vfs_server::fs::FileKind;

/// The lines of the manifest, by image.
fn manifest() -> Option<BTreeMap<String, Vec<String>>> {
    let Some(path) = shared("images/MANIFEST.txt") else {
        skip("the shared reference images are not there");
        return None;
    };
    let mut images: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut current = String::new();
    for line in std::fs::read_to_string(path).unwrap().lines() {
        if let Some(rest) = line.strip_prefix("### ") {
            current = rest.split(' ').next().unwrap().to_string();
        } else {
            images.entry(current.clone()).or_default().push(line.to_string());
        }
    }
    Some(images)
}

fn field<'a>(rest: &'a str, name: &str) -> Option<&'a str> {
    rest.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

fn check_line(mounted: &Mounted, line: &str) {
    let columns: Vec<&str> = line.splitn(4, '\t').collect();
    let [kind, ino, path, rest] = columns[..] else {
        // "  h/ has 2000 empty files file_number_1..2000 (indexed)"
        if line.contains("2000 empty files") {
            let directory = mounted.walk("h").unwrap();
            let names = mounted.names(&directory).unwrap();
            assert_eq!(names.len(), 2002);
            for number in 1..=2000 {
                let inode = mounted.walk(&format!("h/file_number_{number}")).unwrap();
                assert_eq!((inode.size(), inode.kind), (0, FileKind::Regular));
            }
            return;
        }
        panic!("{line:?}");
    };
    let inode = mounted.walk(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(inode.ino.to_string(), ino, "{path}");
    match kind {
        "D" => {
            assert_eq!(inode.size().to_string(), field(rest, "size").unwrap(), "{path}");
            assert_eq!(inode.attributes().nlink.to_string(), field(rest, "nlink").unwrap(), "{path}");
            for (name, child) in mounted.names(&inode).unwrap() {
                if name != b"." && name != b".." {
                    assert_eq!(mounted.lookup(&inode, &name).unwrap().ino, child);
                }
            }
        }
        "L" => assert_eq!(inode.operations().readlink(&inode).unwrap(), rest.as_bytes(), "{path}"),
        "O" => assert!(matches!(inode.kind, FileKind::Fifo | FileKind::CharDevice), "{path}"),
        "F" => {
            assert_eq!(inode.size().to_string(), field(rest, "size").unwrap(), "{path}");
            if inode.size() < 1 << 26 {
                let contents = mounted.read(&inode).unwrap();
                assert_eq!(sha256(&contents), field(rest, "sha256").unwrap(), "{path}");
            }
            let names = inode.operations().listxattr(&inode).unwrap();
            let told = rest.split_once("xattr=").map_or("", |(_, told)| told);
            for attribute in told.split(";").filter(|attribute| attribute.contains('=')) {
                let (name, value) = attribute.split_once('=').unwrap();
                assert!(names.contains(&name.as_bytes().to_vec()), "{path}: {name} among {names:?}");
                let read = inode.operations().getxattr(&inode, name.as_bytes()).unwrap();
                if let Some(text) = value.strip_prefix('"') {
                    assert_eq!(read, text.trim_end_matches('"').as_bytes(), "{path}: {name}");
                }
            }
        }
        _ => panic!("{line:?}"),
    }
}

#[test]
fn every_file_reads_as_linux_wrote_it() {
    let Some(images) = manifest() else { return };
    for (image, lines) in images {
        let bytes = unxz(&shared(&format!("images/{image}.xz")).unwrap());
        if image.starts_with("dirty_") {
            let error = Mounted::new(bytes, Access::ReadOnly).err().unwrap();
            assert!(error.to_string().contains("needs_recovery"), "{error}");
            continue;
        }
        let mounted = Mounted::new(bytes, Access::ReadOnly).unwrap();
        for line in &lines {
            check_line(&mounted, line);
        }
        println!("{image}: {} lines", lines.len());
    }
}
