//! The protocols of inline data: the broken ones are caught, the others run clean.

use explorer::Strategy;
use explorer::experiments::ext4_inline_mkwrite::EXPERIMENT;
use explorer::report::{diagram, listener::Listener, requests, told::Title};
use explorer::runtime::Trace;
use explorer::strategy::Random;
use explorer::{Budget, Explorer, Verdict, explore};

/// Schedules of each scenario: more in a build that is meant for it.
fn schedules() -> u64 {
    std::env::var("SCHEDULES").map_or(1500, |text| text.parse().expect("a number in SCHEDULES"))
}

fn draw(explorer: &mut Explorer, schedules: u64, trace: &Trace) -> String {
    // The same again, told.
    let mut again = Random::new(1);
    for _ in 1..schedules {
        again.begin();
        let (outcome, trace) = explorer.run_once(&mut again, None);
        again.end(&trace, &outcome);
    }
    again.begin();
    let mut at_step = |_| {};
    let mut listener = Listener::new(Title::default(), &mut at_step);
    let (_, told) = explorer.run_once(&mut again, Some(&mut listener));
    assert_eq!(told.decisions, trace.decisions, "the told run is another");
    diagram::render(&requests::follow(&listener.finish()), 110)
}

#[test]
fn broken_protocols_are_caught_and_the_others_are_clean() {
    let only = std::env::var("ONLY").unwrap_or_default();
    for case in EXPERIMENT.cases {
        for variant in EXPERIMENT.variants {
            let name = format!("{}/{}", case.name, variant.name);
            if !name.contains(&only) {
                continue;
            }
            let scenario = (case.scenario)(variant.name);
            let mut explorer = Explorer::prepare(&*scenario).unwrap_or_else(|failure| panic!("{name}: {failure}"));
            let report = explore(&mut explorer, &mut Random::new(1), &Budget::schedules(schedules()), |_| {});
            let rate = report.progress.schedules as f64 / report.progress.elapsed.as_secs_f64();
            let expected = case.expected(variant.name);
            match report.verdict {
                Verdict::Failed(failure, trace) => {
                    println!("{name}: after {} schedules, {rate:.0}/s: {failure}", report.progress.schedules);
                    if std::env::var_os("DRAW").is_some() || !expected.contains(&failure.kind.as_str()) {
                        println!("{}", draw(&mut explorer, report.progress.schedules, &trace));
                    }
                    assert!(expected.contains(&failure.kind.as_str()), "{name}: {failure}");
                }
                _ => {
                    println!("{name}: clean after {} schedules, {rate:.0}/s", report.progress.schedules);
                    assert!(expected.is_empty(), "{name}: nothing was found");
                }
            }
        }
    }
}
