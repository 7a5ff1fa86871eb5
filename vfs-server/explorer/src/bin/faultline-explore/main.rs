//! `faultline-explore`: the explorer's commands.
//!
//! Owns: what is typed and printed. Does not own: exploring ([`explorer`]), drawing
//! ([`explorer::report`]), and the experiments ([`explorer::experiments`]).
//!
//! | module | what |
//! |---|---|
//! | [`arguments`] | what can be typed |
//! | [`selection`], [`suggest`] | names and what they mean, or what was meant |
//! | [`list`] | what there is to explore |
//! | [`explore`] | one experiment |
//! | [`cell`] | one scenario of one variant, in this process |
//! | [`jobs`] | parts of the work in processes of their own |
//! | [`matrix`] | everything, compared with what is expected |
//! | [`mutants`] | code that is broken on purpose must be caught |
//! | [`replay`], [`debugger`] | a stored schedule, drawn, as a page, in gdb |
//! | [`progress`] | what is shown meanwhile |

mod arguments;
mod cell;
mod debugger;
mod explore;
mod jobs;
mod list;
mod matrix;
mod mutants;
mod progress;
mod replay;
mod selection;
mod suggest;

use arguments::{Arguments, Command};
use clap::Parser;
use std::process::ExitCode;

/// Status when something broke, or is not as expected.
const BAD: u8 = 1;

/// Status when what was typed cannot be done.
const UNUSABLE: u8 = 2;

fn main() -> ExitCode {
    let typed = Arguments::parse();
    let good = match typed.command {
        None if typed.explore.experiment.is_none() => {
            list::run(typed.explore.json);
            Ok(true)
        }
        None => explore::run(&typed.explore),
        Some(Command::List(options)) => {
            list::run(options.json);
            Ok(true)
        }
        Some(Command::Replay(options)) => replay::run(&options),
        Some(Command::Matrix(options)) => matrix::run(&options),
        Some(Command::Mutants(options)) => mutants::run(&options),
    };
    match good {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(BAD),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(UNUSABLE)
        }
    }
}

/// The command that `arguments` must be given to, as the user has typed it.
fn typed() -> String {
    std::env::var("FAULTLINE_TYPED").unwrap_or_else(|_| "faultline-explore".to_owned())
}
