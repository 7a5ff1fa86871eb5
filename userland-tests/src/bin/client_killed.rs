//! A client that is killed in the middle of whatever it does takes nothing with it: its files are
//! whole in units of what one call writes, and the server goes on.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use userland_tests::{prelude::*, random::Random};

userland_tests::test!(run);

const PAGES: usize = 48;
const ROUNDS: u64 = 24;

fn run() -> Outcome {
    let dir = Scratch::new("client_killed")?;
    let mut random = Random::new(11);
    for round in 0..ROUNDS {
        let steps = Steps::new()?;
        let name = format!("file-{}", round % 4);
        dir.create(&name)?.truncate((PAGES * 4096) as u64)?;
        let child = in_child(|| work(&dir, &name, &steps, round))?;
        steps.wait(0, 1 + random.below(6))?;
        // From here on the child is somewhere in a call or a fault.
        for _ in 0..random.below(300) {
            core::hint::spin_loop();
        }
        child.kill()?;
        check_eq!(child.wait()?, Ended::Killed, "the child's end");

        let file = dir.open(&name)?;
        let mut buf = vec![0; PAGES * 4096];
        check_eq!(file.read_at(&mut buf, 0)?, PAGES * 4096, "read after the client's death");
        for (page, bytes) in buf.chunks(4096).enumerate() {
            for granule in bytes.chunks(512).filter(|_| round % 3 != 1) {
                check!(
                    granule.iter().all(|&byte| byte == granule[0]),
                    "round {round}: page {page} is torn in 512 bytes"
                );
            }
        }
        check_eq!(file.write_at(&buf, 0)?, buf.len(), "write after the client's death");
        file.sync()?;
    }
    note!("{ROUNDS} clients killed while they write, store, map, create and sync");
    Ok(())
}

/// Does one kind of work for ever.
fn work(dir: &Scratch, name: &str, steps: &Steps, round: u64) -> Outcome {
    let file = dir.open(name)?;
    for turn in 1u64.. {
        let stamp = turn as u8;
        match round % 3 {
            0 => {
                file.write_at(&vec![stamp; PAGES * 4096], 0)?;
            }
            1 => {
                let mapping = Mapping::new(&file, 0, PAGES * 4096, Protection::ReadWrite, Sharing::Shared)?;
                for page in 0..PAGES {
                    mapping.store_u64(page * 4096, turn);
                }
                // The buffer is a mapping that this process has not touched all of.
                file.write_mapped(&mapping, 0, 5 * 4096, 20 * 4096)?;
            }
            _ => {
                let path = format!("{name}-{}", turn % 3);
                dir.create(&path)?.write_at(&[stamp; 3000], 0)?;
                file.write_at(&[stamp; 4096], (turn % PAGES as u64) * 4096)?;
                file.sync()?;
                sys::unlink(&dir.path(&path))?;
            }
        }
        steps.set(0, turn);
    }
    Ok(())
}
