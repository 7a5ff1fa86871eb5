//! `faultline`: the server's commands on Linux.
//!
//! The explorer links another host under the same server code, so it is a program of its own; like
//! cargo with its subcommands, `faultline explore` runs `faultline-explore` from beside itself.

use std::env;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

const USAGE: &str = "\
usage: faultline COMMAND [ARGUMENTS]

  explore [NAME ..]  run the server's code under every interleaving; without a name, list the experiments
  replay FILE ..     run a stored schedule again, step by step, and draw it
  matrix ..          explore every variant of every experiment
  mutants ..         break the server's code on purpose and see each defect found

`faultline COMMAND --help` says more.";

/// Status when what was typed cannot be done.
const UNUSABLE: u8 = 2;

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let command = arguments.next().unwrap_or_default();
    let arguments: Vec<_> = arguments.collect();
    match command.to_str() {
        Some("explore") => explorer(None, &arguments),
        Some("replay" | "matrix" | "mutants") => explorer(Some(command), &arguments),
        Some("help" | "--help" | "-h") => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        Some("--version" | "-V") => {
            println!("faultline {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Some("") => unusable(USAGE),
        _ => unusable(&format!("faultline: there is no command {command:?}\n\n{USAGE}")),
    }
}

/// Becomes `faultline-explore COMMAND ARGUMENTS`; returns only if that is not possible.
fn explorer(command: Option<OsString>, arguments: &[OsString]) -> ExitCode {
    let program = match env::current_exe() {
        Ok(program) => program.with_file_name("faultline-explore"),
        Err(error) => return unusable(&format!("faultline: cannot tell where it is: {error}")),
    };
    let typed = if command.is_some() { "faultline" } else { "faultline explore" };
    let error = Command::new(&program).args(command).args(arguments).env("FAULTLINE_TYPED", typed).exec();
    let program = program.display();
    if error.kind() == ErrorKind::NotFound {
        return unusable(&format!(
            "faultline: {program} is not there; `cargo build --profile explore -p linux -p explorer` builds both"
        ));
    }
    unusable(&format!("faultline: cannot run {program}: {error}"))
}

fn unusable(why: &str) -> ExitCode {
    eprintln!("{why}");
    ExitCode::from(UNUSABLE)
}
