//! `etc/boot.conf`: `key=value` lines that say what the machine is to do.

/// What happens once the file system is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The programs of `tests` run in turn, then the machine ends.
    Test,
    /// The interactive shell, and its end ends the machine.
    Shell,
    /// As `Test`, for the benchmark programs.
    Bench,
    /// The programs of `tests` run without a file server.
    Contract,
}

/// The configuration's text.
#[derive(Clone, Copy, Debug)]
pub struct BootConf<'a>(pub &'a str);

impl<'a> BootConf<'a> {
    /// The value of `key`.
    pub fn value(self, key: &str) -> Option<&'a str> {
        self.lines().find_map(|(name, value)| (name == key).then_some(value))
    }

    /// What to do; `None` if the line is missing or unknown.
    pub fn mode(self) -> Option<Mode> {
        Some(match self.value("mode")? {
            "test" => Mode::Test,
            "shell" => Mode::Shell,
            "bench" => Mode::Bench,
            "contract" => Mode::Contract,
            _ => return None,
        })
    }

    /// The programs to run, in order.
    pub fn programs(self) -> impl Iterator<Item = &'a str> {
        self.value("tests").unwrap_or("").split(',').filter(|name| !name.is_empty())
    }

    /// The lines that are the server's business: all that are not ours.
    pub fn server_lines(self) -> impl Iterator<Item = &'a str> {
        self.0.lines().filter(|line| {
            line.split_once('=').is_some_and(|(key, _)| !matches!(key.trim(), "mode" | "tests" | "deadline"))
                && !line.starts_with('#')
        })
    }

    /// Whether the kernel prints messages and faults.
    pub fn trace(self) -> bool {
        self.value("trace") == Some("1")
    }

    fn lines(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.lines().filter_map(|line| line.split_once('=')).map(|(key, value)| (key.trim(), value.trim()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn the_file_is_understood() {
        let conf =
            BootConf("mode=test\ntests=read_write,map\ndisk=virtio0\nrw=1\nopt.inline=mmap-time\ndeadline=fail:9\n");
        assert_eq!(conf.mode(), Some(Mode::Test));
        assert_eq!(conf.programs().collect::<Vec<_>>(), ["read_write", "map"]);
        assert_eq!(conf.value("deadline"), Some("fail:9"));
        assert_eq!(conf.server_lines().collect::<Vec<_>>(), ["disk=virtio0", "rw=1", "opt.inline=mmap-time"]);
    }

    #[test]
    fn what_is_missing_or_unknown_is_none() {
        assert_eq!(BootConf("").mode(), None);
        assert!(!BootConf("trace=0").trace() && BootConf("mode=test\ntrace=1").trace());
        assert_eq!(BootConf("mode=party").mode(), None);
        assert_eq!(BootConf("mode=shell").programs().count(), 0);
    }
}
