//! "Did you mean": the known name that is nearest to a mistyped one.

/// An error for an unknown `what` called `name`, with the nearest known name, or all of them.
pub fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<_> = known.collect();
    match nearest(name, &known) {
        Some(near) => format!("there is no {what} {name:?}; did you mean {near:?}?"),
        None if known.is_empty() => format!("there is no {what} {name:?}, nor any other"),
        None => format!("there is no {what} {name:?}; there is {}", known.join(", ")),
    }
}

fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let contains = known.iter().find(|each| name.len() >= 3 && each.contains(name));
    let near = known.iter().map(|each| (distance(name, each), *each)).min();
    match (contains, near) {
        (Some(found), _) => Some(found),
        (None, Some((distance, found))) if distance <= 1 + name.len() / 3 => Some(found),
        _ => None,
    }
}

/// How many letters must be put in, left out or changed (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<_> = b.chars().collect();
    let mut row: Vec<_> = (0..=b.len()).collect();
    for (i, of_a) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, of_b) in b.iter().enumerate() {
            let change = diagonal + usize::from(of_a != *of_b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 3] = ["ext4-inline-mkwrite", "bcachefs-buffered-write", "fault-pool"];

    #[test]
    fn a_slip_finds_the_name_that_was_meant() {
        assert_eq!(nearest("ext4-inline-mkwrit", &KNOWN), Some("ext4-inline-mkwrite"));
        assert_eq!(nearest("falt-pol", &KNOWN), Some("fault-pool"));
        assert_eq!(nearest("bcachefs", &KNOWN), Some("bcachefs-buffered-write"));
    }

    #[test]
    fn something_else_gets_all_names() {
        assert_eq!(nearest("zzz", &KNOWN), None);
        assert!(unknown("experiment", "zzz", KNOWN.into_iter()).contains("bcachefs-buffered-write, fault-pool"));
    }

    #[test]
    fn distances_are_counted_in_letters() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
