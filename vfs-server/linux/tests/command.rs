//! `faultline` as it is typed: its commands become `faultline-explore`, from beside itself.
//!
//! The explorer is played by a script, for what it does is tested where it is; what is tested here is what
//! reaches it, and what comes back.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

/// A folder with `faultline` in it, removed in the end.
struct Installed(PathBuf);

impl Installed {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("faultline-command-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_faultline"), folder.join("faultline")).unwrap();
        Self(folder)
    }

    /// With an explorer that says what it was asked, and ends with `status`.
    fn with_explorer(self, status: i32) -> Self {
        let program = self.0.join("faultline-explore");
        fs::write(&program, format!("#!/bin/sh\necho \"$FAULTLINE_TYPED: $*\"\nexit {status}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(self.0.join("faultline")).args(arguments).output().unwrap()
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_string()
}

#[test]
fn commands_become_the_explorer_with_their_arguments_and_its_status() {
    let installed = Installed::new("status").with_explorer(1);
    for (typed, asked) in [
        (&["explore", "fault-pool", "--variant", "shared"][..], "faultline explore: fault-pool --variant shared"),
        (&["explore"], "faultline explore:"),
        (&["replay", "a schedule"], "faultline: replay a schedule"),
        (&["matrix", "--brief"], "faultline: matrix --brief"),
        (&["mutants"], "faultline: mutants"),
    ] {
        let output = installed.run(typed);
        assert_eq!((text(&output.stdout).as_str(), output.status.code()), (asked, Some(1)), "{typed:?}");
    }
}

#[test]
fn without_the_explorer_beside_it_it_says_how_to_get_it() {
    let output = Installed::new("alone").run(&["explore"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("faultline-explore is not there") && said.contains("cargo build"), "{said}");
}

#[test]
fn what_is_no_command_is_refused_with_those_that_there_are() {
    let installed = Installed::new("refused").with_explorer(0);
    for typed in [&["explode"][..], &[]] {
        let output = installed.run(typed);
        assert_eq!(output.status.code(), Some(2), "{typed:?}");
        assert!(text(&output.stderr).contains("replay FILE"), "{}", text(&output.stderr));
    }
    assert_eq!(installed.run(&["help"]).status.code(), Some(0));
}
