//! Follows a guest through its tests to a verdict for each, and to the truth about its end.
//!
//! A run ends when the guest shut down, died or hung. Nothing is believed that was not seen: a test
//! without a `pass` line has not passed, the guest's own count must be ours, and a machine that went
//! away without being told to (QEMU's status 0 is a triple fault's) is a failure.

use crate::guest::{Guest, Heard};
use crate::protocol::{self, Event, Line};
use anyhow::Result;
use std::time::{Duration, Instant};

/// Most time that a run and its parts may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From one event to the next: a test's time, the boot's, the shutdown's.
    pub step: Duration,
    /// The whole run.
    pub run: Duration,
}

impl Default for Limits {
    /// Many times what a slow machine needs, as the limits are only there to end hangs.
    fn default() -> Self {
        Self { step: Duration::from_secs(60), run: Duration::from_secs(900) }
    }
}

/// How a machine that is done says so by QEMU's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerOff {
    /// Through isa-debug-exit: `code << 1 | 1`, so that 0 is a reset.
    DebugExit,
    /// Through ACPI, as a PC: 0.
    Acpi,
}

/// How a test ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It said so.
    Passed {
        /// Guest time.
        ns: u64,
    },
    /// It failed, and why.
    Failed(String),
    /// It could not run, and why.
    Skipped(String),
}

/// How the machine ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The guest shut down with this code; 0 is success.
    Shutdown(i32),
    /// It stopped without having been told to: a triple fault, or QEMU failed.
    Died(String),
    /// Nothing happened for too long, and it was killed.
    Hung {
        /// The test that was running, if one was.
        during: Option<String>,
        /// What the guest answered when asked who waits for whom.
        waits: Vec<String>,
    },
}

/// What a run was seen to do.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// A verdict for every test that was planned or that reported.
    pub tests: Vec<(String, Verdict)>,
    /// Measured rows, in the order in which they came.
    pub bench: Vec<(String, u64)>,
    /// How the machine ended.
    pub end: End,
    /// What else was wrong: garbled lines, counts that differ.
    pub complaints: Vec<String>,
    /// The last lines of the serial port.
    pub tail: Vec<String>,
}

impl Outcome {
    /// Whether all that was planned passed or was skipped for a reason, and the machine shut down cleanly.
    pub fn is_success(&self) -> bool {
        self.end == End::Shutdown(0)
            && self.complaints.is_empty()
            && !self.tests.iter().any(|(_, verdict)| matches!(verdict, Verdict::Failed(_)))
    }
}

/// Is told what happens while it happens.
pub trait Watcher {
    /// One of our lines came.
    fn event(&mut self, event: &Event);
    /// Another line came.
    fn text(&mut self, line: &str);
}

/// Watches nothing.
impl Watcher for () {
    fn event(&mut self, _: &Event) {}
    fn text(&mut self, _: &str) {}
}

/// Follows `guest`, which is to run `planned`, to its end.
///
/// # Errors
/// The operating system cannot say how QEMU ended.
pub fn follow(
    mut guest: Guest,
    planned: &[String],
    power_off: PowerOff,
    limits: Limits,
    watcher: &mut dyn Watcher,
) -> Result<Outcome> {
    let mut ledger = Ledger::default();
    let start = Instant::now();
    let mut last_event = start;
    let end = loop {
        let deadline = (last_event + limits.step).min(start + limits.run);
        match guest.hear(deadline.saturating_duration_since(Instant::now())) {
            Heard::Line(line) => match protocol::parse(&line) {
                Line::Event(event) => {
                    last_event = Instant::now();
                    watcher.event(&event);
                    ledger.note(event);
                }
                Line::Garbled => {
                    watcher.text(&line);
                    ledger.complaints.push(format!("garbled line: {line:?}"));
                }
                Line::Text => {
                    watcher.text(&line);
                    // Chatter is not progress, but it must not keep us from looking at the time either.
                    if Instant::now() >= deadline {
                        break hung(&mut guest, &ledger, watcher);
                    }
                }
            },
            Heard::Silence => break hung(&mut guest, &ledger, watcher),
            Heard::Closed => {
                let tail = guest.tail();
                let end = ended(guest.wait(limits.step)?, power_off, ledger.done.is_some());
                return Ok(ledger.close(planned, end, tail));
            }
        }
    };
    let tail = guest.tail();
    Ok(ledger.close(planned, end, tail))
}

fn hung(guest: &mut Guest, ledger: &Ledger, watcher: &mut dyn Watcher) -> End {
    let waits = guest.ask_who_waits(Duration::from_secs(3));
    waits.iter().for_each(|line| watcher.text(line));
    End::Hung { during: ledger.running.clone(), waits }
}

fn ended(status: Option<std::process::ExitStatus>, power_off: PowerOff, done: bool) -> End {
    match status.map(|status| status.code()) {
        None => End::Died("QEMU closed the serial port but did not end".into()),
        Some(None) => End::Died("QEMU was killed by a signal".into()),
        Some(Some(0)) if power_off == PowerOff::Acpi && done => End::Shutdown(0),
        Some(Some(code)) if power_off == PowerOff::Acpi => {
            End::Died(format!("it was not done; QEMU's status is {code}"))
        }
        // QEMU's own errors are status 1 as well: only a guest that was done has shut down with 0.
        Some(Some(1)) if !done => End::Died("it ended before its tests were done".into()),
        Some(Some(code)) if code & 1 == 1 => End::Shutdown(code >> 1),
        Some(Some(code)) => End::Died(format!("it was reset (a triple fault?); QEMU's status is {code}")),
    }
}

