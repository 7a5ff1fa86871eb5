//! Numbers for readers.

/// 1234567 as "1,234,567".
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Seconds with as many digits as are worth reading: "0.03 s", "2.5 s", "130 s".
pub fn seconds(seconds: f64) -> String {
    match seconds {
        small if small < 0.1 => format!("{small:.2} s"),
        small if small < 10.0 => format!("{small:.1} s"),
        large => format!("{large:.0} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(
            ["0", "999", "1,000", "1,234,567"],
            [0, 999, 1000, 1_234_567].map(grouped).each_ref().map(|s| s.as_str())
        );
    }

    #[test]
    fn seconds_are_short() {
        assert_eq!(["0.03 s", "2.5 s", "130 s"], [0.031, 2.54, 130.2].map(seconds).each_ref().map(|s| s.as_str()));
    }
}
