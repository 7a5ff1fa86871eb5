//! `list`: what there is to explore.

use explorer::experiments::{ALL, Experiment};
use explorer::report::columns::{width, wrap};
use serde_json::{Value, json};

/// Columns of the list.
const LIMIT: usize = 100;

/// Prints the experiments.
pub fn run(as_json: bool) {
    if as_json {
        println!("{:#}", Value::Array(ALL.iter().map(|experiment| to_json(experiment)).collect()));
        return;
    }
    for experiment in ALL {
        println!("{}", experiment.name);
        entry("  ", "", experiment.summary, 0);
        println!("  variants");
        let names = experiment.variants.iter().map(|variant| width(variant.name)).max().unwrap_or(0);
        experiment.variants.iter().for_each(|variant| entry("    ", variant.name, variant.summary, names));
        println!("  scenarios");
        let names = experiment.cases.iter().map(|case| width(case.name)).max().unwrap_or(0);
        for case in experiment.cases {
            let broken: Vec<_> = case.breaks.iter().map(|(variant, _)| *variant).collect();
            let known = if broken.is_empty() { String::new() } else { format!(" (breaks: {})", broken.join(", ")) };
            entry("    ", case.name, &format!("{}{known}", case.summary), names);
        }
        println!();
    }
    println!("explore one: NAME [--variant V] [--scenario S]; all of them: matrix; options: --help");
}

/// A name and what is said of it, which stays right of the name.
fn entry(indent: &str, name: &str, words: &str, names: usize) {
    let gap = if names == 0 { 0 } else { 2 };
    let room = LIMIT - indent.len() - names - gap;
    for (index, line) in wrap(words, room, 0).iter().enumerate() {
        let name = if index == 0 { name } else { "" };
        println!("{indent}{name:names$}{:gap$}{line}", "");
    }
}

fn to_json(experiment: &Experiment) -> Value {
    let variants =
        experiment.variants.iter().map(|variant| json!({ "name": variant.name, "summary": variant.summary }));
    let cases = experiment.cases.iter().map(|case| {
        let breaks: serde_json::Map<_, _> =
            case.breaks.iter().map(|(variant, kinds)| ((*variant).to_owned(), json!(kinds))).collect();
        json!({ "name": case.name, "summary": case.summary, "breaks": breaks })
    });
    json!({
        "name": experiment.name,
        "summary": experiment.summary,
        "variants": variants.collect::<Vec<_>>(),
        "scenarios": cases.collect::<Vec<_>>(),
    })
}