/// What has been seen so far.
#[derive(Default)]
struct Ledger {
    tests: Vec<(String, Verdict)>,
    bench: Vec<(String, u64)>,
    running: Option<String>,
    done: Option<(u64, u64)>,
    complaints: Vec<String>,
}

impl Ledger {
    fn note(&mut self, event: Event) {
        match event {
            Event::Start(name) => {
                if let Some(other) = self.running.replace(name) {
                    self.verdict(other, Verdict::Failed("ended without a verdict".into()));
                }
            }
            Event::Pass(name, ns) => self.verdict(name, Verdict::Passed { ns }),
            Event::Fail(name, reason) => self.verdict(name, Verdict::Failed(reason)),
            Event::Skip(name, reason) => self.verdict(name, Verdict::Skipped(reason)),
            Event::Bench(row, instructions) => self.bench.push((row, instructions)),
            Event::Done { passed, failed } => self.done = Some((passed, failed)),
        }
    }

    fn verdict(&mut self, name: String, verdict: Verdict) {
        if self.running.as_ref() == Some(&name) {
            self.running = None;
        }
        if self.tests.iter().any(|(other, _)| *other == name) {
            self.complaints.push(format!("{name} reported twice"));
        } else {
            self.tests.push((name, verdict));
        }
    }

    fn close(mut self, planned: &[String], end: End, tail: Vec<String>) -> Outcome {
        if let Some(name) = self.running.take() {
            let reason = if matches!(end, End::Hung { .. }) { "hung" } else { "the machine ended under it" };
            self.verdict(name, Verdict::Failed(reason.into()));
        }
        let count = |wanted: fn(&Verdict) -> bool| self.tests.iter().filter(|(_, it)| wanted(it)).count() as u64;
        let passed = count(|verdict| matches!(verdict, Verdict::Passed { .. }));
        let failed = count(|verdict| matches!(verdict, Verdict::Failed(_)));
        match self.done {
            None => self.complaints.push("the guest did not say that it was done".into()),
            Some((p, f)) if (p, f) != (passed, failed) => {
                self.complaints.push(format!("the guest counts {p} passed, {f} failed; we saw {passed} and {failed}"));
            }
            Some(_) => {}
        }
        for name in planned {
            if !self.tests.iter().any(|(other, _)| other == name) {
                self.tests.push((name.clone(), Verdict::Failed("did not run".into())));
            }
        }
        Outcome { tests: self.tests, bench: self.bench, end, complaints: self.complaints, tail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Follows a shell script that plays the guest.
    fn play(script: &str, planned: &[&str], limits: Limits) -> Outcome {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let log = std::env::temp_dir().join(format!("faultline-run-{}-{number}", std::process::id()));
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let guest = Guest::start(command, &log).unwrap();
        let planned: Vec<_> = planned.iter().map(|name| name.to_string()).collect();
        let outcome = follow(guest, &planned, PowerOff::DebugExit, limits, &mut ()).unwrap();
        std::fs::remove_file(log).ok();
        outcome
    }

    const GOOD: &str = "echo booting; echo '##fl start a'; echo '##fl pass a ns=5'; echo '##fl start b'; \
                        echo '##fl skip b one CPU'; echo '##fl done passed=1 failed=0';";

    #[test]
    fn a_clean_run_succeeds() {
        let outcome = play(&format!("{GOOD} exit 1"), &["a", "b"], Limits::default());
        assert!(outcome.is_success(), "{outcome:?}");
        assert_eq!(outcome.tests[0], ("a".into(), Verdict::Passed { ns: 5 }));
        assert_eq!(outcome.tests[1], ("b".into(), Verdict::Skipped("one CPU".into())));
    }

    #[test]
    fn a_test_that_did_not_run_is_a_failure() {
        let outcome = play(&format!("{GOOD} exit 1"), &["a", "b", "c"], Limits::default());
        assert!(!outcome.is_success());
        assert_eq!(outcome.tests[2], ("c".into(), Verdict::Failed("did not run".into())));
    }

    #[test]
    fn a_shutdown_code_and_a_reset_are_told_apart() {
        assert_eq!(play(&format!("{GOOD} exit 7"), &["a"], Limits::default()).end, End::Shutdown(3));
        assert!(matches!(play(&format!("{GOOD} exit 0"), &["a"], Limits::default()).end, End::Died(_)));
        assert!(matches!(play("exit 1", &[], Limits::default()).end, End::Died(_)));
    }

    #[test]
    fn counts_that_differ_are_complained_about() {
        let outcome = play("echo '##fl done passed=1 failed=0'; exit 1", &[], Limits::default());
        assert!(!outcome.is_success());
        assert!(outcome.complaints[0].contains("we saw 0 and 0"), "{outcome:?}");
    }

    #[test]
    fn a_test_that_ends_without_a_verdict_fails() {
        let script = "echo '##fl start a'; echo '##fl start b'; echo '##fl pass b ns=1'; \
                      echo '##fl done passed=1 failed=1'; exit 1";
        let outcome = play(script, &["a", "b"], Limits::default());
        assert_eq!(outcome.tests[0], ("a".into(), Verdict::Failed("ended without a verdict".into())));
    }

    #[test]
    fn a_hang_is_named_even_under_chatter() {
        let limits = Limits { step: Duration::from_millis(300), run: Duration::from_secs(60) };
        for script in ["echo '##fl start a'; exec sleep 600", "echo '##fl start a'; while :; do echo noise; done"] {
            let outcome = play(script, &["a"], limits);
            assert!(matches!(&outcome.end, End::Hung { during: Some(name), .. } if name == "a"), "{:?}", outcome.end);
            assert_eq!(outcome.tests[0], ("a".into(), Verdict::Failed("hung".into())));
        }
    }
}
