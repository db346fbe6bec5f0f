//! Durations as Go writes them: `300ms`, `1.5h`, `1h30m`.

use std::time::Duration;

/// The unit at the start of `text`, in nanoseconds, and what follows it.
fn unit(text: &str) -> Option<(u64, &str)> {
    const UNITS: [(&str, u64); 8] = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("μs", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    let mut units = UNITS.iter();
    units.find_map(|(name, nanos)| Some((*nanos, text.strip_prefix(name)?)))
}

/// Digits at the start of `text`, and what follows them.
fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit());
    text.split_at(end.unwrap_or(text.len()))
}

/// The duration, `None` when `text` is none, or is negative or longer than some 292 years.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = 0u64;
    loop {
        let (whole, after) = digits(rest);
        let (part, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        if whole.is_empty() && part.is_empty() {
            return None;
        }
        let (nanos, after) = unit(after)?;
        let whole: u64 = if whole.is_empty() {
            0
        } else {
            whole.parse().ok()?
        };
        total = total.checked_add(whole.checked_mul(nanos)?)?;
        let mut digit_nanos = nanos;
        for digit in part.bytes() {
            digit_nanos /= 10;
            total = total.checked_add(u64::from(digit - b'0') * digit_nanos)?;
        }
        if after.is_empty() {
            return (i64::try_from(total).is_ok()).then_some(Duration::from_nanos(total));
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, nanos) in [
            ("0", Some(0)),
            ("0s", Some(0)),
            ("30s", Some(30_000_000_000)),
            ("+5s", Some(5_000_000_000)),
            ("1h30m5s", Some(5_405_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            (".5s", Some(500_000_000)),
            ("1.s", Some(1_000_000_000)),
            ("250ms", Some(250_000_000)),
            ("7us", Some(7_000)),
            ("7µs", Some(7_000)),
            ("9ns", Some(9)),
            ("0.1ns", Some(0)),
            ("", None),
            ("s", None),
            (".s", None),
            ("5", None),
            ("-5s", None),
            ("5 s", None),
            ("5d", None),
            ("5s5", None),
            ("9999999999h", None),
            ("99999999999999999999s", None),
            ("2562048h", None),
        ] {
            assert_eq!(parse(text), nanos.map(Duration::from_nanos), "{text}");
        }
    }
}
