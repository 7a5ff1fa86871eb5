//! What a run shows while it goes on: a bar on a terminal, plain lines elsewhere.

use indicatif::{ProgressBar, ProgressStyle};
use runner::protocol::Event;
use runner::test_run::Watcher;
use std::collections::VecDeque;
use std::time::Duration;

/// Which of the guest's other lines are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chatter {
    /// None, and no verdict either: a failure is summarised later.
    Nothing,
    /// Only the last ones of a test that failed.
    OfFailures,
    /// All of them.
    All,
}

/// Lines of a failed test that are shown.
const SHOWN: usize = 30;

/// Shows a test run.
pub struct Progress {
    bar: ProgressBar,
    chatter: Chatter,
    said: VecDeque<String>,
}

impl Progress {
    /// A run of `tests` tests, called `title`.
    pub fn new(title: &str, tests: usize, chatter: Chatter) -> Self {
        let bar = ProgressBar::new(tests as u64);
        let style = ProgressStyle::with_template("  {prefix} [{bar:30}] {pos}/{len} {elapsed} {wide_msg}");
        bar.set_style(style.expect("the template is a constant").progress_chars("=> "));
        bar.set_prefix(title.to_string());
        bar.set_message("booting");
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, chatter, said: VecDeque::new() }
    }

    /// Takes the bar away.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }

    fn verdict(&self, line: &str) {
        if self.chatter != Chatter::Nothing {
            self.print(line);
        }
    }

    fn print(&self, line: &str) {
        // A hidden bar would swallow the line.
        if self.bar.is_hidden() { println!("{line}") } else { self.bar.println(line) }
    }
}

impl Watcher for Progress {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Start(name) => {
                self.said.clear();
                self.bar.set_message(name.clone());
            }
            Event::Pass(name, ns) => {
                self.bar.inc(1);
                self.verdict(&format!("  pass  {name}  {}", milliseconds(*ns)));
            }
            Event::Skip(name, reason) => {
                self.bar.inc(1);
                self.verdict(&format!("  skip  {name}: {reason}"));
            }
            Event::Fail(name, reason) => {
                self.bar.inc(1);
                self.verdict(&format!("  FAIL  {name}: {reason}"));
                if self.chatter == Chatter::OfFailures {
                    self.said.iter().for_each(|line| self.print(&format!("        | {line}")));
                }
            }
            Event::Bench(row, instructions) => self.verdict(&format!("        {row}: {instructions}")),
            Event::Done { .. } => self.bar.set_message("shutting down"),
        }
    }

    fn text(&mut self, line: &str) {
        if self.chatter == Chatter::All {
            self.print(&format!("        | {line}"));
        }
        if self.said.len() == SHOWN {
            self.said.pop_front();
        }
        self.said.push_back(line.to_string());
    }
}

/// Nanoseconds for a reader.
pub fn milliseconds(ns: u64) -> String {
    format!("{}.{:03} ms", ns / 1_000_000, ns / 1000 % 1000)
}
