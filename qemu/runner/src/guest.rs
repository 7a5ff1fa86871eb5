//! A running QEMU: lines out, keys in, every wait bounded.

use crate::tool;
use anyhow::{Context, Result};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// The key (Ctrl-T, as BSD terminals have it for "status") at which a guest prints who waits for whom.
pub const STATUS_KEY: u8 = 0x14;

/// Lines that are kept for a report.
const TAIL: usize = 40;
/// Lines of an answer to the status key.
const MOST_ANSWER: usize = 500;
/// Lines that wait for us before the guest has to.
const BACKLOG: usize = 4096;
/// A guest that never ends its line does not fill our memory.
const LONGEST_LINE: u64 = 64 << 10;

/// What came in the time that one waited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A line of the serial port, without its end.
    Line(String),
    /// Nothing.
    Silence,
    /// The serial port is closed: QEMU ends.
    Closed,
}

/// A QEMU process. Dropping it kills it.
pub struct Guest {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    log: File,
    tail: VecDeque<String>,
}

impl Guest {
    /// Starts `command`, whose standard input and output are the guest's serial port. All lines go to
    /// the file `log` too; what QEMU itself complains about comes as a line that begins with `qemu: `.
    ///
    /// # Errors
    /// QEMU cannot be started or the log not be written.
    pub fn start(mut command: Command, log: &Path) -> Result<Self> {
        let mut log = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        writeln!(log, "$ {}", tool::describe(&command))?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", tool::describe(&command)))?;
        let (sender, lines) = sync_channel(BACKLOG);
        if let Some(stderr) = child.stderr.take() {
            forward("qemu: ", stderr, sender.clone());
        }
        if let Some(stdout) = child.stdout.take() {
            forward("", stdout, sender);
        }
        let input = child.stdin.take().context("QEMU has no standard input")?;
        Ok(Self { child, input, lines, log, tail: VecDeque::new() })
    }

    /// The next line, waiting at most `limit`.
    pub fn hear(&mut self, limit: Duration) -> Heard {
        match self.lines.recv_timeout(limit) {
            Ok(line) => {
                // The log is for humans; a full disk must not fail the run.
                writeln!(self.log, "{line}").ok();
                if self.tail.len() == TAIL {
                    self.tail.pop_front();
                }
                self.tail.push_back(line.clone());
                Heard::Line(line)
            }
            Err(RecvTimeoutError::Timeout) => Heard::Silence,
            Err(RecvTimeoutError::Disconnected) => Heard::Closed,
        }
    }

    /// Presses a key on the serial line.
    pub fn press(&mut self, key: u8) {
        // A guest that is gone is noticed at the next line.
        self.input.write_all(&[key]).and_then(|()| self.input.flush()).ok();
    }

    /// Presses [`STATUS_KEY`] and gives what the guest prints within `limit`.
    pub fn ask_who_waits(&mut self, limit: Duration) -> Vec<String> {
        self.press(STATUS_KEY);
        let end = Instant::now() + limit;
        let mut said = Vec::new();
        while Instant::now() < end && said.len() < MOST_ANSWER {
            match self.hear(end.saturating_duration_since(Instant::now())) {
                Heard::Line(line) => said.push(line),
                Heard::Silence | Heard::Closed => break,
            }
        }
        said
    }

    /// The last lines that were heard.
    pub fn tail(&self) -> Vec<String> {
        self.tail.iter().cloned().collect()
    }

    /// Waits for QEMU to end by itself; `None` if it had to be killed after `limit`.
    ///
    /// # Errors
    /// The operating system cannot say.
    pub fn wait(mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        tool::wait_until(&mut self.child, Instant::now() + limit)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn forward(prefix: &'static str, stream: impl Read + Send + 'static, lines: SyncSender<String>) {
    thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        loop {
            let mut bytes = Vec::new();
            match stream.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut bytes) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let text = String::from_utf8_lossy(&bytes);
            if lines.send(format!("{prefix}{}", text.trim_end_matches(['\r', '\n']))).is_err() {
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Guest {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let log = std::env::temp_dir().join(format!("faultline-guest-{}-{}", std::process::id(), script.len()));
        let guest = Guest::start(command, &log).unwrap();
        std::fs::remove_file(log).ok();
        guest
    }

    #[test]
    fn lines_come_in_order_and_then_the_end() {
        let mut guest = shell("printf 'one\\r\\ntwo\\nlast'");
        let minute = Duration::from_secs(60);
        for text in ["one", "two", "last"] {
            assert_eq!(guest.hear(minute), Heard::Line(text.into()));
        }
        assert_eq!(guest.hear(minute), Heard::Closed);
        assert_eq!(guest.tail(), ["one", "two", "last"]);
        assert_eq!(guest.wait(minute).unwrap().unwrap().code(), Some(0));
    }

    #[test]
    fn a_silent_guest_answers_the_status_key() {
        let mut guest = shell("read -r key; echo who waits; exec sleep 600");
        assert_eq!(guest.hear(Duration::from_millis(20)), Heard::Silence);
        guest.press(STATUS_KEY);
        guest.press(b'\n');
        assert_eq!(guest.hear(Duration::from_secs(60)), Heard::Line("who waits".into()));
        assert_eq!(guest.wait(Duration::from_millis(20)).unwrap(), None);
    }
}
