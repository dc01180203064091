//! The sink behind the text format 0.0.4, which `curl`, most agents and `promtool` read.

use std::fmt::{self, Write};
use std::time::Duration;

use memchr::memchr3;

use super::{Family, Histogram, Kind, Sample, Sink, Subject, Value};

/// The value of `Content-Type`.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes the page at the end of `body`.
pub(super) struct Text<'b> {
    body: &'b mut String,
}

impl<'b> Text<'b> {
    /// A sink that appends to `body`.
    pub(super) fn new(body: &'b mut String) -> Self {
        Self { body }
    }

    fn head<const N: usize>(&mut self, family: &Family<N>) {
        let kind = match family.kind {
            Kind::Counter(_) => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let name = family.name;
        for part in ["# HELP ", name, " ", family.help, "\n# TYPE ", name, " ", kind, "\n"] {
            self.body.push_str(part);
        }
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
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_some() {
            self.head(&family);
        }
        let body = &mut *self.body;
        for sample in samples {
            let Sample { labels, value, user, .. } = sample.into();
            body.push_str(family.name);
            let mut opening = '{';
            let user = user.map(|user| (&"user", user));
            for (label, value) in family.labels.iter().zip(labels).chain(user) {
                body.push(opening);
                body.push_str(label);
                body.push_str("=\"");
                escape(body, value);
                body.push('"');
                opening = ',';
            }
            body.push_str(if opening == '{' { " " } else { "} " });
            write_value(body, value)?;
            body.push('\n');
        }
        Ok(())
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
    let mut rest = value;
    while let Some(at) = memchr3(b'\\', b'"', b'\n', rest.as_bytes()) {
        let (plain, from) = rest.split_at(at);
        body.push_str(plain);
        body.push('\\');
        body.push(if from.starts_with('\n') { 'n' } else { char::from(from.as_bytes()[0]) });
        rest = &from[1..];
    }
    body.push_str(rest);
}

fn write_value(body: &mut String, value: Value) -> fmt::Result {
    match value {
        Value::Integer(number) => body.push_str(itoa::Buffer::new().format(number)),
        Value::Seconds(time) => write_seconds(body, time),
        Value::Float(number) => write!(body, "{number}")?,
    }
    Ok(())
}

/// Writes the exact decimal number: several times as fast as finding a float's shortest.
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
    fn seconds_are_written_as_the_float_would_be() {
        for (micros, text) in [
            (0, "0"),
            (1, "0.000001"),
            (830_000, "0.83"),
            (1_000_000, "1"),
            (1_763_862_000_123_456, "1763862000.123456"),
            (1_763_862_000_100_000, "1763862000.1"),
        ] {
            let time = Duration::from_micros(micros);
            let mut body = String::new();
            write_seconds(&mut body, time);
            assert_eq!(body, text);
            assert_eq!(time.as_secs_f64().to_string(), text);
        }
    }

    #[test]
    fn label_values_are_escaped_and_nothing_else() {
        let mut body = String::new();
        escape(&mut body, "a\\x2d \"b\"\n\u{fffd}\r");
        assert_eq!(body, "a\\\\x2d \\\"b\\\"\\n\u{fffd}\r");
    }
}
