//! A span of time as Go writes it (`time.ParseDuration`): numbers, each with a unit and perhaps a fraction, one behind the other.

use crate::limits::ALIGNED_SPAN_BYTES;

/// Nanoseconds of each unit. One that begins like another one comes after it.
const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("h", 3_600_000_000_000),
];
/// Nanoseconds of a millisecond.
const MILLISECOND: u128 = 1_000_000;

/// The milliseconds of `text`; `None` when it is no span of time, negative, or not of whole milliseconds.
pub fn milliseconds(text: &str) -> Option<u64> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() || text.len() > ALIGNED_SPAN_BYTES {
        return None;
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (whole, behind) = digits(rest);
        let (fraction, behind) = match behind.strip_prefix('.') {
            Some(behind) => digits(behind),
            None => ("", behind),
        };
        let (unit, behind) = UNITS
            .iter()
            .find_map(|(name, unit)| Some((*unit, behind.strip_prefix(name)?)))?;
        rest = behind;
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let whole: u128 = if whole.is_empty() {
            0
        } else {
            whole.parse().ok()?
        };
        total = total.checked_add(whole.checked_mul(unit)?)?;
        // Go cuts what is less than a nanosecond off; here it is no whole millisecond.
        let mut place = unit;
        for digit in fraction.bytes() {
            let digit = u128::from(digit - b'0');
            if digit > 0 && place % 10 != 0 {
                return None;
            }
            place /= 10;
            total = total.checked_add(digit * place)?;
        }
    }
    if !total.is_multiple_of(MILLISECOND) {
        return None;
    }
    u64::try_from(total / MILLISECOND).ok()
}

/// The digits at the start of `text`, and what follows.
fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit());
    text.split_at(end.unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_go_reads_them() {
        for (text, expected) in [
            ("15s", Some(15_000)),
            ("+15s", Some(15_000)),
            ("1h15m30.918s", Some(4_530_918)),
            ("1.5h", Some(5_400_000)),
            (".5s", Some(500)),
            ("5.s", Some(5_000)),
            ("1m", Some(60_000)),
            ("1ms", Some(1)),
            ("1000us", Some(1)),
            ("1000µs", Some(1)),
            ("1000μs", Some(1)),
            ("1000000ns", Some(1)),
            ("0.1m0.9s", Some(6_900)),
            ("1s1s", Some(2_000)),
            ("0s", Some(0)),
            ("1.50000000000000000000s", Some(1_500)),
            // No unit, or none that there is; Go takes a lone 0.
            ("0", None),
            ("15", None),
            ("15S", None),
            ("15sec", None),
            ("1d", None),
            ("s", None),
            (".s", None),
            ("+", None),
            ("", None),
            ("-1s", None),
            ("1s ", None),
            (" 1s", None),
            ("1,5s", None),
            ("1e3s", None),
            ("é", None),
            // Not of whole milliseconds.
            ("1ns", None),
            ("1.0005s", None),
            ("0.0000000000001h", None),
            // Too large.
            ("99999999999999999999999999999999999999h", None),
            ("99999999999999999999999h", None),
        ] {
            assert_eq!(milliseconds(text), expected, "{text}");
        }
        assert_eq!(milliseconds(&format!("{}s", "0".repeat(63))), Some(0));
        assert_eq!(milliseconds(&format!("{}s", "0".repeat(64))), None);
    }
}
