//! Two threads that overwrite the two halves of one cached file, against one thread that does the work of
//! both: a hundred times the quotient of the shortest times of some rounds. The shortest is the one that
//! whatever else the host does has least to do with.
//!
//! Unlike `bench` it takes the time of a clock, and two CPUs.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use alloc::sync::Arc;
use userland_tests::prelude::*;

userland_tests::test!(run);

const PIECE: usize = 16 << 10;
/// Pieces of half the file.
const HALF: usize = 64;
/// How often a half is written in a round.
const TIMES: usize = 24;
const ROUNDS: usize = 5;
const NAME: &str = "halves";

fn run() -> Outcome {
    let dir = Arc::new(Scratch::new("bench_two_threads")?);
    let file = dir.create(NAME)?;
    for piece in 0..2 * HALF {
        check_eq!(file.write_at(&[1; PIECE], (piece * PIECE) as u64)?, PIECE, "write");
    }
    file.sync()?;
    let (mut alone, mut together) = (u64::MAX, u64::MAX);
    for _ in 0..ROUNDS {
        let start = sys::monotonic_ns();
        overwrite(&dir, 0)?;
        overwrite(&dir, 1)?;
        alone = alone.min(sys::monotonic_ns() - start);
        let start = sys::monotonic_ns();
        let other = {
            let dir = dir.clone();
            sys::spawn_thread(move || overwrite(&dir, 1))?
        };
        overwrite(&dir, 0)?;
        other.join()??;
        together = together.min(sys::monotonic_ns() - start);
    }
    sys::print_line(format_args!("##fl bench two_threads {}", 100 * alone / together.max(1)));
    Ok(())
}

/// Writes half number `half` some times over.
fn overwrite(dir: &Scratch, half: usize) -> Outcome {
    let file = dir.open(NAME)?;
    let bytes = [half as u8 + 2; PIECE];
    for piece in (0..TIMES).flat_map(|_| 0..HALF) {
        let position = ((half * HALF + piece) * PIECE) as u64;
        check_eq!(file.write_at(&bytes, position)?, PIECE, "write");
    }
    Ok(())
}
