//! The guest's side of a test run, as lines on its serial port.
//!
//! A line that begins with `##fl ` is for us; every other line is the programs' own output. A guest
//! writes each of them by one call, so that two CPUs never interleave within one; a marker in the
//! middle of a line is therefore reported, not guessed at.

/// What a `##fl` line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// `start NAME`
    Start(String),
    /// `pass NAME ns=N`: guest time in nanoseconds.
    Pass(String, u64),
    /// `fail NAME REASON`
    Fail(String, String),
    /// `skip NAME REASON`
    Skip(String, String),
    /// `bench ROW INSTRUCTIONS`
    Bench(String, u64),
    /// `done passed=P failed=F`: the guest's own count, to be compared with ours.
    Done {
        /// Tests that the guest saw pass.
        passed: u64,
        /// Tests that the guest saw fail.
        failed: u64,
    },
}

/// What a line of the serial port is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Output of a program or of the kernel.
    Text,
    /// One of ours.
    Event(Event),
    /// Has our marker and is none of ours: an interleaved or a cut line.
    Garbled,
}

const MARKER: &str = "##fl ";

/// Takes a line (without its end) apart.
pub fn parse(line: &str) -> Line {
    match line.strip_prefix(MARKER) {
        Some(rest) if !rest.contains(MARKER) => event(rest).map_or(Line::Garbled, Line::Event),
        None if !line.contains(MARKER) => Line::Text,
        _ => Line::Garbled,
    }
}

fn event(line: &str) -> Option<Event> {
    let (verb, rest) = line.split_once(' ')?;
    let (name, tail) = match rest.split_once(' ') {
        Some((name, tail)) => (name, tail.trim()),
        None => (rest, ""),
    };
    if name.is_empty() {
        return None;
    }
    let named = name.to_string();
    Some(match verb {
        "start" if tail.is_empty() => Event::Start(named),
        "pass" => Event::Pass(named, tail.strip_prefix("ns=")?.parse().ok()?),
        "fail" => Event::Fail(named, tail.to_string()),
        "skip" if !tail.is_empty() => Event::Skip(named, tail.to_string()),
        "bench" => Event::Bench(named, tail.parse().ok()?),
        "done" => Event::Done {
            passed: name.strip_prefix("passed=")?.parse().ok()?,
            failed: tail.strip_prefix("failed=")?.parse().ok()?,
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Event {
        match parse(line) {
            Line::Event(event) => event,
            other => panic!("{line:?} is {other:?}"),
        }
    }

    #[test]
    fn each_form_is_understood() {
        assert_eq!(one("##fl start map_coherent"), Event::Start("map_coherent".into()));
        assert_eq!(one("##fl pass map_coherent ns=120"), Event::Pass("map_coherent".into(), 120));
        assert_eq!(one("##fl fail a got 3, not 4"), Event::Fail("a".into(), "got 3, not 4".into()));
        assert_eq!(one("##fl fail a"), Event::Fail("a".into(), String::new()));
        assert_eq!(one("##fl skip a needs two CPUs"), Event::Skip("a".into(), "needs two CPUs".into()));
        assert_eq!(one("##fl bench call_reply 412"), Event::Bench("call_reply".into(), 412));
        assert_eq!(one("##fl done passed=3 failed=0"), Event::Done { passed: 3, failed: 0 });
    }

    #[test]
    fn other_output_is_text() {
        for line in ["", "hello", "# ##fl", "##flower"] {
            assert_eq!(parse(line), Line::Text, "{line:?}");
        }
    }

    #[test]
    fn a_marked_line_that_is_not_ours_is_garbled() {
        for line in [
            "##fl ",
            "##fl start",
            "##fl start two words",
            "##fl pass a",
            "##fl pass a ns=x",
            "##fl skip a",
            "##fl cheer a",
            "##fl done passed=1",
            "half a line##fl pass a ns=1",
            "##fl start a##fl start b",
        ] {
            assert_eq!(parse(line), Line::Garbled, "{line:?}");
        }
    }
}
