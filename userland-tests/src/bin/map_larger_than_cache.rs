//! A mapping of more than the server keeps in memory: every page comes and goes, and none is lost.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use userland_tests::{model::pattern_byte, prelude::*, random::Random};

userland_tests::test!(run);

const PAGE: usize = 4096;

fn run() -> Outcome {
    let cache = sys::counter("pages_limit").map_or(8192, |pages| pages as usize);
    let pages = (cache * 5 / 4).clamp(256, 16_384);
    let room = sys::room()?;
    if (room.free * room.block_size) < (pages * PAGE * 5 / 4) as u64 {
        return skip("the disk has too little room for a file larger than the cache");
    }
    let dir = Scratch::new("map_larger_than_cache")?;
    let file = dir.create("file")?;
    file.truncate((pages * PAGE) as u64)?;
    let before = sys::counter("folios_reclaimed");
    let mapping = Mapping::new(&file, 0, pages * PAGE, Protection::ReadWrite, Sharing::Shared)?;
    for page in 0..pages {
        mapping.store_u64(page * PAGE, page as u64 + 1);
        mapping.store(page * PAGE + 4095, pattern_byte(1, page));
    }
    note!("stored into {pages} pages, one after another");
    for page in 0..pages {
        check_eq!(mapping.load_u64(page * PAGE), page as u64 + 1, "page {page}, loaded in order");
    }
    note!("loaded them in order");
    let mut random = Random::new(3);
    for _ in 0..pages / 8 {
        let page = random.below(pages as u64) as usize;
        check_eq!(mapping.load(page * PAGE + 4095), pattern_byte(1, page), "page {page}, loaded at random");
        let mut word = [0; 8];
        check_eq!(file.read_at(&mut word, (page * PAGE) as u64)?, 8, "read");
        check_eq!(u64::from_ne_bytes(word), page as u64 + 1, "page {page}, read");
        mapping.store(page * PAGE + 100, 1);
    }
    note!("loaded, read and stored at random");
    if let (Some(before), Some(after)) = (before, sys::counter("folios_reclaimed")) {
        check!(after > before, "nothing was reclaimed, so the file fits into the cache after all");
        note!("{} folios were reclaimed", after - before);
    }
    drop(mapping);
    sys::unlink(&dir.path("file"))?;
    Ok(())
}
