//! The world on a real file system: scenarios run clean, and the same each time.

use explorer::strategy::{DefaultPolicy, Random};
use explorer::world::{Script, Stage, file_systems};
use explorer::{Budget, Explorer, Strategy, Verdict, explore};

fn prepare(script: &Script) -> Explorer {
    Explorer::prepare(script).unwrap_or_else(|failure| panic!("set-up: {failure}"))
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

fn assert_clean(script: &Script, strategy: &mut dyn Strategy, schedules: u64) {
    let mut explorer = prepare(script);
    let report = explore(&mut explorer, strategy, &Budget::schedules(schedules), |_| {});
    eprintln!("{:?} snapshot {}", report.progress, explorer.snapshot_len());
    if let Verdict::Failed(failure, trace) = report.verdict {
        panic!("{failure}\n{} decisions", trace.decisions.len());
    }
}

#[test]
fn a_write_against_a_load_is_clean() {
    assert_clean(&write_against_load(), &mut DefaultPolicy::default(), 1);
    let schedules = std::env::var("SCHEDULES").map_or(2000, |text| text.parse().unwrap());
    assert_clean(&write_against_load(), &mut Random::new(1), schedules);
}
