//! Words in columns of a bounded width.
//!
//! Widths are counted in characters; everything told is Latin text.

/// Characters of `text`.
pub fn width(text: &str) -> usize {
    text.chars().count()
}

/// Breaks `text` at blanks into lines of at most `limit` characters; the lines after the first one
/// begin with `hang` blanks. A word that is longer than a line is cut.
///
/// `hang` is less than `limit`, which is at least 1.
pub fn wrap(text: &str, limit: usize, hang: usize) -> Vec<String> {
    let indent = " ".repeat(hang.min(limit.saturating_sub(1)));
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut begun = false;
    for word in text.split_whitespace() {
        let mut word = word.to_owned();
        if begun && width(&line) + 1 + width(&word) > limit {
            lines.push(std::mem::replace(&mut line, indent.clone()));
            begun = false;
        }
        if begun {
            line.push(' ');
        }
        while width(&line) + width(&word) > limit {
            let room = limit - width(&line);
            let rest = word.chars().skip(room).collect();
            line.extend(word.chars().take(room));
            lines.push(std::mem::replace(&mut line, indent.clone()));
            word = rest;
        }
        line.push_str(&word);
        begun = true;
    }
    lines.push(line);
    lines
}

/// Shares `total` characters among columns that would like `natural` ones: the widest give first,
/// and none gets less than `least` unless it wants less. `None`: that is not possible.
pub fn share(total: usize, natural: &[usize], least: usize) -> Option<Vec<usize>> {
    if natural.iter().map(|wanted| (*wanted).min(least)).sum::<usize>() > total {
        return None;
    }
    let mut widths = natural.to_vec();
    while widths.iter().sum::<usize>() > total {
        let widest = widths.iter_mut().max().expect("the sum is not 0");
        *widest -= 1;
    }
    Some(widths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_blanks_and_hang() {
        assert_eq!(wrap("trims page cache to 6", 11, 2), ["trims page", "  cache to", "  6"]);
        assert_eq!(wrap("", 11, 2), [""]);
    }

    #[test]
    fn a_word_longer_than_a_line_is_cut() {
        assert_eq!(wrap("a 0123456789", 5, 1), ["a", " 0123", " 4567", " 89"]);
    }

    #[test]
    fn the_widest_column_gives_first() {
        assert_eq!(share(30, &[10, 40], 5), Some(vec![10, 20]));
        assert_eq!(share(30, &[40, 40], 5), Some(vec![15, 15]));
        assert_eq!(share(30, &[4, 8], 5), Some(vec![4, 8]));
        assert_eq!(share(9, &[40, 40], 5), None);
    }
}
