//! What an exploration shows while it goes on: a line that changes on a terminal, plain lines
//! elsewhere, a machine's lines to the process that shares out the work.

use explorer::report::numbers::grouped;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// How far an exploration, or a part of it, has come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// Schedules that were run.
    pub schedules: u64,
    /// Different ones among them.
    pub distinct: u64,
    /// The preemption bound that is being worked on.
    pub bound: Option<u32>,
    /// The strategy at work.
    pub strategy: String,
}

/// A plain line after each of these.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// A machine's line after each of these.
const MACHINE_EVERY: Duration = Duration::from_millis(200);

/// Where progress is shown.
pub enum Show {
    /// On a terminal.
    Bar(ProgressBar),
    /// In lines, on standard error.
    Plain { title: String, next: Instant },
    /// On standard output, for [`Progress::from_str`].
    Machine { next: Instant },
    /// Nowhere.
    Nothing,
}

impl Show {
    /// For a person.
    pub fn person(title: &str) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::Plain { title: title.to_owned(), next: Instant::now() + PLAIN_EVERY };
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("  {spinner} {prefix}  {elapsed}  {wide_msg}");
        bar.set_style(style.expect("the template is a constant"));
        bar.set_prefix(title.to_owned());
        bar.enable_steady_tick(Duration::from_millis(150));
        Self::Bar(bar)
    }

    /// For the process that has started this one.
    pub fn machine() -> Self {
        Self::Machine { next: Instant::now() }
    }

    /// Shows where an exploration is after `elapsed`.
    pub fn update(&mut self, progress: &Progress, elapsed: Duration) {
        match self {
            Self::Bar(bar) => bar.set_message(progress.words(elapsed)),
            Self::Plain { title, next } if Instant::now() >= *next => {
                *next = Instant::now() + PLAIN_EVERY;
                eprintln!("  {title}: {} s, {}", elapsed.as_secs(), progress.words(elapsed));
            }
            Self::Machine { next } if Instant::now() >= *next => {
                *next = Instant::now() + MACHINE_EVERY;
                // Nobody listens any more: the work still counts.
                let _ = writeln!(std::io::stdout(), "{}", progress.machine_line());
            }
            Self::Plain { .. } | Self::Machine { .. } | Self::Nothing => {}
        }
    }

    /// Takes the changing line away.
    pub fn finish(self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

impl Progress {
    fn words(&self, elapsed: Duration) -> String {
        let rate = self.schedules as f64 / elapsed.as_secs_f64().max(0.001);
        let mut words = format!("{} schedules, {}/s", grouped(self.schedules), grouped(rate as u64));
        if self.distinct > 0 {
            words += &format!(", {} different", grouped(self.distinct));
        }
        if let Some(bound) = self.bound {
            words += &format!(", bound {bound}");
        }
        if !self.strategy.is_empty() {
            words += &format!(" ({})", self.strategy);
        }
        words
    }

    fn machine_line(&self) -> String {
        let bound = self.bound.map_or(-1, i64::from);
        format!("progress {} {} {bound} {}", self.schedules, self.distinct, self.strategy)
    }

    /// Several parts at once.
    pub fn sum<'a>(parts: impl Iterator<Item = &'a Self>) -> Self {
        parts.fold(Self::default(), |sum, part| Self {
            schedules: sum.schedules + part.schedules,
            distinct: sum.distinct + part.distinct,
            bound: part.bound.or(sum.bound),
            strategy: if part.strategy.is_empty() { sum.strategy } else { part.strategy.clone() },
        })
    }
}

/// Of [`Progress::machine_line`].
impl FromStr for Progress {
    type Err = ();

    fn from_str(line: &str) -> Result<Self, ()> {
        let mut words = line.strip_prefix("progress ").ok_or(())?.splitn(4, ' ');
        let mut number = || words.next().and_then(|word| word.parse::<i64>().ok()).ok_or(());
        let (schedules, distinct, bound) = (number()?, number()?, number()?);
        Ok(Self {
            schedules: schedules.try_into().map_err(drop)?,
            distinct: distinct.try_into().map_err(drop)?,
            bound: u32::try_from(bound).ok(),
            strategy: words.next().unwrap_or_default().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_survives_the_way_between_processes() {
        for bound in [None, Some(2)] {
            let progress = Progress { schedules: 12_000, distinct: 40, bound, strategy: "PCT 3".into() };
            assert_eq!(progress.machine_line().parse(), Ok(progress));
        }
        assert!("something else".parse::<Progress>().is_err());
    }

    #[test]
    fn parts_add_up() {
        let part = Progress { schedules: 5, distinct: 2, bound: Some(1), strategy: "pb".into() };
        let sum = Progress::sum([part.clone(), part].iter());
        assert_eq!(sum.words(Duration::from_secs(2)), "10 schedules, 5/s, 4 different, bound 1 (pb)");
    }
}
