//! The world on a real file system: scenarios run clean, and the same each time.

use explorer::experiments::truncate_fault;
use explorer::report::{diagram, listener::Listener, requests, told::Title};
use explorer::strategy::{DefaultPolicy, Random};
use explorer::world::{Script, Stage, file_systems};
use explorer::{Budget, Explorer, Scenario, Strategy, Verdict, explore};

/// Schedules of each scenario: more in a build that is meant for it.
fn schedules() -> u64 {
    std::env::var("SCHEDULES").map_or(1000, |text| text.parse().unwrap())
}

fn prepare(scenario: &dyn Scenario) -> Explorer {
    Explorer::prepare(scenario).unwrap_or_else(|failure| panic!("set-up of {}: {failure}", scenario.name()))
}

/// One client writes what another has mapped.
fn write_against_load() -> Script {
    Script::new("write against load", &file_systems::EXT4)
        .set_up(|stage: &Stage| {
            let (writer, loader) = (stage.actor(0), stage.actor(1));
            writer.create("a").unwrap();
            writer.write("a", 0, 2048).unwrap();
            loader.open("a").unwrap();
            loader.map("a", 1).unwrap();
        })
        .client("writer", |me| _ = me.write("a", 0, 1024))
        .client("loader", |me| _ = me.load("a", 8))
}

/// Runs at random; a failure comes with its diagram.
fn assert_clean(scenario: &dyn Scenario) {
    let mut explorer = prepare(scenario);
    let report = explore(&mut explorer, &mut Random::new(1), &Budget::schedules(schedules()), |_| {});
    eprintln!("{}: {:?} snapshot {}", scenario.name(), report.progress, explorer.snapshot_len());
    let Verdict::Failed(failure, trace) = report.verdict else { return };
    // The same again, told.
    let mut again = Random::new(1);
    for _ in 1..report.progress.schedules {
        again.begin();
        let (outcome, trace) = explorer.run_once(&mut again, None);
        again.end(&trace, &outcome);
    }
    again.begin();
    let mut at_step = |_| {};
    let mut listener = Listener::new(Title::default(), &mut at_step);
    let (outcome, told) = explorer.run_once(&mut again, Some(&mut listener));
    println!("{}", diagram::render(&requests::follow(&listener.finish()), 100));
    assert_eq!(told.decisions, trace.decisions, "the told run is another: {outcome:?}");
    panic!("{failure}\n{} decisions", trace.decisions.len());
}

#[test]
fn a_write_against_a_load_is_clean() {
    let mut explorer = prepare(&write_against_load());
    let report = explore(&mut explorer, &mut DefaultPolicy::default(), &Budget::schedules(2), |_| {});
    assert!(matches!(report.verdict, Verdict::Exhausted), "{:?}", report.verdict);
    drop(explorer);
    assert_clean(&write_against_load());
}

#[test]
fn truncate_against_faults_is_clean() {
    for case in truncate_fault::EXPERIMENT.cases {
        assert_clean(&*(case.scenario)("zap-under-invalidate"));
    }
}
