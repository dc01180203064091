//! A decoder of scrape responses in the protobuf format, independent of the exporter's writer: any byte that the format does not
//! allow is a panic.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::samples::Samples;

/// One `MetricFamily`.
#[derive(Debug, Default)]
pub struct DecodedFamily {
    name: String,
    help: String,
    kind: u64,
    unit: String,
    metrics: Vec<DecodedMetric>,
}

/// One `Metric`.
#[derive(Debug, Default)]
pub struct DecodedMetric {
    labels: Vec<(String, String)>,
    value: f64,
    /// Milliseconds since the epoch.
    created: Option<u64>,
    exemplar: Option<String>,
    is_histogram: bool,
    /// Bounds and cumulative counts.
    buckets: Vec<(f64, u64)>,
    count: u64,
}

/// Decodes a whole response.
pub fn decode(mut body: &[u8]) -> Vec<DecodedFamily> {
    let mut families = Vec::new();
    while !body.is_empty() {
        let length = usize::try_from(varint(&mut body)).expect("a length");
        families.push(family(take(&mut body, length)));
    }
    families
}

/// The samples in the form of the text format.
pub fn samples(body: &[u8]) -> Samples {
    let mut text = String::new();
    for DecodedFamily { name, kind, metrics, .. } in decode(body) {
        for metric in metrics {
            let labels = |more: Option<String>| {
                let labels = metric.labels.iter().map(|(name, value)| {
                    let value = value.replace('\\', "\\\\").replace('"', "\\\"");
                    format!("{name}=\"{}\"", value.replace('\n', "\\n"))
                });
                labels.chain(more).collect::<Vec<_>>().join(",")
            };
            if kind == HISTOGRAM {
                for (bound, count) in &metric.buckets {
                    let bound =
                        if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
                    let labels = labels(Some(format!("le=\"{bound}\"")));
                    writeln!(text, "{name}_bucket{{{labels}}} {count}").expect("written to memory");
                }
                writeln!(text, "{name}_sum {}\n{name}_count {}", metric.value, metric.count)
                    .expect("written to memory");
            } else {
                writeln!(text, "{name}{{{}}} {}", labels(None), metric.value)
                    .expect("written to memory");
            }
        }
    }
    Samples::parse(&text)
}

/// The created times by name and labels, in milliseconds since the epoch.
pub fn created(body: &[u8]) -> BTreeMap<String, u64> {
    let mut times = BTreeMap::new();
    for DecodedFamily { name, metrics, .. } in decode(body) {
        for DecodedMetric { labels, created, .. } in metrics {
            if let Some(created) = created {
                let labels = labels.iter().map(|(name, value)| format!("{name}={value:?}"));
                let labels = labels.collect::<Vec<_>>().join(",");
                times.insert(format!("{name}{{{labels}}}"), created);
            }
        }
    }
    times
}

/// A text of the whole response, for review.
pub fn text(body: &[u8]) -> String {
    let mut text = String::new();
    for DecodedFamily { name, help, kind, unit, metrics } in decode(body) {
        let mut kinds =
            ["counter", "gauge", "summary", "untyped", "histogram"].into_iter().zip(0..);
        let (kind, _) = kinds.find(|(_, number)| *number == kind).expect("a type");
        writeln!(text, "{name}: {kind} [{unit}] {help}").expect("written to memory");
        for metric in metrics {
            let labels = metric.labels.iter().map(|(name, value)| format!("{name}={value:?} "));
            write!(text, "  {}{}", labels.collect::<String>(), metric.value)
                .expect("written to memory");
            if metric.is_histogram {
                write!(text, " {:?} count {}", metric.buckets, metric.count)
                    .expect("written to memory");
            }
            if let Some(created) = metric.created {
                write!(text, " created {}.{:03}", created / 1000, created % 1000)
                    .expect("written to memory");
            }
            if let Some(exemplar) = metric.exemplar {
                write!(text, " exemplar {exemplar}").expect("written to memory");
            }
            text.push('\n');
        }
    }
    text
}

