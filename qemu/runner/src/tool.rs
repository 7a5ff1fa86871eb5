//! External programs: where they are, which package has them, and runs that end.

use anyhow::{Context, Result, bail};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A program that is not ours, and the Debian package it comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tool {
    /// The program's file name.
    pub name: &'static str,
    /// The Debian package.
    pub package: &'static str,
}

/// The machine emulator.
pub const QEMU: Tool = Tool { name: "qemu-system-x86_64", package: "qemu-system-x86" };
/// Makes ext4 file systems.
pub const MKE2FS: Tool = Tool { name: "mke2fs", package: "e2fsprogs" };
/// Checks ext4 file systems.
pub const E2FSCK: Tool = Tool { name: "e2fsck", package: "e2fsprogs" };
/// Reads and edits ext4 file systems without mounting them.
pub const DEBUGFS: Tool = Tool { name: "debugfs", package: "e2fsprogs" };

/// Where Debian keeps administrators' programs, which a user's PATH need not name.
const SYSTEM_FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

impl Tool {
    /// The program's path, if it is installed.
    pub fn find(self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .chain(SYSTEM_FOLDERS.iter().map(PathBuf::from))
            .map(|folder| folder.join(self.name))
            .find(|file| file.is_file())
    }

    /// A command of it without arguments.
    ///
    /// # Errors
    /// It is not installed; the error names the package.
    pub fn command(self) -> Result<Command> {
        let Some(path) = self.find() else {
            bail!("{} is not installed (Debian package {})", self.name, self.package);
        };
        Ok(Command::new(path))
    }
}

/// A command that runs with the administrator's rights: directly for root, by sudo for others.
///
/// # Errors
/// The machine does not say who we are.
pub fn administrator(program: &str) -> Result<Command> {
    let user = run_ok(Command::new("id").arg("-u"), Duration::from_secs(10))?;
    let mut command = if user.trim() == "0" { Command::new("env") } else { Command::new("sudo") };
    if user.trim() != "0" {
        command.arg("env");
    }
    command.args(["DEBIAN_FRONTEND=noninteractive", program]);
    Ok(command)
}

/// A run that ended by itself.
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to its standard output and, behind that, to its standard error.
    pub output: String,
}

/// Runs `command` to its end, at most `limit` long, with its input empty.
///
/// # Errors
/// It could not be started, or was killed because its time was over.
pub fn run(command: &mut Command, limit: Duration) -> Result<Finished> {
    let name = describe(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let Some(status) = wait_until(&mut child, Instant::now() + limit)? else {
        child.kill().ok();
        child.wait().ok();
        bail!("{name} did not end within {} s and was killed", limit.as_secs());
    };
    let mut output = stdout.join().unwrap_or_default();
    output.push_str(&stderr.join().unwrap_or_default());
    Ok(Finished { status, output })
}

/// Runs `command` and wants status 0.
///
/// # Errors
/// As [`run`], and a status that is not 0; the error has the end of the program's output.
pub fn run_ok(command: &mut Command, limit: Duration) -> Result<String> {
    let finished = run(command, limit)?;
    if !finished.status.success() {
        bail!("{} failed ({}):\n{}", describe(command), finished.status, tail(&finished.output, 20));
    }
    Ok(finished.output)
}

/// Waits for a child to end; `None` if it still runs at `deadline`.
///
/// # Errors
/// The operating system cannot say.
pub fn wait_until(child: &mut std::process::Child, deadline: Instant) -> Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The last `lines` lines of a text.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// The command as one would type it.
pub fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    std::iter::once(program).chain(command.get_args()).map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn collect(stream: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // What came before a read error is still worth showing.
            stream.read_to_end(&mut bytes).ok();
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_does_not_end_is_killed() {
        let start = Instant::now();
        let error = run(Command::new("sleep").arg("600"), Duration::from_millis(50)).err().unwrap();
        assert!(error.to_string().contains("sleep 600 did not end"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn a_failure_shows_what_the_program_said() {
        let error = run_ok(Command::new("sh").args(["-c", "echo why >&2; exit 3"]), Duration::from_secs(60));
        let text = error.unwrap_err().to_string();
        assert!(text.contains("why") && text.contains('3'), "{text}");
    }
}
