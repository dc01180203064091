//! Durations as Go writes them: `1s`, `250ms`, `1h2m3.5s`; a bare number counts nanoseconds.

use std::time::Duration;

/// The duration in `text`.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    read(text.trim()).ok_or_else(|| format!("bad interval {text:?}: write 1s, 250ms or 1m30s"))
}

fn read(text: &str) -> Option<Duration> {
    if let Ok(nanoseconds) = text.parse::<u64>() {
        return Some(Duration::from_nanos(nanoseconds));
    }
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        sum = sum.checked_add(part)?;
        rest = after;
    }
    (!text.is_empty()).then_some(sum)
}

const UNITS: [(&str, f64); 7] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, expected) in [
            ("1s", Some(1000)),
            ("250ms", Some(250)),
            ("1h2m3.5s", Some(3_723_500)),
            ("0", Some(0)),
            ("5000000", Some(5)),
            ("", None),
            ("s", None),
            ("1", Some(0)),
            ("-1s", None),
            ("1s2", None),
            ("1e400s", None),
            ("99999999999999999999h", None),
        ] {
            let milliseconds = parse(text).ok().map(|read| read.as_millis());
            assert_eq!(milliseconds, expected, "{text:?}");
        }
    }
}
