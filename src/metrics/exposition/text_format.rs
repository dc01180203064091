//! The sink of the text format 0.0.4, which `curl`, most agents and `promtool` read.

use std::fmt::{self, Write};
use std::mem;
use std::time::Duration;

use crate::metrics::{Family, Kind, Sample, Sink, Subject, Value};
use crate::snapshot::Histogram;

/// The value of `Content-Type`.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Appends the response to `body`.
pub(super) struct Text<'b> {
    body: &'b mut String,
    /// The text before each label value of the family, joined.
    prefixes: String,
}

impl<'b> Text<'b> {
    /// A sink that appends to `body`.
    pub(super) fn new(body: &'b mut String) -> Self {
        Self { body, prefixes: String::new() }
    }

    fn head<const N: usize>(&mut self, family: &Family<N>) {
        let kind = match family.kind {
            Kind::Counter(_) | Kind::InheritedCounter(_) => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let name = family.name;
        for part in ["# HELP ", name, " ", family.help, "\n# TYPE ", name, " ", kind, "\n"] {
            self.body.push_str(part);
        }
    }

    /// Sets `prefixes` to the text before each label value; returns the end of each.
    fn set_prefixes<const N: usize>(&mut self, family: &Family<N>) -> [usize; N] {
        let Self { prefixes, .. } = self;
        prefixes.clear();
        let mut is_first = true;
        family.labels.map(|label| {
            let opening = if mem::take(&mut is_first) { [family.name, "{"] } else { ["\",", ""] };
            for part in opening.into_iter().chain([label, "=\""]) {
                prefixes.push_str(part);
            }
            prefixes.len()
        })
    }
}

impl Sink for Text<'_> {
    fn subject(&mut self, _: Subject) -> bool {
        true
    }

    fn family<'a, const N: usize, S: Into<Sample<'a, N>>>(
        &mut self,
        family: Family<N>,
        samples: impl IntoIterator<Item = S>,
    ) -> fmt::Result {
        let mut is_first = true;
        let ends = self.set_prefixes(&family);
        samples.into_iter().try_for_each(|sample| {
            if mem::take(&mut is_first) {
                self.head(&family);
            }
            let body = &mut *self.body;
            let Sample { labels, value, user, .. } = sample.into();
            let mut start = 0;
            for (end, value) in ends.into_iter().zip(labels) {
                body.push_str(&self.prefixes[start..end]);
                escape(body, value);
                start = end;
            }
            if N == 0 {
                body.push_str(family.name);
            }
            if let Some(user) = user {
                body.push_str(if N == 0 { "{manager_user=\"" } else { "\",manager_user=\"" });
                escape(body, user);
            }
            body.push_str(if N == 0 && user.is_none() { " " } else { "\"} " });
            write_value(body, value)?;
            body.push('\n');
            Ok(())
        })
    }

    fn histogram(&mut self, family: Family<0>, histogram: &Histogram) -> fmt::Result {
        self.head(&family);
        let name = family.name;
        let mut below = 0;
        for (bound, count) in &histogram.buckets {
            below += count;
            let bound = if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
            writeln!(self.body, "{name}_bucket{{le=\"{bound}\"}} {below}")?;
        }
        writeln!(self.body, "{name}_sum {}\n{name}_count {below}", histogram.sum)
    }
}

/// Escapes a label value: backslash, double quote and line feed.
fn escape(body: &mut String, value: &str) {
    if is_plain(value.as_bytes()) {
        return body.push_str(value);
    }
    let mut plain = 0;
    for (at, byte) in value.bytes().enumerate().filter(|(_, byte)| is_special(*byte)) {
        body.push_str(&value[plain..at]);
        body.push('\\');
        body.push(if byte == b'\n' { 'n' } else { char::from(byte) });
        plain = at + 1;
    }
    body.push_str(&value[plain..]);
}

/// Whether no byte needs escaping. Without a branch per byte, as most values are short; the last
/// chunk may overlap the one before it.
fn is_plain(value: &[u8]) -> bool {
    const CHUNK: usize = 16;
    let none = |bytes: &[u8]| !bytes.iter().fold(false, |any, byte| any | is_special(*byte));
    match value.last_chunk::<CHUNK>() {
        Some(last) => value.as_chunks::<CHUNK>().0.iter().chain([last]).all(|chunk| none(chunk)),
        None => none(value),
    }
}

fn is_special(byte: u8) -> bool {
    (byte == b'\\') | (byte == b'"') | (byte == b'\n')
}

fn write_value(body: &mut String, value: Value) -> fmt::Result {
    match value {
        Value::Integer(number) => body.push_str(itoa::Buffer::new().format(number)),
        Value::Seconds(time) => write_seconds(body, time),
        Value::Float(number) => write!(body, "{number}")?,
    }
    Ok(())
}

/// The float that a reader of [`write_seconds`] parses. [`Duration::as_secs_f64`] adds two floats and
/// may return the next one; one division of integers that a float holds exactly rounds correctly.
pub(super) fn seconds(time: Duration) -> f64 {
    let (amount, divisor) = match time.subsec_nanos() % 1000 {
        0 => (time.as_micros(), 1e6),
        _ => (time.as_nanos(), 1e9),
    };
    match u64::try_from(amount) {
        Ok(amount) if amount <= 1 << f64::MANTISSA_DIGITS => amount as f64 / divisor,
        _ => {
            let mut text = String::new();
            write_seconds(&mut text, time);
            text.parse().unwrap_or(time.as_secs_f64())
        }
    }
}

/// Writes the exact decimal number: several times faster than the shortest form of a float.
fn write_seconds(body: &mut String, time: Duration) {
    body.push_str(itoa::Buffer::new().format(time.as_secs()));
    let mut nanos = time.subsec_nanos();
    if nanos == 0 {
        return;
    }
    let mut digits = [b'0'; 9];
    for digit in digits.iter_mut().rev() {
        *digit += (nanos % 10) as u8;
        nanos /= 10;
    }
    let digits = str::from_utf8(&digits).unwrap_or_default();
    body.push('.');
    body.push_str(digits.trim_end_matches('0'));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_written_like_the_nearest_float() {
        for (micros, text) in [
            (0, "0"),
            (1, "0.000001"),
            (830_000, "0.83"),
            (1_000_000, "1"),
            (1_910_000, "1.91"),
            (1_763_862_000_123_456, "1763862000.123456"),
            (1_763_862_000_100_000, "1763862000.1"),
        ] {
            let time = Duration::from_micros(micros);
            let mut body = String::new();
            write_seconds(&mut body, time);
            assert_eq!(body, text);
            assert_eq!(seconds(time).to_string(), text);
        }
    }

    #[test]
    fn only_special_characters_are_escaped() {
        let mut body = String::new();
        escape(&mut body, "a\\x2d \"b\"\n\u{fffd}\r");
        assert_eq!(body, "a\\\\x2d \\\"b\\\"\\n\u{fffd}\r");
    }

    #[test]
    fn special_character_is_found_at_any_position() {
        for length in 0..40 {
            let plain = "\u{0}!#[]\u{7f}\t\u{b}".repeat(5)[..length].to_owned();
            assert!(is_plain(plain.as_bytes()), "{plain:?}");
            for (at, special) in (0..length).flat_map(|at| b"\\\"\n".map(|special| (at, special))) {
                let mut value = plain.clone().into_bytes();
                value[at] = special;
                assert!(!is_plain(&value), "{value:?}");
            }
        }
    }
}
