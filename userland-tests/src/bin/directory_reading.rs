//! Reading a directory piece by piece: from any entry on, with others changing it.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use alloc::collections::BTreeSet;
use userland_tests::prelude::*;

userland_tests::test!(run);

const NAMES: usize = 400;

fn run() -> Outcome {
    let dir = Scratch::new("directory_reading")?;
    for index in 0..NAMES {
        match index % 10 {
            0 => sys::make_directory(&dir.path(&format!("d{index}")), 0o755)?,
            1 => match sys::make_symlink(&dir.path(&format!("s{index}")), "d0") {
                // A file system without symbolic links.
                Err(Errno::EPERM) => drop(dir.create(&format!("s{index}"))?),
                made => made?,
            },
            _ => drop(dir.create(&format!("f{index}"))?),
        }
    }
    let here = File::open(&dir.path("."), Open::READ | Open::DIRECTORY, 0)?;
    let all = here.entries()?;
    check_eq!(all.len(), NAMES + 2, "entries with . and ..");
    for entry in all.iter().filter(|entry| !entry.name.starts_with('.')) {
        let stat = sys::stat(&dir.path(&entry.name))?;
        check_eq!(entry.inode, stat.inode, "inode of {}", entry.name);
        check_eq!(entry.kind, Some(stat.kind), "kind of {}", entry.name);
    }
    let own = here.stat()?;
    check_eq!(all.iter().find(|entry| entry.name == ".").map(|entry| entry.inode), Some(own.inode), "inode of .");
    // A file system that does not count them says 1.
    check!([1, 2 + NAMES / 10].contains(&(own.links as usize)), "{} links of the directory", own.links);
    note!("{NAMES} entries with their inodes and kinds");

    for step in [1, 7, 100] {
        let (mut position, mut names) = (0, Vec::new());
        loop {
            let piece = here.entries_from(position, step)?;
            let Some(last) = piece.last() else { break };
            position = last.next;
            names.extend(piece.into_iter().map(|entry| entry.name));
            check!(names.len() <= all.len(), "pieces of {step}: an entry came twice");
        }
        check!(names.iter().eq(all.iter().map(|entry| &entry.name)), "pieces of {step} are not the whole");
    }
    for index in [0, 1, 50, NAMES] {
        let rest = here.entries_from(all[index].next, usize::MAX)?;
        check!(rest.iter().eq(&all[index + 1..]), "from entry {index} on");
    }
    note!("read in pieces, and from any entry on");

    // What is there all the time is listed, whatever else changes meanwhile.
    let (mut position, mut seen) = (0, BTreeSet::new());
    for round in 0.. {
        let piece = here.entries_from(position, 20)?;
        let Some(last) = piece.last() else { break };
        position = last.next;
        for entry in piece {
            check!(!entry.name.starts_with('d') || seen.insert(entry.name.clone()), "{} came twice", entry.name);
        }
        let victim = format!("f{}", round * 10 + 5);
        if round < NAMES / 10 {
            sys::unlink(&dir.path(&victim))?;
        }
        dir.create(&format!("n{round}"))?;
        check!(round < 10 * NAMES, "reading does not come to an end");
    }
    check_eq!(seen.len(), NAMES / 10, "directories seen while files came and went");
    note!("read while files come and go: what stays is listed once");
    Ok(())
}
