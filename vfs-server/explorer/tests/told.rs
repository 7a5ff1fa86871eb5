//! A run that is told is the run that was explored, and its diagram says what happened.

mod toys;

use explorer::report::listener::Listener;
use explorer::report::told::{Title, ToldRun};
use explorer::report::{diagram, html};
use explorer::strategy::Random;
use explorer::{Explorer, Outcome, Strategy};
use toys::Toy;

/// The first failing run of a toy.
fn first_failure(toy: &Toy) -> ToldRun {
    let mut explorer = Explorer::prepare(toy).unwrap_or_else(|failure| panic!("set-up: {failure}"));
    let mut strategy = Random::new(1);
    for _ in 0..1_000 {
        let mut steps = 0;
        let mut at_step = |step| steps = step;
        let mut listener = Listener::new(Title { experiment: toy.name.into(), ..Title::default() }, &mut at_step);
        strategy.begin();
        let (outcome, trace) = explorer.run_once(&mut strategy, Some(&mut listener));
        strategy.end(&trace, &outcome);
        if let Outcome::Failed(failure) = outcome {
            let run = listener.finish();
            assert_eq!(run.broken.as_ref().map(|broken| &broken.kind), Some(&failure.kind));
            assert_eq!(run.preemptions, trace.preemptions(), "{}", toy.name);
            assert!(steps > 0, "no task has heard of its step");
            return run;
        }
    }
    panic!("{} does not fail", toy.name)
}

#[test]
fn a_deadlock_is_told_with_its_cycle() {
    let run = first_failure(&toys::ABBA);
    let drawn = diagram::render(&run, diagram::WIDTH);
    for part in
        ["client 0", "client 1", "waits for toy lock #", "takes toy lock #", "cycle: client 0 -> client 1 -> client 0"]
    {
        assert!(drawn.contains(part), "{part} is not in\n{drawn}");
    }
}

#[test]
fn an_injected_fault_is_told() {
    let run = first_failure(&toys::FAULT);
    let drawn = diagram::render(&run, diagram::WIDTH);
    assert!(drawn.contains("! second half (injected: 2 of 0..3)"), "{drawn}");
    assert!(drawn.contains("panic: what was there is gone"), "{drawn}");
}

#[test]
fn every_toy_failure_has_a_page() {
    for toy in [toys::LOST_UPDATE, toys::LOST_WAKEUP, toys::AGAINST_THE_ORDER] {
        assert!(html::render(&first_failure(&toy)).contains(toy.name));
    }
}
