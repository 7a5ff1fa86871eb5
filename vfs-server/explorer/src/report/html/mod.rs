//! One run as a single page of HTML: lanes, locks held and folio states over time, stepped through
//! with keys.
//!
//! Owns: putting the run's data into the page. The page itself is `page.html`, `style.css` and
//! `script.js` beside this file; it loads nothing, so that it can be mailed and opened anywhere.

use super::diagram;
use super::told::{Event, FolioState, Mapped, Switch, Target, ToldRun, What};
use serde_json::{Value, json};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The page.
pub fn render(run: &ToldRun) -> String {
    let title = format!("{}, {}", run.title.experiment, run.title.variant);
    // Inside <script> only "<" could end the data early.
    let data = data(run).to_string().replace('<', "\\u003c");
    fill(
        PAGE,
        &[
            ("TITLE", &escape(&title)),
            ("STYLE", STYLE),
            ("DIAGRAM", &escape(&diagram::render(run, diagram::WIDTH))),
            ("DATA", &data),
            ("SCRIPT", SCRIPT),
        ],
    )
}

/// Replaces each `{{NAME}}` of the template once; what is put in is not looked at again.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut page = String::with_capacity(template.len() + values.iter().map(|(_, value)| value.len()).sum::<usize>());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").expect("the template's marks are closed");
        let value = values.iter().find(|(each, _)| *each == name).expect("the template's marks are known");
        page.push_str(before);
        page.push_str(value.1);
        rest = after;
    }
    page + rest
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The run as the script reads it.
fn data(run: &ToldRun) -> Value {
    let lanes: Vec<_> = run.lanes.iter().map(|lane| json!({ "name": lane.name, "role": lane.role })).collect();
    let locks: Vec<_> = run.locks.iter().map(|lock| json!({ "name": lock.name, "class": lock.class })).collect();
    let broken = run.broken.as_ref().map(|broken| {
        let lane = broken.lane.map(|lane| lane.0);
        json!({ "kind": broken.kind, "summary": broken.summary, "details": broken.details, "lane": lane })
    });
    json!({
        "title": {
            "experiment": run.title.experiment,
            "variant": run.title.variant,
            "scenario": run.title.scenario,
            "replay": run.title.replay,
        },
        "lanes": lanes,
        "locks": locks,
        "folios": run.folios,
        "events": run.events.iter().map(event).collect::<Vec<_>>(),
        "broken": broken,
    })
}

fn event(event: &Event) -> Value {
    let mut value = match &event.what {
        What::Runs(Switch::Stays) => json!({ "kind": "runs", "switch": "stays" }),
        What::Runs(Switch::Takes) => json!({ "kind": "runs", "switch": "takes" }),
        What::Runs(Switch::Preempts) => json!({ "kind": "runs", "switch": "preempts" }),
        What::Rests => json!({ "kind": "rests" }),
        What::Serves(client) => json!({ "kind": "serves", "client": client.map(|lane| lane.0) }),
        What::Begins(words) => json!({ "kind": "begins", "words": words }),
        What::Ends(words) => json!({ "kind": "ends", "words": words }),
        What::Tells(words) => json!({ "kind": "tells", "words": words }),
        What::Acquires(lock) => json!({ "kind": "acquires", "lock": lock.0 }),
        What::Releases(lock) => json!({ "kind": "releases", "lock": lock.0 }),
        What::Waits { target, holder } => {
            let holder = holder.map(|lane| lane.0);
            match target {
                Target::Lock(lock) => json!({ "kind": "waits", "lock": lock.0, "holder": holder }),
                Target::Event(words) => json!({ "kind": "waits", "words": words, "holder": holder }),
            }
        }
        What::Chooses { site, value, of } => json!({ "kind": "chooses", "site": site, "value": value, "of": of }),
        What::Folio(folio, state) => {
            json!({ "kind": "folio", "folio": folio.0, "state": state.as_ref().map(folio_state) })
        }
    };
    value["step"] = event.step.into();
    value["lane"] = event.lane.0.into();
    value
}

fn folio_state(state: &FolioState) -> Value {
    let mapped = match state.mapped {
        Mapped::Not => "",
        Mapped::ReadOnly => "ro",
        Mapped::Writable => "rw",
    };
    json!({
        "uptodate": state.uptodate,
        "dirty": state.dirty,
        "writeback": state.writeback,
        "mapped": mapped,
        "words": state.words(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn the_page_loads_nothing_from_elsewhere() {
        let page = render(&samples::lost_write());
        for loads in ["http:", "https:", "src=", "@import", "url("] {
            assert!(!page.contains(loads), "{loads}");
        }
    }

    #[test]
    fn words_cannot_leave_the_data() {
        let mut run = samples::lost_write();
        run.title.scenario = "</script><b>{{DATA}}".into();
        let page = render(&run);
        assert_eq!(page.matches("</script>").count(), 2);
        assert!(!page.contains("<b>"));
    }

    #[test]
    fn every_event_has_a_place_and_a_kind() {
        let run = samples::deadlock();
        let data = data(&run);
        let events = data["events"].as_array().unwrap();
        assert_eq!(events.len(), run.events.len());
        assert!(
            events.iter().all(|event| event["kind"].is_string() && event["lane"].is_u64() && event["step"].is_u64())
        );
    }
}