fn family(message: &[u8]) -> DecodedFamily {
    let mut family = DecodedFamily::default();
    for (number, field) in fields(message) {
        match number {
            1 => family.name = field.text(),
            2 => family.help = field.text(),
            3 => family.kind = field.number(),
            4 => family.metrics.push(metric(field.bytes())),
            5 => family.unit = field.text(),
            _ => panic!("field {number} of MetricFamily"),
        }
    }
    let of_kind = |metric: &DecodedMetric| (family.kind == HISTOGRAM) == metric.is_histogram;
    assert!(family.metrics.iter().all(of_kind), "{family:?}");
    assert!(!family.metrics.is_empty(), "{family:?}");
    family
}

fn metric(message: &[u8]) -> DecodedMetric {
    let mut metric = DecodedMetric::default();
    for (number, field) in fields(message) {
        match number {
            1 => metric.labels.push(pair(field.bytes())),
            2 | 3 => value(number == 3, field.bytes(), &mut metric),
            7 => histogram(field.bytes(), &mut metric),
            _ => panic!("field {number} of Metric"),
        }
    }
    metric
}

fn value(is_counter: bool, message: &[u8], metric: &mut DecodedMetric) {
    for (number, field) in fields(message) {
        match number {
            1 => metric.value = field.double(),
            2 if is_counter => {
                let (mut labels, mut value, mut at) = (Vec::new(), 0.0, None);
                for (number, field) in fields(field.bytes()) {
                    match number {
                        1 => labels.push(pair(field.bytes())),
                        2 => value = field.double(),
                        3 => at = Some(timestamp(field.bytes())),
                        _ => panic!("field {number} of Exemplar"),
                    }
                }
                metric.exemplar = Some(format!("{labels:?} {value} {}", at.expect("a time")));
            }
            3 if is_counter => metric.created = Some(timestamp(field.bytes())),
            _ => panic!("field {number} of a value"),
        }
    }
}

fn histogram(message: &[u8], metric: &mut DecodedMetric) {
    metric.is_histogram = true;
    for (number, field) in fields(message) {
        match number {
            1 => metric.count = field.number(),
            2 => metric.value = field.double(),
            3 => {
                let (mut count, mut bound) = (0, f64::NAN);
                for (number, field) in fields(field.bytes()) {
                    match number {
                        1 => count = field.number(),
                        2 => bound = field.double(),
                        _ => panic!("field {number} of Bucket"),
                    }
                }
                metric.buckets.push((bound, count));
            }
            15 => metric.created = Some(timestamp(field.bytes())),
            _ => panic!("field {number} of Histogram"),
        }
    }
}

fn pair(message: &[u8]) -> (String, String) {
    let (mut name, mut value) = (None, None);
    for (number, field) in fields(message) {
        match number {
            1 => name = Some(field.text()),
            2 => value = Some(field.text()),
            _ => panic!("field {number} of LabelPair"),
        }
    }
    (name.expect("a name"), value.expect("a value"))
}

/// Milliseconds since the epoch.
fn timestamp(message: &[u8]) -> u64 {
    let mut millis = 0;
    for (number, field) in fields(message) {
        match number {
            1 => millis += field.number() * 1000,
            2 => millis += field.number() / 1_000_000,
            _ => panic!("field {number} of Timestamp"),
        }
    }
    millis
}

/// The value of one field.
enum Field<'m> {
    Number(u64),
    Double(f64),
    Bytes(&'m [u8]),
}

impl<'m> Field<'m> {
    fn number(&self) -> u64 {
        let Self::Number(number) = self else { panic!("no varint") };
        *number
    }

    fn double(&self) -> f64 {
        let Self::Double(number) = self else { panic!("no double") };
        *number
    }

    fn bytes(&self) -> &'m [u8] {
        let Self::Bytes(bytes) = self else { panic!("no bytes") };
        bytes
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes().to_vec()).expect("UTF-8")
    }
}

fn fields(mut message: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let field = match key & 7 {
            0 => Field::Number(varint(&mut message)),
            1 => {
                let bytes = take(&mut message, 8).try_into().expect("eight bytes");
                Field::Double(f64::from_le_bytes(bytes))
            }
            2 => {
                let length = usize::try_from(varint(&mut message)).expect("a length");
                Field::Bytes(take(&mut message, length))
            }
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, field));
    }
    fields
}

fn take<'m>(message: &mut &'m [u8], length: usize) -> &'m [u8] {
    let (taken, rest) = message.split_at(length);
    *message = rest;
    taken
}

fn varint(message: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(message, 1)[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return number;
        }
    }
    panic!("a varint of more than 64 bits")
}

const HISTOGRAM: u64 = 4;
