//! The experiment of `docs/experiments.md`, compiled and run, and the same as there.

// The text between the marks is in the document.
// --- example ---
use explorer::experiments::{Case, Experiment, Size, Variant};
use explorer::world::{Script, Stage, file_systems};

/// The experiment.
pub static EXPERIMENT: Experiment = Experiment {
    name: "append-read",
    summary: "can a read see the new size of a file before the bytes of the append are there?",
    variants: &[Variant { name: "size-after-bytes", summary: "the server's protocol: as Linux's" }],
    cases: &[Case {
        name: "one-page",
        summary: "one client appends to a file while another reads past its old end",
        scenario: |_variant| {
            let script = Script::new("append against read", &file_systems::EXT4)
                .set_up(one_block)
                .client("append", |me| _ = me.append("a", 1024))
                .client("read", |me| _ = me.read("a", 512, 1024));
            Box::new(script)
        },
        breaks: &[],
        size: Size::Small,
    }],
};

/// A file of one block that both clients have open.
fn one_block(stage: &Stage) {
    stage.actor(0).create("a").expect("a new name");
    stage.actor(0).write("a", 0, 1024).expect("room for a block");
    stage.actor(1).open("a").expect("a file that is there");
}
// --- end of the example ---

use explorer::strategy::{Exhaustive, Reduction};
use explorer::{Budget, Explorer, Verdict, explore};

#[test]
fn the_worked_example_is_exhausted_within_a_preemption() {
    for case in EXPERIMENT.cases {
        let scenario = (case.scenario)(EXPERIMENT.variants[0].name);
        let mut explorer = Explorer::prepare(&*scenario).unwrap_or_else(|failure| panic!("set-up: {failure}"));
        let mut strategy = Exhaustive::new(Reduction::Preemptions(1), 0);
        let report = explore(&mut explorer, &mut strategy, &Budget::schedules(1_000_000), |_| {});
        assert!(matches!(report.verdict, Verdict::Exhausted), "{:?}", report.verdict);
        assert!(report.progress.schedules > 10, "{} schedules explore nothing", report.progress.schedules);
    }
}

#[test]
fn the_document_shows_this_very_code() {
    let source = include_str!("worked_example.rs");
    let (_, rest) = source.split_once("// --- example ---\n").expect("the first mark");
    let (example, _) = rest.split_once("// --- end").expect("the second mark");
    let document = include_str!("../../../docs/experiments.md");
    assert!(document.contains(&format!("```rust\n{example}```")), "docs/experiments.md shows another example");
}
