//! One run: it does what its decisions say, and leaves nothing behind.

mod toys;

use explorer::runtime::{client, outside};
use explorer::strategy::{DefaultPolicy, Random};
use explorer::{Budget, End, Explorer, Failure, Outcome, Program, Scenario, Settings, Strategy, Verdict, explore};
use platform::sync::Mutex;
use platform::thread::{self, ThreadKind};
use std::sync::atomic::{AtomicU32, Ordering};
use toys::Toy;

fn prepare(scenario: &dyn Scenario) -> Explorer {
    Explorer::prepare(scenario).unwrap_or_else(|failure| panic!("set-up: {failure}"))
}

fn find(toy: &Toy, seed: u64, schedules: u64) -> Option<Failure> {
    let mut explorer = prepare(toy);
    match explore(&mut explorer, &mut Random::new(seed), &Budget::schedules(schedules), |_| {}).verdict {
        Verdict::Failed(failure, _) => Some(failure),
        Verdict::Clean | Verdict::Exhausted => None,
    }
}

#[test]
fn random_runs_find_each_toy_fault_and_no_other() {
    for seed in 0..3 {
        let kinds = [
            (toys::LOST_UPDATE, "lost-update"),
            (toys::ABBA, Failure::DEADLOCK),
            (toys::LOST_WAKEUP, Failure::DEADLOCK),
            (toys::FLAG_BEFORE_DATA, Failure::PANIC),
            (toys::AGAINST_THE_ORDER, Failure::LOCK_ORDER),
            (toys::TWO_PREEMPTIONS, "ping-pong"),
            (toys::FAULT, Failure::PANIC),
        ];
        for (toy, kind) in kinds {
            let found = find(&toy, seed, 2_000);
            assert_eq!(found.as_ref().map(|failure| failure.kind.as_str()), Some(kind), "{}: {found:?}", toy.name);
        }
        for toy in [toys::LOCKED_UPDATE, toys::ABAB, toys::WAKEUP, toys::STORE_BUFFER, toys::SPIN] {
            assert_eq!(find(&toy, seed, 2_000), None, "{}", toy.name);
        }
    }
}

#[test]
fn the_default_policy_finds_nothing_that_needs_a_preemption() {
    for toy in [toys::LOST_UPDATE, toys::ABBA, toys::FLAG_BEFORE_DATA, toys::SPIN] {
        let report = explore(&mut prepare(&toy), &mut DefaultPolicy::default(), &Budget::schedules(9), |_| {});
        assert!(matches!(report.verdict, Verdict::Exhausted), "{}: {:?}", toy.name, report.verdict);
        assert_eq!(report.progress.schedules, 1);
    }
}

#[test]
fn a_deadlock_names_the_cycle() {
    let failure = find(&toys::ABBA, 1, 1000).expect("an ABBA deadlock");
    assert!(failure.words.contains("DEADLOCK: task 0 -> task 1 -> back to the first"), "{}", failure.words);
    assert!(failure.words.contains("waits for toy lock"), "{}", failure.words);
}

#[test]
fn panics_end_runs_and_not_the_explorer() {
    let mut explorer = prepare(&toys::FLAG_BEFORE_DATA);
    let mut failures = 0;
    let mut strategy = Random::new(7);
    for _ in 0..500 {
        strategy.begin();
        let (outcome, trace) = explorer.run_once(&mut strategy, None);
        strategy.end(&trace, &outcome);
        if let Outcome::Failed(failure) = outcome {
            assert!(failure.words.starts_with("the flag is set, the data is 0 ("), "{failure}");
            assert_eq!(failure.task, Some(1));
            failures += 1;
        }
    }
    assert!((20..400).contains(&failures), "{failures} of 500 runs panicked");
}

/// Each run adds to what set-up made and starts threads: the next must not see it.
struct Stateful;

struct Counting {
    runs: Mutex<Vec<u32>>,
    told: AtomicU32,
}

impl Scenario for Stateful {
    fn name(&self) -> String {
        "stateful".into()
    }

    fn settings(&self) -> Settings {
        Settings::switching(&[&toys::LOCK])
    }

    fn set_up(&self) -> Box<dyn Program> {
        let started = thread::spawn("helper", ThreadKind::Writeback, || {
            thread::spawn("helper's helper", ThreadKind::Reclaim, || {});
        });
        assert!(started);
        Box::new(Counting { runs: Mutex::new(&toys::LOCK, vec![1; 100]), told: AtomicU32::new(0) })
    }
}

impl Program for Counting {
    fn start(&self) {
        // Tasks end before the program does: it lies in the arena for good.
        let this: &'static Self = unsafe_static(self);
        for _ in 0..4 {
            client("adder", move || this.runs.lock().extend_from_slice(&[2; 50]));
        }
    }

    fn settle(&self) {
        self.told.fetch_add(1, Ordering::Relaxed);
        assert_eq!(self.runs.lock().len(), 300);
    }

