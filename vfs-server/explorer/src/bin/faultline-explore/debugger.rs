//! A replay in gdb, stopped in the task that does the step.
//!
//! A replay is the same run in every process, so the step at which it fails is found by a first one,
//! and gdb runs a second one up to there.

use anyhow::{Error, anyhow};
use std::hint::black_box;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Called in each step of a replay by the task that does it: the place for breakpoints.
#[inline(never)]
pub fn explorer_step(step: u32) {
    black_box(step);
}

/// Becomes gdb with the same replay, stopped at `step`; returns only if that is not possible.
pub fn start(step: u32) -> Error {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return anyhow!("cannot tell where this program is: {error}"),
    };
    let own = ["--gdb"];
    let arguments = std::env::args_os().skip(1).filter(|argument| !own.iter().any(|own| argument == own));
    // The number is in the first argument's register; the build has lines for gdb, but no variables.
    let stop = format!("break faultline_explore::debugger::explorer_step if $edi == {step}");
    let mut gdb = Command::new("gdb");
    gdb.args(["-q", "-ex", "set print thread-events off", "-ex", &stop, "-ex", "run", "-ex", "backtrace", "--args"]);
    gdb.arg(&program).args(without_step(arguments));
    let error = gdb.exec();
    match error.kind() {
        ErrorKind::NotFound => anyhow!("gdb is not installed (on Debian: apt install gdb)"),
        _ => anyhow!("cannot start gdb: {error}"),
    }
}

/// The arguments without `--step N`, which only goes with `--gdb`.
fn without_step(arguments: impl Iterator<Item = std::ffi::OsString>) -> Vec<std::ffi::OsString> {
    let mut kept = Vec::new();
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--step") => drop(arguments.next()),
            Some(text) if text.starts_with("--step=") => {}
            _ => kept.push(argument),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_step_is_left_out() {
        let typed = ["replay", "--step", "7", "a", "--step=8", "--width", "80"].map(std::ffi::OsString::from);
        assert_eq!(without_step(typed.into_iter()), ["replay", "a", "--width", "80"]);
    }
}
