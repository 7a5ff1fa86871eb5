//! Faults that the explorer must catch: a quick part of them, with few runs. All of them on three seeds:
//! `cargo xtask explore mutants`.
#![cfg(feature = "mutants")]

use explorer::mutants::{HUNTS, Hunt};
use platform::Mutant;

fn hunt(mutant: Mutant) -> &'static Hunt {
    HUNTS.iter().find(|hunt| hunt.mutant == mutant).unwrap_or_else(|| panic!("nobody hunts {}", mutant.id()))
}

#[test]
fn faults_that_show_soon_are_caught_and_the_sound_code_is_clean() {
    let quick = [
        Mutant::FrameFreedBeforeAck,
        Mutant::TagReusedBeforeAnswer,
        Mutant::GrantsNotCounted,
        Mutant::ReclaimTestsDirtyUnlocked,
        Mutant::AppendPlaceBeforeLock,
        Mutant::StoresPastEndKept,
    ];
    for hunt in quick.map(hunt) {
        let sound = hunt.run_sound(1, 1000).unwrap();
        assert!(sound.failure.is_none(), "{} fails as it is: {:?}", hunt.case, sound.failure);
        let faulty = hunt.run(1, 1000).unwrap();
        assert!(
            faulty.failure.is_some(),
            "{} has escaped {} runs of {}",
            hunt.mutant.id(),
            faulty.schedules,
            hunt.case
        );
    }
}
