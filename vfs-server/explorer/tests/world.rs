//! The world on a real file system: scenarios run clean, and the same each time.

use explorer::experiments::truncate_fault;
use explorer::report::{diagram, listener::Listener, requests, told::Title};
use explorer::strategy::{DefaultPolicy, Random};
use explorer::world::{CrashTest, Script, Stage, disk::Pace, file_systems, script::Helpers};
use explorer::{Budget, Explorer, Scenario, Strategy, Verdict, explore};

/// Schedules of each scenario: more in a build that is meant for it.
fn schedules() -> u64 {
    std::env::var("SCHEDULES").map_or(200, |text| text.parse().unwrap())
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

/// Two clients have the file of two pages mapped and in their TLBs.
fn both_map(stage: &Stage) {
    stage.actor(0).create("a").unwrap();
    stage.actor(0).write("a", 0, 8192).unwrap();
    stage.actor(1).open("a").unwrap();
    for actor in &stage.actors()[..2] {
        actor.map("a", 2).unwrap();
        actor.load("a", 0).unwrap();
        actor.load("a", 4096).unwrap();
    }
}

/// Folios go and come back under clients that store and load.
fn reclaim() -> Script {
    Script::new("reclaim against store and load", &file_systems::EXT4)
        .set_up(both_map)
        .client("store", |me| {
            _ = me.store("a", 8);
            _ = me.load("a", 8);
        })
        .client("load", |me| {
            _ = me.load("a", 16);
            _ = me.write("a", 4096, 512);
        })
        .task("reclaim", |stage| _ = stage.server.drop_caches())
}

/// Folios move under clients that store, write and load.
fn migration() -> Script {
    Script::new("migration against store and write", &file_systems::EXT4)
        .set_up(both_map)
        .client("store", |me| {
            _ = me.store("a", 8);
            _ = me.load("a", 8);
        })
        .client("write", |me| {
            _ = me.write("a", 0, 512);
            _ = me.read("a", 0, 1024);
        })
        .task("migration", |stage| _ = stage.server.migrate_folios())
}

/// Writeback copies folios that clients store to.
fn writeback() -> Script {
    Script::new("writeback against store and fsync", &file_systems::EXT4)
        .set_up(both_map)
        .client("store", |me| {
            _ = me.store("a", 8);
            _ = me.store("a", 16);
        })
        .client("write", |me| {
            _ = me.write("a", 1024, 512);
            _ = me.fsync("a");
        })
        .task("writeback", |stage| stage.server.write_back_pass())
}

/// Folios are read by a disk that takes its time while the file is cut.
fn late_read() -> Script {
    Script::new("late reads against truncate", &file_systems::EXT4)
        .disk(Pace::Late)
        .set_up(|stage| {
            both_map(stage);
            stage.actor(2).share(stage.actor(0), "a");
            stage.sync();
            assert_eq!(stage.drop_caches(), 2);
        })
        .client("read", |me| _ = me.read("a", 0, 8192))
        .client("load", |me| _ = me.load("a", 4096))
        .thread_of(0, "truncate", |me| _ = me.truncate("a", 100))
}

/// A cache of three folios under clients that want four: they wait for reclaim, which waits for writeback.
fn scarce_memory() -> Script {
    Script::new("three folios for four pages", &file_systems::EXT4)
        .helpers(Helpers::All)
        .config(|config| {
            config.cache_pages = 3;
            config.dirty_limit_pages = 1;
        })
        .set_up(|stage| {
            for (number, path) in ["a", "b"].into_iter().enumerate() {
                stage.actor(number).create(path).unwrap();
                stage.actor(number).write(path, 0, 4096).unwrap();
                stage.sync();
            }
        })
        .client("one", |me| {
            _ = me.write("a", 0, 8192);
            _ = me.read("a", 0, 8192);
        })
        .client("two", |me| {
            _ = me.write("b", 4096, 4096);
            _ = me.read("b", 0, 8192);
        })
}

/// What fsync has acknowledged is on every disk that a crash may leave.
fn crash() -> Script {
    Script::new("crash under store, write and fsync", &file_systems::EXT4)
        .crashes(CrashTest { points: 2, states: 3 })
        .disk(Pace::Late)
        .set_up(both_map)
        .client("store", |me| {
            _ = me.store("a", 8);
            _ = me.fsync("a");
            _ = me.store("a", 4096);
        })
        .client("write", |me| {
            _ = me.write("a", 1024, 512);
            _ = me.fsync("a");
        })
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
fn helpers_against_clients_are_clean() {
    for script in [reclaim(), migration(), writeback(), late_read(), crash(), scarce_memory()] {
        assert_clean(&script);
    }
}

/// Only a build that can be made faulty shows that the checks find something.
#[test]
#[cfg(feature = "mutants")]
fn an_fsync_that_waits_for_too_little_is_found_by_a_crash() {
    use platform::{Mutant, mutant};
    // While it lives no other test of this process explores.
    let mut explorer = prepare(&crash());
    mutant::set(Some(Mutant::FsyncSkipsWriteback));
    let report = explore(&mut explorer, &mut Random::new(1), &Budget::schedules(20_000), |_| {});
    mutant::set(None);
    let Verdict::Failed(failure, _) = report.verdict else { panic!("{:?}", report.progress) };
    assert!(failure.kind.starts_with("crash-"), "{failure}");
}

#[test]
fn truncate_against_faults_is_clean() {
    for case in truncate_fault::EXPERIMENT.cases {
        assert_clean(&*(case.scenario)("zap-under-invalidate"));
    }
}