    fn check(&self, end: &End) -> Result<(), Failure> {
        let sum: u32 = self.runs.lock().iter().sum();
        assert_eq!((self.told.load(Ordering::Relaxed), *end), (1, End::Quiet));
        if sum == 500 { Ok(()) } else { Err(Failure::new("sum", sum.to_string())) }
    }
}

fn unsafe_static<T>(value: &T) -> &'static T {
    // SAFETY: of a value in the arena, used during a run only.
    unsafe { &*std::ptr::from_ref(value) }
}

#[test]
fn every_run_starts_from_what_set_up_made() {
    let mut explorer = prepare(&Stateful);
    assert!(explorer.snapshot_len() < 64 << 10, "{} bytes", explorer.snapshot_len());
    let report = explore(&mut explorer, &mut Random::new(3), &Budget::schedules(1_000), |_| {});
    assert!(matches!(report.verdict, Verdict::Clean), "{:?}", report.verdict);
    assert!(report.progress.distinct > 20, "{} partial orders", report.progress.distinct);
}

/// The second half of a run never happens.
struct Crashing;

impl Scenario for Crashing {
    fn name(&self) -> String {
        "crashing".into()
    }

    fn settings(&self) -> Settings {
        Settings::switching(&[&toys::CELL])
    }

    fn set_up(&self) -> Box<dyn Program> {
        Box::new(Crashed)
    }
}

struct Crashed;

impl Program for Crashed {
    fn start(&self) {
        client("writer", || {
            if platform::host::choose(2, "crash") == 1 {
                explorer::runtime::stop("power failure");
            }
        });
    }

    fn check(&self, end: &End) -> Result<(), Failure> {
        match end {
            End::Quiet => Ok(()),
            End::Stopped(why) => Err(Failure::new("stopped", *why)),
        }
    }
}

#[test]
fn a_run_that_is_stopped_is_checked_as_it_stands() {
    let report = explore(&mut prepare(&Crashing), &mut Random::new(1), &Budget::schedules(100), |_| {});
    let Verdict::Failed(failure, trace) = report.verdict else { panic!("{:?}", report.verdict) };
    assert_eq!((failure.kind.as_str(), failure.words.as_str()), ("stopped", "power failure"));
    assert_eq!(trace.faults(), 1);
}

#[test]
fn what_is_made_outside_survives_a_run() {
    let text = outside(|| String::from("kept"));
    drop(prepare(&toys::LOST_UPDATE));
    assert_eq!(text, "kept");
}

#[test]
fn set_up_that_panics_is_a_failure() {
    struct Broken;
    impl Scenario for Broken {
        fn name(&self) -> String {
            "broken".into()
        }
        fn settings(&self) -> Settings {
            Settings::switching(&[])
        }
        fn set_up(&self) -> Box<dyn Program> {
            panic!("no disk")
        }
    }
    let failure = Explorer::prepare(&Broken).err().expect("it panics");
    assert!(failure.words.starts_with("no disk"), "{failure}");
    assert_eq!(find(&toys::LOCKED_UPDATE, 0, 10), None);
}

/// The first runs of two scenarios, as numbers.
fn fingerprint() -> String {
    let mut text = String::new();
    for scenario in [&toys::LOCKED_UPDATE as &dyn Scenario, &toys::ABBA, &toys::FAULT, &Stateful] {
        let mut explorer = prepare(scenario);
        let mut strategy = Random::new(11);
        for _ in 0..50 {
            strategy.begin();
            let (outcome, trace) = explorer.run_once(&mut strategy, None);
            strategy.end(&trace, &outcome);
            // A deadlock names locks by their addresses: those are the same, too.
            text += &format!("{:x} {} {outcome:?}\n", trace.order, trace.decisions.len());
        }
    }
    text
}

const ASKED: &str = "FAULTLINE_TEST_FINGERPRINT";

/// Not a test of its own: what [`runs_are_the_same_in_every_process`] starts.
#[test]
fn fingerprint_for_the_other_process() {
    if let Some(path) = std::env::var_os(ASKED) {
        std::fs::write(path, fingerprint()).expect("the fingerprint is written");
    }
}

#[test]
fn runs_are_the_same_in_every_process() {
    let path = std::env::temp_dir().join(format!("faultline-fingerprint-{}", std::process::id()));
    let ended = std::process::Command::new(std::env::current_exe().expect("this test is a program"))
        .args(["--exact", "fingerprint_for_the_other_process"])
        .env(ASKED, &path)
        .stdout(std::process::Stdio::null())
        .status()
        .expect("this test starts itself");
    let theirs = std::fs::read_to_string(&path).expect("the other process wrote its fingerprint");
    std::fs::remove_file(&path).expect("it can be removed");
    assert!(ended.success());
    let ours = fingerprint();
    assert!(ours.lines().count() >= 200);
    let different = ours.lines().zip(theirs.lines()).position(|(ours, theirs)| ours != theirs);
    assert_eq!(different, None, "the first run that differs");
}
